// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Facilities of problem state: the system call by a vector, DSCR, TAR, event-based branches; and no
//! transactional memory.
#![expect(unsafe_code, reason = "instructions of these facilities")]

use core::arch::asm;

use crate::linux::{Event, USER, close, open, pid, pid_by_scv, signal_of, spin, value};
use crate::report::Probe;

const DSCR: u32 = 3;
const UPMC1: u32 = 771;
const UMMCR0: u32 = 779;
const EBBHR: u32 = 804;
const BESCR: u32 = 806;
const TAR: u32 = 815;

fn get<const N: u32>() -> u64 {
    let value;
    // SAFETY: reads a register of this program's.
    unsafe { asm!("mfspr {0}, {1}", out(reg) value, const N, options(nomem, nostack)) };
    value
}

fn set<const N: u32>(value: u64) {
    // SAFETY: a register of this program's, which the compiler does not use.
    unsafe { asm!("mtspr {1}, {0}", in(reg) value, const N, options(nostack)) };
}

/// All of them.
pub fn run() {
    Probe::run("scv", |p| p.equal(&"getpid", pid_by_scv() as u64, pid() as u64));
    Probe::run("dscr", |p| {
        for depth in [7, 0x1f, 0] {
            set::<DSCR>(depth);
            p.equal(&"read back", get::<DSCR>(), depth);
        }
    });
    Probe::run("tar", |p| {
        let there: u64;
        // SAFETY: the branch goes over one instruction. The word is `bctar`.
        unsafe {
            asm!("bl 2f", "2:", "mflr 14", "addi 14, 14, 24", "mtspr {tar}, 14", "li 15, 1",
                 ".long 0x4e800460", "li 15, 0", "nop", out("r14") _, out("r15") there, out("lr") _,
                 tar = const TAR, options(nostack));
        }
        p.equal(&"the branch is taken", there, 1);
        set::<TAR>(0x1234_5678);
        p.equal(&"read back", get::<TAR>(), 0x1234_5678);
    });
    Probe::run("no-transactional-memory", |p| {
        const SIGILL: u64 = 4;
        // SAFETY: `tbegin.`, which raises a signal.
        let begin = || unsafe { asm!(".long 0x7c00051d", out("cr0") _, options(nostack)) };
        p.equal(&"signal of tbegin.", signal_of(begin), SIGILL);
        p.equal(&"signal of nothing", signal_of(|| ()), 0);
    });
    Probe::run("event-based-branch", event_based_branch);
}

/// A counter that overflows takes this program to its own handler, with nobody in between.
fn event_based_branch(p: &Probe) {
    /// Instructions in counter 1; the top bit asks for these branches.
    const EVENT: u64 = 1 << 63 | 0x1_0002;
    const RAW: u32 = 4;
    const PINNED: u64 = 1 << 2;
    const EXCLUSIVE: u64 = 1 << 3;
    /// MMCR0: the counters run, and an overflow is an alert.
    const ALERTS: u64 = 1 << 26;
    /// BESCR: branches enabled, by the performance monitor.
    const ENABLED: u64 = 1 << 63 | 1 << 32;
    const OCCURRED: u64 = 1;
    let event = Event { kind: RAW, config: EVENT, period: 0, flags: USER | PINNED | EXCLUSIVE };
    let counter = match open(&event) {
        Ok(counter) => counter,
        Err(error) => return p.equal(&"perf_event_open", error as u64, 0),
    };
    p.holds(&"it can be read", value(counter).is_some());
    let (handler, mut came): (u64, u64) = (handler(), 0);
    set::<EBBHR>(handler);
    p.equal(&"handler", get::<EBBHR>(), handler);
    set::<UPMC1>(0x8000_0000 - 10_000);
    set::<BESCR>(ENABLED);
    set::<UMMCR0>(ALERTS);
    for _ in 0..1000 {
        spin(100_000);
        if get::<BESCR>() & OCCURRED != 0 {
            came = 1;
            break;
        }
    }
    p.equal(&"it came", came, 1);
    p.equal(&"further ones are off", get::<BESCR>() >> 63, 0);
    set::<BESCR>(0);
    close(counter);
}

/// Where such a branch goes: back, with further ones off (`rfebb 0`).
fn handler() -> u64 {
    let at;
    // SAFETY: the word behind the branch is executed by the event only.
    unsafe {
        asm!("bl 2f", ".long 0x4c000124", "2:", "mflr {0}", out(reg) at, out("lr") _,
             options(nostack));
    }
    at
}
