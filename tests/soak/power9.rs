// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The POWER9 boards: each kernel on each, alone and on four CPUs, a minute under load; and the races
//! that `make test` runs ten thousand rounds of, a million each.
use std::path::PathBuf;
use std::time::Duration;

use anchorite_tests::image::{image_of, kernel};
use anchorite_tests::probe::{build, passed, run_within};
use anchorite_tests::{bare_board, board, live, load, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

type Config = fn() -> PathBuf;
const KERNELS: [(&str, &str); 2] =
    [("debian-6.1-ppc64el", "6.1."), ("debian-6.12-ppc64el", "6.12.")];
const BOARDS: [(&str, Config); 2] = [("opal", board), ("bare", bare_board)];
const WINDOW: Duration = Duration::from_secs(60);

/// One test for each board, kernel and number of vCPUs, and H_CEDE against the decrementer, an
/// interrupt, a prod and an interrupt of another CPU.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for vcpus in [1, 4] {
        for (name, board) in BOARDS {
            for (recipe, release) in KERNELS {
                trials.push(trial(format!("load::{name}::{recipe}::{vcpus}"), move || {
                    minute(name, board(), recipe, release, vcpus)
                }));
            }
        }
        trials.push(trial(format!("power9::races::{vcpus}"), move || races(&vcpus.to_string())));
    }
    trials
}

/// With QEMU's log beside it: no exits but those allowed in the window, every CPU out and in twice, and
/// nothing that was not counted.
fn minute(name: &str, board: PathBuf, recipe: &str, release: &str, vcpus: u32) -> Result<()> {
    let kernel = kernel(recipe);
    let kernel = kernel.to_str().context("no UTF-8 path")?;
    let arguments = ["--guest", kernel, "--vcpus", &vcpus.to_string()];
    let image = image_of(&board, &format!("soak-load-{name}-{recipe}-{vcpus}"), &arguments)?;
    load::survives_counted(&image, release, vcpus, WINDOW)
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
