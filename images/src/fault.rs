// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite fault`: the fault reports and last words in a console log, with names for addresses.
//!
//! A guest writes to the same console, so a log is anyone's text: what is shown is what it says, and
//! nothing is decided by it.
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use anchorite_spec::manifest::{ARCH_ARM64, PART_BODY};
use object::elf::{EM_AARCH64, EM_PPC64};
use object::{Object, ObjectSymbol, SymbolKind};
use serde_json::{Value, json};

use crate::build;
use crate::cli::FaultArgs;
use crate::exit::{self, Exit};
use crate::image::ImageFile;
use crate::say;

/// No console log is read further.
const MOST: u64 = 256 << 20;
/// How the firmware's own lines begin.
const TAG: &str = "anchorite: ";

/// Runs the command.
///
/// # Errors
/// A file cannot be read, or holds no symbols.
pub fn fault(args: &FaultArgs) -> anyhow::Result<u8> {
    let log = if args.log.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(MOST).read_to_end(&mut bytes)?;
        bytes
    } else {
        exit::read(&args.log)?
    };
    let named = |file: &Option<std::path::PathBuf>| match file {
        Some(path) => Symbols::parse(&exit::read(path)?).ok_or_else(|| {
            let path = path.display();
            Exit::refused(format!(
                "{path} is neither an ELF with symbols nor a System.map or kallsyms"
            ))
        }),
        None => Ok(Symbols::default()),
    };
    let symbols = named(&args.symbols)?;
    let mut firmware = named(&args.firmware)?;
    if let (Some(elf), Some(image)) = (&args.firmware, &args.image) {
        firmware.base = base_of(&exit::read(image)?, image, &exit::read(elf)?, elf)?;
    }
    let found = find(&String::from_utf8_lossy(&log));
    if args.json {
        let all: Vec<Value> = found.iter().map(|one| one.json(&symbols, &firmware)).collect();
        say::line(json!({ "reports": all }));
    } else if found.is_empty() {
        say::line("no fault report and no last words in the log");
    } else {
        found.iter().for_each(|one| say::line(one.text(&symbols, &firmware)));
    }
    Ok(exit::OK)
}

/// Where an image's firmware runs, if it is the one of this ELF.
fn base_of(image: &[u8], name: &Path, elf: &[u8], elf_name: &Path) -> anyhow::Result<u64> {
    let name = name.display();
    let image = ImageFile::read(image)
        .map_err(|error| Exit::refused(format!("{name} is no image: {error}")))?;
    let machine = match image.manifest.arch {
        ARCH_ARM64 => EM_AARCH64,
        _ => EM_PPC64,
    };
    let body = image.manifest.part(PART_BODY).copied();
    let body = body.ok_or_else(|| Exit::refused(format!("{name} has no firmware")))?;
    let linked = build::link_body(elf, body.dest, machine).ok();
    if linked.is_none_or(|linked| crate::image::digest(&linked.bytes) != body.digest) {
        let elf = elf_name.display();
        return Err(Exit::refused(format!(
            "{elf} is not the firmware of {name}: give the body.elf that it was built with"
        )));
    }
    Ok(body.dest)
}

/// Names of addresses.
#[derive(Default)]
struct Symbols {
    at: BTreeMap<u64, String>,
    /// Where address 0 of them is.
    base: u64,
}

impl Symbols {
    /// Those of an ELF, or of a kernel's `System.map` or `/proc/kallsyms`; `None` if there are none.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut at = BTreeMap::new();
        if let Ok(file) = object::File::parse(bytes) {
            let code = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
            for symbol in code.filter(|symbol| symbol.is_definition()) {
                at.insert(symbol.address(), symbol.name().ok()?.to_owned());
            }
        } else {
            let text = std::str::from_utf8(bytes).ok()?;
            for line in text.lines() {
                let mut words = line.split_ascii_whitespace();
                let address = u64::from_str_radix(words.next()?, 16).ok()?;
                let (kind, name) = (words.next()?, words.next()?);
                if matches!(kind, "t" | "T" | "w" | "W") {
                    at.insert(address, name.to_owned());
                }
            }
        }
        (!at.is_empty()).then_some(Self { at, base: 0 })
    }

    /// The name of an address. What is farther from a symbol than functions are long has none.
    fn name(&self, address: u64) -> Option<String> {
        const LONGEST: u64 = 1 << 20;
        let address = address.checked_sub(self.base)?;
        let (start, name) = self.at.range(..=address).next_back()?;
        let distance = address - start;
        // As Rust writes it, without the compiler's hashes; other names as they are.
        (distance < LONGEST).then(|| format!("{:#}+{distance:#x}", rustc_demangle::demangle(name)))
    }
}

/// One fault report, or the last words of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// The first line, or how the run ended.
    what: String,
    /// Its numbers and words by their names.
    values: BTreeMap<String, String>,
    /// Lines of the config that the report names.
    config: Vec<String>,
    /// It is the firmware's own place that is told.
    of_firmware: bool,
}

/// `key=value` pairs, values perhaps in quotes.
fn pairs(line: &str) -> impl Iterator<Item = (String, String)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let (key, behind) = rest.trim_start().split_once('=')?;
        let (value, behind) = match behind.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => behind.split_once(' ').unwrap_or((behind, "")),
        };
        rest = behind;
        let key = key.rsplit(' ').next().unwrap_or(key);
        Some((key.to_owned(), value.to_owned()))
    })
}

/// Everything that a log holds, in its order.
fn find(log: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut report = Found::default();
    let mut in_config = false;
    for line in log.lines().map(str::trim_end) {
        if let Some(what) = line.strip_prefix(TAG) {
            let mut words = what.split(' ');
            if what.starts_with("pc 0x") {
                // `pc 0x… msr 0x… …` of the closing lines.
                while let (Some(name), Some(value)) = (words.next(), words.next()) {
                    report.values.insert(name.to_owned(), value.to_owned());
                }
            } else {
                report = Found { what: what.to_owned(), ..Found::default() };
            }
            in_config = false;
        } else if let Some(rest) = line.strip_prefix("@fault ") {
            report.values.extend(pairs(rest));
            found.push(std::mem::take(&mut report));
            in_config = false;
        } else if let Some(rest) = line.strip_prefix("@end ") {
            let values: BTreeMap<_, _> = pairs(rest).collect();
            let status = values.get("status").cloned().unwrap_or_default();
            if values.get("code").is_some_and(|code| code != "0") {
                report.of_firmware = status == "firmware-fault";
                report.values.extend(values);
                found.push(std::mem::take(&mut report));
            }
        } else if let Some(rest) = line.strip_prefix("to allow it, in the board config:") {
            in_config = true;
            report.config.extend(Some(rest.trim().to_owned()).filter(|line| !line.is_empty()));
        } else if in_config && report.config.len() < 16 {
            report.config.push(line.to_owned());
        } else {
            let named = line.split_whitespace().filter_map(|word| word.split_once('='));
            let registers = named.filter(|(name, value)| *name == "lr" && value.starts_with("0x"));
            report.values.extend(registers.map(|(n, v)| (n.to_owned(), v.to_owned())));
        }
    }
    found
}

impl Found {
    /// Its places, with their names.
    fn places(&self, symbols: &Symbols, firmware: &Symbols) -> Vec<(&str, u64, Option<String>)> {
        let symbols = if self.of_firmware { firmware } else { symbols };
        let place = |key: &'static str| {
            let text = self.values.get(key)?.strip_prefix("0x")?;
            let address = u64::from_str_radix(text.trim_end_matches(','), 16).ok()?;
            Some((key, address, symbols.name(address)))
        };
        ["pc", "lr"].into_iter().filter_map(place).collect()
    }

    fn text(&self, symbols: &Symbols, firmware: &Symbols) -> String {
        let mut text = format!("{}\n", clean(&self.what));
        for (key, address, name) in self.places(symbols, firmware) {
            text += &format!("  {key} {address:#x}  {}\n", clean(name.as_deref().unwrap_or("?")));
        }
        for (key, value) in self.values.iter().filter(|(key, _)| !["pc", "lr"].contains(&&***key)) {
            text += &format!("  {} {}\n", clean(key), clean(value));
        }
        if !self.config.is_empty() {
            text += "  config:\n";
            self.config.iter().for_each(|line| text += &format!("    {}\n", clean(line)));
        }
        text
    }

    fn json(&self, symbols: &Symbols, firmware: &Symbols) -> Value {
        let places: BTreeMap<_, _> = self
            .places(symbols, firmware)
            .into_iter()
            .map(|(key, address, name)| (key, json!({ "address": address, "symbol": name })))
            .collect();
        json!({
            "what": self.what, "values": self.values, "places": places, "config": self.config,
            "of_firmware": self.of_firmware,
        })
    }
}

/// Text of a log, in which nothing acts on the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '.' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Symbols, find};

    const LOG: &str = "noise\r\n\
        anchorite: guest load at guest real 0x8000000 (nothing mapped there), cpu 0, pc 0x1010, \
        msr 0x1: machine check injected\r\n\
        hole 1: hdsi, cause 0x40000000 lr=0x1234 ctr=0x0\r\n\
        to allow it, in the board config:\r\n[[guest.device]]\r\nname = \"new\"\r\n\
        @fault class=hole reason=hdsi access=\"load\" answer=\"machine check injected\" n=1 pc=0x1010\r\n\
        anchorite: firmware-fault: exception 0x700 in the firmware at 0x100040\r\n\
        anchorite: pc 0x100040 msr 0x1 lr 0x100080 vector 0x700 address 0x0 cause 0x0\r\n\
        @exit reason=hdsi cpu=0 count=1\r\n\
        @end status=firmware-fault code=12\r\n";

    #[test]
    fn reports_and_last_words_are_found_and_named() {
        let found = find(LOG);
        assert_eq!(found.len(), 2, "{found:?}");
        let map = b"0000000000001000 T start_kernel\n0000000000001200 t helper\n0000 D data\n";
        let symbols = Symbols::parse(map).unwrap();
        let body = b"0000000000000000 T vectors\n0000000000000030 T handle_exit\n";
        let firmware = Symbols { base: 0x10_0000, ..Symbols::parse(body).unwrap() };
        let text = found[0].text(&symbols, &firmware);
        assert!(text.contains("pc 0x1010  start_kernel+0x10\n"), "{text}");
        assert!(text.contains("lr 0x1234  helper+0x34\n"), "{text}");
        assert!(text.contains("answer machine check injected\n"), "{text}");
        assert!(text.contains("  config:\n    [[guest.device]]\n    name = \"new\"\n"), "{text}");
        let text = found[1].text(&symbols, &firmware);
        assert!(
            text.contains("pc 0x100040  handle_exit+0x10\n") && text.contains("code 12"),
            "{text}"
        );
        assert_eq!(
            found[1].json(&symbols, &firmware)["places"]["lr"]["symbol"],
            "handle_exit+0x50"
        );
    }

    #[test]
    fn files_without_symbols_are_none() {
        for bytes in [&b""[..], b"words", b"\x7fELF", b"12 T", &[0xff; 64]] {
            assert!(Symbols::parse(bytes).is_none(), "{bytes:?}");
        }
    }

    proptest! {
        /// A log is anyone's text.
        #[test]
        fn any_log_is_read(lines in prop::collection::vec(
            prop_oneof![
                ".{0,80}",
                "@fault .{0,80}",
                "@fault [a-z=\" 0-9x]{0,80}",
                "@end [a-z=\" 0-9]{0,40}",
                "anchorite: [a-z0-9x =]{0,80}",
                "anchorite: pc 0x[0-9a-f]{0,20}( lr 0x[0-9a-f]{0,20})?",
                "to allow it, in the board config:.{0,20}",
            ],
            0..40,
        )) {
            let symbols = Symbols::parse(b"0000000000001000 T start_kernel\n").unwrap();
            for one in find(&lines.join("\n")) {
                let text = one.text(&symbols, &symbols);
                prop_assert!(!text.contains(|c: char| c.is_control() && c != '\n'));
                let _ = one.json(&symbols, &symbols);
            }
        }
    }
}
