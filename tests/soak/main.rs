// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Long runs, for `make soak`: each module adds its matrix, one test for each cell, so that a cell
//! can be run alone: `scripts/soak NAME`.
mod arm64;
mod attack;
mod kexec;
mod power9;
mod restart;
mod watchdog;

use std::process::ExitCode;
use std::time::Duration;

use anchorite_tests::{share, trial};
use anyhow::{Result, ensure};
use libtest_mimic::Trial;

const WINDOW: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let trials = [
        arm64::trials(),
        attack::trials(),
        kexec::trials(),
        power9::trials(),
        restart::trials(),
        watchdog::trials(),
        shares(),
    ];
    anchorite_tests::run(trials.into_iter().flatten().collect())
}

/// For each board: how many of all instructions a loaded guest of four vCPUs spends in the firmware.
fn shares() -> Vec<Trial> {
    let one = |board| trial(format!("share::{board}"), move || small_share(board));
    share::boards().map(one).collect()
}

fn small_share(board: &str) -> Result<()> {
    for share in share::measure(board, WINDOW)? {
        println!("{}", share.json());
        ensure!(share.excess().is_none(), "{:?}\n{:#}", share.excess(), share.json());
    }
    Ok(())
}
