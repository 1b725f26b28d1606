// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite diff A B`: what changed between two images, in the terms of `inspect`.
//!
//! The reports are compared as data, value by value. Entries of a list are the same if they have the
//! same name, wherever they stand.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::DiffArgs;
use crate::{exit, inspect, say};

/// What differs without saying anything: the files' names, and where in the manifest digests stand.
const SILENT: [&str; 2] = ["image", "digest_offset"];

/// Runs the command. Exit code 0: the same, 1: not the same, as diff(1) has it.
///
/// # Errors
/// A file cannot be read, or is no image.
pub fn diff(args: &DiffArgs) -> anyhow::Result<u8> {
    let read = |path: &std::path::Path| {
        anyhow::Ok(inspect::report_of(&path.display().to_string(), &exit::read(path)?)?)
    };
    let changes = changes(&read(&args.a)?, &read(&args.b)?);
    if args.json {
        let list: Vec<Value> =
            changes.iter().map(|(key, a, b)| json!({ "key": key, "a": a, "b": b })).collect();
        say::line(json!({ "same": changes.is_empty(), "changes": list }));
    } else if changes.is_empty() {
        say::line("the same");
    } else {
        for (key, a, b) in &changes {
            say::line(format!("{key}: {} -> {}", shown(a.as_ref()), shown(b.as_ref())));
        }
    }
    Ok(if changes.is_empty() { exit::OK } else { exit::REFUSED })
}

type Change = (String, Option<Value>, Option<Value>);

fn changes(a: &Value, b: &Value) -> Vec<Change> {
    let (mut first, mut second) = (BTreeMap::new(), BTreeMap::new());
    flatten("", a, &mut first);
    flatten("", b, &mut second);
    let keys: std::collections::BTreeSet<_> = first.keys().chain(second.keys()).collect();
    keys.into_iter()
        .map(|key| (key.clone(), first.get(key).cloned(), second.get(key).cloned()))
        .filter(|(_, a, b)| a != b)
        .collect()
}

/// Every single value with its path.
fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, _)| !SILENT.contains(&key.as_str())) {
                flatten(&below(key), value, into);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                let own = ["name", "id", "claim"].iter().find_map(|key| value.get(key)?.as_str());
                let name = own.map_or_else(|| index.to_string(), str::to_owned);
                flatten(&below(&name), value, into);
            }
        }
        single => drop(into.insert(path.to_owned(), single.clone())),
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "nothing".into(),
        Some(Value::Number(number)) => match number.as_u64() {
            Some(number) if number >= 0x1_0000 => format!("{number:#x} ({number})"),
            _ => number.to_string(),
        },
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{changes, shown};

    #[test]
    fn entries_are_known_by_their_names() {
        let a = json!({ "image": "a", "parts": [{ "name": "kernel", "size": 5 }, { "name": "rtas", "size": 1 }] });
        let b = json!({ "image": "b", "parts": [{ "name": "rtas", "size": 1 }, { "name": "kernel", "size": 6 }] });
        assert_eq!(changes(&a, &b), [("parts.kernel.size".into(), Some(json!(5)), Some(json!(6)))]);
        assert!(changes(&a, &a).is_empty());
        let less = changes(&a, &json!({ "parts": [{ "name": "rtas", "size": 1 }] }));
        assert!(less.iter().all(|(key, _, b)| key.starts_with("parts.kernel.") && b.is_none()));
        assert_eq!(shown(Some(&json!(0x4000_0000))), "0x40000000 (1073741824)");
    }
}
