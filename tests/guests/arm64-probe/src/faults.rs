// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One fault of the kind that the command line names, for a look at its report; then power-off.
#![expect(unsafe_code, reason = "lets EL1 use vectors")]

use core::arch::asm;

use crate::board::{DISTRIBUTOR, RAM_END, RTC, UART};
use crate::mmu::WALK_TO_HOLE;
use crate::trap::{EL1H, Outcome, encoding, jump, load, store, system, word};
use crate::tree::asked_for;
use crate::{psci, say};

/// A GPIO block that nobody is given, but could be.
const DEVICE: u64 = 0x903_0000;
/// `stp x1, x2, [x0]`: a store that no syndrome describes.
const STP: u32 = 0xa900_0801;
/// `cntb x1`: SVE's length.
const CNTB: u32 = 0x0420_e3e1;
/// APIAKeyLo_EL1: half a key of pointer authentication's.
const KEY: u32 = encoding(3, 0, 2, 1, 0);
/// A register of the implementation's.
const OWN: u32 = encoding(3, 0, 15, 2, 0);

/// What can be asked for.
const KINDS: [(&str, fn() -> Outcome); 10] = [
    ("fault=memory;", || load(RAM_END, 8)),
    ("fault=store;", || store(RAM_END, 1, 0x5a)),
    ("fault=device;", || load(DEVICE + 0xfe0, 4)),
    ("fault=walk;", || load(WALK_TO_HOLE + 0x1238, 8)),
    ("fault=fetch;", || jump(EL1H, UART)),
    ("fault=pair;", || word(EL1H, STP, DISTRIBUTOR + 0x400, 0)),
    ("fault=register;", || word(EL1H, system(OWN, true), 0, 0)),
    ("fault=key;", || word(EL1H, system(KEY, true), 0, 0)),
    ("fault=instruction;", || word(EL1H, CNTB, 0, 0)),
    ("fault=call;", || word(EL1H, 0xd400_0003 | 7 << 5, 0, RTC)),
];

/// Makes the fault that is asked for, as often as that is; returns if none is.
pub fn run(tree: u64) {
    let times = if asked_for(tree, "times=20;") { 20 } else { 1 };
    for (text, fault) in KINDS {
        if !asked_for(tree, text) {
            continue;
        }
        // SAFETY: vectors of both kinds, which this program does not use.
        unsafe { asm!("msr cpacr_el1, {0}", "isb", in(reg) 0x33_0000_u64, options(nostack)) };
        for _ in 0..times {
            let outcome = fault();
            say!("{text} ran {}, esr {:#x}", outcome.ran(), outcome.0.esr);
        }
        psci::power_off();
    }
}
