// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sees to it that `docs/threat-model.md` and `docs/soundness.md` name tests that there are.
mod tests {
    use std::fs;
    use std::path::Path;

    use crate::root;

    /// All Rust files below a folder of the checkout, as one text.
    fn sources(folder: &Path) -> String {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
        let mut text = String::new();
        for path in entries.map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !["target", "guests"].contains(&name) {
                text += &sources(&path);
            } else if name.ends_with(".rs") {
                text += &fs::read_to_string(&path).expect("a text");
            }
        }
        text
    }

    fn book(name: &str) -> String {
        fs::read_to_string(root().join("docs").join(name)).expect("a page")
    }

    /// What stands between backquotes and is spelled like a test.
    fn named(page: &str) -> Vec<&str> {
        let words = page.split('`').skip(1).step_by(2);
        let is_test = |word: &&str| {
            let plain = word.chars().all(|c| c.is_ascii_lowercase() || "_:0123456789".contains(c));
            plain && (word.contains("::") || word.matches('_').count() >= 3)
        };
        words.filter(is_test).collect()
    }

    #[test]
    fn every_test_that_the_pages_name_exists() {
        let all: String = ["hv", "images", "tests"].map(|f| sources(&root().join(f))).concat();
        let pages = [book("threat-model.md"), book("soundness.md")];
        let mut count = 0;
        for name in pages.iter().flat_map(|page| named(page)) {
            // Rows of the ledger, and the placeholder for a test's name.
            let row = anchorite_spec::ExitReason::ALL.iter().any(|reason| reason.name() == name);
            if row || ["module::name", "a_test_of_ours"].contains(&name) {
                continue;
            }
            let there = match name.contains("::") {
                true => all.contains(&format!("(\"{name}\"")),
                false => all.contains(&format!("fn {name}(")),
            };
            assert!(there, "no test has the name {name}");
            count += 1;
        }
        assert!(count > 40, "only {count} names");
    }

    #[test]
    fn every_call_of_opals_is_in_the_threat_model() {
        let source = root().join("platform/src/powernv/opal.rs");
        let source = fs::read_to_string(source).expect("a text");
        let tokens = source.split_once("mod token {").expect("the tokens").1;
        let tokens = tokens.split_once("\n}").expect("their end").0;
        let page = book("threat-model.md");
        let mut count = 0;
        for line in tokens.lines().filter_map(|line| line.trim().strip_prefix("pub const ")) {
            let name = line.split(':').next().unwrap_or_default();
            assert!(page.contains(&format!("`{name}`")), "{name}: who calls it, and when?");
            count += 1;
        }
        assert!(count > 20, "only {count} tokens");
    }
}
