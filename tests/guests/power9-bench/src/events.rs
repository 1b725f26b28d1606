// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A sample of each kind of event: a row of them, in instructions for each.
#![expect(unsafe_code, reason = "what is measured, and with what")]

use core::arch::asm;

use crate::board::{ESB, RAM_END, SCRATCH, TIMA};
use crate::hcall;
use crate::low::ROUTINES;
use crate::{mmu, rtas, say};

/// A decrementer that does not run out, and one that has.
const FAR: u64 = 1 << 54;
const EXPIRED: u64 = u64::MAX;
/// MSR.RI, with EE and without.
const ON: u64 = 0x8002;
const OFF: u64 = 2;
/// The source that this program uses.
const TRIGGER: u64 = ESB + 0x2_0000;
const MANAGE: u64 = TRIGGER + 0x1_0000;
/// Nothing is mapped there.
const HOLE: u64 = RAM_END + 0x1238;

/// A row of events: what the clock and the vectors counted.
struct Row {
    ticks: u64,
    /// Instructions of the vectors.
    vectors: u64,
    /// All that calls returned in r3, merged.
    codes: u64,
}

impl Row {
    /// Instructions for each of `events`, each of which had `own` more of this program.
    fn each(&self, events: u64, own: u64) -> u64 {
        // The second read of the clock is the row's.
        let own = events * own + self.vectors + 1;
        let parts = (self.ticks * 125) as i64 - 64 * own as i64;
        let whole = 64 * events as i64;
        // To the nearest: a tick is almost two instructions.
        u64::try_from((parts + whole / 2).div_euclid(whole)).unwrap_or(u64::MAX)
    }
}

/// These lines, so many times, between two reads of the clock. They and the vectors find these values
/// in r16, r17, r18 and r20, and may change what a call may change, and r19.
///
/// The compiler does not see how long that is. In a function of its own no branch has to reach over it.
macro_rules! row {
    ($events:literal, $values:expr, $($line:literal),*) => {{
        let [r16, r17, r18, r20]: [u64; 4] = $values;
        let (before, after, vectors, codes): (u64, u64, u64, u64);
        // SAFETY: everything that the lines change is named, or RAM and devices of their own.
        unsafe {
            asm!("mfspr {before}, 268",
                 concat!(".rept ", $events), $($line,)* ".endr",
                 "mfspr {after}, 268",
                 before = out(reg) before, after = out(reg) after,
                 inout("r15") 0_u64 => vectors, inout("r21") 0_u64 => codes,
                 inout("r16") r16 => _, inout("r17") r17 => _, inout("r18") r18 => _,
                 out("r19") _, inout("r20") r20 => _,
                 out("r0") _, out("r3") _, out("r4") _, out("r5") _, out("r6") _, out("r7") _,
                 out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _,
                 out("ctr") _, out("xer") _, out("cr0") _, out("cr1") _, out("cr5") _,
                 out("cr6") _, out("cr7") _, options(nostack));
        }
        Row { ticks: after - before, vectors, codes }
    }};
}

/// Interrupts off, and a source of interrupts to this CPU.
pub fn prepare() {
    const PRIORITY: u64 = 6;
    interrupts_off();
    hcall::must(hcall::SET_QUEUE, &[1, 0, PRIORITY, SCRATCH, 16]);
    hcall::must(hcall::SET_SOURCE, &[2, 1, 0, PRIORITY, 0x1234]);
    // SAFETY: the source's management page, where a load at 0xc00 lets events through, and the
    // thread's own priority.
    unsafe {
        core::ptr::read_volatile((MANAGE + 0xc00) as *const u64);
        core::ptr::write_volatile((TIMA + 0x11) as *mut u8, 0xff);
    }
}

/// This program's routine for machine checks, from now on.
pub fn register_routines() {
    hcall::rtas(rtas::NMI_REGISTER, &ROUTINES);
}

fn interrupts_off() {
    // SAFETY: `mtmsrd` with L = 1 changes EE and RI only.
    unsafe {
        asm!("mtspr 22, {0}", "mtmsrd {1}, 1", in(reg) FAR, in(reg) OFF, options(nostack));
    }
}

/// Turns translation on, as a kernel has it, with interrupts that keep it on (AIL = 3); or off again.
pub fn translate(on: bool) {
    /// MSR: 64-bit, machine checks, recoverable, little-endian; IR and DR.
    const REAL: u64 = 0x8000_0000_0000_1003;
    const TRANSLATED: u64 = REAL | 0x30;
    assert_eq!(mmu::start(), 0, "process table");
    hcall::must(hcall::SET_MODE, &[if on { 3 } else { 0 }, 3, 0, 0]);
    let state = if on { TRANSLATED } else { REAL };
    // SAFETY: everything that this program uses is mapped to its own address.
    unsafe { asm!("mtmsrd {0}", "isync", in(reg) state, options(nostack)) };
}

/// No instruction.
#[inline(never)]
pub fn nothing() -> u64 {
    row!(64, [0; 4],).each(64, 0)
}

/// A thousand: the measure measured.
#[inline(never)]
pub fn nops() -> u64 {
    let row = row!(1, [16, 0, 0, 0], "mtctr 16", "2:", ".rept 1000", "nop", ".endr", "bdnz 2b");
    row.each(16, 1)
}

/// A call with these values in r3 to r6.
#[inline(never)]
pub fn call(values: [u64; 4]) -> u64 {
    row!(64, values, "mr 3, 16", "mr 4, 17", "mr 5, 18", "mr 6, 20", "sc 1").each(64, 4)
}

/// H_CEDE with an expired decrementer: from the call to its vector.
#[inline(never)]
pub fn cede() -> u64 {
    let values = [FAR, EXPIRED, OFF, 0];
    let row = row!(64, values, "mtspr 22, 17", "li 3, 0xe0", "sc 1", "mtmsrd 18, 1");
    interrupts_off();
    row.each(64, 3)
}

/// H_PUT_TERM_CHAR of one byte that the terminal takes at once.
#[inline(never)]
pub fn put_term_char() -> u64 {
    let values = [u64::from(b'.') << 56, 0, 0, 0];
    loop {
        let row = row!(
            16,
            values,
            "li 3, 0x58",
            "li 4, 0",
            "li 5, 1",
            "mr 6, 16",
            "sc 1",
            "or 21, 21, 3"
        );
        say!("");
        if row.codes == 0 {
            return row.each(16, 5);
        }
        assert_eq!(row.codes, hcall::BUSY);
    }
}

/// The firmware's part of a decrementer interrupt.
#[inline(never)]
pub fn decrementer() -> u64 {
    let values = [FAR, EXPIRED, OFF, ON];
    let row = row!(64, values, "mtspr 22, 17", "mtmsrd 20, 1", "mtmsrd 18, 1");
    interrupts_off();
    row.each(64, 3)
}

/// The firmware's part of an interrupt that the CPU sends itself: the store that triggers it, to its
/// end. An interrupt of a device or of another CPU comes on the same way.
#[inline(never)]
pub fn external() -> u64 {
    let values = [0xff, MANAGE, ON, TIMA + 0x10];
    let row = row!(64, values, "std 18, -0x8000(17)", "mtmsrd 18, 1", "li 3, 2", "mtmsrd 3, 1");
    row.each(64, 4)
}

/// From a load of nothing to the machine check's vector.
#[inline(never)]
pub fn hole() -> u64 {
    row!(64, [0, HOLE, 0, 0], "ld 4, 0(17)").each(64, 0)
}

/// The same to a routine of this program's own, with an error log. The vector leaves the time in r16.
pub fn hole_with_routine() -> u64 {
    let (before, at): (u64, u64);
    // SAFETY: as in `row`; r3 is given back.
    unsafe {
        asm!("mfspr {before}, 268", "ld 4, 0({hole})", before = out(reg) before,
             hole = in(reg) HOLE, out("r4") _, out("r15") _, out("r16") at, out("r19") _,
             options(nostack));
    }
    hcall::rtas(rtas::NMI_INTERLOCK, &[]);
    Row { ticks: at - before, vectors: 0, codes: 0 }.each(1, 2)
}
