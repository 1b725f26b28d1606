// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hostile guest of `guests/power9-probe`: every wall tried from inside, then looked at from
//! outside.
use std::fs;
use std::path::Path;
use std::time::Duration;

use anchorite_spec::Manifest;
use anchorite_spec::manifest::{IMAGE_OFFSET, MAP_BOOT_LEAF, PART_BODY, PART_TABLES};
use anchorite_tests::guest::{Ended, Guest};
use anchorite_tests::monitor::Monitor;
use anchorite_tests::{anchorite, output, root};
use anyhow::{Context, Result, ensure};
use zerocopy::{FromBytes, IntoBytes};

pub const TESTS: &[(&str, fn() -> Result<()>)] = &[
    ("probe::a_hostile_guest_stays_inside", a_hostile_guest_stays_inside),
    ("probe::entered_little_endian", entered_little_endian),
];

/// All probes, on a machine with other things to do.
const PROBES: Duration = Duration::from_secs(60);
/// Where the firmware puts its vectors, which are the first bytes of its code.
const VECTORS: u64 = 0x100;
/// The last vector's end.
const VECTORS_END: u64 = 0x1900;

/// Builds the probe and an image of its own board with it.
fn build(name: &str, arguments: &[&str]) -> Result<(std::path::PathBuf, Vec<u8>, Manifest)> {
    static PROBE: std::sync::OnceLock<std::result::Result<(), String>> = std::sync::OnceLock::new();
    let guest = root().join("tests/guests/power9-probe");
    let built = PROBE.get_or_init(|| {
        let built = output(&mut std::process::Command::new(guest.join("build")));
        let built = built.map_err(|error| format!("{error:#}"))?;
        let errors = String::from_utf8_lossy(&built.stderr).into_owned();
        if built.status.success() { Ok(()) } else { Err(errors) }
    });
    built.clone().map_err(anyhow::Error::msg)?;
    let path = root().join("target/test-images").join(format!("{name}.elf"));
    fs::create_dir_all(path.parent().context("no directory")?)?;
    let mut command = anchorite();
    command.current_dir(root()).arg("build").arg("--board").arg(guest.join("board.toml"));
    let built = output(command.arg("--out").arg(&path).args(arguments))?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let bytes = fs::read(&path)?;
    let start = usize::try_from(IMAGE_OFFSET)?;
    let raw = bytes.get(start..start + size_of::<Manifest>()).context("no manifest")?;
    let manifest = Manifest::read_from_bytes(raw).ok().context("no manifest")?;
    Ok((path, bytes, manifest))
}

/// Runs the probe to its end; `look` sees the machine after the last attack, while the guest waits.
fn run(path: &Path, look: impl FnOnce(&mut Monitor) -> Result<()>) -> Result<Ended> {
    let mut guest = Guest::start(path, &["--timeout", "120"])?;
    guest.expect("probe ends", PROBES)?;
    let mut monitor = Monitor::connect(guest.qmp())?;
    look(&mut monitor)?;
    drop(monitor);
    guest.send(b"x")?;
    let ended = guest.end()?;
    for line in ended.console.lines().filter(|line| line.starts_with("probe ")) {
        println!("{line}");
    }
    let failed: Vec<&str> = ended.console.lines().filter(|line| line.contains(" FAIL ")).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    ensure!(ended.console.contains("probe console-input ok"), "no input reached the guest");
    ended.expect(0, "the guest powered off")?;
    Ok(ended)
}

fn a_hostile_guest_stays_inside() -> Result<()> {
    let (path, image, manifest) = build("probe", &[])?;
    let ended = run(&path, |monitor| untouched(monitor, &image, &manifest))?;
    let passed = ended.console.lines().filter(|line| line.starts_with("probe ")).count();
    ensure!(passed > 40, "only {passed} probes reported");
    Ok(())
}

/// A guest that starts little-endian and never asks for it.
fn entered_little_endian() -> Result<()> {
    let (path, ..) = build("probe-little", &["--set", "guest.endian=little"])?;
    let ended = run(&path, |_| Ok(()))?;
    ensure!(ended.console.contains("probe little-endian-entry-outlives-cede ok"));
    Ok(())
}

/// Code, manifest and tables are what the image has, but for the leaves that are filled in at boot.
fn untouched(monitor: &mut Monitor, image: &[u8], manifest: &Manifest) -> Result<()> {
    let part = |kind| -> Result<(u64, &[u8])> {
        let part = manifest.part(kind).context("no such part")?;
        let start = usize::try_from(part.offset)?;
        let bytes = image.get(start..start + usize::try_from(part.size)?);
        Ok((part.dest, bytes.context("part outside the file")?))
    };

    let live = monitor.memory(manifest.manifest_copy.base, size_of::<Manifest>() as u64)?;
    ensure!(live == manifest.as_bytes(), "the manifest's copy was changed");

    let (at, body) = part(PART_BODY)?;
    let code = code_size()?;
    let live = monitor.memory(at, code as u64)?;
    ensure!(live == body[..code], "the firmware's code was changed");
    let live = monitor.memory(VECTORS, VECTORS_END - VECTORS)?;
    ensure!(live == body[..live.len()], "the vectors were changed");

    let (at, tables) = part(PART_TABLES)?;
    let live = monitor.memory(at, tables.len() as u64)?;
    let leaves = || manifest.mappings().filter(|mapping| mapping.kind == MAP_BOOT_LEAF);
    let mut filled = 0;
    for (index, (file, live)) in tables.chunks(8).zip(live.chunks(8)).enumerate() {
        if file == live {
            continue;
        }
        let page = u64::from_be_bytes(live.try_into()?) & 0x01ff_ffff_ffff_f000;
        let mut allowed = leaves().map(|leaf| leaf.host..leaf.host + leaf.host_size);
        ensure!(file[0] & 0x80 == 0, "entry {index} was changed: {live:02x?}");
        ensure!(allowed.any(|range| range.contains(&page)), "entry {index} maps {page:#x}");
        filled += 1;
    }
    let pages: u64 = leaves().map(|leaf| leaf.size >> 16).sum();
    ensure!(filled == pages, "{filled} leaves filled for {pages} pages");
    Ok(())
}

/// Bytes of the body's first segment, which is not writable: from the ELF that the builder took.
fn code_size() -> Result<usize> {
    let elf = fs::read(root().join("target/firmware/power9/body.elf"))?;
    let word = |at: usize| -> Result<u64> {
        let bytes = elf.get(at..at + 8).context("the body's ELF is cut short")?;
        Ok(u64::from_le_bytes(bytes.try_into()?))
    };
    // e_phoff; then p_type and p_flags, p_filesz of the first program header.
    let header = usize::try_from(word(32)?)?;
    ensure!(word(header)? == 5 << 32 | 1, "the body's first segment is not its code");
    Ok(usize::try_from(word(header + 32)?)?)
}
