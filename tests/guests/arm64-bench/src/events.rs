// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One sample of each kind of event.
#![expect(unsafe_code, reason = "the first instructions, vectors, and what they are measured with")]

use core::arch::asm;
use core::ptr;

use crate::board::{DISTRIBUTOR, FRAME, FRAMES, RAM_END};

core::arch::global_asm!(
    r#"
    .section .head, "ax", @progbits
    .globl  probe_head
probe_head:
    b       bench_entry
    .long   0
    .quad   0, probe_size, 0xa, 0, 0, 0
    .ascii  "ARM\x64"
    .long   0

    .text
bench_entry:
    adrp    x1, bench_stack
    add     x1, x1, :lo12:bench_stack
    add     sp, x1, #0x4000
    bl      bench_main
    b       .

    /* Interrupts and faults come only where x16 and x17 are free: the time goes to x16, and x17
       says that it has come. */
    .balign 2048
    .globl  bench_vectors
bench_vectors:
    .irp offset, 0x000,0x080,0x100,0x180
    .balign 0x80
    b       .
    .endr
    .balign 0x80
    mrs     x16, cntvct_el0             /* a fault: on behind the instruction */
    mrs     x17, elr_el1
    add     x17, x17, #4
    msr     elr_el1, x17
    eret
    .balign 0x80
    mrs     x16, cntvct_el0             /* an interrupt: ended, and masked afterwards */
    mrs     x17, S3_0_C12_C12_0
    msr     cntv_ctl_el0, xzr
    msr     S3_0_C12_C12_1, x17
    mrs     x17, spsr_el1
    orr     x17, x17, #0x80
    msr     spsr_el1, x17
    eret
    .irp offset, 0x300,0x380,0x400,0x480,0x500,0x580,0x600,0x680,0x700,0x780
    .balign 0x80
    b       .
    .endr
    .balign 0x80

    .bss
    .balign 16
bench_stack:
    .space  0x4000
"#
);

unsafe extern "C" {
    static bench_vectors: u8;
}

/// In the redistributor's SGI frame: groups, enables, priorities.
const IGROUPR: u64 = FRAMES + FRAME + 0x80;
const ISENABLER: u64 = FRAMES + FRAME + 0x100;
const IPRIORITYR: u64 = FRAMES + FRAME + 0x400;
/// The virtual timer's interrupt, and one that the CPU sends itself.
const TIMER: u32 = 27;
const SGI: u32 = 1;

fn write(register: u64, value: u32) {
    // SAFETY: a register of the interrupt controller, which is this guest's.
    unsafe { ptr::write_volatile(register as *mut u32, value) };
}

/// Vectors, and both interrupts let through by all but PSTATE.
pub fn prepare() {
    write(FRAMES + 0x14, 0);
    // Affinity routing, groups 0 and 1.
    write(DISTRIBUTOR, 0x13);
    write(IGROUPR, u32::MAX);
    for interrupt in [TIMER, SGI] {
        write(IPRIORITYR + u64::from(interrupt & !3), 0xa0a0_a0a0);
    }
    write(ISENABLER, 1 << TIMER | 1 << SGI);
    // SAFETY: this CPU's vectors, interface and timer; interrupts are masked.
    unsafe {
        asm!("msr vbar_el1, {vectors}",
             "msr S3_0_C12_C12_5, {one}", "isb", // ICC_SRE_EL1
             "msr S3_0_C4_C6_0, {all}",          // ICC_PMR_EL1
             "msr S3_0_C12_C12_7, {one}",        // ICC_IGRPEN1_EL1
             "msr cntv_cval_el0, xzr", "isb",
             vectors = in(reg) &raw const bench_vectors, one = in(reg) 1_u64,
             all = in(reg) 0xff_u64, options(nostack));
    }
}

/// What lies between two reads of the counter. All that a call may change is free.
macro_rules! between {
    ($($line:literal),* ; $first:expr, $second:expr) => {{
        let (before, after): (u64, u64);
        // SAFETY: the callers' instructions change registers alone, and these are named.
        unsafe {
            asm!("mrs {before}, cntvct_el0", $($line,)* "mrs {after}, cntvct_el0",
                 before = out(reg) before, after = out(reg) after,
                 inout("x0") $first => _, inout("x1") $second => _,
                 out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _,
                 out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _,
                 out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _,
                 options(nostack));
        }
        after - before - 1
    }};
}

/// What lies between a read of the counter and the vector's.
macro_rules! until_vector {
    ($($line:literal),* ; $first:expr, $second:expr) => {{
        let (before, at): (u64, u64);
        // SAFETY: as above; x16 and x17 are the vectors'.
        unsafe {
            asm!("mov x17, xzr", "isb",
                 "mrs {before}, cntvct_el0", $($line,)* "2: cbz x17, 2b",
                 before = out(reg) before, inout("x0") $first => _, inout("x1") $second => _,
                 out("x16") at, out("x17") _, options(nostack));
        }
        at - before - 1
    }};
}

/// No instruction.
pub fn nothing() -> u64 {
    between!(; 0_u64, 0_u64)
}

/// A thousand: the measure measured.
pub fn nops() -> u64 {
    between!(".rept 1000", "nop", ".endr"; 0_u64, 0_u64)
}

/// A call by HVC.
pub fn hvc(function: u64) -> u64 {
    between!("hvc #0"; function, 0_u64)
}

/// A call by SMC.
pub fn smc(function: u64) -> u64 {
    between!("smc #0"; function, 0_u64)
}

/// From the store that lets an expired timer ring to its vector.
pub fn timer() -> u64 {
    // SAFETY: the timer is off, and the SGI has been ended: nothing comes yet.
    unsafe { asm!("msr daifclr, #2", options(nostack)) };
    until_vector!("msr cntv_ctl_el0, x0"; 1_u64, 0_u64)
}

/// From the store that sends an interrupt to its vector, on the same CPU.
pub fn sgi() -> u64 {
    // SAFETY: as above.
    unsafe { asm!("msr daifclr, #2", options(nostack)) };
    // ICC_SGI1R_EL1.
    until_vector!("msr S3_0_C12_C11_5, x0", "isb"; u64::from(SGI) << 24 | 1, 0_u64)
}

/// GICD_TYPER.
pub fn gic_read() -> u64 {
    between!("ldr w0, [x0]"; DISTRIBUTOR + 4, 0_u64)
}

/// Another CPU's interrupt's priority, as it is.
pub fn gic_write() -> u64 {
    between!("str w1, [x0]"; IPRIORITYR, 0xa0a0_a0a0_u64)
}

/// From a load of nothing to the vector of the abort that it gets.
pub fn hole() -> u64 {
    until_vector!("ldr w0, [x0]"; RAM_END + 0x1000_0000, 0_u64)
}
