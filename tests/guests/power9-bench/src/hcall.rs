// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hypercalls. The scratch RAM has a queue of 64 KiB, then areas for the firmware.
#![expect(unsafe_code, reason = "calls the firmware, and fills what it is given")]

use core::arch::asm;

use crate::board::SCRATCH;
pub use crate::numbers::*;
use crate::rtas;

/// A number in the table's range that nobody serves: H_VTERM_PARTNER_INFO.
pub const UNKNOWN: u64 = 0x150;

/// One hypercall: r3–r10 afterwards.
pub fn hcall(number: u64, args: &[u64]) -> [u64; 8] {
    let mut r = [0; 8];
    r[0] = number;
    r[1..=args.len()].copy_from_slice(args);
    // SAFETY: the registers that a call may change are named.
    unsafe {
        asm!("sc 1",
             inlateout("r3") r[0], inlateout("r4") r[1], inlateout("r5") r[2],
             inlateout("r6") r[3], inlateout("r7") r[4], inlateout("r8") r[5],
             inlateout("r9") r[6], inlateout("r10") r[7],
             out("r0") _, out("r11") _, out("r12") _, out("ctr") _, out("xer") _, out("cr0") _,
             out("cr1") _, out("cr5") _, out("cr6") _, out("cr7") _, options(nostack));
    }
    r
}

/// One that must succeed.
pub fn must(number: u64, args: &[u64]) {
    let code = hcall(number, args)[0];
    assert_eq!(code, 0, "hypercall {number:#x}");
}

/// Stores big-endian words in RAM that only the firmware uses besides.
fn put(at: u64, words: &[u32]) {
    for (n, word) in (0..).zip(words) {
        // SAFETY: callers name such RAM.
        unsafe { ((at + 4 * n) as *mut u32).write_volatile(word.to_be()) };
    }
}

/// A service without outputs but its status, which must be success.
pub fn rtas(token: u32, inputs: &[u32]) {
    let at = SCRATCH + 0x1_1000;
    put(at, &[token, inputs.len() as u32, 1]);
    put(at + 12, inputs);
    must(RTAS, &[at]);
    let status = at + 12 + 4 * inputs.len() as u64;
    // SAFETY: as in `put`.
    let status = unsafe { (status as *const u32).read_volatile() };
    assert_eq!(status, rtas::SUCCESS as u32, "RTAS {token}");
}

/// Where the virtual processor area is.
const AREA: u64 = SCRATCH + 0x1_0000;

/// A virtual processor area, as every Linux has one.
pub fn register_area() {
    put(AREA, &[0, 640 << 16]);
    must(REGISTER_VPA, &[1 << 45, 0, AREA]);
}

/// Writes its cede latency hint.
pub fn cede_latency_hint(hint: u8) {
    put(AREA + 0xb0, &[u32::from(hint) << 24]);
}
