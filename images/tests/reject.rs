// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every rejected config in `tests/reject/` is refused with exactly the message beside it.
//!
//! `UPDATE=1 cargo test -p anchorite --test reject` writes the messages anew. Lines that begin with
//! `#:` hold options for the command. A line `#! BOARD` has the file built, not only checked, with the
//! small made-up firmware and guest of a test project for that board, whose sizes never change, and
//! with the recipes of the lock, none of them fetched.
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use common::{Board, Project};

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
    let board = text.lines().find_map(|line| line.strip_prefix("#! "));
    let project = board.map(|board| &PROJECTS[board]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_anchorite"));
    command.arg(if project.is_some() { "build" } else { "check" }).args(["--board", &file]);
    command.args(options.flat_map(|line| line.splitn(2, ' '))).args(more);
    let root = project.map_or(Path::new("."), |project| &project.root);
    if project.is_some() {
        command.arg("--out").arg(root.join("image.elf"));
    }
    let output = command.env("ANCHORITE_ROOT", root).current_dir(repository()).output().unwrap();
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        if project.is_none() { text } else { text.replace(root.to_str().unwrap(), "PROJECT") }
    };
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// By the name of the board.
static PROJECTS: LazyLock<BTreeMap<&str, Project>> = LazyLock::new(|| {
    let boards = [("power9", Board::Power9), ("arm64", Board::Arm64)];
    let project = |(name, board)| {
        let project = Project::of(board, &format!("reject-{name}"));
        std::fs::create_dir_all(project.root.join("images/guests")).unwrap();
        let lock = fs::read(repository().join("images/guests/lock.toml")).unwrap();
        project.write("images/guests/lock.toml", &lock);
        (name, project)
    };
    boards.map(project).into()
});

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
    // That these are all there are is a test beside their list, images/src/config/diagnostic.rs.
    let docs = fs::read_to_string(repository().join("docs/config.md")).unwrap();
    let rows = docs.lines().skip_while(|line| !line.starts_with("| Rule |")).skip(2);
    let rules =
        rows.map_while(|line| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned()));
    let rules: BTreeSet<String> = rules.collect();
    assert!(rules.len() > 40, "{rules:?}");
    assert_eq!(rules, broken, "the rules, and those that configs in tests/reject/ break");
}
