// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where a value was written: in the board's file or on the command line.
//!
//! All sources share one axis of byte offsets, so that a span alone tells its source. The file
//! comes first; the command line's pieces follow in their order.
use std::ops::Range;

/// A piece of text, as offsets on the common axis.
pub type Span = Range<usize>;

/// One text that a config is made of.
#[derive(Debug)]
pub struct Source {
    /// The file's path, or the option's name.
    pub name: String,
    /// The text.
    pub text: String,
    start: usize,
}

/// All texts that a config is made of.
#[derive(Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
}

/// Sources lie apart, so that a span at the end of one never touches the next.
const GAP: usize = 64;

impl Sources {
    /// Adds a source and returns the offset of its first byte.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> usize {
        let start = self.list.last().map_or(0, |last| last.start + last.text.len() + GAP);
        self.list.push(Source { name: name.into(), text: text.into(), start });
        start
    }

    /// The source of a span, and the span inside its text.
    ///
    /// Spans that lie in no source are answered with the start of the first one.
    #[must_use]
    pub fn locate(&self, span: &Span) -> Option<(&Source, Span)> {
        let source = self.list.iter().rev().find(|source| source.start <= span.start)?;
        let clamp = |offset: usize| {
            let mut at = offset.saturating_sub(source.start).min(source.text.len());
            while !source.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        Some((source, clamp(span.start)..clamp(span.end.max(span.start))))
    }
}

impl Source {
    /// Line and column of an offset, both counted from 1; columns count characters.
    #[must_use]
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}
