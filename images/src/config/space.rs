// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who owns which addresses: two owners of one byte are a mistake that names both.
use anchorite_spec::Range;

use super::diagnostic::Diagnostic;
use super::source::Span;
use super::units;

/// Someone who owns a range of addresses.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Who it is, as messages name it.
    pub name: String,
    /// What it owns.
    pub range: Range,
    /// Where the config says so; `None` if the machine does.
    pub span: Option<Span>,
}

impl Owner {
    /// An owner that the config names.
    pub fn written(name: impl Into<String>, range: Range, span: Span) -> Self {
        Self { name: name.into(), range, span: Some(span) }
    }

    /// An owner that the machine or its earlier firmware brings.
    pub fn given(name: impl Into<String>, range: Range) -> Self {
        Self { name: name.into(), range, span: None }
    }

    fn describe(&self) -> String {
        format!("{}: {}", self.name, units::range(self.range))
    }
}

/// An address space: its owners, and where in it there may be any.
pub struct Space<'a> {
    /// The rule that an overlap breaks.
    pub rule: &'static str,
    /// What messages call the space.
    pub name: &'static str,
    /// Where a range may lie.
    pub limits: &'a [Range],
    /// Who owns what.
    pub owners: &'a [Owner],
}

/// Reports every pair of owners that share a byte; pairs that nobody wrote are left alone.
pub fn check(space: &Space<'_>, found: &mut Vec<Diagnostic>) {
    check_pairs(space, |_, _| true, found);
}

/// The same for the pairs that may not share.
pub fn check_pairs(
    space: &Space<'_>,
    apart: impl Fn(&Owner, &Owner) -> bool,
    found: &mut Vec<Diagnostic>,
) {
    for (index, first) in space.owners.iter().enumerate() {
        for second in &space.owners[index + 1..] {
            if first.range.overlaps(second.range) && apart(first, second) {
                found.extend(conflict(space, first, second));
            }
        }
    }
}

fn conflict(space: &Space<'_>, first: &Owner, second: &Owner) -> Option<Diagnostic> {
    // The later of the two in the source is the one to move, unless it begins at 0 and the other
    // does not: what stands at 0 mostly must.
    let (moved, kept) = match (&first.span, &second.span) {
        (None, None) => return None,
        (Some(a), Some(b)) => {
            let key = |owner: &Owner, span: &Span| (owner.range.base != 0, span.start);
            if key(first, a) > key(second, b) { (first, second) } else { (second, first) }
        }
        (Some(_), None) => (first, second),
        (None, Some(_)) => (second, first),
    };
    let title = format!("{} and {} overlap in {}", moved.name, kept.name, space.name);
    let span = moved.span.clone()?;
    let mut diagnostic = Diagnostic::new(space.rule, title, span, moved.describe());
    diagnostic = match &kept.span {
        Some(span) => diagnostic.also(span.clone(), kept.describe()),
        None => diagnostic.note(kept.describe()),
    };
    Some(match free_above(moved, space) {
        Some(base) => diagnostic.help(format!(
            "the next {} that nobody owns begin at {base:#x}",
            units::size(moved.range.size)
        )),
        None => diagnostic.help("move or shrink one of them"),
    })
}

/// The lowest aligned address at which the range would meet no other owner.
fn free_above(moved: &Owner, space: &Space<'_>) -> Option<u64> {
    let others = space.owners.iter().filter(|owner| !std::ptr::eq(*owner, moved));
    let others: Vec<Range> = others.map(|owner| owner.range).collect();
    lowest_free(moved.range.size, &others, space.limits)
}

/// The lowest aligned address of that many bytes which nobody owns.
#[must_use]
pub fn lowest_free(size: u64, owned: &[Range], limits: &[Range]) -> Option<u64> {
    let align = 1u64 << size.trailing_zeros().clamp(16, 30);
    let ends = owned.iter().filter_map(|range| range.end());
    let starts = limits.iter().map(|limit| limit.base);
    ends.chain(starts)
        .filter_map(|base| base.checked_next_multiple_of(align))
        .filter(|base| {
            let wanted = Range::new(*base, size);
            limits.iter().any(|limit| limit.contains(wanted))
                && !owned.iter().any(|range| range.overlaps(wanted))
        })
        .min()
}
