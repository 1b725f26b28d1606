// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Restarts in place, a few: of guests of our own, and of Debian on POWER9; on arm64 Debian's are with
//! its other boots. `make soak` has more.
use anchorite_tests::guest::Guest;
use anchorite_tests::image::image_of;
use anchorite_tests::probe::BARE;
use anchorite_tests::restart::{ALWAYS, EVEN, debian, even, hammer, lives};
use anchorite_tests::stats::QemuLog;
use anchorite_tests::{Tests, bare_board};
use anyhow::{Result, ensure};

use crate::smp;

pub const TESTS: Tests = &[
    ("restart::an_arm64_guest_begins_as_at_first", an_arm64_guest_begins_as_at_first),
    ("restart::a_guarded_guest_begins_as_at_first", a_guarded_guest_begins_as_at_first),
    ("restart::a_power9_guest_begins_as_at_first", a_power9_guest_begins_as_at_first),
    ("restart::one_without_skiboot_begins_as_at_first", one_without_skiboot_begins_as_at_first),
    ("restart::each_costs_the_same", each_costs_the_same),
    ("restart::no_event_outlives_a_guest", no_event_outlives_a_guest),
    ("restart::linux_on_four_cpus_under_load", linux_on_four_cpus_under_load),
];

/// Ten lives have every combination of what the guest does.
fn an_arm64_guest_begins_as_at_first() -> Result<()> {
    lives("arm64-probe", "lives", &["--cpu", "max"], &[], 10).map(|_| ())
}

fn a_guarded_guest_begins_as_at_first() -> Result<()> {
    let set = ["--set", "guest.interrupts=guarded"];
    lives("arm64-probe", "lives=guarded", &["--cpu", "cortex-a53"], &set, 5).map(|_| ())
}

/// Ten lives have every way of being taken out of the guest, and every reason to be.
fn a_power9_guest_begins_as_at_first() -> Result<()> {
    lives("power9-probe", "lives", &[], &["--vcpus", "4"], 10).map(|_| ())
}

fn one_without_skiboot_begins_as_at_first() -> Result<()> {
    lives("power9-probe", "lives", &[], &[&BARE[..], &["--vcpus", "4"]].concat(), 10).map(|_| ())
}

/// The same instructions each; `make soak` has a thousand.
fn each_costs_the_same() -> Result<()> {
    for (name, probe, more, run) in EVEN {
        println!("{name}: {:?} ticks", even(probe, more, run, 25)?);
    }
    Ok(())
}

fn no_event_outlives_a_guest() -> Result<()> {
    for more in [&[][..], &BARE] {
        let sent = hammer(more, 15)?;
        ensure!(sent > 1000, "only {sent} interrupts");
    }
    Ok(())
}

/// A reboot and a panic, and the whole run agrees with QEMU's log.
fn linux_on_four_cpus_under_load() -> Result<()> {
    let image = image_of(&bare_board(), "bare-restart", &[&smp::FOUR, &ALWAYS[..]].concat())?;
    let log = QemuLog::new()?;
    let mut guest = Guest::boot(&image.path, &log.arguments())?;
    debian(&mut guest, 4, 2)?;
    log.agrees(&guest.power_off()?)
}
