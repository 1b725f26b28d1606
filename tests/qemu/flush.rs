// SPDX-License-Identifier: Apache-2.0 OR MIT
//! POWER9's flushes and barriers: what stands in memory in each state, as QEMU disassembles it, and that
//! a guest notices nothing of it.
use anchorite_spec::Range;
use anchorite_spec::low;
use anchorite_spec::manifest::PART_BODY;
use anchorite_tests::image::Image;
use anchorite_tests::live::VECTOR_BYTES;
use anchorite_tests::monitor::Monitor;
use anchorite_tests::probe::{BARE, build, run};
use anchorite_tests::{Tests, wait_until};
use anyhow::{Context, Result, bail, ensure};
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use serde_json::json;

pub const TESTS: Tests = &[
    ("flush::all_by_software", all_by_software),
    ("flush::all_by_software_under_skiboot", all_by_software_under_skiboot),
    ("flush::as_the_machine_asks", as_the_machine_asks),
];

/// Where QEMU puts its tree for firmware in skiboot's place.
const MACHINE_TREE: u64 = 0x100_0000;
const NOP: u32 = 0x6000_0000;

/// The data cache by loads of other memory: `*` stands for what depends on the image.
const DISPLACED: &[&str] = &[
    "lis r11, *",
    "ori r11, r11, *",
    "sldi r11, r11, 0x20",
    "oris r11, r11, *",
    "ori r11, r11, *",
    "sync 0",
    "lis r0, 0x6000",
    // QEMU's disassembler does not know `dcbt 0, r0, 10`.
    ".byte 0x2c, 0x02, 0x40, 0x7d",
    "li r0, 0x20",
    "mtctr r0",
    "ld r0, 0(r11)",
    "ld r0, 0x80(r11)",
    "ld r0, 0x100(r11)",
    "ld r0, 0x180(r11)",
    "ld r0, 0x200(r11)",
    "ld r0, 0x280(r11)",
    "ld r0, 0x300(r11)",
    "ld r0, 0x380(r11)",
    "addi r11, r11, 0x400",
    "bdnz *",
];
/// `bcctr 2,0,0`, as QEMU's disassembler calls it.
const BRANCH: &str = "bdzfctr lt";
/// `eieio` with bit 6 set.
const DRAIN: &[&str] = &["mbar 0x10"];
const LINK_STACK: &[&str] = &["bl *"; 64];
const BACK: &[&str] = &["mtlr r11", "mtctr r12", "blr"];

fn all_by_software() -> Result<()> {
    let set = ["--set", "firmware.mitigations=on"];
    by_software(&build("power9-probe", "flush-on", &[&set[..], &BARE].concat())?)
}

fn all_by_software_under_skiboot() -> Result<()> {
    let set = ["--set", "firmware.mitigations=on"];
    by_software(&build("power9-probe", "flush-on-opal", &set)?)
}

fn by_software(image: &Image) -> Result<()> {
    let row = ["lis r0, *", "*", "sldi r0, r0, 0x20", "oris r0, r0, *", "ori r0, r0, *"];
    let to_row: &[&str] = &["mtlr r0", "blr"];
    let way_in =
        [&["ori r31, r31, 0"], DRAIN, DISPLACED, &["mflr r11"], LINK_STACK, &row, to_row, BACK];
    let way_out = [DRAIN, DISPLACED, &["blr"]];
    run(image, &[], |monitor| {
        let [at_in, at_out] = calls(monitor, image)?.context("nothing is called")?;
        same(monitor, at_in, &way_in.concat())?;
        same(monitor, at_out, &way_out.concat())?;
        let address = monitor.memory(at_in + 4 * (23 + 64), 20)?;
        let half = |at: usize| u64::from(u16::from_le_bytes([address[at], address[at + 1]]));
        row_of_branches(monitor, half(0) << 48 | half(4) << 32 | half(12) << 16 | half(16))
    })?;
    Ok(())
}

/// The count cache by software: an indirect branch in each 32 bytes.
fn row_of_branches(monitor: &mut Monitor, at: u64) -> Result<()> {
    const BRANCHES: usize = 279;
    ensure!(at.is_multiple_of(32), "the row is at {at:#x}");
    let start: &[&str] = &["li r0, 0x7fff", "mtctr r0"];
    let nops: &[&str] = &["nop"; 7];
    same(monitor, at, &[start, &nops[1..], &[BRANCH], nops].concat())?;
    let row = words(monitor, at + 32, 8 * BRANCHES)?;
    let branch = [row[0], NOP, NOP, NOP, NOP, NOP, NOP, NOP];
    ensure!(row.chunks(8).all(|block| block == branch), "the row has other instructions");
    same(monitor, at + 32 + 32 * BRANCHES as u64, BACK)
}

/// A machine that says what it needs: by its own instructions, and nothing more than that.
fn as_the_machine_asks() -> Result<()> {
    let set = ["--set", "firmware.debug_boot=true"];
    let image = build("power9-probe", "flush-auto", &[&set[..], &BARE].concat())?;
    let mut tree = Vec::new();
    let ended = run(&image, &[], |monitor| {
        ensure!(calls(monitor, &image)?.is_none(), "a silent machine asks for nothing");
        tree = monitor.memory(MACHINE_TREE, 1 << 20)?;
        Ok(())
    })?;
    ended.says("mitigations auto, fw-features absent: none")?;
    ended.says("cpu-characteristics 0x0 0x0")?;
    // QEMU's processor is a Nimbus DD2.2.
    ended.says("errata prefetch=false hdsisr=false tlbie-stores=true")?;

    let trig2 = [
        ("inst-spec-barrier-ori31,31,0", true),
        ("inst-l1d-flush-ori30,30,0", false),
        ("inst-l1d-flush-trig2", true),
        ("fw-count-cache-flush-bcctr2,0,0", true),
        ("needs-count-cache-flush-on-context-switch", true),
        ("needs-l1d-flush-msr-hv-1-to-0", true),
        ("needs-spec-barrier-for-bound-checks", true),
        ("speculation-policy-favor-security", true),
    ];
    let assisted: &[&str] = &["li r0, 0x7fff", "mtctr r0", BRANCH];
    let empty: &[&str] = &["mtspr 0x372, r0"];
    let way_in = [&["ori r31, r31, 0"], DRAIN, empty, &["mflr r11"], LINK_STACK, assisted, BACK];
    let ended = asked(&image, &tree, &trig2, |monitor| {
        let [at_in, at_out] = calls(monitor, &image)?.context("nothing is called")?;
        same(monitor, at_in, &way_in.concat())?;
        same(monitor, at_out, &[DRAIN, empty, &["blr"]].concat())
    })?;
    ended.says(
        "mitigations auto, fw-features told: \
         bounds,stores,link-stack,count-cache,l1d-in,l1d-out,assisted,trig2",
    )?;
    ended.says("cpu-characteristics 0x9040000000000000 0xa400000000000000")?;

    let ori30 = [
        ("inst-l1d-flush-ori30,30,0", true),
        ("no-need-store-drain-on-priv-state-switch", true),
        ("no-need-l1d-flush-msr-pr-1-to-0", true),
    ];
    let ended = asked(&image, &tree, &ori30, |monitor| {
        let live = calls(monitor, &image)?.context("nothing is called")?;
        ensure!(live[0] == 0, "there is nothing to do on the way in");
        same(monitor, live[1], &["ori r31, r31, 0", "ori r30, r30, 0", "blr"])
    })?;
    ended.says("mitigations auto, fw-features told: l1d-out,ori30")?;
    ended.says("cpu-characteristics 0x2000000000000000 0x140000000000000")
}

/// Runs the probe on a machine whose tree says besides what its processors can and need.
fn asked(
    image: &Image,
    tree: &[u8],
    features: &[(&str, bool)],
    look: impl FnOnce(&mut Monitor) -> Result<()>,
) -> Result<anchorite_tests::guest::Ended> {
    let size = u32::from_be_bytes(tree[4..8].try_into()?) as usize;
    let fdt = Fdt::new(&tree[..size]).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut tree = DeviceTree::from_fdt(&fdt);
    let mut all = DeviceTreeNode::new_unchecked("fw-features");
    for (name, enabled) in features {
        let mut feature = DeviceTreeNode::new_unchecked(*name);
        let state = if *enabled { "enabled" } else { "disabled" };
        feature.add_property(DeviceTreeProperty::new_unchecked(state, [0_u8; 0]));
        all.add_child(feature);
    }
    let mut opal = DeviceTreeNode::new_unchecked("ibm,opal");
    opal.add_child(all);
    tree.root.add_child(opal);
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("tree.dtb");
    std::fs::write(&file, tree.to_dtb())?;
    let file = format!("--qemu-arg={}", file.display());
    run(image, &["--qemu-arg=-dtb", &file], look)
}

/// Where the vectors call the ways in and out; 0 for one that they do not. Nothing else of them differs
/// from the image, and what differs is a `nop` there.
fn calls(monitor: &mut Monitor, image: &Image) -> Result<Option<[u64; 2]>> {
    let (_, body) = image.part(PART_BODY)?;
    let mut found = [const { Vec::new() }; 2];
    for (copy, found) in low::VECTORS.into_iter().zip(&mut found) {
        let live = words(monitor, copy, VECTOR_BYTES as usize / 4)?;
        for (at, (live, file)) in live.into_iter().zip(body.chunks(4)).enumerate() {
            let file = u32::from_le_bytes(file.try_into()?);
            if live != file {
                ensure!(file == NOP, "{file:#010x} was replaced at {copy:#x} + {:#x}", 4 * at);
                let site = copy + 4 * at as u64;
                found.push((4 * at as u64, target(site, live)?));
            }
        }
    }
    let [first, second] = found;
    ensure!(first == second, "the copies differ: {first:x?} and {second:x?}");
    // By address: the hypercalls' way in, all others' way in, and out likewise.
    match first[..] {
        [] => Ok(None),
        [(_, way_in), (_, also_in), (_, out), (_, also_out)] => {
            ensure!(way_in == also_in && out == also_out && way_in != out, "{first:x?}");
            Ok(Some([way_in, out]))
        }
        [(_, one), (_, other)] => {
            ensure!(one == other, "{first:x?}");
            Ok(Some([0, one]))
        }
        _ => bail!("calls at {first:x?}"),
    }
}

/// Where a `bl` goes, inside the memory for such code.
fn target(site: u64, word: u32) -> Result<u64> {
    ensure!(word & 0xfc00_0003 == 0x4800_0001, "{word:#010x} at {site:#x} is no call");
    let distance = i64::from((word << 6) as i32 >> 6 & !3);
    let target = site.wrapping_add_signed(distance);
    ensure!(low::FLUSHES.contains(Range::new(target, 4)), "{site:#x} calls {target:#x}");
    Ok(target)
}

fn words(monitor: &mut Monitor, at: u64, count: usize) -> Result<Vec<u32>> {
    let bytes = monitor.memory(at, 4 * count as u64)?;
    Ok(bytes.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect())
}

/// Whether QEMU's disassembler finds these instructions. It takes the byte order of what its CPU runs at
/// the time, which may be OPAL.
fn same(monitor: &mut Monitor, at: u64, wanted: &[&str]) -> Result<()> {
    let there = words(monitor, at, wanted.len())?;
    let arguments = json!({ "command-line": format!("xp /{}i {at:#x}", wanted.len()) });
    let mut found = Vec::new();
    wait_until("a look while little-endian code runs", || {
        let answer = monitor.execute("human-monitor-command", &arguments)?;
        let lines = answer.as_str().context("no text")?.lines();
        // `0xADDRESS:  WORD  MNEMONIC  OPERANDS`
        let lines: Vec<Vec<&str>> = lines.map(|l| l.split_whitespace().skip(1).collect()).collect();
        let decoded = lines.iter().map(|line| u32::from_str_radix(line.first()?, 16).ok());
        found = lines.iter().map(|line| line.get(1..).unwrap_or_default().join(" ")).collect();
        Ok(decoded.eq(there.iter().map(|word| Some(*word))))
    })?;
    let fits = |(found, wanted): (&String, &&str)| match wanted.strip_suffix('*') {
        Some(start) => found.starts_with(start),
        None => found == wanted,
    };
    let all = found.len() == wanted.len() && found.iter().zip(wanted).all(fits);
    ensure!(all, "at {at:#x}:\n{}\ninstead of\n{}", found.join("\n"), wanted.join("\n"));
    Ok(())
}
