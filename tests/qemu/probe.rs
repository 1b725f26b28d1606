// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hostile guests of `guests/`: every wall tried from inside, then looked at from outside.
use std::time::Duration;

use anchorite_spec::manifest::VCPUS;
use anchorite_spec::{ExitReason, Ledger};
use anchorite_tests::guest::Guest;
use anchorite_tests::image::Image;
use anchorite_tests::monitor::Monitor;
use anchorite_tests::probe::{BARE, build, passed, run};
use anchorite_tests::{Tests, live, wait_until};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use zerocopy::FromBytes;

pub const TESTS: Tests = &[
    ("probe::a_hostile_guest_stays_inside", a_hostile_guest_stays_inside),
    ("probe::entered_little_endian", entered_little_endian),
    ("probe::four_cpus_race", four_cpus_race),
    ("probe::a_nested_machine_check_ends_the_run", a_nested_machine_check_ends_the_run),
    ("probe::resets_at_any_time", resets_at_any_time),
    ("probe::a_guests_watchdog_ends_the_run", a_guests_watchdog_ends_the_run),
    ("probe::a_hostile_arm64_guest_stays_inside", a_hostile_arm64_guest_stays_inside),
    ("probe::a_hostile_guest_cannot_stop_the_timer", a_hostile_guest_cannot_stop_the_timer),
    ("probe::other_processors_and_sizes", other_processors_and_sizes),
    ("probe::vectors_that_are_not_there", vectors_that_are_not_there),
    ("probe::four_cpus_race_without_skiboot", four_cpus_race_without_skiboot),
];

fn a_hostile_guest_stays_inside() -> Result<()> {
    let image = build("power9-probe", "probe", &[])?;
    let ended = run(&image, &[], |monitor| live::untouched(monitor, &image))?;
    ensure!(passed(&ended) > 40, "only {} probes reported", passed(&ended));
    Ok(())
}

/// CPUs that start, stop, wake, interrupt and reset each other.
fn four_cpus_race() -> Result<()> {
    all_race(&build("power9-probe", "probe-four", &["--vcpus", "4"])?)
}

fn four_cpus_race_without_skiboot() -> Result<()> {
    all_race(&build("power9-probe", "probe-bare", &[&["--vcpus", "4"], &BARE[..]].concat())?)
}

fn all_race(image: &Image) -> Result<()> {
    let ended = run(image, &[], |monitor| live::untouched(monitor, image))?;
    ensure!(ended.console.contains("probe stopped-cpus-stay-so ok"), "one CPU only");
    ensure!(ended.console.contains("probe every-documented-code-came ok"), "codes not counted");
    Ok(())
}

/// The firmware has nowhere to put a second error log: LoPAR calls that fatal.
fn a_nested_machine_check_ends_the_run() -> Result<()> {
    let only = ["--cmdline", "only=nested-machine-check"];
    let image = build("power9-probe", "probe-nested", &only)?;
    let ended = Guest::start(&image.path, &[])?.end()?;
    ended.expect(10, "a second machine check before ibm,nmi-interlock")?;
    ensure!(ended.console.contains("first machine check served"), "not even the first");
    // HDSISR: no translation.
    ensure!(ended.console.contains(" cause 0x40000000"), "not the cause: {}", ended.console);
    Ok(())
}

/// System resets from outside while the firmware answers calls: none is lost, none harms it.
fn resets_at_any_time() -> Result<()> {
    let only = [&["--cmdline", "only=resets"], &BARE[..]].concat();
    let image = build("power9-probe", "probe-resets", &only)?;
    let mut guest = Guest::start(&image.path, &[])?;
    guest.expect("probe resets are welcome", Duration::from_secs(60))?;
    let mut monitor = Monitor::connect(guest.qmp())?;
    let mut send = || -> Result<()> {
        let count = |monitor: &mut Monitor, reason: ExitReason| -> Result<u64> {
            let bytes = monitor.memory(image.manifest.ledger, size_of::<Ledger>() as u64)?;
            let ledger = Ledger::read_from_bytes(&bytes).ok().context("no ledger")?;
            Ok(ledger.row[0].count[reason.slot()])
        };
        for sent in 0..200 {
            // A second one that comes while the guest serves the first overwrites where the guest was:
            // each waits until the guest is in its next round but one.
            let rounds = count(&mut monitor, ExitReason::HConfer)?;
            wait_until("two rounds of calls", || {
                Ok(count(&mut monitor, ExitReason::HConfer)? >= rounds + 2)
            })?;
            monitor.execute("inject-nmi", &json!({}))?;
            wait_until("the reset", || Ok(count(&mut monitor, ExitReason::SystemReset)? > sent))?;
        }
        Ok(())
    };
    if let Err(error) = send() {
        return Err(guest.explain(&error));
    }
    guest.send(b"x")?;
    let ended = guest.end()?;
    ended.console.lines().filter(|line| line.starts_with("resets: ")).for_each(|l| println!("{l}"));
    ended.expect(0, "the guest powered off")?;
    let failed: Vec<&str> = ended.console.lines().filter(|line| line.contains(" FAIL ")).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    ensure!(ended.console.contains("probe resets-around-hypercalls ok"), "{}", ended.console);
    Ok(())
}

/// A guest that spins with interrupts off, and nobody pings its watchdog.
fn a_guests_watchdog_ends_the_run() -> Result<()> {
    let image = build("power9-probe", "probe-watchdog", &["--cmdline", "only=watchdog"])?;
    let ended = Guest::start(&image.path, &[])?.end()?;
    ended.expect(16, "the guest's watchdog 4 has expired: power-off")?;
    ensure!(ended.console.contains("@end status=watchdog code=16"), "no @end line");
    Ok(())
}

/// A guest that starts little-endian and never asks for it.
fn entered_little_endian() -> Result<()> {
    let image = build("power9-probe", "probe-little", &["--set", "guest.endian=little"])?;
    let ended = run(&image, &[], |_| Ok(()))?;
    ensure!(ended.console.contains("probe little-endian-entry-outlives-cede ok"));
    Ok(())
}

fn a_hostile_arm64_guest_stays_inside() -> Result<()> {
    let image = build("arm64-probe", "arm64-probe", &[])?;
    let ended = run(&image, &["--cpu", "max"], |monitor| live::untouched(monitor, &image))?;
    ensure!(passed(&ended) > 30, "only {} probes reported", passed(&ended));
    // Thousands of faults; of each kind some are reported.
    let reports = ended.console.matches("anchorite: guest ").count();
    ensure!((16..=64).contains(&reports), "{reports} reports of the guest's mistakes");
    Ok(())
}

/// The same with guarded interrupts: after all that, EL2's timer rings on every CPU.
fn a_hostile_guest_cannot_stop_the_timer() -> Result<()> {
    let set = ["--set", "guest.interrupts=guarded"];
    let image = build("arm64-probe", "arm64-probe-guarded", &set)?;
    let rings = |monitor: &mut Monitor| -> Result<[u64; VCPUS]> {
        let bytes = monitor.memory(image.manifest.ledger, size_of::<Ledger>() as u64)?;
        let ledger = Ledger::read_from_bytes(&bytes).ok().context("no ledger")?;
        Ok(ledger.row.map(|row| row.count[ExitReason::El2Timer.slot()]))
    };
    run(&image, &["--cpu", "neoverse-n1"], |monitor| {
        live::untouched(monitor, &image)?;
        let before = rings(monitor)?;
        wait_until("five more rings on every CPU", || {
            Ok(before.iter().zip(rings(monitor)?).all(|(before, after)| after >= before + 5))
        })
    })?;
    Ok(())
}

/// The walls alone, on another processor and with other options.
pub fn walls(name: &str, cpu: &str, more: &[&str]) -> Result<()> {
    let arguments = [&["--cmdline", "only=walls"], more].concat();
    let image = build("arm64-probe", &format!("arm64-probe-{name}"), &arguments)?;
    let ended = run(&image, &["--cpu", cpu], |monitor| live::untouched(monitor, &image))?;
    ensure!(passed(&ended) > 20, "only {} probes reported", passed(&ended));
    Ok(())
}

fn other_processors_and_sizes() -> Result<()> {
    for (cpu, bits) in [("cortex-a53", "39"), ("cortex-a72", "43"), ("neoverse-n1", "44")] {
        walls(bits, cpu, &["--set", &format!("guest.stage2.ipa_bits={bits}")])?;
    }
    Ok(())
}

/// What cannot be given to the guest ends the run, and nothing spins.
fn vectors_that_are_not_there() -> Result<()> {
    for place in ["hole", "device", "zero"] {
        let arguments = ["--cmdline", &format!("vectors={place}")];
        let image = build("arm64-probe", &format!("arm64-vectors-{place}"), &arguments)?;
        let run = Guest::start(&image.path, &["--cpu", "cortex-a72"])?;
        run.end()?.expect(10, "exception vectors are not in")?;
    }
    Ok(())
}
