// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Accesses outside what the guest was given.
use anchorite_spec::manifest::{MAP_BOOT_LEAF, MAP_RAM};
use anchorite_tests::Tests;
use anchorite_tests::guest::Guest;
use anchorite_tests::image::default_image;
use anchorite_tests::stats::{self, count};
use anyhow::{Context, Result, ensure};

pub const TESTS: Tests = &[
    ("faults::a_hole_is_a_bus_error", a_hole_is_a_bus_error),
    ("faults::interrupt_pages_end_where_they_should", interrupt_pages_end_where_they_should),
];

/// 128 + SIGBUS.
const BUS_ERROR: i32 = 135;

fn a_hole_is_a_bus_error() -> Result<()> {
    let image = default_image()?;
    let ram_end = image
        .manifest
        .mappings()
        .filter(|mapping| mapping.kind == MAP_RAM)
        .map(|mapping| mapping.guest + mapping.size)
        .max()
        .context("no RAM")?;
    let mut guest = Guest::boot(&image.path, &[])?;
    let accesses = [(ram_end, "32"), (ram_end, "64 0"), (0x6000_0000_0000, "")];
    for (address, rest) in accesses {
        let (output, status) = guest.run(&format!("devmem {address:#x} {rest}"))?;
        ensure!(status == BUS_ERROR, "devmem {address:#x} {rest}: status {status}, {output}");
        ensure!(guest.shell("echo alive")? == "alive");
    }
    // What the error logs said: by a load or store, where, by the CPU, and that nobody has mended it.
    let log = guest.shell("dmesg | grep MCE:")?;
    for (address, _) in accesses {
        let place = format!("paddr: {address:016x} [Not recovered]");
        let what = "machine check (Severe)  UE Load/Store DAR: ";
        let said = log.lines().any(|line| line.contains(what) && line.contains(&place));
        ensure!(said, "no {place} in {log}");
    }
    ensure!(log.matches("Initiator CPU").count() == accesses.len(), "{log}");
    let reading = stats::live(&guest)?;
    ensure!(count(&reading, "rtas_nmi_register") == 1, "{reading:#}");
    // The kernel has done with each error log.
    ensure!(count(&reading, "rtas_nmi_interlock") == accesses.len() as u64, "{reading:#}");
    guest.power_off()?;
    Ok(())
}

fn interrupt_pages_end_where_they_should() -> Result<()> {
    let image = default_image()?;
    let leaf = *image
        .manifest
        .mappings()
        .find(|mapping| mapping.kind == MAP_BOOT_LEAF)
        .context("no boot-time leaf")?;
    let mut guest = Guest::boot(&image.path, &[])?;
    // The last source's management page at +0x800 tells its state and changes nothing.
    let last = leaf.guest + leaf.size - 0x1_0000 + 0x800;
    let (output, status) = guest.run(&format!("devmem {last:#x} 64"))?;
    ensure!(status == 0, "the last own page: status {status}, {output}");
    for beyond in [leaf.guest + leaf.size + 0x800, leaf.guest + leaf.size + 0x1_0800] {
        let (output, status) = guest.run(&format!("devmem {beyond:#x} 64"))?;
        ensure!(status == BUS_ERROR, "{beyond:#x}: status {status}, {output}");
    }
    if leaf.guest > 0 {
        let (output, status) = guest.run(&format!("devmem {:#x} 64", leaf.guest - 0xf800))?;
        ensure!(status == BUS_ERROR, "the page before: status {status}, {output}");
    }
    guest.power_off()?;
    Ok(())
}
