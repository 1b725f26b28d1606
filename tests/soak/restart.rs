// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Restarts in place, many: of the guest of our own that makes a mess of its machine, and of Debian on
//! four CPUs under load.
use anchorite_tests::arm64_board;
use anchorite_tests::guest::Guest;
use anchorite_tests::image::image_of;
use anchorite_tests::restart::{ALWAYS, debian, lives};
use anyhow::Result;
use libtest_mimic::Trial;

const CPUS: [&str; 3] = ["cortex-a53", "neoverse-n1", "max"];
const LIVES: u64 = 100;
const RESTARTS: u64 = 20;

/// One test for each.
pub fn trials() -> Vec<Trial> {
    let trial = |name: String, test: fn(&'static str) -> Result<()>, cpu: &'static str| {
        Trial::test(name, move || test(cpu).map_err(|e| format!("{e:#}").into()))
    };
    let mut trials = Vec::new();
    for cpu in CPUS {
        trials.push(trial(format!("restart::lives::{cpu}"), direct, cpu));
        trials.push(trial(format!("restart::guarded-lives::{cpu}"), guarded, cpu));
        trials.push(trial(format!("restart::debian::{cpu}"), linux, cpu));
    }
    trials
}

fn direct(cpu: &'static str) -> Result<()> {
    lives("arm64-probe", "lives", &["--cpu", cpu], &[], LIVES)
}

fn guarded(cpu: &'static str) -> Result<()> {
    let set = ["--set", "guest.interrupts=guarded"];
    lives("arm64-probe", "lives=guarded", &["--cpu", cpu], &set, LIVES)
}

fn linux(cpu: &'static str) -> Result<()> {
    let image =
        image_of(&arm64_board(), "soak-restart", &[&["--vcpus", "4"], &ALWAYS[..]].concat())?;
    let run = ["--cpu", cpu, "--timeout", "6000"];
    let mut guest = Guest::boot(&image.path, &run)?;
    debian(&mut guest, "4", RESTARTS)?;
    guest.power_off()?;
    Ok(())
}
