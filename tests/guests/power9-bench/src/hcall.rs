// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hypercalls.
#![expect(unsafe_code, reason = "calls the firmware, and fills what it is given")]

use core::arch::asm;

use crate::board::SCRATCH;
use crate::rtas;

/// H_PUT_TERM_CHAR.
pub const PUT_TERM_CHAR: u64 = 0x58;
/// H_CONFER.
pub const CONFER: u64 = 0xe4;
/// H_PROD.
pub const PROD: u64 = 0xe8;
/// H_POLL_PENDING.
pub const POLL_PENDING: u64 = 0x1d8;
/// H_RANDOM.
pub const RANDOM: u64 = 0x300;
/// H_SET_MODE.
pub const SET_MODE: u64 = 0x31c;
/// H_REGISTER_PROC_TBL.
pub const PROC_TBL: u64 = 0x37c;
/// H_INT_SET_SOURCE_CONFIG.
pub const SET_SOURCE: u64 = 0x3ac;
/// H_INT_SET_QUEUE_CONFIG.
pub const SET_QUEUE: u64 = 0x3b8;
/// A number in the table's range that nobody serves: H_VTERM_PARTNER_INFO.
pub const UNKNOWN: u64 = 0x150;
/// What the RTAS stub calls.
pub const RTAS: u64 = 0xf000;
/// H_BUSY.
pub const BUSY: u64 = 1;
const REGISTER_VPA: u64 = 0xdc;

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

/// A virtual processor area, as every Linux has one.
pub fn register_area() {
    let at = SCRATCH + 0x1_0000;
    put(at, &[0, 640 << 16]);
    must(REGISTER_VPA, &[1 << 45, 0, at]);
}
