// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Judges a config's shape against the schema: keys that do not exist, keys that are missing,
//! values of the wrong type.
//!
//! What is wrong is reported and cut out, so that the rest can be judged too.
use serde_json::Value as Schema;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::source::Span;

/// Checks a whole config and cuts out what does not belong there.
pub fn check(root: &mut Spanned<DeTable<'_>>, schema: &Schema, found: &mut Vec<Diagnostic>) {
    let start = root.span().start;
    Shape { whole: schema, found }.check_table(root.get_mut(), start..start, schema, "");
}

/// The schema of a dotted path, if there is such a key.
#[must_use]
pub fn schema_at<'s>(schema: &'s Schema, path: &[&str]) -> Option<&'s Schema> {
    path.iter().try_fold(schema, |at, segment| match at["type"].as_str() {
        Some("array") => Some(&at["items"]).filter(|_| segment.parse::<usize>().is_ok()),
        _ => at["properties"].get(*segment),
    })
}

/// The shape that a config is held against, and what does not have it.
struct Shape<'a> {
    whole: &'a Schema,
    found: &'a mut Vec<Diagnostic>,
}

impl Shape<'_> {
    fn check_table(&mut self, table: &mut DeTable<'_>, span: Span, schema: &Schema, path: &str) {
        let properties = &schema["properties"];
        let mut seen = Vec::new();
        for (key, mut value) in std::mem::take(table) {
            let name = key.get_ref().to_string();
            let Some(sub) = properties.get(&name) else {
                let mistake = unknown_key(&name, key.span(), properties, path, self.whole);
                self.found.push(mistake);
                continue;
            };
            let full = join(path, &name);
            seen.push(name);
            if self.check_value(&mut value, sub, &full) {
                table.insert(key, value);
            }
        }
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Schema::as_str) {
            if !seen.iter().any(|name| name == key) {
                self.found.push(missing_key(key, span.clone(), &properties[key], path));
            }
        }
    }

    fn check_value(
        &mut self,
        value: &mut Spanned<DeValue<'_>>,
        schema: &Schema,
        path: &str,
    ) -> bool {
        let span = value.span();
        let wanted = schema["type"].as_str().unwrap_or("");
        match (value.get_mut(), wanted) {
            (DeValue::Table(table), "object") => {
                self.check_table(table, span, schema, path);
                true
            }
            (DeValue::Array(array), "array") => {
                let mut right = true;
                for (index, item) in array.iter_mut().enumerate() {
                    right &= self.check_value(item, &schema["items"], &format!("{path}.{index}"));
                }
                right
            }
            (DeValue::String(_), "string") | (DeValue::Boolean(_), "boolean") => true,
            (DeValue::Integer(integer), "integer") => {
                let digits = integer.as_str().replace('_', "");
                let fits = i64::from_str_radix(&digits, integer.radix()).is_ok();
                if !fits {
                    let title = format!("`{path}` must be an integer of 64 bits");
                    let help = "sizes and addresses are strings; all other numbers are small";
                    let mistake = Diagnostic::new("wrong-type", title, span, "too large");
                    self.found.push(mistake.help(help));
                }
                fits
            }
            (other, wanted) => {
                let help = type_help(other, wanted);
                let diagnostic = wrong_type(path, described(wanted), other.type_str(), span);
                self.found.push(match help {
                    Some(help) => diagnostic.help(help),
                    None => diagnostic,
                });
                false
            }
        }
    }
}

fn described(kind: &str) -> &'static str {
    match kind {
        "object" => "a table",
        "array" => "an array",
        "string" => "a string",
        "integer" => "an integer",
        "boolean" => "true or false",
        _ => "something else",
    }
}

fn type_help(value: &DeValue<'_>, wanted: &str) -> Option<String> {
    match (value, wanted) {
        (DeValue::Integer(integer), "string") => {
            Some(format!("sizes and addresses are strings with units or hex: write \"{integer}\""))
        }
        (DeValue::Table(_), "array") => Some("write [[…]] with two brackets".into()),
        (DeValue::String(text), "integer") if text.parse::<i64>().is_ok() => {
            Some(format!("leave the quotes out: write {text}"))
        }
        (DeValue::String(text), "boolean") if matches!(text.as_ref(), "true" | "false") => {
            Some(format!("leave the quotes out: write {text}"))
        }
        (_, "string") => Some("write the value in double quotes".into()),
        (_, "integer") => Some("write a whole number, without quotes".into()),
        (_, "boolean") => Some("write true or false, without quotes".into()),
        (_, "array") => Some("write a list: [[…]] for tables, […] for numbers".into()),
        (_, "object") => Some("write a table: [name], or { key = value }".into()),
        _ => None,
    }
}

fn wrong_type(path: &str, wanted: &str, got: &str, span: Span) -> Diagnostic {
    let title = format!("`{path}` must be {wanted}");
    Diagnostic::new("wrong-type", title, span, format!("this is of type {got}"))
}

fn missing_key(key: &str, span: Span, schema: &Schema, path: &str) -> Diagnostic {
    let full = join(path, key);
    let label = if path.is_empty() { String::new() } else { format!("in `{path}`") };
    let meaning = schema["description"].as_str().unwrap_or("").replace('\n', " ");
    let form = match schema["type"].as_str() {
        Some("object") => format!("add a table [{full}]"),
        Some("array") => format!("add [[{full}]]"),
        _ => format!("add `{key} = …`"),
    };
    Diagnostic::new("missing-key", format!("`{full}` is missing"), span, label)
        .help(format!("{form}: {meaning}"))
}

fn unknown_key(
    name: &str,
    span: Span,
    properties: &Schema,
    path: &str,
    whole: &Schema,
) -> Diagnostic {
    let known: Vec<&str> =
        properties.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    let place = if path.is_empty() { "a board config".into() } else { format!("`{path}`") };
    let title = format!("unknown key `{name}`");
    let mut elsewhere = Vec::new();
    tables_with(whole, name, "", &mut elsewhere);
    let help = match (nearest(name, &known), elsewhere.is_empty()) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, false) => format!("it belongs to {}", elsewhere.join(" or ")),
        (None, true) => format!("known keys here: {}", known.join(", ")),
    };
    Diagnostic::new("unknown-key", title, span, format!("{place} has no such key")).help(help)
}

/// The tables that have a key of this name.
fn tables_with(schema: &Schema, name: &str, path: &str, found: &mut Vec<String>) {
    for (key, sub) in schema["properties"].as_object().into_iter().flatten() {
        if key == name {
            found.push(if path.is_empty() { "the top".into() } else { format!("`{path}`") });
        }
        let inner = if sub["type"] == "array" { &sub["items"] } else { sub };
        tables_with(inner, name, &join(path, key), found);
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The candidate that is most like a word, if one is like it at all.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let word = word.to_lowercase();
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that make one word the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_words_are_found_and_far_ones_not() {
        let known = ["kernel", "initrd", "cmdline", "memory"];
        assert_eq!(nearest("kernal", &known), Some("kernel"));
        assert_eq!(nearest("cmdlien", &known), Some("cmdline"));
        assert_eq!(nearest("zzz", &known), None);
        assert_eq!(nearest("", &known), None);
    }
}
