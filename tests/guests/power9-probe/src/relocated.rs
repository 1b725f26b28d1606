// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts that keep translation on (LPCR.AIL = 3): the guest's come to its own second vectors, and
//! what the firmware maps for its own is out of reach.
use crate::board::RAM_END;
use crate::hcall::{SET_MODE, code};
use crate::mmu::ALIAS;
use crate::report::Probe;
use crate::trap::{MSR, PR, RELOCATED, call, load, load_in, mtspr, store, user, word, word_in};

/// Instruction and data translation.
const ON: u64 = 0x30;
const SC_1: u32 = 0x4400_0022;
const STD: u32 = 0xf8a4_0000;
const LD: u32 = 0xe864_0000;
const BLR: u64 = 0x4e80_0020;
/// Where the firmware has its own mappings: addresses of the same number are the guest's in the guest.
const HIGH: u64 = 0xc000_0000_0000_0000;
const CONTEXTS: u64 = 0x3000;
/// In what the firmware has executable, and where this program has nothing.
const CODE: u64 = 0x5a00;
/// Registers without which the firmware's translation cannot be chosen: partition, its table, control,
/// and the offset of real addresses.
const CHOICE: [u32; 4] = [319, 464, 318, 313];

/// All of them.
pub fn run() {
    Probe::run("relocated-interrupts", |p| {
        p.equal(&"set", code(SET_MODE, &[3, 3, 0, 0]), 0);
        // Raised by the core, by the firmware, and always without translation.
        for (name, state, instruction, r4, vector, kept) in [
            ("a page fault", RELOCATED, LD, 5 << 39, 0x300, true),
            ("an illegal instruction", RELOCATED, 0, 0, 0x700, true),
            ("an illegal instruction, data only", MSR | 0x10, 0, 0, 0x700, false),
            ("an illegal instruction, real mode", MSR, 0, 0, 0x700, false),
            ("a hole", RELOCATED, LD, RAM_END, 0x200, false),
            ("a hole by an alias", RELOCATED, LD, ALIAS + RAM_END, 0x200, false),
        ] {
            let trap = word_in(state, instruction, r4, 0).trap;
            p.equal(&format_args!("{name}: vector"), trap.vector, vector);
            p.equal(&format_args!("{name}: before"), trap.srr1 & ON, state & ON);
            let want = if kept { ON } else { 0 };
            p.equal(&format_args!("{name}: in the vector"), trap.msr & ON, want);
        }
        let trap = user(SC_1, 0, 0).trap;
        p.equal(&"a hypercall of problem state: vector", trap.vector, 0x700);
        p.equal(&"before", trap.srr1 & (PR | ON), PR | ON);
        p.equal(&"in the vector", trap.msr & (PR | ON), ON);
        for _ in 0..100 {
            let outcome = word_in(RELOCATED, SC_1, 0, 0);
            p.equal(&"a hypercall with translation on: vector", outcome.trap.vector, 0);
            p.equal(&"state afterwards", outcome.msr & ON, ON);
        }
    });
    Probe::run("the-firmwares-translation-is-out-of-reach", |p| {
        const MINE: u64 = 0x1122_3344_5566_7788;
        let own = |p: &Probe, what: &str| {
            store(CONTEXTS, 8, MINE);
            let at = HIGH + CONTEXTS;
            p.equal(&format_args!("{what}: load"), load_in(RELOCATED, at, 8).r3, MINE);
            p.equal(&format_args!("{what}: in problem state"), user(LD, at, 0).r3, MINE);
            word_in(RELOCATED, STD, at, !MINE);
            p.equal(&format_args!("{what}: store"), load(CONTEXTS, 8).r3, !MINE);
            user(STD, at, MINE);
            p.equal(&format_args!("{what}: store there"), load(CONTEXTS, 8).r3, MINE);
            store(CODE, 4, BLR);
            let fetch = call(HIGH + CODE, 0, 0, RELOCATED);
            p.equal(&format_args!("{what}: fetch"), fetch.trap.vector, 0);
        };
        own(p, "at first");
        for register in CHOICE {
            // Whether they are refused or ignored, nothing comes of it.
            for value in [0, 0x10_0000, u64::MAX] {
                word_in(RELOCATED, mtspr(register), 0, value);
                word(mtspr(register), 0, value);
            }
            own(p, "after a try");
        }
        // Translations of partition 0 thrown away, as far as a guest can say so: process-scoped
        // tlbie, for which the core takes the guest's own partition.
        for instruction in [0x7cab_2264_u32, 0x7ca3_2264] {
            word_in(RELOCATED, instruction, 0xc00, 0);
        }
        own(p, "after tlbie");
        // The hypervisor's quadrants for guests' addresses are no addresses here.
        for quadrant in [1 << 62, 1 << 63] {
            for at in [CONTEXTS, 0x4000, CODE, 0x10_0000] {
                let address = quadrant | at;
                let load = load_in(RELOCATED, address, 8).trap.vector & !0x80;
                p.equal(&format_args!("load {address:#x}"), load, 0x300);
                let store = word_in(RELOCATED, STD, address, 0).trap.vector & !0x80;
                p.equal(&format_args!("store {address:#x}"), store, 0x300);
                let fetch = call(address, 0, 0, RELOCATED).trap.vector & !0x80;
                p.equal(&format_args!("fetch {address:#x}"), fetch, 0x400);
            }
        }
    });
    Probe::run("real-mode-interrupts-again", |p| {
        p.equal(&"set", code(SET_MODE, &[0, 3, 0, 0]), 0);
        let trap = word_in(RELOCATED, 0, 0, 0).trap;
        p.equal(&"vector", trap.vector, 0x700);
        p.equal(&"in the vector", trap.msr & ON, 0);
    });
}
