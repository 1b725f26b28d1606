// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is no TOML at all, in words that say what to write.
use toml::de::Error;

use super::diagnostic::Diagnostic;
use super::source::Span;

/// Reports what the parser found. Returns whether what it read is what was written: a key that is
/// there twice leaves the rest as it is, anything else does not.
pub fn report(text: &str, errors: &[Error], found: &mut Vec<Diagnostic>) -> bool {
    let mut readable = true;
    let doubled_table = |at: usize| {
        let line = text.get(..at).map_or(0, |before| before.rfind('\n').map_or(0, |end| end + 1));
        text.get(line..).is_some_and(|line| line.trim_start().starts_with('['))
    };
    let tables: Vec<Span> = errors
        .iter()
        .filter_map(|error| error.span().filter(|span| doubled_table(span.start)))
        .collect();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        if error.message() == "duplicate key" {
            // The keys of a table that is there twice are not mistakes of their own.
            if tables.contains(&span) || !follows(text, &tables, span.start) {
                found.push(duplicate(text, span));
            }
            continue;
        }
        readable = false;
        let control = text.get(span.start..).is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        });
        let mistake = Diagnostic::new("syntax", error.message(), span, "this is not TOML");
        found.push(match help(error.message()) {
            _ if control => mistake.help("take the control character out"),
            Some(help) => mistake.help(help),
            None => mistake.help("tables are [name], lists of them [[name]], keys `key = value`"),
        });
    }
    readable
}

/// Whether a place lies in a table whose header is one of these.
fn follows(text: &str, headers: &[Span], at: usize) -> bool {
    let header = lines(text).take_while(|(start, _)| *start <= at);
    let last = header.filter(|(_, line)| line.trim_start().starts_with('[')).last();
    last.is_some_and(|(start, line)| {
        headers.iter().any(|span| (start..start + line.len()).contains(&span.start))
    })
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    })
}

fn duplicate(text: &str, span: Span) -> Diagnostic {
    let name = header(text, span.start)
        .unwrap_or_else(|| text.get(span.clone()).unwrap_or_default().trim());
    let title = format!("`{name}` is there twice");
    let mistake = Diagnostic::new("duplicate-key", title, span.clone(), "second time")
        .help("keep one of them");
    match first(text, name, span.start) {
        Some(first) => mistake.also(first, "first time"),
        None => mistake,
    }
}

/// The name in the table's header that this place is in.
fn header(text: &str, at: usize) -> Option<&str> {
    let (start, line) = lines(text).take_while(|(start, _)| *start <= at).last()?;
    let name = line.trim_start().strip_prefix('[')?.trim_start_matches('[');
    let name = name.get(..name.find(']')?)?.trim();
    (start + line.len() > at).then_some(name)
}

/// Where the key stood first: as a table's header, or in the same table.
fn first(text: &str, name: &str, second: usize) -> Option<Span> {
    let mut same_table: Option<Span> = None;
    let mut header: Option<Span> = None;
    for (start, line) in lines(text).take_while(|(start, _)| *start <= second) {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        let inside = trimmed.trim_start_matches('[');
        let depth = trimmed.len() - inside.len();
        let at = start + indent + depth;
        let named = inside.strip_prefix(name).map(str::trim_start);
        if at == second || start + line.len() > second {
            return if depth > 0 { header } else { same_table.or(header) };
        }
        if depth > 0 {
            same_table = None;
            if named.is_some_and(|rest| rest.starts_with(']')) {
                header.get_or_insert(at..at + name.len());
            }
        } else if named.is_some_and(|rest| rest.starts_with('=')) {
            same_table.get_or_insert(at..at + name.len());
        }
    }
    None
}

fn help(message: &str) -> Option<&'static str> {
    [
        ("must be quoted", "write the value in double quotes"),
        ("missing value", "write the value after the equals sign"),
        ("invalid basic string", "end the text with a double quote on the same line"),
        ("unclosed array", "end the list with `]`"),
        ("unclosed table", "end the table's name with `]`"),
        ("unclosed inline table", "end the table with `}`"),
        ("missing comma", "write a comma between two entries"),
        ("expected `=`", "write `key = value`"),
    ]
    .into_iter()
    .find(|(words, _)| message.contains(words))
    .map(|(_, help)| help)
}
