// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One thing that the command line can ask for: vectors that are not there. Whatever the guest is
//! given then, it cannot take. The run must end.
#![expect(unsafe_code, reason = "gives up the vectors")]

use core::arch::asm;

use crate::board::{RAM_END, RTC};
use crate::tree::asked_for;

/// Puts the vectors where the command line wants them, then provokes an exception.
pub fn lose(tree: u64) {
    for (text, place) in
        [("vectors=hole", RAM_END), ("vectors=device", RTC), ("vectors=zero", 0_u64)]
    {
        if asked_for(tree, text) {
            give_up(place);
        }
    }
}

/// Provokes an exception whose vector is there.
pub fn give_up(place: u64) -> ! {
    loop {
        // SAFETY: nothing comes back from there, which is what is tried.
        unsafe {
            asm!("msr vbar_el1, {0}", "isb", "udf #0", in(reg) place, options(nostack));
        }
    }
}
