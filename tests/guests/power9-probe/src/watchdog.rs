// SPDX-License-Identifier: Apache-2.0 OR MIT
//! H_WATCHDOG: every code, and watchdogs that expire while the CPU is deaf or asleep.
use crate::hcall::{self, NOOP, P2, P3, PARAMETER, WATCHDOG, code, hcall};
use crate::low::RESETS;
use crate::report::Probe;
use crate::trap::{self, SECOND, now};

/// Start, with what an expired one does: power off, or have all CPUs take a system reset.
const OFF: u64 = 0x101;
const DUMP: u64 = 0x103;
const STOP: u64 = 0x200;
const QUERY: u64 = 0x300;
const QUERY_MIGRATION: u64 = 0x400;
/// When it expires, the others go on.
const LEAVE_OTHERS: u64 = 1 << 16;
const ALL: u64 = u64::MAX;
/// Far beyond the end of the run, in milliseconds.
const LONG: u64 = 1_000_000;
/// Soon, in milliseconds.
const SHORT: u64 = 100;
/// No reset within this time is none.
const PATIENCE: u64 = 120 * SECOND;

/// Starts the first watchdog: a system reset for all after so many milliseconds.
pub const START_DUMP: [u64; 3] = [DUMP, 1, 50];

/// Whether one more system reset comes to this CPU, `wait`ing meanwhile.
pub fn reset_comes(before: u64, mut wait: impl FnMut()) -> bool {
    let since = now();
    while RESETS.get() == before && now() - since < PATIENCE {
        wait();
    }
    RESETS.get() == before + 1
}

fn nothing() {}

/// All of them, on the only CPU.
pub fn run() {
    trap::interrupts(false);
    Probe::run("hcall-watchdog", |p| {
        for (args, want) in [
            ([OFF, 1, LONG], 0),
            ([0x102, 4, u64::MAX], 0),
            ([DUMP | LEAVE_OTHERS, 2, LONG], 0),
            ([OFF, 0, LONG], P2),
            ([OFF, 5, LONG], P2),
            ([OFF, ALL, LONG], P2),
            ([OFF, 1, 0], P3),
            ([0x100, 1, LONG], PARAMETER),
            ([0x104, 1, LONG], PARAMETER),
            ([0x1, 1, LONG], PARAMETER),
            ([0x501, 1, LONG], PARAMETER),
            ([1 << 17 | OFF, 1, LONG], PARAMETER),
            ([1 << 63 | OFF, 1, LONG], PARAMETER),
            ([STOP, 0, 0], P2),
            ([STOP, 5, 0], P2),
            ([STOP, 2, 0], 0),
            ([STOP, 2, 0], NOOP),
            ([STOP, 3, 0], NOOP),
            ([STOP, ALL, 0], 0),
            ([STOP, ALL, 0], NOOP),
            ([STOP, 1, 0], NOOP),
            ([QUERY_MIGRATION, 5, 0], P2),
        ] {
            p.equal(&format_args!("{args:x?}"), code(WATCHDOG, &args), want);
        }
        let [code, capabilities, ..] = hcall(WATCHDOG, &[QUERY, 9, 9]);
        p.equal(&"query", code, 0);
        p.equal(&"shortest, how many", capabilities, 1 << 48 | 4 << 32);
        p.equal(&"it need not be stopped to migrate", hcall(WATCHDOG, &[QUERY_MIGRATION, 4])[1], 2);
    });
    Probe::run("watchdog-reaches-a-cpu-with-interrupts-off", |p| {
        for _ in 0..5 {
            let (before, since) = (RESETS.get(), now());
            p.equal(&"start", code(WATCHDOG, &START_DUMP), 0);
            p.holds(&"it comes", reset_comes(before, nothing));
            p.holds(&"not early", now() - since >= 50 * (SECOND / 1000));
            p.equal(&"it is over", code(WATCHDOG, &[STOP, 1, 0]), NOOP);
        }
    });
    Probe::run("watchdog-ends-a-cede", |p| {
        trap::set_decrementer(1 << 54);
        for _ in 0..5 {
            let before = RESETS.get();
            p.equal(&"start", code(WATCHDOG, &START_DUMP), 0);
            let came = reset_comes(before, || {
                code(hcall::CEDE, &[]);
                trap::interrupts(false);
            });
            p.holds(&"it comes", came);
        }
    });
    Probe::run("watchdogs-and-each-other", |p| {
        for (flags, left) in [(DUMP, NOOP), (DUMP | LEAVE_OTHERS, 0)] {
            let before = RESETS.get();
            p.equal(&"the second", code(WATCHDOG, &[OFF, 2, LONG]), 0);
            p.equal(&"the first", code(WATCHDOG, &[flags, 1, 20]), 0);
            p.holds(&"it comes", reset_comes(before, nothing));
            p.equal(&"what became of the second", code(WATCHDOG, &[STOP, 2, 0]), left);
        }
        // One that is stopped, and one that is put off, do not come; unless the machine was so slow
        // that they did before.
        let (before, since) = (RESETS.get(), now());
        let mut in_time = true;
        p.equal(&"start", code(WATCHDOG, &[DUMP, 1, SHORT]), 0);
        let stopped = code(WATCHDOG, &[STOP, 1, 0]);
        in_time &= now() - since < SHORT * (SECOND / 1000);
        p.holds(&"stop", stopped == 0 || !in_time);
        let since = now();
        p.equal(&"start", code(WATCHDOG, &[DUMP, 3, SHORT]), 0);
        p.equal(&"put off", code(WATCHDOG, &[DUMP, 3, LONG]), 0);
        in_time &= now() - since < SHORT * (SECOND / 1000);
        while now() - since < 2 * SHORT * (SECOND / 1000) {}
        p.holds(&"none came", RESETS.get() == before || !in_time);
        p.equal(&"it still runs", code(WATCHDOG, &[STOP, 3, 0]), 0);
    });
}

/// A watchdog that nobody pings: this does not return.
pub fn power_off() -> ! {
    trap::interrupts(false);
    code(WATCHDOG, &[OFF, 4, 100]);
    loop {}
}
