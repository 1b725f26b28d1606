// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Guarded interrupts on arm64: EL2's timer rings whatever the guest does, and all is counted.
use anchorite_tests::guest::Guest;
use anchorite_tests::image::image_of;
use anchorite_tests::stats::QemuLog;
use anchorite_tests::{Tests, arm64_board, stats, wait_until};
use anyhow::{Context, Result, ensure};

use crate::arm64_boots::GUARDED;

pub const TESTS: Tests = &[
    ("guarded::linux_cannot_stop_the_timer", linux_cannot_stop_the_timer),
    ("guarded::a_deaf_guest_is_still_counted", a_deaf_guest_is_still_counted),
];

/// Stores that would silence EL2's timer: to its enable, group, priority, trigger, active state, to
/// the redistributor's sleep, to the distributor's Group 0.
const STORES: [&str; 8] = [
    "0x80b0180 32 0x4000000",
    "0x80b0080 32 0xffffffff",
    "0x80b041a 8 0xff",
    "0x80b0418 32 0xa0ffa0a0",
    "0x80b0c04 32 0x300000",
    "0x80b0300 32 0x4000000",
    "0x80a0014 32 2",
    "0x8000000 32 0x12",
];

/// How often a CPU has left for each of two reasons.
fn counts(guest: &Guest, cpu: usize) -> Result<(u64, u64)> {
    let reading = stats::live(guest)?;
    let count = |reason| stats::count(&reading["cpus"][cpu], reason);
    Ok((count("el2-timer"), count("gic-sgi")))
}

/// The timer goes on ringing on a CPU.
fn rings(guest: &Guest, cpu: usize) -> Result<()> {
    let before = counts(guest, cpu)?.0;
    wait_until("ten rings of the timer", || Ok(counts(guest, cpu)?.0 >= before + 10))
}

fn linux_cannot_stop_the_timer() -> Result<()> {
    let set = "guest.interrupts=guarded";
    let cmdline = "console=ttyAMA0 iomem=relaxed";
    let image = GUARDED.image(&["--set", set, "--cmdline", cmdline])?;
    let log = QemuLog::new()?;
    let mut guest = GUARDED.run(&image, &log.arguments())?;
    for store in STORES {
        guest.shell(&format!("devmem {store}"))?;
    }
    // What they left behind: no group, enabled, most urgent.
    for (register, value) in [("80b0080", "0xFBFFFFFF"), ("80b0418", "0xA000A0A0")] {
        ensure!(guest.shell(&format!("devmem 0x{register}"))? == value, "{register}");
    }
    // A CPU that leaves and comes back has its timer again.
    for value in [0, 1] {
        guest.shell(&format!("echo {value} >/sys/devices/system/cpu/cpu2/online"))?;
    }
    for cpu in [0, 2] {
        rings(&guest, cpu)?;
        ensure!(counts(&guest, cpu)?.1 > 0, "no SGI of CPU {cpu} was counted");
    }
    let ended = guest.power_off()?;
    log.agrees(&ended)
}

/// Masks everything and spins: `msr daifset, #15`, `b .`.
const DEAF: [u32; 2] = [0xd503_4fdf, 0x1400_0000];

fn a_deaf_guest_is_still_counted() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let kernel = directory.path().join("deaf");
    std::fs::write(&kernel, DEAF.map(u32::to_le_bytes).as_flattened())?;
    let sets = ["guest.initrd=", "guest.interrupts=guarded", "guest.format=raw", "guest.load=1GiB"];
    let mut arguments = vec!["--guest", kernel.to_str().context("no UTF-8 path")?];
    arguments.extend(sets.iter().flat_map(|set| ["--set", *set]));
    let image = image_of(&arm64_board(), "arm64-deaf", &arguments)?;
    let guest = Guest::start(&image.path, &["--cpu", "cortex-a53"])?;
    // At first there is no ledger.
    wait_until("the timer's first ring", || {
        Ok(counts(&guest, 0).is_ok_and(|(rings, _)| rings > 0))
    })?;
    rings(&guest, 0)
}
