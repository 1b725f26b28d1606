// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every form of access, most of which a hypervisor is told nothing about, where nothing is and
//! where reading is all that is allowed.
#![expect(unsafe_code, reason = "reads words that the assembler made")]

use core::arch::asm;

use crate::board::{CPUS, FRAME, FRAMES, RAM_END, RTC, SCRATCH};
use crate::interrupts;
use crate::mmu::USER;
use crate::report::Probe;
use crate::trap::{EL1H, class, word, words};

core::arch::global_asm!(
    r#"
    .arch_extension fp
    .arch_extension simd
    .arch_extension lse
    .balign 4
    .globl  probe_loads
probe_loads:
    ldp     x1, x2, [x0]
    ldp     w1, w2, [x0]
    ldpsw   x1, x2, [x0]
    ldnp    x1, x2, [x0]
    ldr     x1, [x0], #8
    ldr     x1, [x0, #0]!
    ldrb    w1, [x0], #1
    ldrsh   x1, [x0], #2
    ldp     x1, x2, [x0], #16
    ldrsb   w1, [x0]
    ldrsw   x1, [x0]
    ldtr    x1, [x0]
    ldar    x1, [x0]
    ldarb   w1, [x0]
    ldxr    x1, [x0]
    ldaxr   w1, [x0]
    ldxp    x1, x2, [x0]
    ldr     q1, [x0]
    ldr     b1, [x0]
    ldp     q1, q2, [x0]
    ldr     d1, [x0], #8
    ld1     {{ v1.16b }}, [x0]
    ld4     {{ v1.16b, v2.16b, v3.16b, v4.16b }}, [x0], #64
    ld1r    {{ v1.4s }}, [x0]
    .globl  probe_loads_end
probe_loads_end:
    .globl  probe_stores
probe_stores:
    stp     x1, x2, [x0]
    stp     w1, w2, [x0]
    stnp    x1, x2, [x0]
    str     x1, [x0], #8
    str     w1, [x0, #0]!
    strb    w1, [x0], #1
    stp     x1, x2, [x0], #16
    str     q1, [x0]
    str     h1, [x0]
    stp     d1, d2, [x0]
    str     s1, [x0], #4
    st1     {{ v1.16b }}, [x0]
    st2     {{ v1.8b, v2.8b }}, [x0], #16
    .globl  probe_stores_end
probe_stores_end:
    .globl  probe_atomics
probe_atomics:
    ldadd   x1, x2, [x0]
    stclr   x1, [x0]
    swp     x1, x2, [x0]
    swpal   w1, w2, [x0]
    ldumaxh w1, w2, [x0]
    cas     x1, x2, [x0]
    casalb  w1, w2, [x0]
    casp    x2, x3, x4, x5, [x0]
    .globl  probe_atomics_end
probe_atomics_end:
"#
);

unsafe extern "C" {
    safe static probe_loads: u32;
    safe static probe_loads_end: u32;
    safe static probe_stores: u32;
    safe static probe_stores_end: u32;
    safe static probe_atomics: u32;
    safe static probe_atomics_end: u32;
}

fn between(start: *const u32, end: *const u32) -> &'static [u32] {
    // SAFETY: the assembler put words between the two symbols, and nobody writes them.
    unsafe { core::slice::from_raw_parts(start, (end as usize - start as usize) / 4) }
}

const DC_ZVA: u32 = 0xd50b_7420;
const STR_W1: u32 = 0xb900_0001;
const STR_X1: u32 = 0xf900_0001;

fn has_atomics() -> bool {
    let isar: u64;
    // SAFETY: reads an ID register.
    unsafe { asm!("mrs {0}, id_aa64isar0_el1", out(reg) isar, options(nomem, nostack)) };
    isar >> 20 & 15 != 0
}

/// Tries one form; it must abort, change no register, and say where. All of this is tried where EL0
/// has access too: some forms are for EL0's permissions.
fn refused(p: &Probe, instruction: u32, address: u64, write: Option<bool>) {
    let address = USER + address;
    let outcome = word(EL1H, instruction, address, 0);
    let what = format_args!("{instruction:#x} at {address:#x}: esr {:#x}", outcome.0.esr);
    p.equal(&what, outcome.class(), class::DATA + 1);
    p.equal(&what, outcome.0.esr & 0x3f, 0x10);
    p.equal(&what, outcome.0.far & !63, address & !63);
    p.equal(&what, outcome.0.elr, outcome.0.code);
    p.equal(&what, outcome.changed(0).map_or(0, |n| n as u64 + 1), 0);
    if let Some(write) = write {
        p.equal(&what, outcome.0.esr >> 6 & 1, u64::from(write));
    }
}

/// All of them.
pub fn run() {
    let loads = between(&raw const probe_loads, &raw const probe_loads_end);
    let stores = between(&raw const probe_stores, &raw const probe_stores_end);
    let atomics = between(&raw const probe_atomics, &raw const probe_atomics_end);
    let atomics = if has_atomics() { atomics } else { &[] };
    Probe::run("forms-of-access-in-ram", |p| {
        // Whatever is refused elsewhere for its form alone works here.
        for instruction in loads.iter().chain(stores).chain(atomics).chain(&[DC_ZVA]) {
            let outcome = word(EL1H, *instruction, USER + SCRATCH, 0);
            p.holds(&format_args!("{instruction:#x}: esr {:#x}", outcome.0.esr), outcome.ran());
        }
    });
    Probe::run("forms-of-access-in-holes", |p| {
        for hole in [RAM_END, 0x5000_0000, 0x8000_0000, 0x40_1000_0000] {
            loads.iter().for_each(|form| refused(p, *form, hole, Some(false)));
            stores.iter().for_each(|form| refused(p, *form, hole, Some(true)));
            atomics.iter().for_each(|form| refused(p, *form, hole, None));
            refused(p, DC_ZVA, hole, Some(true));
            exclusive_store(p, hole);
        }
    });
    Probe::run("forms-of-store-to-what-is-read-only", |p| {
        // Only plain stores are served there: the others are refused, none of them half done.
        let cpus = 0..CPUS as u64;
        for frame in cpus.map(|cpu| FRAMES + cpu * 2 * FRAME) {
            let before = interrupts::read(frame);
            stores.iter().for_each(|form| refused(p, *form, frame, Some(true)));
            p.equal(&"CTLR", interrupts::read(frame).into(), before.into());
        }
        let served = word(EL1H, STR_W1, FRAMES, 0);
        p.holds(&"a plain store", served.ran() && served.changed(0).is_none());
        let served = word(EL1H, STR_X1, FRAMES + 0x70, u64::MAX);
        p.holds(&"a plain store of 8 bytes", served.ran() && served.changed(0).is_none());
    });
    Probe::run("registers-in-stores-that-are-served", |p| {
        // WAKER's bit from each register, XZR as well.
        for register in 0..32_u32 {
            let mut registers = crate::trap::noise(u64::from(register));
            let base = if register == 0 { 1 } else { 0 };
            registers[base as usize] = FRAMES + 0x14;
            if register < 31 {
                registers[register as usize] = 0xffff_ffff_ffff_fffd;
            }
            let outcome = words(EL1H, &[0xb900_0000 | base << 5 | register], &registers);
            p.holds(&format_args!("register {register}"), outcome.ran());
            p.holds(&format_args!("register {register}"), outcome.changed(0).is_none());
            p.equal(&"WAKER", u64::from(interrupts::read(FRAMES + 0x14)) & 2, 0);
        }
    });
    Probe::run("devices-take-any-access", |p| {
        // They may do nothing, or fault, but they come back.
        for instruction in loads.iter().chain(stores).chain(atomics).chain(&[DC_ZVA]) {
            let outcome = word(EL1H, *instruction, USER + RTC + 0xfe0, 0);
            let what = format_args!("{instruction:#x}: esr {:#x}", outcome.0.esr);
            p.holds(&what, outcome.ran() || outcome.class() == class::DATA + 1);
        }
    });
}

/// A store that would fail without a load before it, and must not be asked then.
fn exclusive_store(p: &Probe, hole: u64) {
    // ldxr x1, [x2]; stxr w3, x1, [x0]
    let mut registers = crate::trap::noise(hole);
    (registers[0], registers[2]) = (hole, SCRATCH);
    let outcome = words(EL1H, &[0xc85f_7c41, 0xc803_7c01], &registers);
    let what = format_args!("stxr at {hole:#x}: esr {:#x}", outcome.0.esr);
    // The processor may find out first that the addresses differ.
    p.holds(&what, outcome.ran() || outcome.class() == class::DATA + 1);
}
