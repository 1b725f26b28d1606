// SPDX-License-Identifier: Apache-2.0 OR MIT
//! System registers and system instructions, all encodings; and what must survive an exit.
#![expect(unsafe_code, reason = "fills and reads vector registers")]

use crate::board::{FRAMES, SCRATCH};
use crate::psci::{HVC, VERSION};
use crate::random::Random;
use crate::report::Probe;
use crate::trap::{EL0, EL1H, IL, Outcome, class, encoding, noise, place_of, system, word, words};

/// ICC_IAR0_EL1, ICC_NMIAR1_EL1, ICC_IAR1_EL1: reading one takes the interrupt.
pub const TAKING: [u32; 3] =
    [encoding(3, 0, 12, 8, 0), encoding(3, 0, 12, 9, 5), encoding(3, 0, 12, 12, 0)];

/// Whether an outcome is one that the architecture knows: it ran, or EL1 was told.
fn known(outcome: &Outcome) -> bool {
    let told =
        [class::UNKNOWN, class::SYSTEM, class::SVE, class::SME, 7].contains(&outcome.class());
    let vector = if outcome.0.pstate & 0xf == 0 { 0x400 } else { 0x200 };
    outcome.ran() || told && outcome.0.vector == vector && outcome.0.elr == outcome.0.code
}

fn undefined(outcome: &Outcome) -> bool {
    outcome.0.esr == IL && outcome.changed(0).is_none() && known(outcome)
}

fn name(p: &Probe, what: &str, encoding: u32, outcome: &Outcome, holds: bool) {
    let field = |shift: u32, mask: u32| encoding >> shift & mask;
    let (op0, op1, crn) = (field(14, 3), field(11, 7), field(7, 15));
    let (crm, op2) = (field(3, 15), field(0, 7));
    let esr = outcome.0.esr;
    let text = format_args!("{what} S{op0}_{op1}_C{crn}_C{crm}_{op2}: esr {esr:#x}");
    p.holds(&text, holds);
}

/// Implementation-defined registers, wherever they are.
fn is_implementation_defined(encoding: u32) -> bool {
    encoding >> 14 == 3 && matches!(encoding >> 7 & 15, 11 | 15)
}

/// Registers of EL2 and EL3, and of EL1 by their names for EL2.
fn is_above_el1(encoding: u32) -> bool {
    encoding >> 14 == 3 && encoding >> 11 & 7 >= 4
}

/// All of them.
pub fn run() {
    all();
    instructions();
    survival();
}

fn all() {
    Probe::run("all-system-registers", |p| {
        let mut random = Random::new(0x0a64_0005);
        for encoding in (2 << 14..4 << 14).filter(|encoding| !TAKING.contains(encoding)) {
            // Of the debug registers, which few are, some.
            if encoding >> 14 == 2 && random.below(8) > 0 {
                continue;
            }
            let beyond = is_implementation_defined(encoding) || is_above_el1(encoding);
            let fine = |outcome: &Outcome| if beyond { undefined(outcome) } else { known(outcome) };
            let read = word(EL1H, system(encoding, true), 0, 0);
            name(p, "read of", encoding, &read, fine(&read));
            // What was read is written back: this program lives on some of them.
            let value = match (read.ran(), beyond) {
                (true, _) => read.x(1),
                (_, true) => u64::MAX,
                _ => 0,
            };
            let write = word(EL1H, system(encoding, false), 0, value);
            name(p, "write of", encoding, &write, fine(&write));
        }
        // ACTLR_EL1 is there, but holds nothing.
        let actlr = encoding(3, 0, 1, 0, 1);
        p.holds(&"ACTLR_EL1", word(EL1H, system(actlr, false), 0, u64::MAX).ran());
        p.equal(&"ACTLR_EL1", word(EL1H, system(actlr, true), 0, 7).x(1), 0);
    });
    Probe::run("system-registers-at-el0", |p| {
        let mut random = Random::new(0x0a64_0003);
        for _ in 0..2000 {
            // Half of them where EL0 has registers.
            let op1 = if random.below(2) == 0 { 3 << 11 } else { random.below(8) as u32 * 0x800 };
            let encoding =
                2 << 14 | (random.below(2) as u32) << 14 | op1 | random.below(0x800) as u32;
            let read = word(EL0, system(encoding, true), 0, 0);
            name(p, "read at EL0 of", encoding, &read, known(&read));
            let value = if read.ran() { read.x(1) } else { random.next() };
            let write = word(EL0, system(encoding, false), 0, value);
            name(p, "write at EL0 of", encoding, &write, known(&write));
            if is_implementation_defined(encoding) {
                name(p, "access at EL0 to", encoding, &read, read.class() == class::UNKNOWN);
            }
        }
    });
}

fn instructions() {
    Probe::run("all-system-instructions", |p| {
        // Caches, address translation, TLBs; x1 is an address, a set and way, a process.
        for op1 in 0..8 {
            for crn in [7, 8, 9, 11, 15] {
                for rest in 0..128 {
                    let encoding = encoding(1, op1, crn, 0, 0) | rest;
                    let outcome = word(EL1H, system(encoding, false), 0, SCRATCH);
                    let fine = if op1 >= 4 { undefined(&outcome) } else { known(&outcome) };
                    name(p, "instruction", encoding, &outcome, fine);
                    let at_el0 = word(EL0, system(encoding, false), 0, SCRATCH);
                    let denied = at_el0.class() == class::DATA;
                    name(p, "at EL0, instruction", encoding, &at_el0, known(&at_el0) || denied);
                }
            }
        }
        // TLBI ALLE1, ALLE2, IPAS2E1, VMALLS12E1; AT S12E1R, S1E2R.
        for (op1, crn, crm, op2) in
            [(4, 8, 7, 4), (4, 8, 7, 0), (4, 8, 4, 1), (4, 8, 7, 6), (4, 7, 8, 4), (4, 7, 8, 0)]
        {
            let encoding = encoding(1, op1, crn, crm, op2);
            let outcome = word(EL1H, system(encoding, false), 0, SCRATCH);
            name(p, "instruction", encoding, &outcome, undefined(&outcome));
        }
        // eret to EL2, EL3, a state that does not exist: nothing but an illegal state at EL1.
        for state in [0x3c9, 0x3c8, 0x3cd, 0x3cc, 0x3c6, 0x3d3, 0x3da] {
            // msr spsr_el1, x1; msr elr_el1, x2; eret; brk.
            let code = [0xd518_4001, 0xd518_4022, 0xd69f_03e0];
            let mut registers = noise(state);
            (registers[1], registers[2]) = (state, place_of(&code) + 12);
            let outcome = words(EL1H, &code, &registers);
            let text = format_args!("eret to {state:#x}: esr {:#x}", outcome.0.esr);
            p.equal(&text, outcome.class(), class::ILLEGAL);
            p.equal(&text, outcome.0.elr, registers[2]);
        }
        // mrs x1, CurrentEL
        p.equal(&"CurrentEL", word(EL1H, system(encoding(3, 0, 4, 2, 2), true), 0, 0).x(1), 4);
    });
}

core::arch::global_asm!(
    r#"
    .arch_extension fp
    .arch_extension simd
    /* void probe_vectors_kept(from, to): q0 to q31 loaded, a call, stored. */
    .globl  probe_vectors_kept
probe_vectors_kept:
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ldr     q\n, [x0], #16
    .endr
    mov     w0, #0x84000000
    hvc     #0
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    str     q\n, [x1], #16
    .endr
    ret
"#
);

unsafe extern "C" {
    fn probe_vectors_kept(from: *const [u64; 64], to: *mut [u64; 64]);
}

/// Registers whose value this program knows how to leave alone: SCTLR, CPACR, TTBR0, TTBR1, TCR,
/// AFSR0, AFSR1, PAR, MAIR, AMAIR, VBAR, CONTEXTIDR, TPIDR_EL1, CNTKCTL, CSSELR, FPCR, FPSR,
/// TPIDR_EL0, TPIDRRO, SP_EL0, MDSCR.
const KEPT: [u32; 21] = [
    encoding(3, 0, 1, 0, 0),
    encoding(3, 0, 1, 0, 2),
    encoding(3, 0, 2, 0, 0),
    encoding(3, 0, 2, 0, 1),
    encoding(3, 0, 2, 0, 2),
    encoding(3, 0, 5, 1, 0),
    encoding(3, 0, 5, 1, 1),
    encoding(3, 0, 7, 4, 0),
    encoding(3, 0, 10, 2, 0),
    encoding(3, 0, 10, 3, 0),
    encoding(3, 0, 12, 0, 0),
    encoding(3, 0, 13, 0, 1),
    encoding(3, 0, 13, 0, 4),
    encoding(3, 0, 14, 1, 0),
    encoding(3, 2, 0, 0, 0),
    encoding(3, 3, 4, 4, 0),
    encoding(3, 3, 4, 4, 1),
    encoding(3, 3, 13, 0, 2),
    encoding(3, 3, 13, 0, 3),
    encoding(3, 0, 4, 1, 0),
    encoding(2, 0, 0, 2, 2),
];

fn survival() {
    Probe::run("state-that-survives-exits", |p| {
        // PAR_EL1, the thread registers and SP_EL0 hold noise.
        for (n, register) in [7_usize, 11, 17, 18, 19].into_iter().zip([5_u64, 7, 11, 13, 17]) {
            let value = register << 40 | 0x1234_5000;
            word(EL1H, system(KEPT[n], false), 0, value);
        }
        let all = || KEPT.map(|register| word(EL1H, system(register, true), 0, 0).x(1));
        let before = all();
        let exits: [&dyn Fn() -> Outcome; 3] = [
            &|| word(EL1H, HVC, VERSION, 0),
            // A store that is served, and a register that is not there.
            &|| word(EL1H, 0xb900_0001, FRAMES, 0),
            &|| word(EL1H, system(encoding(3, 1, 15, 2, 0), true), 0, 0),
        ];
        for exit in exits {
            exit();
            for ((register, before), after) in KEPT.into_iter().zip(before).zip(all()) {
                p.equal(&format_args!("register {register:#x}"), after, before);
            }
        }
        // msr elr_el1, x1; spsr_el1, x2; esr_el1, x3; far_el1, x4; hvc; the same back to x5 on.
        let mut registers = noise(3);
        registers[..5].copy_from_slice(&[VERSION, 0x1234_5678_9abc, 0x8000_03c5, 0x5600_1234, 77]);
        let code = [
            0xd518_4021,
            0xd518_4002,
            0xd518_5203,
            0xd518_6004,
            HVC,
            0xd538_4025,
            0xd538_4006,
            0xd538_5207,
            0xd538_6008,
        ];
        let outcome = words(EL1H, &code, &registers);
        for n in 1..5 {
            p.equal(&format_args!("exception register {n}"), outcome.x(n + 4), registers[n]);
        }
        // The condition flags.
        let state = EL1H | 0xb << 28;
        p.equal(&"flags", word(state, HVC, VERSION, 0).0.spsr & 0xf << 28, 0xb << 28);
        let mut random = Random::new(0x0a64_0004);
        let from: [u64; 64] = core::array::from_fn(|_| random.next());
        let mut to = [0; 64];
        // SAFETY: both are 32 vectors long; this program keeps nothing in vector registers.
        unsafe { probe_vectors_kept(&raw const from, &raw mut to) };
        p.holds(&"vector registers", from == to);
    });
}
