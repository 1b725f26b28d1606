// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Long runs, for `make soak`: each module adds its matrix, one test for each cell, so that a cell
//! can be run alone: `scripts/soak NAME`.
mod arm64;
mod kexec;
mod power9;
mod restart;

use std::process::ExitCode;

fn main() -> ExitCode {
    let trials = [arm64::trials(), kexec::trials(), power9::trials(), restart::trials()];
    anchorite_tests::run(trials.into_iter().flatten().collect())
}
