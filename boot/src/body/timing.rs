// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long exits take (`firmware.timing`): each vCPU's clock and records, and what is said of them at
//! the end. The records are read from outside, too, while the machine runs.
use anchorite_hv::core::timing::{Clock, Records};
use anchorite_spec::manifest::VCPUS;
use anchorite_spec::timing::{EXITS_WORDS, Phase, SPENT_WORDS, exits, spent};
use anchorite_spec::{ExitReason, Ledger};

use crate::close::Lines;
use crate::own::{LEDGER, Late};

/// What the vCPUs write; zeros until then.
static RECORDS: [Records; VCPUS] = [const { Records::empty() }; VCPUS];
/// What they know besides.
static CLOCKS: [Late<Clock>; VCPUS] = [const { Late::new() }; VCPUS];

/// How often a record is read before it is said to be always in use.
const TRIES: u32 = 1000;

/// A vCPU's time is taken from now on.
///
/// # Safety
/// Nothing refers to the ledger or to the vCPU's clock yet.
#[inline(never)]
pub unsafe fn start(index: usize, now: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        (&raw mut (*LEDGER.get()).timing).write(RECORDS.as_ptr() as u64);
        CLOCKS[index].insert(Clock::new(&RECORDS[index], now));
    }
}

/// A vCPU's clock, if it has one.
///
/// # Safety
/// Only the vCPU's own CPU asks, and holds no other reference to it.
pub unsafe fn clock(index: usize) -> Option<&'static mut Clock> {
    // SAFETY: the caller's promise.
    unsafe { CLOCKS[index].as_mut() }
}

/// The closing lines, for machines that nobody looks into; ticks are the ledger's.
#[inline(never)]
pub fn lines(ledger: &Ledger, lines: &mut Lines<'_>) {
    if ledger.timing == 0 {
        return;
    }
    let (mut time, mut times) = ([0; SPENT_WORDS], [0; EXITS_WORDS]);
    for (cpu, records) in (0..ledger.cpus.into()).zip(&RECORDS) {
        let calm = word(records.spent.read(&mut time, TRIES));
        for (phase, ticks) in Phase::ALL.iter().zip(&time[spent::TICKS..]) {
            let numbers = [cpu, *ticks, ledger.timebase_hz];
            lines.f(
                "@spent phase=%s cpu=%d ticks=%d hz=%d calm=%s",
                &[phase.name(), calm],
                &numbers,
            );
        }
        for reason in ExitReason::ALL {
            let calm = records.exits[reason.slot()].read(&mut times, TRIES);
            if calm && times[exits::COUNT] == 0 {
                continue;
            }
            let [count, total] = [times[exits::COUNT], times[exits::TOTAL]];
            lines.f(
                "@time reason=%s cpu=%d count=%d total=%d min=%d max=%d calm=%s",
                &[reason.name(), word(calm)],
                &[cpu, count, total, !times[exits::SHORTEST], times[exits::LONGEST]],
            );
        }
    }
}

const fn word(calm: bool) -> &'static str {
    if calm { "true" } else { "false" }
}
