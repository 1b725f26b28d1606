// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite inspect` against arm64 images whose stage 2 tables or manifest were changed after the
//! build, by someone who also recomputed every digest.
mod common;

use anchorite_spec::Manifest;
use anchorite_spec::manifest::{
    ARCH_POWER9, MAP_DEVICE, MAP_RAM, Mapping, PERM_DMA, PERM_W, PERM_X,
};
use common::Board;
use common::forge::Forge;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Guest RAM: 1 GiB at 1 GiB, its host memory at 2 GiB, one block.
const RAM: u64 = 1 << 30;
const RAM_HOST: u64 = 2 << 30;
const FIRMWARE: u64 = 0x5000_0000;
const UART: u64 = 0x900_0000;
const DISTRIBUTOR: u64 = 0x800_0000;
const ITS: u64 = 0x808_0000;
const CONTROL: u64 = 0x80a_0000;
const SECOND_CONTROL: u64 = 0x80c_0000;

/// Owned by the guest, access flag, inner shareable, write-back, read and write, a block.
const RAM_BLOCK: u64 = 1 << 55 | 0x7fd;
/// The same as a page.
const RAM_PAGE: u64 = RAM_BLOCK | 2;
/// Owned by the guest, never executed, access flag, device nGnRE, read and write, a page.
const DEVICE_PAGE: u64 = 1 << 55 | 2 << 53 | 0x4c7;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

const WHY: &str = "trusted to move data: gic-its";

type Change = fn(&mut Manifest);

fn forge(name: &str) -> Forge {
    Forge::new(Board::Arm64, name, &[])
}

#[test]
fn an_image_as_built_is_proved() {
    let forge = forge("a-built");
    let (code, report) = forge.inspect(&[]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!((&report["proved"], &report["digests_ok"]), (&true.into(), &true.into()));
    assert_eq!(forge.again().seal().bytes, forge.bytes, "sealing changes nothing");
    // What the other tests take for granted.
    assert_eq!(forge.entry(forge.slot(RAM, 1)), RAM_HOST | RAM_BLOCK);
    assert_eq!(forge.entry(forge.slot(UART, 3)), UART | DEVICE_PAGE);
    assert_eq!(forge.entry(forge.slot(CONTROL, 3)), CONTROL | DEVICE_PAGE & !0x80);
}

#[test]
fn every_size_of_guest_addresses_is_proved() {
    for bits in [32, 36, 39, 41, 42, 43, 44, 48] {
        let set = format!("guest.stage2.ipa_bits={bits}");
        let forge = Forge::new(Board::Arm64, "a-sizes", &["--set", &set]);
        assert_eq!(forge.inspect(&[]).0, 0, "{bits} bits");
    }
}

#[test]
fn leaves_into_memory_that_is_not_the_guest_s_are_refused() {
    let forge = forge("a-leaf");
    let ram = forge.slot(RAM, 1);
    // The gigabyte with the firmware, the image and the machine's tree.
    forge.again().with_entry(ram, RAM | RAM_BLOCK).refused("firmware");
    forge.again().with_entry(ram, RAM | RAM_BLOCK).refused("nothing-extra");
    // The one behind all RAM, and the one below.
    forge.again().with_entry(ram, 3 << 30 | RAM_BLOCK).refused("firmware");
    forge.again().with_entry(ram, RAM_BLOCK).refused("firmware");
    // One that lies in RAM, but not where stated.
    forge.again().with_entry(ram + 8, RAM_HOST | RAM_BLOCK).refused("nothing-extra");
    let uart = forge.slot(UART, 3);
    for secret in [FIRMWARE, FIRMWARE + 0x7_f000, 0x4020_0000, 0x4000_0000, 0x401f_0000] {
        for page in [RAM_PAGE, RAM_PAGE & !0x80, DEVICE_PAGE, DEVICE_PAGE & !0x80] {
            forge.again().with_entry(uart, secret | page).refused("firmware");
            forge.again().with_entry(uart + 8, secret | page).refused("firmware");
        }
    }
    let tables = forge.base | RAM_PAGE;
    forge.again().with_entry(uart, tables).refused("firmware");
}

#[test]
fn pages_too_few_and_too_many_are_refused() {
    let forge = forge("a-pages");
    for (guest, levels) in [
        (RAM, 1),
        (DISTRIBUTOR, 1),
        (DISTRIBUTOR, 2),
        (DISTRIBUTOR, 3),
        (DISTRIBUTOR + 0xf000, 3),
        (CONTROL, 3),
        (CONTROL + 0x1_f000, 3),
        (UART, 3),
    ] {
        let slot = forge.slot(guest, levels);
        forge.again().with_entry(slot, 0).refused("nothing-missing");
    }
    for guest in [DISTRIBUTOR + 0x1_0000, ITS, ITS + 0x1_0000, SECOND_CONTROL, UART + 0x2000] {
        let slot = forge.slot(guest, 3);
        assert_eq!(forge.entry(slot), 0, "{guest:#x}");
        forge.again().with_entry(slot, guest | DEVICE_PAGE).refused("nothing-extra");
        // Not even one that translates nothing: no leaf of these images is filled in at boot.
        forge.again().with_entry(slot, guest).refused("boot-leaves");
    }
    // Blocks that take in more than the device.
    let distributor = forge.slot(DISTRIBUTOR, 2);
    forge.again().with_entry(distributor, DISTRIBUTOR | DEVICE_PAGE & !2).refused("nothing-extra");
    let low = forge.slot(DISTRIBUTOR, 1);
    forge.again().with_entry(low, DEVICE_PAGE & !2).refused("nothing-extra");
    // Far up, under the root's second table.
    let high = forge.slot(1 << 39, 1);
    forge.again().with_entry(high, RAM_HOST | RAM_BLOCK).refused("nothing-extra");
}

#[test]
fn wider_permissions_and_other_memory_are_refused() {
    let forge = forge("a-wider");
    let entry = |guest, levels| {
        let slot = forge.slot(guest, levels);
        (slot, forge.entry(slot))
    };
    // The control frame made writable: it holds addresses of tables that bypass stage 2.
    let (control, leaf) = entry(CONTROL, 3);
    forge.again().with_entry(control, leaf | 0x80).refused("nothing-wider");
    // Registers made executable, for one exception level or both.
    let (uart, leaf) = entry(UART, 3);
    for never in [0, 1, 3_u64] {
        let changed = leaf & !(3 << 53) | never << 53;
        forge.again().with_entry(uart, changed).refused("nothing-wider");
    }
    for attribute in (0..16).filter(|attribute| *attribute != 1_u64) {
        let changed = leaf & !(15 << 2) | attribute << 2;
        forge.again().with_entry(uart, changed).refused("nothing-wider");
    }
    // Not readable, write-only, shareable, no access flag, another's, contiguous, modified, unknown.
    let bits = [6, 7, 8, 9, 10, 11, 48, 50, 51, 52, 55, 56, 57, 58, 59, 60, 61, 62, 63];
    for bit in bits {
        forge.again().with_entry(uart, leaf ^ 1 << bit).refused("nothing-wider");
    }
    let (ram, leaf) = entry(RAM, 1);
    for attribute in (0..15_u64).chain([6]) {
        let changed = leaf & !(15 << 2) | attribute << 2;
        forge.again().with_entry(ram, changed).refused("nothing-wider");
    }
    for bit in bits.into_iter().chain([53, 54]) {
        forge.again().with_entry(ram, leaf ^ 1 << bit).refused("nothing-wider");
    }
}

#[test]
fn tables_that_are_no_tree_are_refused() {
    let forge = forge("a-tree");
    let (root, node) = (forge.slot(0, 1), forge.entry(forge.slot(0, 1)));
    let base = forge.base;
    for entry in [
        node,                      // shared
        base | 3,                  // the root again
        (base + 0x1000) | 3,       // its second table
        (base - 0x1000) | 3,       // before the tables
        (base + 0x10_0000) | 3,    // behind them
        node | 1 << 63,            // hierarchical attributes, which stage 2 has not
        node | 1 << 59,            //
        node | 1 << 52,            //
        node | 1 << 48,            // an address of 52 bits
        node | 1 << 10,            //
        RAM_HOST | 0x1000 | 0x7fd, // a block across its border
    ] {
        forge.again().with_entry(root + 2 * 8, entry).refused("tables");
    }
    // A third level that goes on: it is a page then, of the tables themselves.
    let page = forge.slot(UART, 3);
    forge.again().with_entry(page, base | 3).refused("firmware");
    forge.again().with_manifest(|manifest| manifest.table_root += 0x1000).refused("tables");
    forge.again().with_manifest(|manifest| manifest.table_root += 0x2000).refused("tables");
    forge.again().with_manifest(|manifest| manifest.tables.base += 0x2000).refused("tables");
    forge.again().with_manifest(|manifest| manifest.tables.size -= 0x1000).refused("tables");
}

/// Whatever the firmware would make VTCR_EL2 from, or compare it with, is what was walked.
#[test]
fn another_shape_than_the_tables_have_is_refused() {
    let forge = forge("a-shape");
    let cases: [Change; 18] = [
        |m| m.arm64.ipa_bits = 39,
        |m| m.arm64.ipa_bits = 41,
        |m| m.arm64.ipa_bits = 44,
        |m| m.arm64.ipa_bits = 0,
        |m| m.arm64.ipa_bits = u32::MAX,
        |m| m.arm64.vtcr ^= 1,
        |m| m.arm64.vtcr ^= 0xc0,
        |m| m.arm64.vtcr ^= 1 << 14,
        |m| m.arm64.vtcr ^= 1 << 19,
        |m| m.arm64.vtcr ^= 1 << 31,
        |m| m.arm64.vtcr ^= 1 << 32,
        |m| m.arm64.vtcr -= 1 << 16,
        |m| m.arm64.start_level = 0,
        |m| m.arm64.start_level = 2,
        |m| m.arm64.root_tables = 1,
        |m| m.arm64.root_tables = 16,
        |m| m.arm64.pa_range = 0,
        // All agree, but the root is one table of 39 bits and the second follows it unused, or two
        // of what would be four belong to something else.
        |m| {
            m.arm64.ipa_bits = 41;
            m.arm64.root_tables = 4;
            m.arm64.pa_range = 3;
            m.arm64.vtcr = m.arm64.vtcr & !0x7_003f | 3 << 16 | (64 - 41);
        },
    ];
    for (number, change) in cases.into_iter().enumerate() {
        println!("change {number}");
        forge.again().with_manifest(change).refused("tables");
    }
}

#[test]
fn a_manifest_that_allows_too_much_is_refused() {
    let forge = forge("a-claims");
    let named = |name: &'static str, change: fn(&mut Mapping)| {
        forge.again().with_manifest(move |manifest| {
            let mut list = manifest.mappings.iter_mut();
            change(list.find(|mapping| mapping.name.as_str() == name).unwrap());
        })
    };
    let ram = forge.slot(RAM, 1);
    // Tables and manifest agree that the guest has the firmware's memory.
    forge
        .again()
        .with_entry(ram, RAM | RAM_BLOCK)
        .with_mapping(MAP_RAM, |mapping| mapping.host = RAM)
        .refused("guest-ram");
    // … that a control frame is written to directly.
    let control = forge.slot(CONTROL, 3);
    let mut direct = named("gic-control-0", |mapping| mapping.perms |= PERM_W);
    for page in 0..16 {
        let at = control + 8 * page;
        let leaf = direct.entry(at);
        direct = direct.with_entry(at, leaf | 0x80);
    }
    direct.refused("registers");
    // … that registers are executed; that a device is the ITS; or the control frame, at the UART's
    // address; or RAM.
    let uart = forge.slot(UART, 3);
    named("uart", |mapping| mapping.perms |= PERM_X)
        .with_entry(uart, UART | DEVICE_PAGE & !(3 << 53))
        .refused("registers");
    named("uart", |mapping| mapping.host = ITS)
        .with_entry(uart, ITS | DEVICE_PAGE)
        .refused("registers");
    named("uart", |mapping| mapping.host = CONTROL)
        .with_entry(uart, CONTROL | DEVICE_PAGE)
        .refused("registers");
    named("uart", |mapping| mapping.host = FIRMWARE)
        .with_entry(uart, FIRMWARE | DEVICE_PAGE)
        .refused("registers");
    // … that there are fewer frames, or more CPUs.
    named("gic-control-0", |mapping| mapping.size -= 0x1000).refused("registers");
    forge.again().with_manifest(|manifest| manifest.vcpus = 2).refused("registers");
    forge.again().with_manifest(|manifest| manifest.vcpus = u32::MAX).refused("registers");
    let moved: [Change; 4] = [
        |m| m.arm64.redistributor += 0x2_0000,
        |m| m.arm64.redistributor_guest -= 0x2_0000,
        |m| m.arm64.distributor = FIRMWARE,
        |m| m.arm64.uart = FIRMWARE,
    ];
    for change in moved {
        forge.again().with_manifest(change).refused("registers");
    }
    forge.again().with_mapping(MAP_DEVICE, |m| m.guest = 1 << 40).refused("mappings");
    forge.again().with_mapping(MAP_RAM, |m| m.size = u64::MAX).refused("mappings");
    forge.again().with_mapping(MAP_RAM, |m| m.perms &= !PERM_W).refused("nothing-wider");
    let cases: [(&str, Change); 8] = [
        ("platform", |m| m.vectors.size = 0),
        ("platform", |m| m.load_window.size = 0x1000),
        ("platform", |m| m.earlier[0].size = 0x1000),
        ("platform", |m| m.arch = ARCH_POWER9),
        ("layout", |m| m.firmware.size = 0x1_0000),
        ("layout", |m| m.ram[0].size = 0x8_0000),
        ("layout", |m| m.epitaph = RAM_HOST),
        ("layout", |m| m.ledger = u64::MAX - 8),
    ];
    for (wall, change) in cases {
        forge.again().with_manifest(change).refused(wall);
    }
}

/// Whichever single bit of the tables is flipped, some wall falls.
#[test]
fn no_bit_of_the_tables_is_idle() {
    let forge = forge("a-bits");
    let flip = |(at, bit): (usize, u8)| {
        let mut changed = forge.again();
        changed.bytes[changed.tables + at] ^= 1 << bit;
        assert_eq!(changed.seal().inspect(&[]).0, 1, "byte {at:#x}, bit {bit}");
        Ok(())
    };
    let size = forge.manifest().tables.size as usize;
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::with_cases(64), rng);
    runner.run(&(0..size, 0..8u8), flip).unwrap();
    // Every bit of a leaf and of a table entry, which few cases hit by chance.
    for (guest, levels) in [(RAM, 1), (UART, 3), (UART, 2)] {
        let at = forge.slot(guest, levels) - forge.tables;
        for bit in 0..64 {
            flip((at + bit / 8, (bit % 8) as u8)).unwrap();
        }
    }
    assert_eq!(forge.entry(forge.slot(RAM, 1)) & ADDRESS, RAM_HOST);
}

#[test]
fn guarded_interrupts_leave_no_frame_to_write_to() {
    let forge = Forge::new(Board::Arm64, "a-guarded", &["--set", "guest.interrupts=guarded"]);
    let (code, report) = forge.inspect(&[]);
    assert_eq!((code, &report["interrupts"]), (0, &"guarded".into()), "{report:#}");
    for frame in [DISTRIBUTOR, CONTROL, CONTROL + 0x1_0000] {
        forge
            .again()
            .with_entry(forge.slot(frame, 3), frame | DEVICE_PAGE)
            .refused("nothing-wider");
    }
    // Stated as writable too, or as not guarded at all.
    let writable: Change = |manifest| {
        let frame = manifest.mappings.iter_mut().find(|m| m.guest == DISTRIBUTOR);
        frame.expect("stated").perms |= PERM_W;
    };
    forge.again().with_manifest(writable).refused("registers");
    forge.again().with_manifest(|manifest| manifest.arm64.guarded = 0).refused("registers");
}

#[test]
fn forced_write_back_is_proved_in_its_own_words() {
    let forced = Forge::new(Board::Arm64, "a-fwb", &["--set", "guest.stage2.fwb=true"]);
    let (code, report) = forced.inspect(&[]);
    assert_eq!((code, &report["forced_write_back"]), (0, &true.into()), "{report:#}");
    let ram = forced.slot(RAM, 1);
    let block = RAM_HOST | RAM_BLOCK & !(15 << 2) | 6 << 2;
    assert_eq!(forced.entry(ram), block);
    // Attributes of the one kind do not pass for the other.
    forced.again().with_entry(ram, RAM_HOST | RAM_BLOCK).refused("nothing-wider");
    forced.again().with_manifest(|m| m.arm64.forced_write_back = 0).refused("nothing-wider");
    let forge = forge("a-fwb-not");
    forge.again().with_entry(ram, block).refused("nothing-wider");
    forge.again().with_manifest(|m| m.arm64.forced_write_back = 1).refused("nothing-wider");
}

#[test]
fn a_trusted_its_is_named() {
    let options = ["guest.its=trusted", "guest.memory.0.guest=2GiB"];
    let options = options.map(|set| ["--set", set]).concat();
    let forge = Forge::new(Board::Arm64, "a-its", &options);
    let (code, report) = forge.inspect(&[]);
    let walls = report["walls"].as_array().unwrap();
    let open: Vec<_> = walls.iter().filter(|wall| wall["proved"] == false).collect();
    assert_eq!((code, open.len()), (1, 1), "{open:?}");
    assert_eq!((&open[0]["id"], &open[0]["why"]), (&"masters".into(), &WHY.into()));
    // Trusted in silence, in either way; and without the pages, for the sake of the filter alone.
    let its = |manifest: &mut Manifest| {
        manifest.mappings.iter().position(|mapping| mapping.host == ITS).unwrap()
    };
    let silent = forge.again().with_manifest(|manifest| {
        let at = its(manifest);
        manifest.mappings[at].perms &= !PERM_DMA;
    });
    silent.refused("registers");
    forge.again().with_manifest(|manifest| manifest.arm64.its = 0).refused("registers");
    forge.with_manifest(|manifest| manifest.arm64.its += 0x1_0000).refused("registers");
    let plain = self::forge("a-its-absent");
    plain.with_manifest(|manifest| manifest.arm64.its = ITS).refused("registers");
}
