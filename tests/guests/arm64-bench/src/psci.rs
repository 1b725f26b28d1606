// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls of the firmware.
#![expect(unsafe_code, reason = "calls the firmware")]

use core::arch::asm;

/// PSCI VERSION.
pub const VERSION: u64 = 0x8400_0000;
/// A standard service that nobody has.
pub const UNKNOWN: u64 = 0x8400_ff00;
/// PSCI SYSTEM_OFF.
const SYSTEM_OFF: u64 = 0x8400_0008;

/// Ends the run.
pub fn power_off() -> ! {
    // SAFETY: does not come back.
    unsafe { asm!("hvc #0", "b .", in("x0") SYSTEM_OFF, options(noreturn)) }
}
