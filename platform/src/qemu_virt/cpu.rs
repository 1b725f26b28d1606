// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The CPU's own registers and instructions (Arm ARM).
use core::arch::asm;

use anchorite_hv::arm64::features::Ids;

/// Reads a system register by the name that the assembler knows, or by its encoding.
#[macro_export]
macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading this register has no side effect.
        unsafe {
            core::arch::asm!(concat!("mrs {0}, ", $name), out(reg) value, options(nomem, nostack));
        }
        value
    }};
}

/// Writes a system register. The use argues why the value keeps the firmware itself running.
#[macro_export]
macro_rules! write_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        core::arch::asm!(concat!("msr ", $name, ", {0}"), in(reg) value, options(nostack));
    }};
}

/// The exception level: 1 to 3.
#[must_use]
pub fn exception_level() -> u64 {
    read_register!("CurrentEL") >> 2 & 3
}

/// The physical counter, not before what stands before.
#[must_use]
pub fn counter() -> u64 {
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack)) };
    read_register!("cntpct_el0")
}

/// Waits for memory and changes of context to take effect.
pub fn barrier() {
    // SAFETY: barriers.
    unsafe { asm!("dsb sy", "isb", options(nostack)) };
}

/// Whether HCR_EL2.E2H cannot be 0: not every CPU that is so says so in its ID registers. Where E2H
/// stays set, FAR_EL1 at EL2 is FAR_EL2. Leaves HCR_EL2 with EL1 in AArch64 and nothing else.
#[must_use]
pub fn is_vhe_only() -> bool {
    const RW: u64 = 1 << 31;
    // SAFETY: no guest runs yet; both fault registers hold nothing that is needed.
    unsafe {
        write_register!("hcr_el2", RW);
        asm!("isb", options(nostack));
        write_register!("far_el1", 1);
        write_register!("far_el2", 2);
        asm!("isb", options(nostack));
    }
    read_register!("far_el1") == 2
}

/// The ID registers.
#[must_use]
pub fn ids() -> Ids {
    Ids {
        pfr: [
            read_register!("S3_0_C0_C4_0"),
            read_register!("S3_0_C0_C4_1"),
            read_register!("S3_0_C0_C4_2"),
        ],
        dfr0: read_register!("S3_0_C0_C5_0"),
        isar: [
            read_register!("S3_0_C0_C6_0"),
            read_register!("S3_0_C0_C6_1"),
            read_register!("S3_0_C0_C6_2"),
        ],
        mmfr: [
            read_register!("S3_0_C0_C7_0"),
            read_register!("S3_0_C0_C7_1"),
            read_register!("S3_0_C0_C7_2"),
            read_register!("S3_0_C0_C7_3"),
            read_register!("S3_0_C0_C7_4"),
        ],
        smfr0: read_register!("S3_0_C0_C4_5"),
    }
}

/// Any ID register, S3_0_C0_C`crm`_`op2` with `crm` from 1 to 7; 0 for others. Those that no version of
/// the architecture has named yet read as zero.
#[must_use]
pub fn id_register(crm: u32, op2: u32) -> u64 {
    macro_rules! id {
        ($crm:literal, $op2:literal) => {{
            let value: u64;
            // SAFETY: reading this register has no side effect.
            unsafe {
                asm!(concat!("mrs {0}, S3_0_C0_C", $crm, "_", $op2), out(reg) value,
                     options(nomem, nostack));
            }
            value
        }};
    }
    macro_rules! row {
        ($crm:literal) => {
            match op2 {
                0 => id!($crm, 0),
                1 => id!($crm, 1),
                2 => id!($crm, 2),
                3 => id!($crm, 3),
                4 => id!($crm, 4),
                5 => id!($crm, 5),
                6 => id!($crm, 6),
                _ => id!($crm, 7),
            }
        };
    }
    match crm {
        1 => row!(1),
        2 => row!(2),
        3 => row!(3),
        4 => row!(4),
        5 => row!(5),
        6 => row!(6),
        7 => row!(7),
        _ => 0,
    }
}

/// Bytes of a cache line, the smallest of all data caches.
fn line() -> u64 {
    4 << (read_register!("ctr_el0") >> 16 & 15)
}

/// A cache operation on each line of a range. A boot has some thousand lines: eight a turn, and what
/// remains one by one.
macro_rules! each_line {
    ($operation:literal, $start:expr, $len:expr) => {
        let (line, end) = (line(), $start + $len);
        let mut at = $start & !(line - 1);
        while end.saturating_sub(at) >= 8 * line {
            asm!(".rept 8", concat!($operation, ", {at}"), "add {at}, {at}, {line}", ".endr",
                 at = inout(reg) at, line = in(reg) line, options(nostack));
        }
        while at < end {
            asm!(concat!($operation, ", {at}"), at = in(reg) at, options(nostack));
            at += line;
        }
        barrier();
    };
}

/// Writes what caches hold of a range back to memory, where it is seen with caches off.
///
/// # Safety
/// The range must be mapped memory.
pub unsafe fn clean(start: u64, len: u64) {
    // SAFETY: cache operations on memory that the caller vouched for.
    unsafe {
        each_line!("dc cvac", start, len);
    }
}

/// Forgets what caches hold of a range, before memory is written past them.
///
/// # Safety
/// The range must be memory whose content is not needed.
pub unsafe fn forget(start: u64, len: u64) {
    // SAFETY: the caller gives the content up.
    unsafe {
        each_line!("dc ivac", start, len);
    }
}

/// Makes code that was just written executable, and readable with caches off.
///
/// # Safety
/// The range must be mapped memory.
pub unsafe fn publish(start: u64, len: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        clean(start, len);
        asm!("ic ialluis", "dsb ish", "isb", options(nostack));
    }
}

/// Zeroes memory, down to memory itself: both addresses are multiples of 2 KiB, the largest block
/// that `dc zva` may have.
///
/// # Safety
/// The range must be memory that nothing else uses, mapped as cached memory.
pub unsafe fn zero(start: u64, end: u64) {
    let id = read_register!("dczid_el0");
    if id & 1 << 4 != 0 {
        // SAFETY: the caller vouches for the range.
        unsafe {
            core::ptr::write_bytes(start as *mut u8, 0, (end - start) as usize);
            clean(start, end - start);
        }
        return;
    }
    let (block, line) = (4u64 << (id & 15), line());
    let mut at = start;
    while at < end {
        // SAFETY: as above.
        unsafe { asm!("dc zva, {0}", in(reg) at, options(nostack)) };
        for part in (at..at + block).step_by(line as usize) {
            // SAFETY: as above.
            unsafe { asm!("dc civac, {0}", in(reg) part, options(nostack)) };
        }
        at += block;
    }
    barrier();
}

/// Copies memory: both addresses are multiples of 64.
///
/// # Safety
/// The ranges must be mapped memory that nothing else uses, apart from each other.
pub unsafe fn copy(from: u64, to: u64, len: u64) {
    let whole = len & !255;
    // SAFETY: the caller vouches for both ranges; the loop copies 256 bytes a turn, all aligned.
    unsafe {
        asm!(
            "cbz {left}, 3f",
            "2:",
            ".rept 8",
            "ldp {a}, {b}, [{from}], #16",
            "ldp {c}, {d}, [{from}], #16",
            "stp {a}, {b}, [{to}], #16",
            "stp {c}, {d}, [{to}], #16",
            ".endr",
            "subs {left}, {left}, #256",
            "b.ne 2b",
            "3:",
            from = inout(reg) from => _, to = inout(reg) to => _, left = inout(reg) whole => _,
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _, options(nostack)
        );
        let (from, to) = ((from + whole) as *const u8, (to + whole) as *mut u8);
        core::ptr::copy_nonoverlapping(from, to, (len - whole) as usize);
    }
}

/// A number from the CPU's generator, if it has one.
#[must_use]
pub fn random() -> Option<u64> {
    if ids().rndr() == 0 {
        return None;
    }
    for _ in 0..16 {
        let (value, failed): (u64, u64);
        // SAFETY: reads RNDR, which says in the flags whether there was a number.
        unsafe {
            asm!("mrs {0}, S3_3_C2_C4_0", "cset {1}, eq", out(reg) value, out(reg) failed,
                 options(nomem, nostack));
        }
        if failed == 0 {
            return Some(value);
        }
    }
    None
}

/// Tells the CPU that it waits for another.
pub fn pause() {
    // SAFETY: a hint.
    unsafe { asm!("yield", options(nomem, nostack)) };
}

/// Wakes CPUs that wait for an event.
pub fn wake_event_waiters() {
    // SAFETY: sends an event.
    unsafe { asm!("dsb ish", "sev", options(nostack)) };
}

/// Sleeps for good.
pub fn park() -> ! {
    loop {
        // SAFETY: waits.
        unsafe { asm!("wfi", options(nomem, nostack)) };
    }
}

/// Lets an SError be taken at EL2 that is pending or comes while EL2 works for itself.
pub fn accept_serror() {
    // SAFETY: the vectors stand, and end the run.
    unsafe { asm!("msr daifclr, #4", "isb", options(nostack)) };
}

/// Calls the machine's firmware by SMC.
pub fn smc(args: [u64; 4]) -> u64 {
    let result;
    // SAFETY: SMCCC: x4 to x17 may change with old firmware, nothing else does; no call that this
    // firmware makes changes its memory.
    unsafe {
        asm!("smc #0", inlateout("x0") args[0] => result, inlateout("x1") args[1] => _,
             inlateout("x2") args[2] => _, inlateout("x3") args[3] => _,
             out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _,
             out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
             out("x16") _, out("x17") _, options(nostack));
    }
    result
}

/// Calls the machine's firmware on a guest's behalf, with all registers that a call can have.
pub fn smc_all(registers: &mut [u64; 18]) {
    let r = registers;
    // SAFETY: the board config names the functions that come here; SMCCC keeps all other registers.
    unsafe {
        asm!("smc #0", inout("x0") r[0], inout("x1") r[1], inout("x2") r[2], inout("x3") r[3],
             inout("x4") r[4], inout("x5") r[5], inout("x6") r[6], inout("x7") r[7],
             inout("x8") r[8], inout("x9") r[9], inout("x10") r[10], inout("x11") r[11],
             inout("x12") r[12], inout("x13") r[13], inout("x14") r[14], inout("x15") r[15],
             inout("x16") r[16], inout("x17") r[17], options(nostack));
    }
}

/// Calls whoever is at EL2 by HVC: only for ending a boot that arrived at EL1.
pub fn hvc(number: u64) {
    // SAFETY: as for `smc`.
    unsafe {
        asm!("hvc #0", inlateout("x0") number => _, lateout("x1") _, lateout("x2") _,
             lateout("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _,
             out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _,
             out("x15") _, out("x16") _, out("x17") _, options(nostack));
    }
}
