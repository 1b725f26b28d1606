// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The arm64 board: every kernel on every processor, alone and with all vCPUs.
use anchorite_tests::guest::Guest;
use anchorite_tests::image::{image_of, kernel};
use anchorite_tests::{arm64_board, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

/// Recipes, and what the kernel calls itself.
const KERNELS: [(&str, &str); 4] = [
    ("debian-6.1-arm64", "6.1."),
    ("debian-6.12-arm64", "6.12."),
    ("debian-6.1-full-arm64", "6.1."),
    ("debian-6.12-full-arm64", "6.12."),
];
const CPUS: [&str; 4] = ["cortex-a53", "cortex-a72", "neoverse-n1", "max"];
const VCPUS: [&str; 2] = ["1", "4"];

/// One test for each kernel, processor and number of vCPUs.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (recipe, release) in KERNELS {
        for vcpus in VCPUS {
            for cpu in CPUS {
                trials.push(trial(format!("arm64::{recipe}::{cpu}::{vcpus}"), move || {
                    boots(recipe, release, cpu, vcpus)
                }));
            }
        }
    }
    trials
}

/// To the shell, which counts its CPUs, and to a clean end.
fn boots(recipe: &str, release: &str, cpu: &str, vcpus: &str) -> Result<()> {
    let path = kernel(recipe);
    let path = path.to_str().context("no UTF-8 path")?;
    let name = format!("soak-{recipe}-{vcpus}");
    let image = image_of(&arm64_board(), &name, &["--guest", path, "--vcpus", vcpus])?;
    let mut guest = Guest::boot(&image.path, &["--cpu", cpu])?;
    let found = guest.shell("uname -r")?;
    ensure!(found.starts_with(release), "the kernel is {found}");
    ensure!(guest.shell("nproc")? == vcpus);
    guest.power_off()?;
    Ok(())
}
