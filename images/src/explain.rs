// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite explain`: what the book says of a config key, a rule, an exit code, a reason to exit.
//!
//! The book is the source: its tables are built into this program, and their rows are printed.
use crate::cli::ExplainArgs;
use crate::config::structure::nearest;
use crate::exit::{self, Exit};
use crate::say;

const CONFIG: &str = include_str!("../../docs/config.md");
const EXITS: &str = include_str!("../../docs/exits.md");

/// Runs the command.
///
/// # Errors
/// The book has nothing of that name.
pub fn explain(args: &ExplainArgs) -> anyhow::Result<u8> {
    match text(&args.name) {
        Some(text) => {
            say::line(text.trim_end());
            Ok(exit::OK)
        }
        None => {
            let names: Vec<&str> = rows().map(|row| row.name).collect();
            let hint = nearest(&args.name, &names)
                .map_or("docs/config.md lists all keys and rules".to_owned(), |near| {
                    format!("did you mean `{near}`?")
                });
            Err(Exit::refused(format!("there is no key, rule or code `{}`; {hint}", args.name)))
        }
    }
}

/// A row of one of the book's tables.
struct Row {
    /// What it is about.
    name: &'static str,
    /// The heading of each of its other cells, and the cell.
    cells: Vec<(&'static str, &'static str)>,
}

/// Every row whose first cell is a name.
fn rows() -> impl Iterator<Item = Row> {
    let mut heads: Vec<&'static str> = Vec::new();
    let lines = CONFIG.lines().chain(EXITS.lines());
    lines.filter_map(move |line| {
        let Some(inner) = line.strip_prefix("| ").and_then(|rest| rest.strip_suffix(" |")) else {
            // A rule below the headings belongs to the same table.
            if !line.starts_with("|-") {
                heads.clear();
            }
            return None;
        };
        let cells: Vec<&str> = inner.split(" | ").collect();
        if heads.is_empty() {
            heads = cells;
            return None;
        }
        let name = cells[0].strip_prefix('`')?.strip_suffix('`')?;
        let values = heads.iter().skip(1).copied().zip(cells.into_iter().skip(1));
        Some(Row { name, cells: values.collect() })
    })
}

/// What the book says of a name. Numbers of list entries are passed over: `guest.memory.0.size` is
/// `guest.memory.size`. A table's name stands for all of its keys.
fn text(name: &str) -> Option<String> {
    let is_code = name.parse::<u32>().is_ok();
    let segments = name.trim_matches(['[', ']']).split('.');
    let key: Vec<&str> =
        segments.filter(|part| is_code || part.parse::<usize>().is_err()).collect();
    let key = key.join(".");
    let below = format!("{key}.");
    let exact = rows().any(|row| row.name == key);
    let mut text = String::new();
    let mut last = "";
    for row in rows() {
        if row.name != key && (exact || !row.name.starts_with(&below)) {
            continue;
        }
        if row.name != last {
            text += if text.is_empty() { "" } else { "\n" };
            text += &format!("{}\n", row.name);
            last = row.name;
        }
        for (head, cell) in row.cells {
            text += &format!("  {}: {}\n", head.to_lowercase(), plain(cell));
        }
    }
    (!text.is_empty()).then_some(text)
}

/// A cell without its links' targets.
fn plain(cell: &str) -> String {
    let mut text = String::new();
    let mut rest = cell;
    while let Some((before, after)) = rest.split_once("](") {
        text += &before.replacen('[', "", usize::from(!before.contains("[`[")));
        rest = after.split_once(')').map_or("", |(_, behind)| behind);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::{plain, rows, text};

    #[test]
    fn a_key_is_explained_as_the_book_has_it() {
        let all = text("guest.memory.0.size").unwrap();
        assert!(
            all.starts_with("guest.memory.size\n  value: size; a multiple of 64 KiB\n"),
            "{all}"
        );
        assert!(all.contains("  where it comes from: what the guest needs\n"), "{all}");
        assert!(all.contains("  when it is off: Linux runs out of memory"), "{all}");
        let table = text("[guest.stage2]").unwrap();
        assert!(table.contains("guest.stage2.fwb\n") && table.contains("guest.stage2.ipa_bits\n"));
    }

    #[test]
    fn rules_codes_and_reasons_are_explained() {
        assert!(text("overlap-host").unwrap().contains("two owners of one address of the machine"));
        assert!(text("13").unwrap().contains("not the one that the image is for"));
        assert!(text("h_cede").unwrap().contains("the vCPU is idle"));
        assert!(text("no-such-rule").is_none());
        assert!(text("").is_none());
    }

    #[test]
    fn links_become_their_words() {
        assert_eq!(plain("see [the forms](image-format.md#x), always"), "see the forms, always");
        assert_eq!(plain("`[0x8400_0050]` at most"), "`[0x8400_0050]` at most");
    }

    /// Each row has a cell for each heading: no cell holds a bar that splits it.
    #[test]
    fn tables_are_whole() {
        assert!(rows().count() > 100);
        for row in rows() {
            assert!(!row.cells.is_empty(), "{}", row.name);
            assert!(row.cells.iter().all(|(_, cell)| !cell.trim().is_empty()), "{}", row.name);
        }
    }
}
