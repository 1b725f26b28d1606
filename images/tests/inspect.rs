// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite inspect` against images that were changed after the build, by someone who also
//! recomputed every digest.
mod common;

use std::mem::offset_of;

use anchorite_spec::Manifest;
use anchorite_spec::manifest::{
    MAP_BOOT_LEAF, MAP_DEVICE, MAP_RAM, Name, PART_BODY, PART_GUEST_TREE, PART_KERNEL, PART_LOADER,
    PART_OWN_TABLES, PART_TABLES, PERM_DMA, PERM_R, PERM_W, PERM_X,
};
use common::forge::{Forge, MANIFEST};
use common::{Board, Project, put64, stderr, stdout};
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

const FIRMWARE: u64 = 0x10_0000;
const RAM_LEAF: u64 = 0xC000_0000_0000_0187;
const DEVICE_LEAF: u64 = 0xC000_0000_0000_01A6;
const NODE: u64 = 0x8000_0000_0000_0000;

#[test]
fn an_image_as_built_is_proved() {
    let forge = Forge::new(Board::Power9, "i-built", &[]);
    let (code, report) = forge.inspect(&[]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!((&report["proved"], &report["digests_ok"]), (&true.into(), &true.into()));
    let digest_offset = report["manifest"]["digest_offset"].as_u64().unwrap() as usize;
    assert_eq!(digest_offset, MANIFEST + offset_of!(Manifest, digest));
    let parts = report["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 8);
    for part in parts {
        let at = part["digest_offset"].as_u64().unwrap() as usize;
        let hex: String = forge.bytes[at..at + 32].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(part["digest"], hex);
    }
    assert_eq!(forge.again().seal().bytes, forge.bytes, "sealing changes nothing");
}

#[test]
fn people_are_told_the_same() {
    let forge = Forge::new(Board::Power9, "i-text", &[]);
    let output = forge.project.run(&["inspect", "image.elf"]);
    let text = stdout(&output);
    assert!(text.contains("proved") && !text.contains("NOT PROVED"), "{text}");
    let tables = forge.tables;
    let changed = forge.with_entry(tables, 1);
    changed.project.write("forged.elf", &changed.bytes);
    assert_eq!(changed.project.run(&["inspect", "forged.elf"]).status.code(), Some(14));
}

#[test]
fn changed_bytes_are_told_by_their_digests() {
    let forge = Forge::new(Board::Power9, "i-digest", &[]);
    for kind in [PART_LOADER, PART_BODY, PART_TABLES, PART_KERNEL] {
        let mut changed = forge.again();
        let part = *changed.manifest().part(kind).unwrap();
        changed.bytes[part.offset as usize + 0x30] ^= 0x10;
        let (code, report) = changed.inspect(&[]);
        assert_eq!((code, &report["digests_ok"]), (14, &false.into()));
    }
    let mut changed = forge.again().with_manifest(|manifest| manifest.board.0[0] ^= 1);
    assert_eq!(changed.inspect(&[]).0, 14);
    assert_eq!(changed.inspect(&["--ignore-digests"]).0, 0);
    changed.bytes[MANIFEST] ^= 1;
    assert_eq!(changed.inspect(&["--ignore-digests"]).0, 1);
}

#[test]
fn leaves_into_memory_that_is_not_the_guest_s_are_refused() {
    let forge = Forge::new(Board::Power9, "i-leaf", &[]);
    let ram = forge.slot(0, 2);
    forge.again().with_entry(ram, RAM_LEAF).refused("firmware");
    forge.again().with_entry(ram, RAM_LEAF).refused("nothing-extra");
    // The gigabyte behind the guest's, which is nobody's but is not RAM either.
    forge.again().with_entry(ram, RAM_LEAF | 0x8000_0000).refused("firmware");
    let more = forge.slot(0x4000_0000, 2);
    forge.again().with_entry(more, RAM_LEAF | 0x4000_0000).refused("nothing-extra");
    let tima = forge.slot(0x6_0302_031a_0000, 4);
    forge.again().with_entry(tima, DEVICE_LEAF | FIRMWARE).refused("firmware");
    forge.again().with_entry(tima, RAM_LEAF | FIRMWARE).refused("firmware");
    let hypervisor = DEVICE_LEAF | 0x6_0302_0319_0000;
    forge.again().with_entry(tima, hypervisor).refused("nothing-extra");
    forge.again().with_entry(tima + 8, hypervisor).refused("nothing-extra");
    let esb = forge.slot(0x6_0100_0000_0000, 4);
    forge.again().with_entry(esb, DEVICE_LEAF | FIRMWARE).refused("firmware");
    forge.again().with_entry(esb, DEVICE_LEAF | 0x6_0100_0020_0000).refused("boot-leaves");
}

#[test]
fn missing_pages_are_refused() {
    let forge = Forge::new(Board::Power9, "i-missing", &[]);
    let ram = forge.slot(0, 2);
    forge.again().with_entry(ram, 0).refused("nothing-missing");
    let tima = forge.slot(0x6_0302_031a_0000, 4);
    forge.again().with_entry(tima, 0).refused("nothing-missing");
    let esb = forge.slot(0x6_0100_0000_0000, 4);
    forge.again().with_entry(esb, 0).refused("boot-leaves");
    let beyond = forge.slot(0x6_0100_0000_0000, 3) + 8;
    forge.again().with_entry(beyond, 0x200).refused("boot-leaves");
    forge.again().with_entry(forge.slot(0, 1), 0).refused("nothing-missing");
}

#[test]
fn wider_permissions_are_refused() {
    let forge = Forge::new(Board::Power9, "i-wider", &[]);
    let tima = forge.slot(0x6_0302_031a_0000, 4);
    let leaf = forge.entry(tima);
    for change in [1, 2, 4, 0x8, 0x10, 0x20, 0x80, 0x100, 0x400, 1 << 58] {
        forge.again().with_entry(tima, leaf ^ change).refused("nothing-wider");
    }
    let ram = forge.slot(0, 2);
    let leaf = forge.entry(ram);
    forge.again().with_entry(ram, leaf | 0x20).refused("nothing-wider");
    forge.again().with_entry(ram, leaf & !2).refused("nothing-wider");
}

#[test]
fn tables_that_are_no_tree_are_refused() {
    let forge = Forge::new(Board::Power9, "i-tree", &[]);
    let (root, node) = (forge.slot(0, 1), forge.entry(forge.slot(0, 1)));
    let base = forge.base;
    for entry in [
        node,                           // shared
        NODE | base | 9,                // the root again
        NODE | (base - 0x1_0000) | 9,   // before the tables
        NODE | (base + 0x100_0000) | 9, // behind them
        NODE | (base + 0x1_0100) | 9,   // unaligned
        node & !0x1f | 5,               // another shape
        node | 0x40,                    // unknown bits
        RAM_LEAF,                       // a leaf at the root
    ] {
        forge.again().with_entry(root + 8, entry).refused("tables");
    }
    // Behind a small table, before the next page.
    let gap = forge.slot(0x6_0302_031a_0000, 4) / 0x1000 * 0x1000 + 0x100;
    assert_eq!(forge.entry(gap), 0);
    forge.again().with_entry(gap, 1).refused("tables");
    forge.again().with_manifest(|manifest| manifest.table_root += 0x1000).refused("tables");
    forge.again().with_manifest(|manifest| manifest.tables.base += 0x1_0000).refused("tables");
    forge.again().with_manifest(|manifest| manifest.tables.size += 8).refused("tables");
}

#[test]
fn a_manifest_that_allows_too_much_is_refused() {
    let forge = Forge::new(Board::Power9, "i-claims", &[]);
    let ram = forge.slot(0, 2);
    // Tables and manifest agree that the guest has the firmware's memory.
    forge
        .again()
        .with_entry(ram, RAM_LEAF)
        .with_mapping(MAP_RAM, |mapping| mapping.host = 0)
        .refused("guest-ram");
    // … and the firmware's memory is said to be elsewhere.
    forge
        .again()
        .with_entry(ram, RAM_LEAF)
        .with_mapping(MAP_RAM, |mapping| mapping.host = 0)
        .with_manifest(|manifest| manifest.firmware.base = 0x5000_0000)
        .refused("layout");
    type Change = fn(&mut Manifest);
    let cases: [(&str, Change); 12] = [
        ("platform", |m| m.vectors.size = 0),
        ("platform", |m| m.load_window.size = 0x1000),
        ("platform", |m| m.earlier[0].size = 0x1000),
        ("platform", |m| m.image_size += 64),
        ("platform", |m| m.arch = 2),
        ("layout", |m| m.firmware.size = 0x1_0000),
        ("layout", |m| m.ram[0].size = 0x8_0000),
        ("layout", |m| m.boot_stack.base = m.tables.base),
        ("layout", |m| m.epitaph = 0x4000_0000),
        ("layout", |m| m.ledger = u64::MAX - 8),
        ("registers", |m| m.xive_tima_host += 0x1_0000),
        ("registers", |m| m.xive_sources += 1),
    ];
    for (wall, change) in cases {
        forge.again().with_manifest(change).refused(wall);
    }
}

#[test]
fn stated_mappings_are_judged_themselves() {
    let forge = Forge::new(Board::Power9, "i-mappings", &[]);
    let tima = forge.slot(0x6_0302_031a_0000, 4);
    let hypervisor = 0x6_0302_0319_0000;
    forge
        .again()
        .with_entry(tima, DEVICE_LEAF | hypervisor)
        .with_mapping(MAP_DEVICE, |mapping| mapping.host = hypervisor)
        .with_manifest(|manifest| manifest.xive_tima_host = hypervisor)
        .refused("registers");
    forge
        .again()
        .with_entry(tima, DEVICE_LEAF | 1)
        .with_mapping(MAP_DEVICE, |mapping| mapping.perms |= PERM_X)
        .refused("registers");
    forge.again().with_mapping(MAP_BOOT_LEAF, |m| m.host = 0).refused("registers");
    forge.again().with_mapping(MAP_BOOT_LEAF, |m| m.host_size *= 2).refused("registers");
    forge.again().with_mapping(MAP_DEVICE, |m| m.guest = 0).refused("mappings");
    forge.again().with_mapping(MAP_RAM, |m| m.size = u64::MAX).refused("mappings");
    forge.again().with_mapping(MAP_RAM, |m| m.host_size *= 2).refused("mappings");
    forge.again().with_mapping(MAP_RAM, |m| m.kind = 9).refused("mappings");
    forge.again().with_mapping(MAP_RAM, |m| m.perms = PERM_R | PERM_W).refused("nothing-wider");
    forge.again().with_mapping(MAP_RAM, |m| m.size -= 0x1_0000).refused("nothing-extra");
    forge.again().with_part(PART_KERNEL, |part| part.dest = 0x4000_0000).refused("payload");
    forge.again().with_part(PART_KERNEL, |part| part.space = 1).refused("layout");
    forge.again().with_part(PART_BODY, |part| part.dest = 0x4000_0000).refused("layout");
    forge.again().with_part(PART_TABLES, |part| part.dest += 0x1_0000).refused("tables");
}

#[test]
fn an_entry_elsewhere_is_refused() {
    let forge = Forge::new(Board::Power9, "i-entry", &[]);
    let loader = forge.manifest().part(PART_LOADER).unwrap().offset as usize;
    for at in [24, 80, 88, loader + 8, loader + 16, loader + 24, loader + 32] {
        let mut changed = forge.again();
        let value = common::get64(&changed.bytes, at);
        put64(&mut changed.bytes, at, value.wrapping_add(0x1000));
        changed.refused("entry");
    }
}

#[test]
fn a_trusted_master_is_named() {
    let device = "guest.device=[{name=\"nic\",dma=\"trusted\",mmio={guest=\"0x7000_0000_0000\",\
                  host=\"0x600c000000000\",size=\"4KiB\"}}]";
    let forge = Forge::new(Board::Power9, "i-master", &["--set", device]);
    let (code, report) = forge.inspect(&[]);
    assert_eq!(code, 1);
    let unproved: Vec<_> = report["walls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|wall| wall["proved"] == false)
        .map(|wall| (wall["id"].as_str().unwrap(), wall["why"].as_str().unwrap()))
        .collect();
    assert_eq!(unproved, [("masters", "trusted to move data: nic")]);
    let quiet = forge.with_manifest(|manifest| manifest.mappings[3].perms &= !PERM_DMA).seal();
    quiet.refused("masters");
}

#[test]
fn the_picture_and_the_tree_are_the_image_s() {
    let mut forge = Forge::new(Board::Power9, "i-svg", &[]);
    // A name may not become markup, or a line of its own.
    forge = forge.with_mapping(MAP_RAM, |m| m.name = Name::new("<b>&\n")).seal();
    forge.project.write("forged.elf", &forge.bytes);
    let svg = stdout(&forge.project.run(&["inspect", "--svg", "forged.elf"]));
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    let part = *forge.manifest().part(PART_KERNEL).unwrap();
    for text in [
        "&lt;b&gt;&amp;?",
        "xive-tima",
        "the firmware",
        "own tables",
        &format!("{:#x}  kernel", part.dest),
    ] {
        assert!(svg.contains(text), "no {text:?} in {svg}");
    }
    let dts = stdout(&forge.project.run(&["inspect", "--dts", "forged.elf"]));
    assert!(dts.starts_with("/dts-v1/;") && dts.contains("device_type = \"cpu\";"), "{dts}");
    let report = forge.inspect(&[]).1;
    assert_eq!(report["cpu_owners"][0]["owner"], "guest");
    assert_eq!(report["interrupt_owners"][0]["owner"], "guest");
    // A tree that is none.
    let at = forge.manifest().part(PART_GUEST_TREE).unwrap().offset as usize;
    forge.bytes[at] ^= 1;
    forge.project.write("forged.elf", &forge.bytes);
    let output = forge.project.run(&["inspect", "--dts", "forged.elf"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()));
}

#[test]
fn a_container_is_looked_through() {
    let forge = Forge::new(Board::Power9, "i-container", &[]);
    let mut packed = vec![0; 4096];
    packed[..4].copy_from_slice(&[0x17, 0x08, 0x20, 0x11]);
    packed.extend(&forge.bytes);
    forge.project.write("packed", &packed);
    let output = forge.project.run(&["inspect", "packed", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["container_bytes"], 4096);
}

#[test]
fn files_that_are_no_image_are_refused() {
    let forge = Forge::new(Board::Power9, "i-files", &[]);
    for length in [0, 3, 4, 63, 64, 0xfff, 0x1000, 0x1800, 0x2000, forge.bytes.len() - 1] {
        let mut cut = forge.again();
        cut.bytes.truncate(length);
        assert_eq!(cut.inspect(&["--ignore-digests"]).0, 1, "{length} bytes");
    }
    let missing = forge.project.run(&["inspect", "nothing"]);
    assert_eq!(missing.status.code(), Some(1));
    let kernel = forge.project.run(&["inspect", "target/guests/k/vmlinux"]);
    assert_eq!(kernel.status.code(), Some(1));
    assert!(stderr(&kernel).contains("not an Anchorite image"), "{}", stderr(&kernel));
}

#[test]
fn text_in_an_image_cannot_pose_as_a_verdict() {
    let forge = Forge::new(Board::Power9, "i-pose", &[]).with_mapping(MAP_RAM, |mapping| {
        mapping.name.0[..12].copy_from_slice(b"x\nNOT \x1b[2Jyy");
    });
    let forge = forge.seal();
    forge.project.write("forged.elf", &forge.bytes);
    let text = stdout(&forge.project.run(&["inspect", "forged.elf"]));
    assert!(text.contains("x?NOT ?[2Jyy"), "{text}");
}

/// The file offset of the entry for an address in the firmware's own tree, as deep as `levels`.
fn own_slot(forge: &Forge, address: u64, levels: usize) -> usize {
    let part = *forge.manifest().part(PART_OWN_TABLES).unwrap();
    let mut at = part.offset as usize + 8 * (address >> 39) as usize;
    for shift in [30, 21, 12].into_iter().take(levels - 1) {
        let table = (forge.entry(at) & 0x0fff_ffff_ffff_ff00) - part.dest + part.offset;
        at = table as usize + 8 * (address >> shift & 511) as usize;
    }
    at
}

#[test]
fn the_firmware_s_own_tree_has_its_vectors_and_nothing_else() {
    const PRIVILEGED: u64 = 8;
    let forge = Forge::new(Board::Power9, "i-own", &[]);
    let refused = |at: usize, entry: u64| forge.again().with_entry(at, entry).refused("own-tables");
    let [contexts, code] = [0x3000, 0x4000].map(|address| own_slot(&forge, address, 4));
    let leaf = forge.entry(contexts);
    assert_eq!(leaf, 0xc000_0000_0000_0186 | PRIVILEGED | 0x3000);
    assert_eq!(forge.entry(code), 0xc000_0000_0000_0185 | PRIVILEGED | 0x4000);
    // Writable and executable, for problem state, as registers, with unknown bits, or not there.
    for entry in [leaf | 1, leaf & !PRIVILEGED, leaf & !2, leaf | 0x20, leaf & !0x80, 0] {
        refused(contexts, entry);
    }
    for entry in [forge.entry(code) | 2, forge.entry(code) & !1] {
        refused(code, entry);
    }
    // One page more: low memory, the body, the guest's memory.
    for (at, real) in [(0x2000, 0x2000), (0x6000, 0x6000), (0x7000, FIRMWARE), (0x8000, 1 << 30)] {
        refused(own_slot(&forge, at, 4), leaf + real - 0x3000);
    }
    refused(own_slot(&forge, 1 << 30, 2), RAM_LEAF | PRIVILEGED);
    // Another page in the place of one.
    refused(contexts, leaf + 0x1000);
    // The process table: another tree, and a second process.
    let part = *forge.manifest().part(PART_OWN_TABLES).unwrap();
    let processes = (part.offset + part.size - 0x1000) as usize;
    let entry = forge.entry(processes);
    assert_eq!(entry, 0x4000_0000_0000_00ad | part.dest);
    refused(processes, entry + 0x1_0000);
    refused(processes + 8, 1);
    refused(processes + 16, entry);
    // The part itself.
    forge.again().with_part(PART_OWN_TABLES, |part| part.dest += 0x1_0000).refused("own-tables");
    forge.again().with_part(PART_OWN_TABLES, |part| part.size -= 0x1000).refused("own-tables");
    forge.again().with_part(PART_OWN_TABLES, |part| part.kind = 0).refused("own-tables");
    let body = forge.manifest().part(PART_BODY).unwrap().dest;
    forge.again().with_part(PART_OWN_TABLES, |part| part.dest = body).refused("layout");
}

/// What the loader would clear instead of copying is what the walls were proved of.
#[test]
fn nothing_is_cleared_that_was_walked() {
    let forge = Forge::new(Board::Power9, "i-blank", &[]);
    for kind in [PART_TABLES, PART_OWN_TABLES] {
        // The root's first entry leads to low addresses, and its last nowhere.
        let part = *forge.manifest().part(kind).unwrap();
        let last = (0x1_0000 - 8) / part.stretch() as usize;
        assert_eq!(part.blank[0] & 1, 0, "the first stretch is copied");
        assert_ne!(part.blank[last / 64] >> (last % 64) & 1, 0, "the last of the root is cleared");
        forge.again().with_part(kind, |part| part.blank[0] |= 1).refused("layout");
        let nothing = forge.again().with_part(kind, |part| part.blank = [0; 4]).seal();
        assert_eq!(nothing.inspect(&[]).0, 0, "copying zeros is right as well");
    }
    forge.again().with_part(PART_KERNEL, |part| part.blank[3] = 1 << 63).refused("layout");
}

/// Whichever single bit of the tables is flipped, some wall falls.
#[test]
fn no_bit_of_the_tables_is_idle() {
    let forge = Forge::new(Board::Power9, "i-bits", &[]);
    let manifest = forge.manifest();
    for kind in [PART_TABLES, PART_OWN_TABLES] {
        let part = manifest.part(kind).unwrap();
        no_bit_is_idle(&forge, part.offset as usize, part.size as usize);
    }
}

fn no_bit_is_idle(forge: &Forge, tables: usize, size: usize) {
    let mut runner = TestRunner::new_with_rng(
        Config::with_cases(96),
        proptest::test_runner::TestRng::deterministic_rng(Config::default().rng_algorithm),
    );
    runner
        .run(&(0..size, 0..8u8), |(at, bit)| {
            let mut changed = forge.again();
            changed.bytes[tables + at] ^= 1 << bit;
            assert_eq!(changed.seal().inspect(&[]).0, 1, "byte {at:#x}, bit {bit}");
            Ok(())
        })
        .unwrap();
}

/// The manifest's bytes may be anything: there is always an answer, and never a panic.
#[test]
fn any_manifest_is_answered() {
    let forge = Forge::new(Board::Power9, "i-any", &[]);
    for at in (offset_of!(Manifest, build_id)..size_of::<Manifest>() - 1024).step_by(40) {
        for value in [u64::MAX, 1 << 63, 0x10] {
            let mut changed = forge.again();
            put64(&mut changed.bytes, MANIFEST + at, value);
            changed.seal().inspect(&["--ignore-digests"]);
        }
    }
}

#[test]
fn what_changed_between_two_images_is_told() {
    let project = Project::new("i-diff");
    project.image(&[]);
    std::fs::copy(project.root.join("image.elf"), project.root.join("a")).unwrap();
    project.image(&["--set", "guest.memory.0.size=512MiB"]);
    let diff = |a: &str, b: &str| {
        let output = project.run(&["diff", a, b]);
        (output.status.code().unwrap(), stdout(&output))
    };
    assert_eq!(diff("a", "a"), (0, "the same\n".into()));
    let (code, told) = diff("a", "image.elf");
    assert_eq!(code, 1);
    let line = "mappings.ram.size: 0x40000000 (1073741824) -> 0x20000000 (536870912)";
    assert!(told.lines().any(|told| told == line), "{told}");
    assert!(!told.contains("parts.kernel.digest"), "{told}");
    let output = project.run(&["diff", "a", "image.elf", "--json"]);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["same"], false);
    project.write("text", b"no image");
    assert_eq!(diff("a", "text").0, 1);
}
