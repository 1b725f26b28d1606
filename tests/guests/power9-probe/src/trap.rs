// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Trying things: an instruction, an access, a jump, and what came of it.
#![expect(unsafe_code, reason = "runs instructions that trap")]

use core::arch::asm;

use crate::low::{RESUME, SEEN, VEC, WORDS, low_try, low_user};

/// The machine state in which this program runs: 64-bit, machine checks, recoverable, little-endian.
pub const MSR: u64 = 0x8000_0000_0000_1003;
/// Both kinds of translation.
pub const RELOCATED: u64 = MSR | 0x30;
/// Problem state.
pub const PR: u64 = 0x4000;
/// Hypervisor state.
pub const HV: u64 = 1 << 60;
/// External interrupts.
pub const EE: u64 = 0x8000;

/// An exception.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trap {
    /// Its vector, or 0 if there was none.
    pub vector: u64,
    /// Where.
    pub srr0: u64,
    /// Machine state before, and cause.
    pub srr1: u64,
    /// Data address.
    pub dar: u64,
    /// Data cause.
    pub dsisr: u64,
    /// Machine state in the vector.
    pub msr: u64,
}

/// What a tried instruction did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// The exception.
    pub trap: Trap,
    /// r3 afterwards.
    pub r3: u64,
    /// The machine state afterwards, if there was no exception.
    pub msr: u64,
}

/// The last exception.
pub fn last() -> Trap {
    let [srr0, srr1, dar, dsisr, msr] = [0, 1, 2, 3, 4].map(|n| WORDS.at(n));
    Trap { vector: VEC.get(), srr0, srr1, dar, dsisr, msr }
}

/// What r3 holds before a tried instruction.
pub const R3: u64 = 0x5afe_5afe_5afe_5afe;
const BLR: u32 = 0x4e80_0020;
const SC: u32 = 0x4400_0002;

#[repr(C, align(128))]
struct Code([u32; 32]);

static mut CODE: Code = Code([0; 32]);

/// Where tried instructions stand.
pub fn code_address() -> u64 {
    &raw const CODE as u64
}

fn write_code(words: &[u32]) -> u64 {
    let at = code_address();
    for (n, word) in words.iter().enumerate() {
        // SAFETY: the buffer is longer than any list here, and nobody else refers to it.
        unsafe { core::ptr::write_volatile((at as *mut u32).add(n), *word) };
    }
    // SAFETY: cache operations on the buffer's one line.
    unsafe {
        asm!("dcbst 0, {0}", "sync", "icbi 0, {0}", "sync", "isync", in(reg) at, options(nostack));
    }
    at
}

fn outcome(r3: u64) -> Outcome {
    Outcome { trap: last(), r3, msr: SEEN.get() }
}

/// Calls an address, whatever stands there.
pub fn call(address: u64, r4: u64, r5: u64, msr: u64) -> Outcome {
    RESUME.set(MSR);
    // SAFETY: every exception resumes behind the call, with all registers as they were.
    outcome(unsafe { low_try(address, r4, r5, R3, msr) })
}

/// Runs one instruction with r4 and r5, in supervisor real mode.
pub fn word(word: u32, r4: u64, r5: u64) -> Outcome {
    word_in(MSR, word, r4, r5)
}

/// The same in this machine state.
pub fn word_in(msr: u64, word: u32, r4: u64, r5: u64) -> Outcome {
    call(write_code(&[word, BLR]), r4, r5, msr)
}

/// Runs one instruction in problem state, then returns by a system call (vector 0xc00).
pub fn user(word: u32, r4: u64, r5: u64) -> Outcome {
    let at = write_code(&[word, SC]);
    RESUME.set(MSR);
    // SAFETY: as in `call`; the system call comes back like an exception.
    outcome(unsafe { low_user(at, r4, r5, R3) })
}

/// A hypercall with r4 and r5, r6 not 0, which a reset may break off: r3 afterwards, or r4.
pub fn hypercall(number: u64, r4: u64, r5: u64, output: bool) -> u64 {
    const SC_1: u32 = 0x4400_0022;
    const NOP: u32 = 0x6000_0000;
    /// `mr r3, r4`.
    const OUTPUT: u32 = 0x7c83_2378;
    let at = write_code(&[SC_1, if output { OUTPUT } else { NOP }, BLR]);
    RESUME.set(MSR);
    // SAFETY: as in `call`.
    unsafe { low_try(at, r4, r5, number, MSR) }
}

/// A load of 1, 2, 4 or 8 bytes in this machine state.
pub fn load_in(msr: u64, address: u64, size: u64) -> Outcome {
    // lbz, lhz, lwz, ld r3, 0(r4)
    let load = match size {
        1 => 0x8864_0000,
        2 => 0xa064_0000,
        4 => 0x8064_0000,
        _ => 0xe864_0000,
    };
    word_in(msr, load, address, 0)
}

/// A load in supervisor real mode.
pub fn load(address: u64, size: u64) -> Outcome {
    load_in(MSR, address, size)
}

/// A store of 1, 2, 4 or 8 bytes in supervisor real mode.
pub fn store(address: u64, size: u64, value: u64) -> Outcome {
    // stb, sth, stw, std r5, 0(r4)
    let store = match size {
        1 => 0x98a4_0000,
        2 => 0xb0a4_0000,
        4 => 0x90a4_0000,
        _ => 0xf8a4_0000,
    };
    word(store, address, value)
}

/// `mfspr r3, n`.
pub const fn mfspr(n: u32) -> u32 {
    0x7c60_02a6 | swapped(n)
}

/// `mtspr n, r5`.
pub const fn mtspr(n: u32) -> u32 {
    0x7ca0_03a6 | swapped(n)
}

const fn swapped(n: u32) -> u32 {
    (n & 31) << 16 | (n >> 5) << 11
}

/// Sets the decrementer.
pub fn set_decrementer(ticks: u64) {
    // SAFETY: the interrupt has a vector.
    unsafe { asm!("mtspr 22, {0}", in(reg) ticks, options(nostack)) };
}

/// Timebase ticks in a second.
pub const SECOND: u64 = 512_000_000;

/// The timebase.
pub fn now() -> u64 {
    let value;
    // SAFETY: reads a counter.
    unsafe { asm!("mfspr {0}, 268", out(reg) value, options(nostack)) };
    value
}

/// Lets pending interrupts in, or keeps them out.
pub fn interrupts(on: bool) {
    let state = if on { EE } else { 0 } | 2;
    // SAFETY: `mtmsrd` with L = 1 changes EE and RI only; both interrupts have vectors.
    unsafe { asm!("mtmsrd {0}, 1", "isync", in(reg) state, options(nostack)) };
}
