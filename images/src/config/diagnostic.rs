// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is wrong with an input, where, and what to write instead.
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::checked::GuestFiles;
use super::source::{Source, Sources, Span};

/// Every rule. Each has a row in `docs/config.md` and a rejected file in `tests/reject/`.
pub const RULES: &[&str] = &[
    "address-limit",
    "alignment",
    "bad-name",
    "bad-size",
    "calls",
    "cmdline",
    "console",
    "count",
    "duplicate-key",
    "empty-range",
    "firmware-size",
    "fwb",
    "guest-size",
    "guest-zero",
    "half-built",
    "hide",
    "image-size",
    "initrd",
    "ipa-bits",
    "irq",
    "kernel",
    "key",
    "masters",
    "missing-input",
    "missing-key",
    "missing-recipe",
    "mitigations",
    "overlap-guest",
    "overlap-host",
    "override",
    "page-mix",
    "ram-bounds",
    "raw-only",
    "recipe",
    "registers",
    "restart",
    "signature",
    "sources",
    "stage2",
    "syntax",
    "tables",
    "unknown-key",
    "unknown-recipe",
    "unknown-value",
    "vcpu",
    "watchdog",
    "wrong-type",
    "xive",
];

/// A place and what is to be said about it.
#[derive(Clone, Debug)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is to be said.
    pub text: String,
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// The rule that was broken, such as `overlap-host`.
    pub rule: &'static str,
    /// The mistake in one line.
    pub title: String,
    /// Where it is.
    pub primary: Label,
    /// Other places that have to do with it.
    pub also: Vec<Label>,
    /// Facts that stand in no source.
    pub notes: Vec<String>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake at a place.
    pub fn new(
        rule: &'static str,
        title: impl Into<String>,
        span: Span,
        label: impl Into<String>,
    ) -> Self {
        debug_assert!(RULES.contains(&rule), "{rule} is not among RULES");
        let primary = Label { span, text: label.into() };
        Self { rule, title: title.into(), primary, also: Vec::new(), notes: Vec::new(), help: None }
    }

    /// Adds another place.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.also.push(Label { span, text: text.into() });
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Says what to write instead.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

/// Several mistakes with the texts that they are in.
#[derive(Debug)]
pub struct Refusal {
    /// The texts.
    pub sources: Sources,
    /// The mistakes, in source order.
    pub diagnostics: Vec<Diagnostic>,
    /// The guest's files, as far as the config names them: they can be judged whatever else is wrong.
    pub files: Option<Box<GuestFiles>>,
}

impl Refusal {
    /// Sorts mistakes into source order.
    #[must_use]
    pub fn new(sources: Sources, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics
            .sort_by_key(|diagnostic| (diagnostic.primary.span.start, diagnostic.primary.span.end));
        Self { sources, diagnostics, files: None }
    }

    /// Adds mistakes.
    #[must_use]
    pub fn with(self, more: Vec<Diagnostic>) -> Self {
        Self::new(self.sources, [self.diagnostics, more].concat())
    }

    /// The text for people: each mistake with the lines it is in.
    #[must_use]
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            text.push_str(&render_one(&self.sources, diagnostic, &renderer));
            text.push_str("\n\n");
        }
        let count = self.diagnostics.len();
        let plural = if count == 1 { "" } else { "s" };
        text.push_str(&format!("refused: {count} mistake{plural}\n"));
        text
    }

    /// The same as data.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let list: Vec<JsonDiagnostic> =
            self.diagnostics.iter().map(|d| json_one(&self.sources, d)).collect();
        serde_json::json!({ "ok": false, "diagnostics": list })
    }
}

fn render_one(sources: &Sources, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let mut group = Level::ERROR
        .primary_title(diagnostic.title.as_str())
        .id(diagnostic.rule)
        .elements([] as [Snippet<'_, Annotation<'_>>; 0]);
    for snippet in snippets(sources, diagnostic) {
        group = group.element(snippet);
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let report: &[Group<'_>] = &[group];
    renderer.render(report)
}

/// One snippet for each source that a mistake touches, the primary one first.
fn snippets<'a>(
    sources: &'a Sources,
    diagnostic: &'a Diagnostic,
) -> Vec<Snippet<'a, Annotation<'a>>> {
    let mut found: Vec<(&Source, Vec<Annotation<'a>>)> = Vec::new();
    let primary = std::iter::once((AnnotationKind::Primary, &diagnostic.primary));
    let also = diagnostic.also.iter().map(|label| (AnnotationKind::Context, label));
    for (kind, label) in primary.chain(also) {
        let Some((source, span)) = sources.locate(&label.span) else { continue };
        let mut annotation = kind.span(span);
        if !label.text.is_empty() {
            annotation = annotation.label(label.text.as_str());
        }
        match found.iter_mut().find(|(known, _)| std::ptr::eq(*known, source)) {
            Some((_, annotations)) => annotations.push(annotation),
            None => found.push((source, vec![annotation])),
        }
    }
    found
        .into_iter()
        .map(|(source, annotations)| {
            Snippet::source(source.text.as_str())
                .path(source.name.as_str())
                .annotations(annotations)
        })
        .collect()
}

#[derive(Serialize)]
struct JsonLabel<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    text: &'a str,
}

#[derive(Serialize)]
struct JsonDiagnostic<'a> {
    rule: &'a str,
    message: &'a str,
    file: &'a str,
    line: usize,
    column: usize,
    labels: Vec<JsonLabel<'a>>,
    notes: &'a [String],
    help: Option<&'a str>,
}

fn json_one<'a>(sources: &'a Sources, diagnostic: &'a Diagnostic) -> JsonDiagnostic<'a> {
    let labels: Vec<JsonLabel<'a>> = std::iter::once(&diagnostic.primary)
        .chain(&diagnostic.also)
        .filter_map(|label| {
            let (source, span) = sources.locate(&label.span)?;
            let (line, column) = source.line_column(span.start);
            Some(JsonLabel { file: &source.name, line, column, text: &label.text })
        })
        .collect();
    let (file, line, column) = labels.first().map_or(("", 0, 0), |l| (l.file, l.line, l.column));
    JsonDiagnostic {
        rule: diagnostic.rule,
        message: &diagnostic.title,
        file,
        line,
        column,
        labels,
        notes: &diagnostic.notes,
        help: diagnostic.help.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::RULES;

    /// `tests/reject.rs` takes the rules from there.
    #[test]
    fn the_book_has_a_row_for_each_rule_and_no_other() {
        let book = include_str!("../../../docs/config.md");
        let rows = book.lines().skip_while(|line| !line.starts_with("| Rule |")).skip(2);
        let rows = rows.map_while(|line| line.strip_prefix("| `")?.split('`').next());
        let mut rows: Vec<_> = rows.collect();
        rows.sort_unstable();
        assert_eq!(rows, RULES);
    }
}
