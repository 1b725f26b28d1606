// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Single keys of a config, given on the command line.
//!
//! A value is TOML if it reads as TOML of the key's type, and a string otherwise: most values need
//! no quotes. Each override is a source of its own, so that diagnostics can point into it.
use serde_json::Value as Schema;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::source::{Sources, Span};
use super::structure::schema_at;

/// One override, as the user gave it.
#[derive(Clone, Debug)]
pub struct Override {
    /// The option, such as `--set` or `--guest`.
    pub option: &'static str,
    /// The dotted key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The text to point at: `KEY=VALUE`, or the value alone.
    text: String,
}

impl Override {
    /// An override from an option that names its key itself.
    pub fn of_key(option: &'static str, key: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        Self { option, key: key.into(), text: value.clone(), value }
    }

    /// An override from `--set KEY=VALUE`.
    ///
    /// # Errors
    /// A message when there is no `=`.
    pub fn from_set(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or_else(|| format!("--set {text}: write KEY=VALUE, such as guest.cmdline=quiet"))?;
        Ok(Self { option: "--set", key: key.trim().into(), value: value.into(), text: text.into() })
    }
}

/// An override with its place on the common axis.
pub struct Placed<'o> {
    over: &'o Override,
    span: Span,
    value_span: Span,
    /// A TOML document whose one key `x` holds the value, at the value's own offset.
    document: String,
}

impl<'o> Placed<'o> {
    /// Makes an override a source.
    pub fn new(over: &'o Override, sources: &mut Sources) -> Self {
        let start = sources.add(over.option, over.text.as_str());
        let span = start..start + over.text.len();
        let value_span = span.end - over.value.len()..span.end;
        let value = match over.option {
            "--vcpus" => vcpus(&over.value),
            _ => over.value.clone(),
        };
        // Blanks before the value make the parser count from the right offset.
        let document = format!("{}x={value}", " ".repeat(value_span.start.saturating_sub(2)));
        Self { over, span, value_span, document }
    }

    /// Puts the override into a config.
    pub fn apply<'d>(
        &'d self,
        root: &mut Spanned<DeTable<'d>>,
        schema: &Schema,
        found: &mut Vec<Diagnostic>,
    ) {
        let path: Vec<&str> = self.over.key.split('.').collect();
        let value = self.value(schema_at(schema, &path));
        let table = std::mem::take(root.get_mut());
        let mut tree = Spanned::new(root.span(), DeValue::Table(table));
        if let Err(reason) = put(&mut tree, Some(schema), &path, value, &self.span) {
            let title = format!("`{}` cannot be set", self.over.key);
            found.push(Diagnostic::new("override", title, self.span.clone(), reason));
        }
        if let DeValue::Table(table) = tree.into_inner() {
            *root.get_mut() = table;
        }
    }

    /// The value: TOML if it is of the type that the key wants, a string otherwise.
    fn value(&self, schema: Option<&Schema>) -> Spanned<DeValue<'_>> {
        let wanted = schema.and_then(|schema| schema["type"].as_str()).unwrap_or("");
        match self.as_toml() {
            Some(value) if self.over.option == "--vcpus" => respan(value, &self.span),
            Some(value) if wanted != "string" || value.get_ref().is_str() => value,
            _ => {
                let text = DeValue::String(self.over.value.as_str().into());
                Spanned::new(self.value_span.clone(), text)
            }
        }
    }

    fn as_toml(&self) -> Option<Spanned<DeValue<'_>>> {
        let mut table = DeTable::parse(&self.document).ok()?.into_inner();
        let value = table.remove("x")?;
        table.is_empty().then_some(value)
    }
}

/// `--vcpus N`: N vCPUs on the machine's first N CPUs.
fn vcpus(count: &str) -> String {
    // More than a handful is refused for its number; there is no need to spell all of them out.
    let count = count.parse::<usize>().unwrap_or(0).min(64);
    let entries: Vec<String> = (0..count).map(|cpu| format!("{{cpu={cpu}}}")).collect();
    format!("[{}]", entries.join(","))
}

/// The same value, all of it at one place.
fn respan<'d>(value: Spanned<DeValue<'d>>, span: &Span) -> Spanned<DeValue<'d>> {
    let value = match value.into_inner() {
        DeValue::Array(items) => {
            let mut array = DeArray::new();
            items.iter().for_each(|item| array.push(respan(item.clone(), span)));
            DeValue::Array(array)
        }
        DeValue::Table(items) => {
            let mut table = DeTable::new();
            for (key, value) in items {
                table.insert(Spanned::new(span.clone(), key.into_inner()), respan(value, span));
            }
            DeValue::Table(table)
        }
        other => other,
    };
    Spanned::new(span.clone(), value)
}

/// Puts a value at a path, creating tables and lists on the way.
fn put<'d>(
    node: &mut Spanned<DeValue<'d>>,
    schema: Option<&Schema>,
    path: &[&str],
    value: Spanned<DeValue<'d>>,
    span: &Span,
) -> Result<(), String> {
    let Some((segment, rest)) = path.split_first() else {
        *node = value;
        return Ok(());
    };
    let below = schema.and_then(|schema| schema_at(schema, &[segment]));
    let empty = || {
        let value = match below {
            Some(schema) if schema["type"] == "array" => DeValue::Array(DeArray::new()),
            _ => DeValue::Table(DeTable::new()),
        };
        Spanned::new(span.clone(), value)
    };
    match node.get_mut() {
        DeValue::Table(table) => {
            if !table.contains_key(*segment) {
                let key = Spanned::new(span.clone(), segment.to_string().into());
                table.insert(key, empty());
            }
            match table.get_mut(*segment) {
                Some(next) => put(next, below, rest, value, span),
                None => Ok(()),
            }
        }
        DeValue::Array(array) => {
            let len = array.len();
            let index = segment.parse::<usize>().ok().filter(|index| *index <= len);
            let Some(index) = index else {
                return Err(format!(
                    "`{segment}` is no index: there are {len} entries, write 0 to {len}"
                ));
            };
            if index == len {
                array.push(empty());
            }
            match array.get_mut(index) {
                Some(next) => put(next, below, rest, value, span),
                None => Ok(()),
            }
        }
        _ => Err(format!("there is nothing below `{segment}`")),
    }
}
