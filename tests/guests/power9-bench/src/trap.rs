// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an exception that nobody expects leaves behind.
#![expect(unsafe_code, reason = "reads the core's registers")]

use core::arch::asm;

/// Where it happened, and the machine state with its cause.
pub fn last() -> (u64, u64) {
    let (srr0, srr1);
    // SAFETY: reads two registers.
    unsafe { asm!("mfspr {0}, 26", "mfspr {1}, 27", out(reg) srr0, out(reg) srr1) };
    (srr0, srr1)
}
