// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Restarts in place, many: of the guests of our own that make a mess of their machine, and of Debian
//! on four CPUs under load.
use std::path::Path;

use anchorite_tests::guest::Guest;
use anchorite_tests::image::image_of;
use anchorite_tests::probe::BARE;
use anchorite_tests::restart::{ALWAYS, EVEN, debian, even, hammer, lives};
use anchorite_tests::{arm64_board, bare_board, board, trial};
use anyhow::{Result, ensure};
use libtest_mimic::Trial;

const CPUS: [&str; 3] = ["cortex-a53", "neoverse-n1", "max"];
const LIVES: u64 = 100;
const RESTARTS: u64 = 20;
/// Restarts against interrupts of all CPUs, and how many of those there are at least.
const HAMMERED: u64 = 1000;
const SENT: u64 = 1_000_000;
/// Restarts whose instructions are counted.
const COUNTED: u64 = 1000;

/// One test for each.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for cpu in CPUS {
        trials.extend([
            trial(format!("restart::lives::{cpu}"), move || direct(cpu)),
            trial(format!("restart::guarded-lives::{cpu}"), move || guarded(cpu)),
            trial(format!("restart::debian::{cpu}"), move || linux(cpu)),
        ]);
    }
    trials.extend(EVEN.map(|(name, probe, more, run)| {
        trial(format!("restart::even::{name}"), move || {
            println!("{:?} ticks", even(probe, more, run, COUNTED)?);
            Ok(())
        })
    }));
    trials.extend([
        trial("restart::lives::power9", || power9_lives(&[])),
        trial("restart::lives::power9-bare", || power9_lives(&BARE)),
        trial("restart::hammer::power9", || hammered(&[])),
        trial("restart::hammer::power9-bare", || hammered(&BARE)),
        trial("restart::debian::power9", || debian_on(&board(), "soak-restart-power9", &[])),
        trial("restart::debian::power9-bare", || {
            debian_on(&bare_board(), "soak-restart-bare", &[])
        }),
    ]);
    trials
}

fn power9_lives(more: &[&str]) -> Result<()> {
    lives("power9-probe", "lives", &[], &[more, &["--vcpus", "4"]].concat(), LIVES).map(|_| ())
}

fn hammered(more: &[&str]) -> Result<()> {
    let sent = hammer(more, HAMMERED)?;
    println!("{sent} interrupts, {HAMMERED} restarts");
    ensure!(sent >= SENT, "only {sent} interrupts");
    Ok(())
}

fn direct(cpu: &'static str) -> Result<()> {
    lives("arm64-probe", "lives", &["--cpu", cpu], &[], LIVES).map(|_| ())
}

fn guarded(cpu: &'static str) -> Result<()> {
    let set = ["--set", "guest.interrupts=guarded"];
    lives("arm64-probe", "lives=guarded", &["--cpu", cpu], &set, LIVES).map(|_| ())
}

fn linux(cpu: &'static str) -> Result<()> {
    debian_on(&arm64_board(), "soak-restart", &["--cpu", cpu])
}

fn debian_on(board: &Path, name: &str, run: &[&str]) -> Result<()> {
    let image = image_of(board, name, &[&["--vcpus", "4"], &ALWAYS[..]].concat())?;
    let mut guest = Guest::boot(&image.path, &[run, &["--timeout", "6000"]].concat())?;
    debian(&mut guest, 4, RESTARTS)?;
    guest.power_off()?;
    Ok(())
}
