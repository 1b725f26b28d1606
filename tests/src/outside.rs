// SPDX-License-Identifier: Apache-2.0 OR MIT
//! All of a machine's RAM that is not its guest's, before and after: what changed, and whether it may.
use std::collections::BTreeMap;
use std::fs;

use anchorite_spec::ledger::{self, SLOTS};
use anchorite_spec::manifest::{
    ARCH_ARM64, ARCH_POWER9, BOOT_OPAL_PAYLOAD, MAP_RAM, PART_BODY, PART_LOADER, VCPUS,
};
use anchorite_spec::{ExitReason, Ledger, Manifest, Range, guard, low};
use anyhow::{Context, Result, bail, ensure};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSymbol, SymbolKind};
use zerocopy::FromBytes;

use crate::image::Image;
use crate::monitor::Monitor;
use crate::root;

const PAGE: usize = 4096;
/// What skiboot takes for the interrupt controller's tables, at most.
const XIVE_TABLES: u64 = 0x100_0000;
/// Read from the machine at once.
const CHUNK: u64 = 64 << 20;

/// What the firmware writes while a guest runs, by the names of its statics: the counters, the stacks
/// that serve exits, the vCPUs with their last words and what they share; on arm64 their registers, which
/// POWER9 has at a place of their own, and on POWER9 the stack on which the thread that booted waits for
/// its vCPU's start.
const WRITTEN: [&str; 8] =
    ["LEDGER", "STACKS", "CPUS", "LAST_WORDS", "SHARED", "CONTEXTS", "BOARD", "BOOT_STACK"];
/// What it writes besides when a guest begins again: why, and since when; on arm64 that the first vCPU's CPU
/// has come for it; the loader's times, and where the processor has no generator what seeds are made from.
const RESTARTED: [&str; 7] =
    ["WHY", "SINCE", "SILENT", "STOP", "CONDUCTED", "loader RECORD", "loader POOL"];
/// Of the firmware's stacks, those that an attack must not bring to use.
const STACKS: [&str; 2] = ["STACKS", "FAULT_STACKS"];

/// The pages that are not all zero.
pub struct Snapshot {
    pages: BTreeMap<u64, Vec<u8>>,
}

/// A static of the firmware's: its name without its path, and where it stands.
struct Static {
    name: String,
    place: Range,
}

/// What was found, for people.
#[derive(Debug, Default)]
pub struct Findings {
    /// Bytes compared.
    pub compared: u64,
    /// Words of the firmware's own that changed, and may.
    pub own: usize,
    /// Words that changed in memory which earlier firmware keeps.
    pub earlier: usize,
    /// The most that any exit has used of its stack, in bytes.
    pub deepest: u64,
}

/// RAM without the guest's, in ascending order.
fn outside(manifest: &Manifest) -> Vec<Range> {
    let mut guest: Vec<Range> = manifest
        .mappings()
        .filter(|mapping| mapping.kind == MAP_RAM)
        .map(|mapping| Range::new(mapping.host, mapping.size))
        .collect();
    guest.sort_by_key(|range| range.base);
    let mut left = Vec::new();
    for ram in manifest.ram() {
        let mut at = ram.base;
        let end = ram.base + ram.size;
        for hole in guest.iter().filter(|hole| hole.overlaps(ram)) {
            left.push(Range::new(at, hole.base.saturating_sub(at)));
            at = hole.base + hole.size;
        }
        left.push(Range::new(at, end.saturating_sub(at)));
    }
    left.retain(|range| !range.is_empty());
    left
}

impl Snapshot {
    /// Reads the machine.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn take(monitor: &mut Monitor, manifest: &Manifest) -> Result<Self> {
        let zero = [0; PAGE];
        let mut pages = BTreeMap::new();
        for range in outside(manifest) {
            let mut at = range.base;
            while at < range.base + range.size {
                let size = CHUNK.min(range.base + range.size - at);
                let bytes = monitor.memory(at, size)?;
                ensure!(bytes.len() as u64 == size, "{at:#x} was read in part");
                let found = bytes.chunks(PAGE).zip((at..).step_by(PAGE));
                let found = found.filter(|(page, _)| *page != &zero[..page.len()]);
                pages.extend(found.map(|(page, at)| (at, page.to_vec())));
                at += size;
            }
        }
        Ok(Self { pages })
    }

    /// The word at an address that is a multiple of eight.
    fn word(&self, address: u64) -> [u8; 8] {
        let offset = (address % PAGE as u64) as usize;
        let page = self.pages.get(&(address - offset as u64));
        page.and_then(|page| page.get(offset..offset + 8)?.try_into().ok()).unwrap_or_default()
    }

    /// Where words differ from a later one's.
    fn differs(&self, later: &Self) -> Vec<u64> {
        let mut pages: Vec<_> = self.pages.keys().chain(later.pages.keys()).copied().collect();
        pages.sort_unstable();
        pages.dedup();
        pages.retain(|page| self.pages.get(page) != later.pages.get(page));
        let words = pages.into_iter().flat_map(|page| (page..page + PAGE as u64).step_by(8));
        words.filter(|word| self.word(*word) != later.word(*word)).collect()
    }
}

/// The body's statics and the loader's, where the image has them.
fn statics(image: &Image) -> Result<Vec<Static>> {
    let (body, _) = image.part(PART_BODY)?;
    let (loader, _) = image.part(PART_LOADER)?;
    let mut found = symbols(image, "body.elf", "", body.dest)?;
    for name in WRITTEN.iter().take(5).chain(&["FAULT_STACKS", "EPITAPH"]) {
        ensure!(found.iter().any(|one| one.name == *name), "the firmware has no {name}");
    }
    let at = image.manifest.load_window.base + loader.offset;
    found.extend(symbols(image, "loader.elf", "loader ", at)?);
    Ok(found)
}

/// The statics of one of the firmware's programs, which stands at this address.
fn symbols(image: &Image, program: &str, prefix: &str, at: u64) -> Result<Vec<Static>> {
    let arch = if image.manifest.arch == ARCH_ARM64 { "arm64" } else { "power9" };
    let file = fs::read(root().join("target/firmware").join(arch).join(program))?;
    let elf: ElfFile64<'_> = ElfFile64::parse(&*file)?;
    let mut found = Vec::new();
    for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Data) {
        // `…5state12FAULT_STACKS`, `…4SAY.0`, or a name that others call it by.
        let name = symbol.name()?.trim_end_matches(|c: char| c == '.' || c.is_ascii_digit());
        let name = if name == "body_stack" { "STACKS" } else { name };
        let start = name.rfind(|c: char| !(c.is_ascii_uppercase() || c == '_' || c == '2'));
        let name = name[start.map_or(0, |at| at + 1)..].trim_start_matches('2');
        let place = Range::new(at + symbol.address(), symbol.size());
        found.push(Static { name: format!("{prefix}{name}"), place });
    }
    Ok(found)
}

/// Each stack ends in words that nobody writes after the boot: the most that was used of any.
fn stacks(all: &[Static], vcpus: u64, later: &Snapshot) -> Result<u64> {
    let mut deepest = 0;
    for kind in STACKS {
        for stacks in all.iter().filter(|one| one.name == kind) {
            let size = stacks.place.size / VCPUS as u64;
            for vcpu in 0..VCPUS as u64 {
                let base = stacks.place.base + vcpu * size;
                let words = |from: u64| (base + from..base + size).step_by(8);
                for place in words(0).take(guard::WORDS) {
                    let word = u64::from_le_bytes(later.word(place));
                    ensure!(word == guard::WORD, "{kind} of vCPU {vcpu}: {word:#x} at {place:#x}");
                }
                let used = words(8 * guard::WORDS as u64).find(|at| later.word(*at) != [0; 8]);
                let used = used.map_or(0, |at| base + size - at);
                let own = kind == "STACKS" && vcpu < vcpus;
                ensure!(own || used <= 64, "{kind} of vCPU {vcpu} was used: {used} bytes");
                deepest = deepest.max(used);
            }
        }
    }
    Ok(deepest)
}

/// The counters of vCPUs and reasons that there are; all others are zero.
fn ledger(image: &Image, later: &Snapshot) -> Result<()> {
    let at = image.manifest.ledger;
    let words = (at..at + size_of::<Ledger>() as u64).step_by(8);
    let bytes: Vec<u8> = words.flat_map(|word| later.word(word)).collect();
    let ledger = Ledger::read_from_bytes(&bytes).ok().context("no ledger")?;
    ensure!(ledger.magic == ledger::MAGIC && ledger.cpus == image.manifest.vcpus, "ledger");
    for (cpu, row) in ledger.row.iter().enumerate() {
        let is_known = |slot: &usize| ExitReason::ALL.iter().any(|one| one.slot() == *slot);
        for slot in (0..SLOTS).filter(|slot| row.count[*slot] != 0) {
            ensure!(is_known(&slot), "CPU {cpu}: {} in slot {slot}", row.count[slot]);
            ensure!(cpu < image.manifest.vcpus as usize, "a CPU {cpu} that is not there");
        }
    }
    Ok(())
}

/// Judges what changed between two looks at a machine whose guest attacked meanwhile, and was restarted or
/// not.
///
/// # Errors
///
/// Something changed that nobody may change: where, and whose it is.
pub fn judge(
    image: &Image,
    before: &Snapshot,
    later: &Snapshot,
    restarted: bool,
) -> Result<Findings> {
    let manifest = &image.manifest;
    let more = if restarted { &RESTARTED[..] } else { &[] };
    let all = statics(image)?;
    let mut findings = Findings {
        compared: outside(manifest).iter().map(|range| range.size).sum(),
        deepest: stacks(&all, manifest.vcpus.into(), later)?,
        ..Findings::default()
    };
    ledger(image, later)?;
    // Skiboot's tables for the interrupt controller lie behind its own memory.
    let opal = manifest.boot == BOOT_OPAL_PAYLOAD;
    let grown =
        |range: Range| Range::new(range.base, range.size + if opal { XIVE_TABLES } else { 0 });
    let earlier: Vec<Range> = manifest.earlier().map(grown).collect();
    let owner = |byte: Range| all.iter().find(|one| one.place.contains(byte));
    let is_own = |place: u64, byte: Range| match owner(byte) {
        // The guest's own process table: the second word of its entry.
        Some(one) if one.name == "PARTITION_TABLE" => place == one.place.base + 24,
        Some(one) => WRITTEN.iter().chain(more).any(|name| one.name == *name),
        // The loader's stack, on which a restart is made.
        None if restarted && manifest.boot_stack.contains(byte) => true,
        None if manifest.arch == ARCH_POWER9 => {
            // The vCPUs' registers, and the threads' own event queues.
            low::CONTEXTS.contains(byte) || manifest.boot_stack.contains(byte)
        }
        None => false,
    };
    for place in before.differs(later) {
        let [was, is] = [before, later].map(|all| all.word(place));
        let changed = (0..8).filter(|n| was[*n] != is[*n]);
        let bytes: Vec<Range> = changed.map(|n| Range::new(place + n as u64, 1)).collect();
        if bytes.iter().all(|byte| is_own(place, *byte)) {
            findings.own += 1;
        } else if earlier.iter().any(|range| range.contains(Range::new(place, 8))) {
            findings.earlier += 1;
        } else {
            let name =
                bytes.iter().find_map(|byte| owner(*byte)).map_or("nobody's", |one| &one.name);
            let [was, is] = [was, is].map(u64::from_le_bytes);
            bail!("{place:#x} ({name}) was {was:#x} and is {is:#x}");
        }
    }
    Ok(findings)
}
