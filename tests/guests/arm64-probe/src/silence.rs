// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that falls silent, for the firmware's watchdog: at once on all CPUs, or after it has called
//! in, or slept, for some time; or for want of a CPU that is on. Or one that does nothing but begin again. None of it comes back; what the firmware says is looked at outside.
#![expect(unsafe_code, reason = "sets its timer, and waits for it")]

use core::arch::asm;

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use crate::board::CPUS;
use crate::hex::hex;
use crate::report::Probe;
use crate::trap::{now, second};
use crate::tree::asked_for;
use crate::{psci, smp};

/// The call that feeds the watchdog, in both forms.
const CALLS: [u64; 2] = [0x8600_0010, 0xc600_0010];
/// Its operation for that.
const PET: u64 = 3;

/// When this life was entered.
static ENTERED: AtomicU64 = AtomicU64::new(0);

/// Notes when this life was entered.
pub fn entered() {
    ENTERED.store(now(), Relaxed);
}

/// What the command line asks for, if anything.
pub fn run(tree: u64) {
    if asked_for(tree, "again") {
        crate::say!("restarted from 0x{} to 0x{}", hex(now()), hex(ENTERED.load(Relaxed)));
        psci::call(&[psci::SYSTEM_RESET]);
    }
    if asked_for(tree, "silent=spin") {
        crate::say!("all CPUs fall silent");
        // A slow machine's start is no silence.
        for cpu in 1..CPUS {
            let before = smp::starts(cpu).0;
            psci::call(&[psci::CPU_ON, cpu as u64, smp::entry(), cpu as u64]);
            while smp::starts(cpu).0 == before {
                set_timer(400 * second());
            }
            smp::give(cpu, spin);
        }
        spin(0);
    }
    if asked_for(tree, "silent=off") {
        crate::say!("all CPUs go off");
        for cpu in 1..CPUS {
            smp::start(cpu);
            smp::give(cpu, smp::turn_off);
        }
        smp::turn_off(0);
    }
    if asked_for(tree, "silent=ping") {
        Probe::run("watchdog-call", |p| {
            for (operation, argument, want) in [
                (0, 0, psci::SUCCESS),
                (1, 1, psci::SUCCESS),
                (1, 2, psci::INVALID_PARAMETERS),
                (2, 1, psci::SUCCESS),
                (2, 0, -3_i64 as u64),
                (4, 0, psci::NOT_SUPPORTED),
            ] {
                // Both times stand in registers, which the probe's own calls do not expect.
                if operation != 0 {
                    let code = psci::call(&[CALLS[0], operation, argument]);
                    p.equal(&format_args!("{operation} {argument}"), code, want);
                }
            }
        });
        live(|n| {
            set_timer(second() / 4);
            psci::call_by([psci::HVC, psci::SMC][n % 2], &[CALLS[n / 2 % 2], PET]) == 0
        });
        // Its timer and its sleep are no calls.
        live(|_| {
            set_timer(second() / 4);
            true
        });
    }
    if asked_for(tree, "silent=sleep") {
        // Nothing ends its sleep but EL2's timer.
        set_timer(400 * second());
        live(|_| true);
        psci::power_off();
    }
}

/// Sleeps again and again for four seconds, and does something before each time that works.
fn live(work: impl Fn(usize) -> bool) {
    let since = now();
    let mut n = 0;
    while now() - since < 4 * second() {
        assert!(work(n));
        n += 1;
        // SAFETY: waits.
        unsafe { asm!("wfi", options(nostack)) };
    }
    crate::say!("alive for {} ms", (now() - since) / (second() / 1000));
}

/// Has the timer's interrupt, which stays masked, end a wait.
fn set_timer(ticks: u64) {
    // SAFETY: the timer is the guest's.
    unsafe { asm!("msr cntv_cval_el0, {0}", "isb", in(reg) now() + ticks, options(nostack)) };
}

fn spin(_: usize) {
    loop {
        core::hint::spin_loop();
    }
}
