// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory: where the guest's ends, and what lies beyond.
#![expect(unsafe_code, reason = "puts code at the end of RAM, clears registers")]

use core::arch::asm;

use crate::board::{
    ANNEX, ANNEX_END, DISTRIBUTOR, DISTRIBUTOR_END, FRAMES, FRAMES_END, HOST_SECRETS, ISLAND,
    ISLAND_PAGES, RAM, RAM_END, RTC, UART,
};
use crate::mmu::{self, EXECUTED, HIGH_HALF, USER, WALK_TO_DEVICE, WALK_TO_HOLE};
use crate::report::Probe;
use crate::trap::{EL0, EL1H, Outcome, class, jump, load, store, word};

/// ESR: a store.
const WRITE: u64 = 1 << 6;
/// ESR's fault status of an external abort; on a table walk the level follows.
const EXTERNAL: u64 = 0x10;
const EXTERNAL_ON_WALK: u64 = 0x14;
const LDR_X1: u32 = 0xf940_0001;
const STR_X1: u32 = 0xf900_0001;

/// How an abort must look in the vector: where it came from, and that nothing was changed.
fn taken(p: &Probe, what: &str, address: u64, outcome: &Outcome) {
    let check = |part: &str, got, want| {
        p.equal(&format_args!("{what} {address:#x}: {part}"), got, want);
    };
    let area = &outcome.0;
    check("vector", area.vector, if area.pstate & 0xf == 0 { 0x400 } else { 0x200 });
    check("address", area.far, address);
    check("state before", area.spsr & 0x3df, area.pstate);
    check("masked in the vector", area.daif, 0x3c0);
    check("register changed", outcome.changed(0).map_or(0, |n| n as u64 + 1), 0);
}

/// A load or store that must have been an external abort.
pub fn no_data(p: &Probe, what: &str, address: u64, write: bool, outcome: &Outcome) {
    taken(p, what, address, outcome);
    let area = &outcome.0;
    let level = u64::from(area.pstate & 0xf != 0);
    let want = (class::DATA + level) << 26 | 1 << 25 | EXTERNAL | if write { WRITE } else { 0 };
    // The instruction syndrome may be there or not.
    p.equal(&format_args!("{what} {address:#x}: ESR"), area.esr & 0xfe00_07ff, want);
    p.equal(&format_args!("{what} {address:#x}: ELR"), area.elr, area.code);
}

/// A fetch that must have been one.
pub fn no_code(p: &Probe, what: &str, address: u64, outcome: &Outcome) {
    taken(p, what, address, outcome);
    let area = &outcome.0;
    let level = u64::from(area.pstate & 0xf != 0);
    let want = (class::FETCH + level) << 26 | 1 << 25 | EXTERNAL;
    p.equal(&format_args!("{what} {address:#x}: ESR"), area.esr, want);
    p.equal(&format_args!("{what} {address:#x}: ELR"), area.elr, address);
}

fn allowed(p: &Probe, what: &str, address: u64, outcome: &Outcome) {
    p.holds(&format_args!("{what} {address:#x}: esr {:#x}", outcome.0.esr), outcome.ran());
}

/// All of them.
pub fn run() {
    edges();
    crossings();
    holes();
    far_away();
    walks();
    no_execution();
    from_el0();
}

fn edges() {
    Probe::run("edges-of-memory", |p| {
        for address in [RAM, RAM_END - 8, ISLAND, ISLAND_PAGES - 8, ISLAND_PAGES, ANNEX_END - 8] {
            allowed(p, "load", address, &load(address, 8));
        }
        for address in [RAM_END - 1, ISLAND, ANNEX - 1, ANNEX, ANNEX_END - 1] {
            allowed(p, "store", address, &store(address, 1, 0x5a));
            p.equal(&"stored", load(address, 1).x(1), 0x5a);
        }
        for address in [RAM - 1, RAM_END, ISLAND - 1, ANNEX_END, ANNEX_END + 0xffff] {
            no_data(p, "load", address, false, &load(address, 1));
            no_data(p, "store", address, true, &store(address, 1, 1));
            let address = address & !7;
            no_data(p, "load of 8", address, false, &load(address, 8));
            no_data(p, "store of 8", address, true, &store(address, 8, 1));
        }
    });
    Probe::run("edges-of-devices", |p| {
        for page in [UART, RTC, DISTRIBUTOR, FRAMES] {
            allowed(p, "load", page + 0xfe8, &load(page + 0xfe8, 4));
        }
        for address in [
            UART - 4,
            UART + 0x1000,
            RTC - 4,
            RTC + 0x1000,
            DISTRIBUTOR - 4,
            DISTRIBUTOR_END,
            FRAMES - 4,
            FRAMES_END,
        ] {
            no_data(p, "load", address, false, &load(address, 4));
            no_data(p, "store", address, true, &store(address, 4, 0));
        }
    });
}

fn crossings() {
    Probe::run("accesses-across-borders", |p| {
        // From a block to pages, from page to page, from one region to another whose host memory is
        // elsewhere: each byte arrives at its own place.
        for border in [ISLAND_PAGES, ISLAND_PAGES + 0x1000, ANNEX, ANNEX + 0x1000] {
            for before in 1..8 {
                let value = 0x8877_6655_4433_2211_u64.rotate_left(before as u32 * 4);
                allowed(p, "store", border - before, &store(border - before, 8, value));
                let bytes = (0..8)
                    .fold(0, |all, n| all | (load(border - before + n, 1).x(1) & 0xff) << (8 * n));
                p.equal(&format_args!("bytes at {border:#x} - {before}"), bytes, value);
                p.equal(&"as one", load(border - before, 8).x(1), value);
            }
        }
        // Half inside, half outside: nothing beyond, and what is before the bytes is not touched.
        for end in [RAM_END, ANNEX_END] {
            store(end - 8, 8, 0x1122_3344_5566_7788);
            for before in 1..8 {
                let outcome = load(end - before, 8);
                p.equal(&"load: class", outcome.class(), class::DATA + 1);
                let outcome = store(end - before, 8, u64::MAX);
                p.equal(&"store: class", outcome.class(), class::DATA + 1);
                let mask = u64::MAX >> (8 * before);
                let kept = load(end - 8, 8).x(1) & mask;
                p.equal(&"before", kept, 0x1122_3344_5566_7788 & mask);
                store(end - 8, 8, 0x1122_3344_5566_7788);
            }
        }
    });
}

fn holes() {
    Probe::run("holes-of-host-space", |p| {
        for address in HOST_SECRETS {
            no_data(p, "load", address, false, &load(address, 8));
            no_data(p, "store", address, true, &store(address, 8, 0));
            let address = address & !3;
            no_code(p, "fetch", address, &jump(EL1H, address));
        }
    });
}

fn far_away() {
    let bits = mmu::physical_bits();
    Probe::run("holes-far-away", |p| {
        // Up to the size of guest addresses, up to the processor's own, and beyond.
        mmu::without(|| (33..56).for_each(|bit| far(p, 1 << bit, bit < bits)));
    });
}

/// An address that only the firmware knows to be nothing, or the processor as well.
fn far(p: &Probe, address: u64, exists: bool) {
    let status = if exists { EXTERNAL } else { 0 };
    for (write, outcome) in [(0, load(address, 8)), (WRITE, store(address, 8, 0))] {
        taken(p, "access", address, &outcome);
        let esr = outcome.0.esr;
        let what = format_args!("{address:#x}: esr {esr:#x}");
        p.equal(&what, outcome.class(), class::DATA + 1);
        p.equal(&what, esr & 0x3f, status);
        p.equal(&what, esr & WRITE, write);
    }
    let outcome = jump(EL1H, address);
    let what = format_args!("fetch {address:#x}: esr {:#x}", outcome.0.esr);
    p.equal(&what, outcome.class(), class::FETCH + 1);
    p.equal(&what, outcome.0.elr, address);
}

fn walks() {
    Probe::run("walks-into-holes", |p| {
        let check = |what: &str, outcome: &Outcome| {
            let what = format_args!("{what}: esr {:#x}", outcome.0.esr);
            let status = outcome.0.esr & 0x3f;
            p.holds(&what, matches!(outcome.class() & !1, class::DATA | class::FETCH));
            p.holds(&what, status == EXTERNAL || status & !3 == EXTERNAL_ON_WALK);
        };
        for root in [WALK_TO_HOLE, HIGH_HALF, WALK_TO_DEVICE, HIGH_HALF + (1 << 39)] {
            check("load", &load(root + 0x1238, 8));
            check("store", &store(root + 0x1238, 8, 0));
            check("fetch", &jump(EL1H, root + 0x1000));
            check("load at EL0", &word(EL0, LDR_X1, root, 0));
            check("fetch at EL0", &jump(EL0, root + 0x1000));
            // at s1e1r, at s1e1w, at s1e0r, at s1e0w; dc cvac, dc civac, dc zva, ic ivau: all x0.
            for instruction in [0xd508_7800_u32, 0xd508_7820, 0xd508_7840, 0xd508_7860] {
                let outcome = word(EL1H, instruction, root, 0);
                // PAR_EL1 says so, or an abort does.
                if !outcome.ran() {
                    check("look-up", &outcome);
                }
            }
            for instruction in [0xd50b_7a20_u32, 0xd50b_7e20, 0xd50b_7420, 0xd50b_7520] {
                let outcome = word(EL1H, instruction, root, 0);
                if !outcome.ran() {
                    check("by address", &outcome);
                }
            }
        }
        // A whole half without tables.
        for root in [RAM_END, 1 << 39, 0x5000_0000, UART, FRAMES] {
            mmu::set_high_root(root);
            check("load", &load(HIGH_HALF, 8));
            check("fetch", &jump(EL1H, HIGH_HALF));
        }
    });
}

fn no_execution() {
    Probe::run("devices-are-no-code", |p| {
        for address in [UART, UART + 0xffc, RTC, DISTRIBUTOR, DISTRIBUTOR_END - 4, FRAMES] {
            no_code(p, "fetch", address, &jump(EL1H, address));
            let at_el0 = jump(EL0, USER + address);
            no_code(p, "fetch at EL0", USER + address, &at_el0);
            // Where it may execute, but not read.
            let blind = jump(EL0, EXECUTED + address);
            no_code(p, "blind fetch at EL0", EXECUTED + address, &blind);
        }
    });
    Probe::run("code-runs-off-the-end", |p| {
        // nop, in RAM's last word.
        let last = RAM_END - 4;
        store(last, 4, 0xd503_201f);
        // SAFETY: makes the word visible to fetches.
        unsafe { asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) last) };
        no_code(p, "fetch", RAM_END, &jump(EL1H, last));
    });
}

fn from_el0() {
    Probe::run("walls-at-el0", |p| {
        for address in [RAM_END, 0x5000_0000, ANNEX_END, UART + 0x1000] {
            let address = USER + address;
            no_data(p, "load", address, false, &word(EL0, LDR_X1, address, 0));
            no_data(p, "store", address, true, &word(EL0, STR_X1, address, 0));
            no_code(p, "fetch", address, &jump(EL0, address));
        }
        allowed(p, "load", USER + RAM, &word(EL0, LDR_X1, USER + RAM, 0));
        // hvc, smc, eret, tlbi vmalle1.
        for instruction in [0xd400_0002_u32, 0xd400_0003, 0xd69f_03e0, 0xd508_871f] {
            let outcome = word(EL0, instruction, 0x8400_0008, 0);
            let what = format_args!("{instruction:#x}: esr {:#x}", outcome.0.esr);
            p.equal(&what, outcome.class(), class::UNKNOWN);
            p.equal(&what, outcome.0.elr, outcome.0.code);
            p.equal(&what, outcome.0.vector, 0x400);
        }
    });
}
