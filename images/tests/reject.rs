// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every rejected config in `tests/reject/` is refused with exactly the message beside it.
//!
//! `UPDATE=1 cargo test -p anchorite --test reject` writes the messages anew. Lines that begin with
//! `#:` hold options for the command.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(repository().join("tests/reject"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn check(name: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let file = format!("tests/reject/{name}.toml");
    let text = fs::read_to_string(repository().join(&file)).unwrap();
    let options = text.lines().filter_map(|line| line.strip_prefix("#: "));
    let output = Command::new(env!("CARGO_BIN_EXE_anchorite"))
        .args(["check", "--board", &file])
        .args(options.flat_map(|line| line.splitn(2, ' ')))
        .args(more)
        .env("ANCHORITE_ROOT", ".")
        .current_dir(repository())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn each_config_is_refused_with_its_message() {
    let mut wrong = Vec::new();
    for name in names() {
        let (code, _, message) = check(&name, &[]);
        assert_eq!(code, Some(1), "{name} must be refused: {message}");
        let path = repository().join(format!("tests/reject/{name}.stderr"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &message).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if message != expected {
            wrong.push(format!("--- {name}, expected\n{expected}--- {name}, got\n{message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What `--json` says of each config.
static REPORTS: LazyLock<Vec<(String, serde_json::Value)>> = LazyLock::new(|| {
    let report = |name: String| {
        let (code, report, _) = check(&name, &["--json"]);
        assert_eq!(code, Some(1), "{name}");
        (name, serde_json::from_str(&report).unwrap())
    };
    names().into_iter().map(report).collect()
});

#[test]
fn json_names_the_same_mistakes() {
    for (name, report) in REPORTS.iter() {
        assert_eq!(report["ok"], false);
        let list = report["diagnostics"].as_array().unwrap();
        assert!(!list.is_empty(), "{name}");
        for diagnostic in list {
            assert!(diagnostic["line"].as_u64().unwrap() >= 1, "{name}: {diagnostic}");
            assert!(diagnostic["column"].as_u64().unwrap() >= 1, "{name}: {diagnostic}");
        }
    }
}

#[test]
fn every_rule_has_a_config_that_breaks_it() {
    let mut broken = BTreeSet::new();
    for (_, report) in REPORTS.iter() {
        for diagnostic in report["diagnostics"].as_array().unwrap() {
            broken.insert(diagnostic["rule"].as_str().unwrap().to_owned());
        }
    }
    let mut rules = BTreeSet::new();
    let folders = ["images/src/config", "images/src/config/rules", "images/src/build"];
    let files = folders.iter().flat_map(|dir| fs::read_dir(repository().join(dir)).unwrap());
    for path in files.map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
        let text = fs::read_to_string(path).unwrap();
        let flat: String = text.split_whitespace().collect();
        for piece in flat.split("Diagnostic::new(\"").skip(1) {
            rules.insert(piece.split('"').next().unwrap().to_owned());
        }
    }
    let docs = fs::read_to_string(repository().join("docs/config.md")).unwrap();
    let silent: Vec<_> =
        rules.iter().filter(|rule| !docs.contains(&format!("\n| `{rule}` | "))).collect();
    assert!(silent.is_empty(), "docs/config.md has no row for the rules {silent:?}");
    // Their messages state the firmware's size, which is another with every change: tests/build.rs.
    let elsewhere = ["firmware-size", "image-size", "tables"];
    rules.retain(|rule| !elsewhere.contains(&rule.as_str()));
    let untested: Vec<_> = rules.difference(&broken).collect();
    assert!(untested.is_empty(), "no config in tests/reject/ breaks {untested:?}");
}
