// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One fault of the kind that the command line names, for a look at its report; then power-off.
use crate::board::{RAM_END, TIMA};
use crate::mmu::{self, ALIAS, WALK_TO_HOLE};
use crate::trap::{MSR, Outcome, RELOCATED, call, load, load_in, store, word};
use crate::{console, hcall, say, tree};

/// Registers of a device that nobody is given, but could be.
const DEVICE: u64 = 0x6_0302_0350_0000;
/// `msgsndp r4`: HFSCR withholds it.
const MSGSNDP: u32 = 0x7c00_211c;

/// What can be asked for.
const KINDS: [(&str, fn() -> Outcome); 8] = [
    ("fault=memory;", || load(RAM_END, 8)),
    ("fault=device;", || load(DEVICE, 4)),
    ("fault=translated;", || load_in(RELOCATED, ALIAS + RAM_END + 0x1238, 8)),
    ("fault=walk;", || load_in(RELOCATED, WALK_TO_HOLE, 8)),
    ("fault=fetch;", || call(TIMA, 0, 0, MSR)),
    ("fault=instruction;", || word(0, 0, 0)),
    ("fault=register;", || word(MSGSNDP, 0, 0)),
    ("fault=store;", || store(RAM_END, 1, 0x5a)),
];

/// Makes the fault that is asked for, as often as that is; returns if none is.
pub fn run(at: u64) {
    let times = if tree::asked_for(at, "times=20;") { 20 } else { 1 };
    for (text, fault) in KINDS {
        if !tree::asked_for(at, text) {
            continue;
        }
        hcall::code(hcall::SET_MODE, &[1, 4, 0, 0]);
        mmu::start();
        for _ in 0..times {
            say!("{text} vector {:#x}", fault().trap.vector);
        }
        console::power_off();
    }
}
