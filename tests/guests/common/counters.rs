// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Performance counters, as `perf` uses them.
use crate::linux::{CYCLES, Event, INSTRUCTIONS, close, open, spin, value};
use crate::report::Probe;

/// The loop that is counted: so many times two instructions.
const TIMES: u64 = 2_000_000;

/// What `event` counts of the loop.
fn counted(event: &Event) -> Result<u64, i64> {
    let counter = open(event)?;
    let before = value(counter).unwrap_or(u64::MAX);
    spin(TIMES);
    let counted = value(counter).unwrap_or(0).wrapping_sub(before);
    close(counter);
    Ok(counted)
}

/// Cycles go by, and the loop's instructions are all counted. `has_instructions`: whether the
/// emulator has such a counter at all; it says so itself, and a kernel believes it.
pub fn run(has_instructions: bool) {
    /// No such event.
    const ENOENT: i64 = -2;
    Probe::run("counted-cycles", |p| match counted(&CYCLES) {
        Ok(cycles) => p.holds(&format_args!("{cycles} cycles"), cycles > 1000),
        Err(error) => p.equal(&"perf_event_open", error as u64, 0),
    });
    Probe::run("counted-instructions", |p| match counted(&INSTRUCTIONS) {
        // QEMU does not tell the kernel's from these.
        Ok(n) => p.holds(&format_args!("{n}"), (2 * TIMES..8 * TIMES).contains(&n)),
        Err(error) => p.holds(&format_args!("{error}"), !has_instructions && error == ENOENT),
    });
    // The kernel's own count of the interrupts is the witness.
    Probe::run("counter-interrupts", |p| {
        let every = Event { period: 100_000, ..CYCLES };
        match open(&every) {
            Ok(counter) => {
                (0..50).for_each(|_| spin(TIMES));
                close(counter);
            }
            Err(error) => p.equal(&"perf_event_open", error as u64, 0),
        }
    });
}
