// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Board configs: what was written ([`raw`]), and what survived ([`checked`]).
//!
//! A config is read in four steps: text to a tree with spans, overrides put into the tree, the
//! tree's shape held against the schema ([`structure`]), values held against the rules ([`rules`]).
//! Each step reports all that it finds and cuts it out, so that one run names every mistake.
pub mod checked;
pub mod diagnostic;
pub mod overrides;
pub mod platform;
pub mod raw;
mod rules;
mod source;
mod space;
mod structure;
pub mod units;

use std::path::Path;

use serde::Deserialize;
use toml::de::DeTable;

use crate::cli::{BoardArgs, BuildArgs};
use crate::exit::Exit;
pub use checked::Config;
use diagnostic::{Diagnostic, Refusal};
use overrides::{Override, Placed};
use source::Sources;

/// A config with everything that later judgements need to speak about it.
#[derive(Debug)]
pub struct Loaded {
    /// The config.
    pub config: Config,
    /// The texts that it was made of.
    pub sources: Sources,
    /// The overrides, in their order.
    pub overrides: Vec<Override>,
    /// The file's text.
    pub text: String,
}

/// The overrides of `--set`.
///
/// # Errors
/// A `--set` without `=`.
pub fn set_overrides(args: &BoardArgs) -> anyhow::Result<Vec<Override>> {
    args.set.iter().map(|text| Override::from_set(text).map_err(Exit::usage)).collect()
}

/// The overrides of `build`: `--set`, and the options that stand for one key each.
///
/// # Errors
/// A `--set` without `=`, or a path that is not UTF-8.
pub fn build_overrides(args: &BuildArgs) -> anyhow::Result<Vec<Override>> {
    let mut list = set_overrides(&args.board)?;
    for (option, key, path) in
        [("--guest", "guest.kernel", &args.guest), ("--initrd", "guest.initrd", &args.initrd)]
    {
        if let Some(path) = path {
            let text = path
                .to_str()
                .ok_or_else(|| Exit::usage(format!("{option}: the path is not UTF-8")))?;
            list.push(Override::of_key(option, key, text));
        }
    }
    if let Some(cmdline) = &args.cmdline {
        list.push(Override::of_key("--cmdline", "guest.cmdline", cmdline.as_str()));
    }
    if let Some(vcpus) = args.vcpus {
        list.push(Override::of_key("--vcpus", "guest.vcpu", vcpus.to_string()));
    }
    Ok(list)
}

/// Reads and judges a config.
///
/// # Errors
/// The outer error is a file that cannot be read, the inner one a config with mistakes.
pub fn load(board: &Path, overrides: Vec<Override>) -> anyhow::Result<Result<Loaded, Refusal>> {
    let name = board.display();
    let bytes = std::fs::read(board)
        .map_err(|error| Exit::refused(format!("cannot read the board config {name}: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Exit::refused(format!("the board config {name} is not UTF-8")))?;
    Ok(judge(&board.display().to_string(), text, overrides))
}

/// Judges a config's text.
///
/// # Errors
/// All mistakes, in source order.
pub fn judge(name: &str, text: String, overrides: Vec<Override>) -> Result<Loaded, Refusal> {
    let mut sources = Sources::default();
    sources.add(name, text.as_str());
    let placed: Vec<Placed<'_>> =
        overrides.iter().map(|over| Placed::new(over, &mut sources)).collect();
    let mut found = Vec::new();
    let config = judge_tree(&text, &placed, &mut found);
    drop(placed);
    match config {
        Some(config) if found.is_empty() => Ok(Loaded { config, sources, overrides, text }),
        _ => Err(Refusal::new(sources, found)),
    }
}

fn judge_tree(text: &str, placed: &[Placed<'_>], found: &mut Vec<Diagnostic>) -> Option<Config> {
    let (mut root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        found.push(Diagnostic::new("syntax", error.message(), span, "this is not TOML"));
    }
    if !errors.is_empty() {
        // What a parser recovers from broken text would only yield mistakes that nobody made.
        return None;
    }
    let schema = raw::schema();
    for over in placed {
        over.apply(&mut root, &schema, found);
    }
    structure::check(&mut root, &schema, found);
    match raw::RawConfig::deserialize(toml::de::Deserializer::from(root)) {
        Ok(raw) => rules::check(&raw, found),
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            found.push(Diagnostic::new("wrong-type", error.message(), span, ""));
            None
        }
    }
}
