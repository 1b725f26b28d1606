// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The QEMU tests. `make test` builds and fetches what they need; after that, one alone is
//! `cargo test -p anchorite-tests --test qemu -- NAME`.
mod arm64;
mod arm64_guests;
mod boot;
mod console;
mod end;
mod faults;
mod image;
mod ledger;
mod probe;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Machines at once, at most: each is one busy host CPU and some gigabytes.
const MACHINES: usize = 4;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(cpus).clamp(1, MACHINES));
    let tests: Vec<(&str, fn() -> anyhow::Result<()>)> = [
        arm64::TESTS,
        arm64_guests::TESTS,
        boot::TESTS,
        console::TESTS,
        end::TESTS,
        faults::TESTS,
        image::TESTS,
        ledger::TESTS,
        probe::TESTS,
    ]
    .concat();
    let trials = tests
        .into_iter()
        .map(|(name, test)| Trial::test(name, move || test().map_err(|e| format!("{e:#}").into())))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
