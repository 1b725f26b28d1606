// SPDX-License-Identifier: Apache-2.0 OR MIT
//! System resets from outside, at any time around hypercalls.
use crate::hcall::{CONFER, FUNCTION, GET_TERM_CHAR, P3, PARAMETER, PROD, RANDOM, SET_MODE};
use crate::low::{LOST, RESETS};
use crate::report::Probe;
use crate::{console, say, trap};

/// A call that is made again when a reset breaks it off: one that hits the first instructions of a
/// vector cannot be gone on with, and says so.
fn call(number: u64, argument: u64, output: bool) -> u64 {
    loop {
        let lost = LOST.get();
        let got = trap::hypercall(number, argument, 4, output);
        if LOST.get() == lost {
            return got;
        }
    }
}

/// Calls without end until a byte says that no more resets come; every answer is right.
pub fn run() -> ! {
    say!("probe resets are welcome");
    Probe::run("resets-around-hypercalls", |p| {
        let mut calls = 0_u64;
        while call(GET_TERM_CHAR, 0, true) == 0 {
            for (number, argument, want) in [
                (CONFER, u64::MAX, 0),
                (PROD, 0, 0),
                (PROD, 99, PARAMETER),
                (0x150, 0, FUNCTION),
                (SET_MODE, 2, P3),
                (RANDOM, 0, 0),
            ] {
                calls += 1;
                let got = call(number, argument, false);
                p.equal(&format_args!("{number:#x}"), got, want);
            }
        }
        say!("resets: {} in {calls} calls, {} lost", RESETS.get(), LOST.get());
        p.holds(&"some can be gone on with", LOST.get() < RESETS.get() / 2);
    });
    loop {
        console::power_off();
    }
}
