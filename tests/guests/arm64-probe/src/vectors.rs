// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the command line asks for, and one thing that it can: vectors that are not there. Whatever
//! the guest is given then, it cannot take. The run must end.
#![expect(unsafe_code, reason = "reads the tree, and gives up the vectors")]

use core::arch::asm;

use crate::board::{RAM_END, RTC};

/// Whether the command line in the tree has this in it.
pub fn asked(tree: u64, text: &str) -> bool {
    // SAFETY: the firmware put the tree there; its size stands in its second word.
    let bytes = unsafe {
        let size = core::ptr::read_volatile((tree + 4) as *const u32).swap_bytes();
        core::slice::from_raw_parts(tree as *const u8, size.min(0x1_0000) as usize)
    };
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Puts the vectors where the command line wants them, then provokes an exception.
pub fn lose(tree: u64) {
    for (text, place) in
        [("vectors=hole", RAM_END), ("vectors=device", RTC), ("vectors=zero", 0_u64)]
    {
        if asked(tree, text) {
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
