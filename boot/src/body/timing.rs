// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long exits take (`firmware.timing`): each vCPU's clock and records, and what is said of them at
//! the end. The records are read from outside, too, while the machine runs.
use core::fmt::Display;

use anchorite_hv::core::timing::{Clock, Records};
use anchorite_spec::manifest::VCPUS;
use anchorite_spec::timing::{EXITS_WORDS, Phase, SPENT_WORDS, exits, spent};
use anchorite_spec::{ExitReason, Ledger};

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
pub fn lines(ledger: &Ledger, print: &dyn Fn(&dyn Display)) {
    if ledger.timing == 0 {
        return;
    }
    let hz = ledger.timebase_hz;
    let (mut time, mut times) = ([0; SPENT_WORDS], [0; EXITS_WORDS]);
    for (cpu, records) in RECORDS.iter().enumerate().take(ledger.cpus as usize) {
        let calm = records.spent.read(&mut time, TRIES);
        for (phase, ticks) in Phase::ALL.iter().zip(&time[spent::TICKS..]) {
            let name = phase.name();
            print(&format_args!("@spent phase={name} cpu={cpu} ticks={ticks} hz={hz} calm={calm}"));
        }
        for reason in ExitReason::ALL {
            let calm = records.exits[reason.slot()].read(&mut times, TRIES);
            if calm && times[exits::COUNT] == 0 {
                continue;
            }
            print(&format_args!(
                "@time reason={} cpu={cpu} count={} total={} min={} max={} calm={calm}",
                reason.name(),
                times[exits::COUNT],
                times[exits::TOTAL],
                !times[exits::SHORTEST],
                times[exits::LONGEST],
            ));
        }
    }
}
