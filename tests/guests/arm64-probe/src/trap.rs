// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Trying things: an instruction, an access, a jump, and what came of it.
#![expect(unsafe_code, reason = "writes code")]

use core::arch::asm;

use crate::board::CPUS;
use crate::low::{self, Area};
use crate::mmu;
use crate::random::Random;

/// EL1 with its own stack pointer, everything masked: as this program runs.
pub const EL1H: u64 = 0x3c5;
/// EL1 with EL0's stack pointer.
pub const EL1T: u64 = 0x3c4;
/// EL0.
pub const EL0: u64 = 0x3c0;

/// ESR_EL1.EC.
pub mod class {
    /// Unknown reason: an undefined instruction.
    pub const UNKNOWN: u64 = 0x00;
    /// A trapped system register or instruction.
    pub const SYSTEM: u64 = 0x18;
    /// SVE, with SVE switched off.
    pub const SVE: u64 = 0x19;
    /// SME, with SME switched off.
    pub const SME: u64 = 0x1d;
    /// Illegal execution state.
    pub const ILLEGAL: u64 = 0x0e;
    /// Instruction abort from EL0; from EL1 it is one more.
    pub const FETCH: u64 = 0x20;
    /// Data abort from EL0; from EL1 it is one more.
    pub const DATA: u64 = 0x24;
    /// BRK.
    pub const BREAK: u64 = 0x3c;
}

/// What ends tried code that nothing stops.
const BRK: u32 = 0xd420_0000 | 0x5afe << 5;
const BRK_ESR: u64 = class::BREAK << 26 | 1 << 25 | 0x5afe;
/// ESR: a 32-bit instruction.
pub const IL: u64 = 1 << 25;

#[repr(C, align(4096))]
struct Code([u32; 1024]);
static mut CODE: [Code; CPUS] = [const { Code([0; 1024]) }; CPUS];

/// Words of a place for code, and places in a CPU's page.
const WORDS: usize = 16;
const PLACES: u32 = 64;

/// Where this CPU tries these words. Each text has its place: what is tried again and again need
/// not be written again, which would cost QEMU's translation of it.
pub fn place_of(words: &[u32]) -> u64 {
    let mpidr: u64;
    // SAFETY: reads the CPU's number.
    unsafe { asm!("mrs {0}, mpidr_el1", out(reg) mpidr, options(nomem, nostack)) };
    let hash = words.iter().fold(0_u32, |hash, word| (hash ^ word).wrapping_mul(0x9e37_79b1));
    &raw const CODE as u64 + (mpidr & 3) * 0x1000 + u64::from(hash >> 16 & (PLACES - 1)) * 64
}

/// Writes code there, followed by what ends it.
fn write_code(words: &[u32]) -> u64 {
    assert!(words.len() < WORDS);
    let at = place_of(words);
    for (n, word) in words.iter().chain([&BRK]).enumerate() {
        let place = (at as *mut u32).wrapping_add(n);
        // SAFETY: this CPU's own page of code, and the place is longer than the code.
        unsafe {
            if core::ptr::read_volatile(place) != *word {
                core::ptr::write_volatile(place, *word);
                asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb",
                     in(reg) place, options(nostack));
            }
        }
    }
    at
}

/// Registers full of noise.
pub fn noise(seed: u64) -> [u64; 31] {
    let mut random = Random::new(seed);
    core::array::from_fn(|_| random.next())
}

/// What a try came to.
pub struct Outcome(pub Area);

impl Outcome {
    /// It ran to its end.
    pub fn ran(&self) -> bool {
        self.0.esr == BRK_ESR
    }

    /// ESR_EL1.EC.
    pub fn class(&self) -> u64 {
        self.0.esr >> 26
    }

    /// A register afterwards.
    pub fn x(&self, register: usize) -> u64 {
        self.0.output[register]
    }

    /// The first register that was changed, from this one on.
    pub fn changed(&self, from: usize) -> Option<usize> {
        (from..31).find(|n| self.0.output[*n] != self.0.input[*n])
    }
}

/// Runs code in a processor state. At EL0 it runs where EL0 may execute it.
pub fn words(pstate: u64, words: &[u32], registers: &[u64; 31]) -> Outcome {
    let at = write_code(words);
    let at = if pstate & 0xf == 0 && mmu::is_on() { at + mmu::USER } else { at };
    Outcome(low::run(at, pstate, registers))
}

/// Runs one instruction in a processor state, x0 and x1 given.
pub fn word(pstate: u64, word: u32, x0: u64, x1: u64) -> Outcome {
    let mut registers = noise(x0 ^ u64::from(word));
    (registers[0], registers[1]) = (x0, x1);
    words(pstate, &[word], &registers)
}

/// Goes to an address, whatever stands there.
pub fn jump(pstate: u64, address: u64) -> Outcome {
    Outcome(low::run(address, pstate, &noise(address)))
}

/// A load of 1, 2, 4 or 8 bytes into x1.
pub fn load(address: u64, size: u64) -> Outcome {
    // ldr x1, [x0] and its shorter kin.
    word(EL1H, 0x3940_0001 | (size.trailing_zeros() << 30), address, 0)
}

/// A store of 1, 2, 4 or 8 bytes.
pub fn store(address: u64, size: u64, value: u64) -> Outcome {
    // str x1, [x0] and its shorter kin.
    word(EL1H, 0x3900_0001 | (size.trailing_zeros() << 30), address, value)
}

/// `mrs x1, S<op0>_…` or, without `read`, `msr …, x1`: the encoding has op0 (2 or 3), op1, CRn, CRm
/// and op2 from bit 14 down.
pub const fn system(encoding: u32, read: bool) -> u32 {
    0xd500_0001 | (encoding << 5) | if read { 1 << 21 } else { 0 }
}

/// The encoding of a system register or instruction.
pub const fn encoding(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

/// Counter ticks in a second.
pub fn second() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {0}, cntfrq_el0", out(reg) value, options(nomem, nostack)) };
    value
}

/// The counter.
pub fn now() -> u64 {
    let value;
    // SAFETY: reads a counter.
    unsafe { asm!("isb", "mrs {0}, cntvct_el0", out(reg) value, options(nomem, nostack)) };
    value
}
