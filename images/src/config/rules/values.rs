// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Single values: words of a fixed choice, sizes, ranges, names, counts.
use anchorite_spec::Range;
use toml::Spanned;

use super::{PAGE, Rules};
use crate::config::checked::Placed;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::Field;
use crate::config::source::Span;
use crate::config::structure::nearest;
use crate::config::units;

/// Names in the manifest.
const NAME_BYTES: usize = 32;

/// One word of a fixed choice.
pub(super) enum Word<T> {
    /// It works.
    Works(&'static str, T),
    /// It is understood, but not built yet.
    HalfBuilt(&'static str),
}

impl Rules<'_> {
    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    pub(super) fn table<T, R>(
        &mut self,
        field: &Field<T>,
        judge: impl FnOnce(&mut Self, &T, Span) -> R,
    ) -> Option<R> {
        field.as_ref().map(|table| judge(self, table.get_ref(), table.span()))
    }

    /// A word out of a fixed choice; `default` stands for a key that may be left out.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &str,
        field: &Field<String>,
        default: Option<T>,
        words: &[Word<T>],
    ) -> Option<T> {
        let Some(written) = field else { return default };
        let text = written.get_ref().as_str();
        for word in words {
            match word {
                Word::Works(name, value) if *name == text => return Some(*value),
                Word::HalfBuilt(name) if *name == text => {
                    self.half_built(&format!("{key} = \"{text}\""), written.span(), words);
                    return None;
                }
                _ => {}
            }
        }
        let names = works(words);
        let help = match nearest(text, &names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write {}", alternatives(&names)),
        };
        let title = format!("`{key}` has no value \"{text}\"");
        self.report(Diagnostic::new("unknown-value", title, written.span(), "unknown").help(help));
        None
    }

    pub(super) fn half_built<T>(&mut self, what: &str, span: Span, words: &[Word<T>]) {
        let title = format!("{what} is not built in this version");
        let help = format!("write {}", alternatives(&works(words)));
        self.report(Diagnostic::new("half-built", title, span, "half-built").help(help));
    }

    pub(super) fn not_built(&mut self, what: &str, span: Span, help: &str) {
        let title = format!("{what} is not built in this version");
        self.report(Diagnostic::new("half-built", title, span, "half-built").help(help));
    }

    pub(super) fn size(&mut self, field: &Field<String>) -> Option<Placed<u64>> {
        let written = field.as_ref()?;
        match units::parse_size(written.get_ref()) {
            Ok(value) => Some(Placed { value, span: written.span() }),
            Err(error) => {
                let title = format!("\"{}\" is no size or address", written.get_ref());
                let help = "write a decimal number with KiB, MiB, GiB or TiB, such as \"64KiB\", \
                            or a hexadecimal one, such as \"0x1_0000\"";
                let label = error.to_string();
                self.report(Diagnostic::new("bad-size", title, written.span(), label).help(help));
                None
            }
        }
    }

    /// A range from its two keys; empty ones and ones that leave 64 bits are refused.
    pub(super) fn range(&mut self, base: &Field<String>, size: &Field<String>) -> Option<Range> {
        let base = self.size(base);
        let size = self.size(size);
        let (base, size) = (base?, size?);
        if size.value == 0 {
            let title = "a range cannot be empty";
            self.report(Diagnostic::new("empty-range", title, size.span, "no bytes"));
            return None;
        }
        if base.value.checked_add(size.value).is_none() {
            self.past_the_end(base.span, size);
            return None;
        }
        Some(Range::new(base.value, size.value))
    }

    /// A range that leaves 64 bits.
    pub(super) fn past_the_end(&mut self, base: Span, size: Placed<u64>) {
        let title = "the range runs past the last address";
        let label = format!("{} from here", units::size(size.value));
        let highest = (u64::MAX - size.value) / PAGE * PAGE;
        self.report(
            Diagnostic::new("address-limit", title, base, label)
                .also(size.span, "too many")
                .help(format!("a range of this size begins at {highest:#x} or below")),
        );
    }

    pub(super) fn aligned(&mut self, what: &str, field: &Field<String>, align: u64) {
        let Some(written) = field else { return };
        let Ok(value) = units::parse_size(written.get_ref()) else { return };
        if !value.is_multiple_of(align) {
            let title = format!("{what} must be a multiple of {}", units::size(align));
            let below = value / align * align;
            let help = match below.checked_add(align) {
                Some(above) => format!("the nearest are {below:#x} and {above:#x}"),
                None => format!("the nearest is {below:#x}"),
            };
            let label = format!("this is {value:#x}");
            self.report(Diagnostic::new("alignment", title, written.span(), label).help(help));
        }
    }

    pub(super) fn name(&mut self, field: &Field<String>) -> Option<Placed<String>> {
        let written = field.as_ref()?;
        let name = written.get_ref();
        let fault = if name.is_empty() {
            "empty"
        } else if name.len() > NAME_BYTES {
            "too long"
        } else if name.chars().any(char::is_control) {
            "it holds control characters"
        } else {
            return Some(Placed { value: name.clone(), span: written.span() });
        };
        let title = format!("a name has 1 to {NAME_BYTES} bytes of printable text");
        let help = "choose another: it stands in the image's manifest and in reports";
        self.report(Diagnostic::new("bad-name", title, written.span(), fault).help(help));
        None
    }

    pub(super) fn count<T>(&mut self, key: &str, list: &Spanned<Vec<T>>, min: usize, max: usize) {
        let count = list.get_ref().len();
        if !(min..=max).contains(&count) {
            let range = if min == max { min.to_string() } else { format!("{min} to {max}") };
            let title = format!("the number of `{key}` entries must be {range}");
            let label = format!("there are {count}");
            self.report(Diagnostic::new("count", title, list.span(), label));
        }
    }
}

/// A text as it was written.
pub(super) fn placed(field: &Field<String>) -> Option<Placed<String>> {
    let written = field.as_ref()?;
    Some(Placed { value: written.get_ref().clone(), span: written.span() })
}

/// The place of a key, or of its whole table.
pub(super) fn span_of<T, U>(field: &Field<T>, table: &Spanned<U>) -> Span {
    field.as_ref().map_or_else(|| table.span(), Spanned::span)
}

fn works<T>(words: &[Word<T>]) -> Vec<&'static str> {
    words
        .iter()
        .filter_map(|word| if let Word::Works(name, _) = word { Some(*name) } else { None })
        .collect()
}

fn alternatives(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    quoted.join(" or ")
}
