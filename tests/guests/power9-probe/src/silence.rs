// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that falls silent, for the firmware's watchdog: at once on all CPUs, or after it has called
//! in, or slept, for some time. Or one that does nothing but begin again. None of it comes back; what the firmware says is looked at outside.
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use crate::hex::hex;
use crate::smp::{self, CPUS};
use crate::trap::{self, SECOND, now};
use crate::tree::asked_for;
use crate::{console, hcall, rtas, say};

/// Between two signs of life, and how long there are any: longer than any watchdog of the tests'.
const STEP: u64 = SECOND / 4;
const ALIVE: u64 = 4 * SECOND;
/// H_WATCHDOG: starts the guest's own second watchdog, which would power off far later.
const START: [u64; 3] = [0x101, 2, 1_000_000];

/// When this life was entered.
static ENTERED: AtomicU64 = AtomicU64::new(0);

/// Notes when this life was entered.
pub fn entered() {
    ENTERED.store(now(), Relaxed);
}

/// What the command line asks for, if anything.
pub fn run(tree: u64) {
    if asked_for(tree, "again") {
        say!("restarted from 0x{} to 0x{}", hex(now()), hex(ENTERED.load(Relaxed)));
        smp::services(0, rtas::SYSTEM_REBOOT, &[], 1);
    }
    if asked_for(tree, "silent=spin") {
        say!("all CPUs fall silent");
        smp::deafen();
        spin();
    }
    if asked_for(tree, "silent=off") {
        crate::say!("all CPUs go off");
        for cpu in 1..CPUS {
            smp::start_to_stop(cpu);
        }
        smp::services(0, rtas::STOP_SELF, &[], 1);
    }
    if asked_for(tree, "silent=ping") {
        live(|| {
            trap::set_decrementer(STEP);
            hcall::code(hcall::WATCHDOG, &START) == 0
        });
        // Its timer and its sleep are no calls.
        live(|| {
            trap::set_decrementer(STEP);
            true
        });
    }
    if asked_for(tree, "silent=sleep") {
        // Nothing ends its sleep but the watchdog's looks.
        trap::set_decrementer(100 * ALIVE);
        live(|| true);
        console::power_off();
    }
}

/// Sleeps again and again, and does something before each time that works.
fn live(work: impl Fn() -> bool) {
    let since = now();
    while now() - since < ALIVE {
        assert!(work());
        hcall::code(hcall::CEDE, &[]);
        trap::interrupts(false);
    }
    say!("alive for {} ms", (now() - since) / (SECOND / 1000));
}

fn spin() -> ! {
    trap::interrupts(false);
    loop {
        core::hint::spin_loop();
    }
}
