// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tables of whatever config the checker accepts, read by the walker over all of guest space: they map
//! what was written, and nothing else.
//!
//! What has to be mapped is worked out here from what was drawn, not from the builder's own list, so
//! that a mistake in that list shows as well. Most drafts are in order; in some, one region is moved to
//! wherever, and the checker may say what it likes of it.
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use anchorite_spec::manifest::{ARCH_ARM64, ARCH_POWER9, MAPPINGS};
use anchorite_spec::{Manifest, Range};
use anchorite_tables::radix::{BOOT_LEAF, FillError, fill_boot_leaf};
use anchorite_tables::stage2::Stage2;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use zerocopy::FromZeros;

use super::fault::Fault;
use super::layout::FirmwareLayout;
use super::tables::{Tables, make, mappings};
use crate::config::{Config, judge};
use crate::inspect::walked::{Kind, Leaf, Walked};

const K4: u64 = 1 << 12;
const K64: u64 = 1 << 16;
const M2: u64 = 1 << 21;
const G1: u64 = 1 << 30;
/// About what a body takes.
const BODY: u64 = 96 << 10;

/// Ways to start an image, each with its architecture and console.
const BOARDS: [(&str, &str, &str); 5] = [
    ("power9", "opal-payload", "opal"),
    ("power9", "bare", "uart"),
    ("arm64", "arm64-image", "pl011"),
    ("arm64", "flat", "pl011"),
    ("arm64", "elf", "pl011"),
];
/// Registers that no one else has: behind the first address on POWER9, between the two on arm64.
const POWER9_REGISTERS: u64 = 0x0006_0302_0400_0000;
const ARM64_REGISTERS: u64 = 0x0907_0000;
const TIMA: u64 = 0x0006_0302_031a_0000;
const ESB_WINDOW: u64 = 0x0006_0100_0000_0000;
const SLOTS: u64 = 0x0a00_0000;
const SLOT: u64 = 0x200;
const DISTRIBUTOR: u64 = 0x0800_0000;
const ITS: u64 = 0x0808_0000;
const REDISTRIBUTORS: u64 = 0x080a_0000;

/// What a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Memory,
    Device,
    /// A fixed device of the board: model, interrupt.
    Fixed(&'static str, u64),
    /// A virtio slot, by its number.
    Slot(u64),
    Tima,
    Esb,
}

/// A region as it is written.
#[derive(Clone, Copy, Debug)]
struct Placed {
    what: What,
    guest: u64,
    host: u64,
    size: u64,
}

/// A region as it is drawn, in units of its smallest page.
#[derive(Clone, Debug)]
struct Wish {
    memory: bool,
    /// Which free piece of host memory, and how far into it.
    pick: usize,
    skip: u64,
    size: u64,
    /// Between the region before and this one, in guest space.
    gap: u64,
    /// Guest and host address differ by a multiple of this.
    alike: u64,
    order: u16,
}

/// Everything that is drawn.
#[derive(Clone, Debug)]
struct Draw {
    board: usize,
    ram: Vec<(u64, u64)>,
    firmware: (usize, u64, u64),
    wishes: Vec<Wish>,
    start: u64,
    /// Guest addresses are the machine's (arm64), as trusted masters need it.
    identity: bool,
    slots: BTreeSet<u64>,
    fixed: bool,
    guarded: bool,
    its: bool,
    forced: Option<bool>,
    ipa_bits: u32,
    vcpus: u64,
    chip: u64,
    sources: u64,
    interrupt_orders: (u16, u16),
    moved: Option<(usize, bool, i64)>,
}

/// A config.
#[derive(Debug)]
struct Draft {
    draw: Draw,
    ram: Vec<Range>,
    firmware: Range,
    regions: Vec<Placed>,
}

/// 64 KiB units: small and odd, whole 2 MiB, anything, whole GiB.
fn units() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1..40u64, 2 => (1..20u64).prop_map(|n| n * 32), 1 => 1..3000u64,
        1 => (1..4u64).prop_map(|n| n * 16384)]
}

fn gap() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0u64), 2 => 1..70u64, 1 => 0..40_000u64]
}

fn wish(memory: bool) -> impl Strategy<Value = Wish> {
    let skip = prop_oneof![2 => Just(0u64), 2 => 0..100u64, 1 => 0..40_000u64];
    let size = if memory { units().boxed() } else { prop_oneof![1..40u64, 500..1100u64].boxed() };
    let alike = prop::sample::select(vec![K4, K64, M2, M2, G1]);
    (any::<usize>(), skip, size, gap(), alike, any::<u16>()).prop_map(
        move |(pick, skip, mut size, gap, alike, order)| {
            if memory && alike == G1 {
                size = (1 + size % 3) * (G1 / K64);
            }
            Wish { memory, pick, skip, size, gap, alike, order }
        },
    )
}

fn draw() -> impl Strategy<Value = Draw> {
    let ram = (
        prop_oneof![0..4000u64, 50_000..200_000u64],
        prop::collection::vec(
            (prop_oneof![0..64u64, 0..1u64 << 20, Just(1u64 << 26)], units()),
            0..4,
        ),
    );
    let ram = ram.prop_map(|(first, mut more)| {
        more.insert(0, (0, first));
        more
    });
    let machine = (0..BOARDS.len(), ram, (any::<usize>(), 0..64u64, 16..96u64));
    let regions = (
        prop::collection::vec(wish(true), 1..7),
        prop::collection::vec(wish(false), 0..5),
        prop::sample::select(vec![0x0b00_0000, G1, 1 << 36]),
        prop::option::weighted(0.1, (any::<usize>(), any::<bool>(), -3000..3000i64)),
    );
    let slots = prop::collection::btree_set(0..32u64, 0..5);
    let arm = (prop::bool::weighted(0.3), slots, any::<bool>(), any::<bool>(), any::<bool>());
    let arm = (arm, any::<Option<bool>>(), prop::sample::select(vec![36, 40, 40, 42, 43, 44, 48]));
    let other = (1..5u64, 0..3u64, prop_oneof![4..20u64, 4..257u64], any::<(u16, u16)>());
    (machine, regions, arm, other).prop_map(|(machine, regions, arm, other)| {
        let (board, ram, firmware) = machine;
        let (mut wishes, devices, start, moved) = regions;
        let ((identity, slots, fixed, guarded, its), forced, ipa_bits) = arm;
        let (vcpus, chip, sources, interrupt_orders) = other;
        wishes.extend(devices);
        Draw {
            board,
            ram,
            firmware,
            wishes,
            start,
            identity,
            slots,
            fixed,
            guarded,
            its: its && identity && !guarded,
            forced,
            ipa_bits,
            vcpus,
            chip,
            sources,
            interrupt_orders,
            moved,
        }
    })
}

/// Takes memory out of what is free: as much of it as there is.
fn take(free: &mut Vec<Range>, pick: usize, skip: u64, align: u64, size: u64) -> Option<Range> {
    let index = pick.checked_rem(free.len())?;
    let piece = free[index];
    let end = piece.end().unwrap();
    let far = (piece.base + skip * K64 % piece.size).next_multiple_of(align);
    let base = if far < end { far } else { piece.base };
    let taken = Range::new(base, size.min(end - base));
    let rest = [
        Range::new(piece.base, base - piece.base),
        Range::new(base + taken.size, end - base - taken.size),
    ];
    free.splice(index..=index, rest.into_iter().filter(|rest| !rest.is_empty()));
    Some(taken)
}

impl Draft {
    fn is_arm64(&self) -> bool {
        BOARDS[self.draw.board].0 == "arm64"
    }

    /// What the firmware and the machine keep of RAM from its beginning on.
    fn kept(board: usize) -> Range {
        match BOARDS[board] {
            ("power9", "bare", _) => Range::new(0, 0x0110_0000),
            ("power9", ..) => Range::new(0, 0x3300_0000),
            _ => Range::new(0x4000_0000, 0x0810_0000),
        }
    }

    fn new(draw: Draw) -> Option<Self> {
        let kept = Self::kept(draw.board);
        let mut ram = Vec::new();
        let mut at = kept.base;
        for (index, (gap, size)) in draw.ram.iter().enumerate() {
            let least = if index == 0 { kept.size + 16 * M2 } else { 0 };
            ram.push(Range::new(at + gap * K64, least + size * K64));
            at = ram[index].end().unwrap();
        }
        let mut free = ram.clone();
        free[0] = Range::new(kept.base + kept.size, ram[0].size - kept.size);
        let (pick, skip, size) = draw.firmware;
        let firmware = take(&mut free, pick, skip, K64, size * K64)?;
        let mut draft = Self { draw, ram, firmware, regions: Vec::new() };
        draft.regions = draft.placed(&mut free)?;
        if let Some((index, guest, by)) = draft.draw.moved {
            let index = index % draft.regions.len();
            let region = &mut draft.regions[index];
            let page = if region.what == What::Memory { K64 } else { K4 };
            let side = if guest { &mut region.guest } else { &mut region.host };
            *side = side.wrapping_add_signed(by * page as i64);
        }
        Some(draft)
    }

    /// The regions one after the other in guest space, in the order that was drawn.
    fn placed(&self, free: &mut Vec<Range>) -> Option<Vec<Placed>> {
        let Draw { wishes, identity, fixed, slots, .. } = &self.draw;
        let arm64 = self.is_arm64();
        let identity = arm64 && *identity;
        let mut wanted = Vec::new();
        let mut registers = if arm64 { ARM64_REGISTERS } else { POWER9_REGISTERS };
        for (index, wish) in wishes.iter().enumerate() {
            let order = if index == 0 { 0 } else { 1 + u32::from(wish.order) };
            let (what, host) = if wish.memory {
                let align = if wish.alike > M2 { G1 } else { K64 };
                let taken = take(free, wish.pick, wish.skip, align, wish.size * K64);
                (What::Memory, if index == 0 { Some(taken?) } else { taken })
            } else {
                registers += wish.skip % 4 * K4;
                let taken = Range::new(registers, wish.size * K4);
                registers += taken.size;
                (What::Device, Some(taken))
            };
            let Some(host) = host else { continue };
            wanted.push((order, what, host, wish.alike, wish.gap));
        }
        if arm64 {
            if *fixed {
                let uart = (What::Fixed("pl011", 1), Range::new(0x0900_0000, K4));
                let clock = (What::Fixed("pl031", 2), Range::new(0x0901_0000, K4));
                wanted.extend([uart, clock].map(|(what, host)| (7, what, host, K4, 0)));
            }
            if identity && !slots.is_empty() {
                wanted.push((9, What::Slot(0), Range::new(SLOTS, 4 * K4), K4, 1));
            }
        } else {
            let (tima, esb) = self.draw.interrupt_orders;
            let page = Range::new(TIMA + (self.draw.chip << 42), 2 * K64);
            wanted.push((1 + u32::from(tima), What::Tima, page, K64, 0));
            let sources = Range::new(ESB_WINDOW, self.draw.sources * 2 * K64);
            wanted.push((1 + u32::from(esb), What::Esb, sources, M2, 0));
        }
        wanted.sort_by_key(|(order, ..)| *order);
        let mut at = if !arm64 {
            0
        } else if identity {
            0x0b00_0000
        } else {
            self.draw.start
        };
        let mut list = Vec::new();
        for (what, host, alike, gap) in wanted.into_iter().map(|(_, a, b, c, d)| (a, b, c, d)) {
            let page = match what {
                What::Memory | What::Tima | What::Esb => K64,
                _ => K4,
            };
            let alike = alike.max(page);
            // A guest of POWER9 has memory at its address 0, wherever that comes from.
            let guest = if !arm64 && list.is_empty() {
                0
            } else if identity && what == What::Memory {
                host.base
            } else {
                let from = (at + gap * page).next_multiple_of(page);
                from + (host.base.wrapping_sub(from) & (alike - 1))
            };
            let region = Placed { what, guest, host: host.base, size: host.size };
            if guest != host.base || what != What::Memory {
                at = guest + host.size;
            }
            if let What::Slot(_) = what {
                list.extend(slots.iter().map(|slot| {
                    let by = slot * SLOT;
                    let what = What::Slot(*slot);
                    Placed { what, guest: guest + by, host: host.base + by, size: SLOT }
                }));
            } else {
                list.push(region);
            }
        }
        Some(list)
    }

    fn text(&self) -> String {
        let (arch, boot, console) = BOARDS[self.draw.board];
        let (platform, cpu) =
            if self.is_arm64() { ("qemu-virt", "any") } else { ("powernv", "power9") };
        let mut text = format!(
            "[board]\nname = \"exact\"\narch = \"{arch}\"\nplatform = \"{platform}\"\n\
             cpu = \"{cpu}\"\nboot = \"{boot}\"\n"
        );
        for Range { base, size } in &self.ram {
            text += &format!("[[ram]]\nbase = \"{base:#x}\"\nsize = \"{size:#x}\"\n");
        }
        let Range { base, size } = self.firmware;
        text += &format!(
            "[firmware]\nconsole = \"{console}\"\nmemory = {{ base = \"{base:#x}\", size = \
             \"{size:#x}\" }}\n[guest]\nkernel = \"k\"\n"
        );
        let Draw { guarded, its, forced, ipa_bits, vcpus, sources, .. } = &self.draw;
        if self.is_arm64() {
            let interrupts = if *guarded { "guarded" } else { "direct" };
            let its = if *its { "trusted" } else { "absent" };
            text += &format!("interrupts = \"{interrupts}\"\nits = \"{its}\"\n");
            text += &format!("[guest.stage2]\nipa_bits = {ipa_bits}\n");
            text += &forced.map_or_else(String::new, |forced| format!("fwb = {forced}\n"));
        } else {
            let at = |what| self.regions.iter().find(|region| region.what == what).unwrap();
            let (tima, esb) = (at(What::Tima), at(What::Esb));
            text += &format!(
                "[guest.xive]\ntima = \"{:#x}\"\ntima_host = \"{:#x}\"\nesb = \"{:#x}\"\nsources = \
                 {sources}\n",
                tima.guest, tima.host, esb.guest
            );
        }
        (0..*vcpus).for_each(|cpu| text += &format!("[[guest.vcpu]]\ncpu = {cpu}\n"));
        for (index, region) in self.regions.iter().enumerate() {
            let Placed { what, guest, host, size } = region;
            let places =
                format!("guest = \"{guest:#x}\", host = \"{host:#x}\", size = \"{size:#x}\"");
            let more = match what {
                What::Memory => {
                    let lines = places.replace(", ", "\n");
                    text += &format!("[[guest.memory]]\nname = \"r{index}\"\n{lines}\n");
                    continue;
                }
                What::Tima | What::Esb => continue,
                What::Device => String::new(),
                What::Fixed(model, irq) => format!("model = \"{model}\"\nirq = {irq}\n"),
                What::Slot(slot) => {
                    format!("model = \"virtio-mmio\"\nirq = {}\ndma = \"trusted\"\n", 16 + slot)
                }
            };
            text +=
                &format!("[[guest.device]]\nname = \"r{index}\"\n{more}mmio = {{ {places} }}\n");
        }
        text
    }

    /// What the guest reaches, once its sources' pages are there.
    fn reach(&self) -> Vec<Reach> {
        let ordinary = |guest, host, size| Reach { guest, host, size, write: true, ordinary: true };
        let registers =
            |guest, host, size, write| Reach { guest, host, size, write, ordinary: false };
        let mut list = Vec::new();
        for Placed { what, guest, host, size } in self.regions.iter().copied() {
            match what {
                What::Memory => list.push(ordinary(guest, host, size)),
                What::Tima => list.push(registers(guest, host, K64, true)),
                What::Esb => {}
                What::Slot(_) => list.push(registers(guest & !0xfff, host & !0xfff, K4, true)),
                _ => list.push(registers(guest, host, size, true)),
            }
        }
        if self.is_arm64() {
            let Draw { guarded, its, vcpus, .. } = self.draw;
            let mut frame = |at, size, write| list.push(registers(at, at, size, write));
            frame(DISTRIBUTOR, K64, !guarded);
            if its {
                frame(ITS, 2 * K64, true);
            }
            for cpu in 0..vcpus {
                let control = REDISTRIBUTORS + cpu * 2 * K64;
                frame(control, K64, false);
                frame(control + K64, K64, !guarded);
            }
        }
        joined(list)
    }
}

/// A stretch of guest space that is mapped in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reach {
    guest: u64,
    host: u64,
    size: u64,
    write: bool,
    ordinary: bool,
}

/// By guest address, joined where they continue each other; pages that several devices share, once.
fn joined(list: Vec<Reach>) -> Vec<Reach> {
    let mut joined: Vec<Reach> = Vec::new();
    for next in BTreeSet::from_iter(list) {
        match joined.last_mut() {
            Some(last)
                if last.guest + last.size == next.guest
                    && last.host + last.size == next.host
                    && (last.write, last.ordinary) == (next.write, next.ordinary) =>
            {
                last.size += next.size;
            }
            _ => joined.push(next),
        }
    }
    joined
}

/// As the walker sees it. A leaf that is anything but what leaves are made for here is a failure.
fn reached(leaves: &[Leaf]) -> Result<Vec<Reach>, TestCaseError> {
    let mut list = Vec::new();
    for leaf in leaves {
        let ordinary = leaf.kind == Kind::Ordinary;
        let right = (ordinary || leaf.kind == Kind::Registers)
            && leaf.read
            && leaf.preset
            && leaf.other == 0
            && leaf.execute == ordinary;
        prop_assert!(right, "{leaf:x?}");
        let Leaf { guest, host, size, write, .. } = *leaf;
        list.push(Reach { guest, host, size, write, ordinary });
    }
    Ok(joined(list))
}

/// The manifest as far as the walker needs it.
fn manifest(config: &Config, tables: &Tables) -> Manifest {
    let mut manifest = Manifest::new_zeroed();
    manifest.tables = Range::new(tables.root, tables.bytes.len() as u64);
    manifest.table_root = tables.root;
    manifest.arch = config.platform.arch;
    if manifest.arch == ARCH_ARM64 {
        let context = Stage2::smallest(config.guest.ipa_bits).unwrap();
        let arm64 = &mut manifest.arm64;
        (arm64.vtcr, arm64.ipa_bits) = (context.vtcr(), context.ipa_bits());
        arm64.start_level = context.start_level();
        arm64.root_tables = context.root_tables() as u32;
        arm64.pa_range = (context.vtcr() >> 16 & 7) as u32;
        arm64.forced_write_back = config.guest.forced_write_back.into();
    }
    manifest
}

fn walked(manifest: &Manifest, tables: &Tables) -> Result<Walked, TestCaseError> {
    let walked = Walked::new(&tables.bytes, manifest).map_err(TestCaseError::fail)?;
    prop_assert_eq!(walked.beside, None, "bytes that belong to no table");
    Ok(walked)
}

/// Tables, or the rule that is broken.
type Built = Result<Tables, &'static str>;

/// Builds the tables of a config that the checker took. If they do not fit the firmware's memory, what
/// is advised then has to be enough, and no more than that.
fn built(config: &mut Config, draft: &Draft) -> Result<Built, TestCaseError> {
    let platform = &config.platform;
    let (stack, own) = (platform.boot_stack, platform.own_tables());
    let layout = FirmwareLayout::new(config.firmware.value.base, BODY, stack, own);
    let list = mappings(config);
    prop_assert!(list.len() <= MAPPINGS, "{} regions", list.len());
    let mistake = match make(config, &list, layout.tables) {
        Ok(tables) => return Ok(Ok(tables)),
        Err(Fault::Input(mistake)) => mistake,
        Err(Fault::Tool(error)) => return Err(TestCaseError::fail(error.to_string())),
    };
    if mistake.rule == "tables" {
        // Large and small pages in one slot of POWER9's: only where a device reaches over several.
        let torn = |region: &Placed| {
            region.what == What::Device
                && region.guest / M2 != (region.guest + region.size - 1) / M2
        };
        let known = mistake.primary.text.contains("4KiB pages throughout")
            || mistake.primary.text.contains("two page sizes") && draft.regions.iter().any(torn);
        prop_assert!(known, "{}: {}", mistake.title, mistake.primary.text);
        return Ok(Err(mistake.rule));
    }
    prop_assert_eq!(mistake.rule, "firmware-size");
    let advice = mistake.help.unwrap_or_default();
    let needed: u64 =
        advice.split(' ').find_map(|word| word.parse().ok()).expect("a number of bytes");
    for (size, enough) in [(needed.next_multiple_of(K64), true), (needed - 1, false)] {
        config.firmware.value.size = size;
        prop_assert_eq!(make(config, &list, layout.tables).is_ok(), enough, "{}", advice);
    }
    Ok(Err(mistake.rule))
}

/// What the cases were.
#[derive(Default, Debug)]
struct Tally {
    drawn: u32,
    /// By the rule that they break.
    refused: BTreeMap<&'static str, u32>,
    /// By the way to start.
    exact: BTreeMap<&'static str, u32>,
    leaf_sizes: BTreeSet<u64>,
    ram_ranges: BTreeSet<usize>,
}

fn judged(draw: Draw, tally: &RefCell<Tally>) -> Result<(), TestCaseError> {
    let Some(draft) = Draft::new(draw) else { return Ok(()) };
    let mut tally = tally.borrow_mut();
    tally.drawn += 1;
    let mut loaded = match judge("exact.toml", draft.text(), Vec::new()) {
        Ok(loaded) => loaded,
        Err(refusal) => {
            *tally.refused.entry(refusal.diagnostics[0].rule).or_default() += 1;
            return Ok(());
        }
    };
    let config = &mut loaded.config;
    let mut tables = match built(config, &draft)? {
        Ok(tables) => tables,
        Err(rule) => {
            *tally.refused.entry(rule).or_default() += 1;
            return Ok(());
        }
    };
    let memory = config.firmware.value;
    let place = Range::new(tables.root, tables.bytes.len() as u64);
    prop_assert!(memory.contains(place), "tables {place:x?} in {memory:x?}");

    let manifest = manifest(config, &tables);
    let tree = walked(&manifest, &tables)?;
    prop_assert_eq!(reached(&tree.leaves)?, draft.reach());
    for leaf in &tree.leaves {
        let host = Range::new(leaf.host, leaf.size);
        for owned in [memory, config.platform.vectors, config.platform.earlier] {
            prop_assert!(!host.overlaps(owned), "{leaf:x?} reaches {owned:x?}");
        }
    }
    tally.leaf_sizes.extend(tree.leaves.iter().map(|leaf| leaf.size));
    let esb = if draft.is_arm64() { Range::default() } else { config.guest.xive.esb_range() };
    let mut pages = (esb.base..esb.base + esb.size).step_by(K64 as usize);
    for (slot, page) in tree.slots.iter().zip(&mut pages) {
        prop_assert_eq!((slot.guest, slot.raw), (Range::new(page, K64), BOOT_LEAF));
    }
    prop_assert_eq!(tree.slots.len() as u64, esb.size / K64);
    if config.platform.arch == ARCH_POWER9 {
        let host = |index: u64| ESB_WINDOW + 0x40_0000 + index * 3 * K64;
        let mut fill = |guest, host| {
            fill_boot_leaf(
                &mut tables.bytes,
                manifest.tables.base,
                manifest.table_root,
                guest,
                host,
            )
        };
        for beside in [esb.base.wrapping_sub(K64), esb.base + esb.size, 0] {
            prop_assert!(fill(beside, host(0)).is_err(), "{beside:#x} is filled");
        }
        for (index, page) in (0..).zip((esb.base..esb.base + esb.size).step_by(K64 as usize)) {
            prop_assert_eq!(fill(page, host(index)), Ok(()));
            prop_assert_eq!(fill(page, host(index)), Err(FillError::NotReserved));
        }
        let mut all = draft.reach();
        all.extend((0..esb.size / K64).map(|index| Reach {
            guest: esb.base + index * K64,
            host: host(index),
            size: K64,
            write: true,
            ordinary: false,
        }));
        let tree = walked(&manifest, &tables)?;
        prop_assert_eq!(reached(&tree.leaves)?, joined(all));
        prop_assert!(tree.slots.is_empty());
    }
    *tally.exact.entry(BOARDS[draft.draw.board].1).or_default() += 1;
    tally.ram_ranges.insert(draft.ram.len());
    Ok(())
}

/// `PROPTEST_CASES` says how many other than these.
const CASES: u32 = 150;

#[test]
fn tables_map_exactly_what_an_accepted_config_says() {
    let tally = RefCell::new(Tally::default());
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = Cases::with_cases(cases.unwrap_or(CASES));
    let mut runner = TestRunner::new(Cases { failure_persistence: None, ..cases });
    let outcome = runner.run(&draw(), |draw| judged(draw, &tally));
    let tally = tally.into_inner();
    outcome.unwrap_or_else(|error| panic!("{error}"));
    println!("{tally:?}");
    let exact: u32 = tally.exact.values().sum();
    assert!(exact * 2 > tally.drawn, "most drafts must be in order: {tally:?}");
    assert!(BOARDS.iter().all(|(_, boot, _)| tally.exact.contains_key(boot)), "{tally:?}");
    assert!(tally.leaf_sizes.is_superset(&BTreeSet::from([K4, K64, M2, G1])), "{tally:x?}");
    assert!(tally.ram_ranges.len() > 2, "{tally:?}");
}
