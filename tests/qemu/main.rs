// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The QEMU tests. `make test` builds and fetches what they need; after that, one alone is
//! `cargo test -p anchorite-tests --test qemu -- NAME`.
mod arm64;
mod arm64_boots;
mod arm64_guests;
mod attack;
mod bare;
mod bench;
mod boot;
mod console;
mod el2;
mod end;
mod faults;
mod flush;
mod guarded;
mod image;
mod kexec;
mod ledger;
mod new;
mod probe;
mod reports;
mod restart;
mod smp;
mod timing;
mod trust;
mod u_boot;
mod watchdog;

use std::process::ExitCode;

fn main() -> ExitCode {
    let tests = [
        arm64::TESTS,
        arm64_boots::TESTS,
        bare::TESTS,
        arm64_guests::TESTS,
        attack::TESTS,
        bench::TESTS,
        boot::TESTS,
        console::TESTS,
        el2::TESTS,
        end::TESTS,
        faults::TESTS,
        flush::TESTS,
        guarded::TESTS,
        image::TESTS,
        kexec::TESTS,
        ledger::TESTS,
        new::TESTS,
        probe::TESTS,
        reports::TESTS,
        restart::TESTS,
        smp::TESTS,
        timing::TESTS,
        trust::TESTS,
        u_boot::TESTS,
        watchdog::TESTS,
    ]
    .concat();
    let trials = tests.into_iter().map(|(name, test)| anchorite_tests::trial(name, test));
    anchorite_tests::run(trials.collect())
}
