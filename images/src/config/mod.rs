// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Board configs: what was written ([`raw`]), and what survived ([`checked`]).
//!
//! A config is read in four steps: text to a tree with spans, overrides put into the tree, the
//! tree's shape held against the schema ([`structure`]), values held against the rules ([`rules`]).
//! Each step reports all that it finds and cuts it out, so that one run names every mistake.
pub mod checked;
pub mod diagnostic;
#[cfg(test)]
mod oracle;
pub mod overrides;
pub mod platform;
pub mod raw;
mod rules;
mod source;
pub mod space;
pub mod structure;
mod syntax;
pub mod units;

use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;
use toml::de::DeTable;

use crate::cli::{BoardArgs, BuildArgs};
use crate::exit::Exit;
pub use checked::Config;
use diagnostic::{Diagnostic, Refusal};
use overrides::{Override, Placed};
pub use rules::arm64_real_bits;
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
    for (option, key, path) in [
        ("--guest", "guest.kernel", &args.guest),
        ("--initrd", "guest.initrd", &args.initrd),
        ("--sign-key", "image.sign_key", &args.sign_key),
    ] {
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
    let name = name.to_string();
    Ok(match String::from_utf8(bytes) {
        Ok(text) => judge(&name, text, overrides),
        Err(error) => Err(no_text(&name, &error)),
    })
}

/// A file with bytes that are no text; they are shown as the sign for that.
fn no_text(name: &str, error: &std::string::FromUtf8Error) -> Refusal {
    let at = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes());
    let mut sources = Sources::default();
    sources.add(name, text.as_ref());
    let span = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
    let mistake = Diagnostic::new("syntax", "the file is not UTF-8", span, "this byte is no text");
    Refusal::new(sources, vec![mistake.help("store the file as UTF-8")])
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
    let judged = judge_tree(&text, &placed, &mut found);
    drop(placed);
    match judged.config {
        Some(config) if found.is_empty() => Ok(Loaded { config, sources, overrides, text }),
        _ => Err(Refusal { files: judged.files.map(Box::new), ..Refusal::new(sources, found) }),
    }
}

fn judge_tree(text: &str, placed: &[Placed<'_>], found: &mut Vec<Diagnostic>) -> rules::Judged {
    let (mut root, errors) = DeTable::parse_recoverable(text);
    if !syntax::report(text, &errors, found) {
        // What a parser recovers from broken text would only yield mistakes that nobody made.
        return rules::Judged::default();
    }
    static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(raw::schema);
    let schema = &*SCHEMA;
    for over in placed {
        over.apply(&mut root, schema, found);
    }
    structure::check(&mut root, schema, found);
    match raw::RawConfig::deserialize(toml::de::Deserializer::from(root)) {
        Ok(raw) => rules::check(&raw, found),
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            found.push(Diagnostic::new("wrong-type", error.message(), span, ""));
            rules::Judged::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::overrides::Override;
    use super::{Loaded, Refusal, judge, no_text};

    const SHIPPED: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../board-configs/qemu-powernv9.toml"));

    fn with(sets: &[&str]) -> Result<Loaded, Refusal> {
        let overrides = sets.iter().map(|set| Override::from_set(set).unwrap()).collect();
        judge("board.toml", SHIPPED.into(), overrides)
    }

    #[test]
    fn the_shipped_board_is_in_order() {
        let loaded = with(&[]).unwrap();
        assert_eq!(loaded.config.board, "qemu-powernv9");
        assert_eq!(loaded.config.guest.xive.sources, 16);
    }

    #[test]
    fn bytes_that_are_no_text_are_pointed_at() {
        for bytes in [&b"[board]\nname = \"\xff\"\n"[..], b"\xff\xfe[\0b\0", b"a = 1\n\xc3"] {
            let refusal = no_text("board.toml", &String::from_utf8(bytes.into()).unwrap_err());
            let printed = refusal.render(false);
            assert!(printed.contains("error[syntax]: the file is not UTF-8"), "{printed}");
            assert!(printed.contains("board.toml:") && refusal.to_json().is_object(), "{printed}");
        }
    }

    #[test]
    fn overrides_need_no_quotes() {
        let loaded = with(&[
            "guest.cmdline=console=hvc0 quiet",
            "ram.0.size=4GiB",
            "guest.memory.0.size=0x8000_0000",
            "firmware.timing=false",
            "guest.xive.sources=32",
            "firmware.flash.partition=7",
        ])
        .unwrap();
        assert_eq!(loaded.config.guest.cmdline, "console=hvc0 quiet");
        assert_eq!(loaded.config.ram[0].size, 4 << 30);
        assert_eq!(loaded.config.guest.memory[0].value.guest.size, 2 << 30);
        assert_eq!(loaded.config.guest.xive.sources, 32);
        assert_eq!(loaded.config.flash.unwrap().value.partition, "7");
    }

    #[test]
    fn overrides_may_be_quoted_and_may_add() {
        let loaded = with(&[
            "guest.cmdline=\"a b\"",
            "ram.0.size=8GiB",
            "guest.memory.1={ name = \"more\", guest = \"4GiB\", host = \"4GiB\", size = \"1GiB\" }",
            "guest.initrd=",
        ])
        .unwrap();
        assert_eq!(loaded.config.guest.cmdline, "a b");
        assert_eq!(loaded.config.guest.memory[1].value.name, "more");
        assert!(loaded.config.guest.initrd.is_none());
    }

    #[test]
    fn the_last_override_of_a_key_counts() {
        let loaded = with(&["guest.cmdline=a", "guest.cmdline=b"]).unwrap();
        assert_eq!(loaded.config.guest.cmdline, "b");
    }

    /// Every answer is printed, too: spans must lie in their texts.
    fn answer(text: String, sets: Vec<String>) {
        let overrides = sets.iter().filter_map(|set| Override::from_set(set).ok()).collect();
        if let Err(refusal) = judge("board.toml", text, overrides) {
            assert!(!refusal.diagnostics.is_empty());
            assert!(!refusal.render(false).is_empty());
            assert!(refusal.to_json().is_object());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text: String, sets: Vec<String>) {
            answer(text, sets);
        }

        #[test]
        fn any_damage_is_answered(
            at in 0..SHIPPED.len(), cut in 0..40usize,
            put in "[a-z0-9=\\[\\]{}\"'. ,\n_-]{0,12}|\\PC{0,4}",
        ) {
            let mut text = SHIPPED.to_owned();
            let end = (at + cut).min(text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(end) {
                text.replace_range(at..end, &put);
            }
            answer(text, vec![]);
        }

        #[test]
        fn any_override_is_answered(
            key in "(board|ram|firmware|guest)(\\.(0|1|9|memory|base|size|vcpu|xive|esb|tima|name|cpu)){0,3}",
            value in "[0-9a-fx_]{0,20}(KiB|GiB|TiB)?|\\PC{0,12}|\\[.{0,6}\\]|\\{.{0,12}\\}",
        ) {
            answer(SHIPPED.into(), vec![format!("{key}={value}")]);
        }

        #[test]
        fn any_address_is_answered(guest: u64, host: u64, size: u64, esb: u64, sources in 0..600u64) {
            let sets = [
                format!("guest.memory.0.guest={:#x}", guest >> (host % 64)),
                format!("guest.memory.0.host={:#x}", host >> (guest % 64)),
                format!("guest.memory.0.size={:#x}", size >> (host % 61)),
                format!("guest.xive.esb={:#x}", esb >> (size % 64)),
                format!("guest.xive.sources={sources}"),
            ];
            answer(SHIPPED.into(), sets.to_vec());
        }
    }
}
