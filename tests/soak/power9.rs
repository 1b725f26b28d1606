// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The POWER9 board: races that `make test` runs ten thousand rounds of, a million each.
use std::time::Duration;

use anchorite_tests::live;
use anchorite_tests::probe::{build, passed, run_within};
use anyhow::{Result, ensure};
use libtest_mimic::Trial;

/// H_CEDE against the decrementer, an interrupt, a prod and an interrupt of another CPU.
pub fn trials() -> Vec<Trial> {
    let trial = |vcpus: &'static str| {
        Trial::test(format!("power9::races::{vcpus}"), move || {
            races(vcpus).map_err(|e| format!("{e:#}").into())
        })
    };
    ["1", "4"].map(trial).into()
}

fn races(vcpus: &str) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(3600);
    let arguments = ["--vcpus", vcpus, "--cmdline", "long=races"];
    let image = build("power9-probe", &format!("soak-races-{vcpus}"), &arguments)?;
    let ended = run_within(PATIENCE, &image, &[], |monitor| live::untouched(monitor, &image))?;
    ensure!(passed(&ended) > 40, "only {} probes reported", passed(&ended));
    ensure!(ended.console.contains(" of 1000000 rounds"), "the races were short");
    Ok(())
}
