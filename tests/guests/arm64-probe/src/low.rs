// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first instructions, the vectors, and how one instruction is tried.
//!
//! TPIDR_EL1 holds the CPU's [`Area`]. A try loads all registers from it and returns from an
//! exception to the code under test, in whatever processor state; the exception with which that
//! code ends, be it its own `brk`, comes back here with all registers noted.
#![expect(unsafe_code, reason = "the first instructions, and calls into them")]

use core::mem::offset_of;

use crate::board::CPUS;

core::arch::global_asm!(
    ".set IN, {input}", ".set OUT, {output}", ".set CODE, {code}", ".set VECTOR, {vector}",
    ".set ELR, {elr}", ".set FAR, {far}", ".set DAIF, {daif}", ".set KEPT, {kept}",
    ".set RUNNING, {running}", ".set STACK, {stack}",
    r#"
    .section .head, "ax", @progbits
    .globl  probe_head
probe_head:
    b       probe_entry
    .long   0
    .quad   0, probe_size, 0xa, 0, 0, 0
    .ascii  "ARM\x64"
    .long   0

    .text
    /* x0 = tree; all other registers are looked at. */
probe_entry:
    orr     x1, x1, x2
    .irp n, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    orr     x1, x1, x\n
    .endr
    adrp    x2, probe_stacks
    add     x2, x2, :lo12:probe_stacks
    add     x2, x2, #STACK
    mov     sp, x2
    bl      probe_main
    b       .

    /* x0 = number of the CPU in its lowest byte. */
    .globl  probe_secondary_entry
probe_secondary_entry:
    orr     x1, x1, x2
    .irp n, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    orr     x1, x1, x\n
    .endr
    adrp    x2, probe_stacks
    add     x2, x2, :lo12:probe_stacks
    and     x3, x0, #3
    add     x3, x3, #1
    mov     x4, #STACK
    madd    x2, x3, x4, x2
    mov     sp, x2
    bl      probe_secondary
    b       .

    .balign 2048
    .globl  probe_vectors
probe_vectors:
    .irp offset, 0x000,0x080,0x100,0x180,0x200,0x280,0x300,0x380,0x400,0x480,0x500,0x580,0x600,0x680,0x700,0x780
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    mov     x1, #\offset
    b       probe_trap
    .endr
    .balign 0x80

probe_trap:
    mrs     x0, tpidr_el1
    str     x1, [x0, #VECTOR]
    ldr     x1, [x0, #RUNNING]
    cbz     x1, probe_stray
    str     xzr, [x0, #RUNNING]
    add     x0, x0, #OUT
    stp     x2, x3, [x0, #16]
    stp     x4, x5, [x0, #32]
    stp     x6, x7, [x0, #48]
    stp     x8, x9, [x0, #64]
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x16, x17, [x0, #128]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
    str     x30, [x0, #240]
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x0]
    sub     x0, x0, #OUT
    mrs     x2, elr_el1
    mrs     x3, esr_el1
    stp     x2, x3, [x0, #ELR]
    mrs     x2, far_el1
    mrs     x3, spsr_el1
    stp     x2, x3, [x0, #FAR]
    mrs     x2, daif
    str     x2, [x0, #DAIF]
    add     x0, x0, #KEPT
    ldp     x19, x20, [x0]
    ldp     x21, x22, [x0, #16]
    ldp     x23, x24, [x0, #32]
    ldp     x25, x26, [x0, #48]
    ldp     x27, x28, [x0, #64]
    ldp     x29, x30, [x0, #80]
    ldr     x2, [x0, #96]
    mov     sp, x2
    ret
probe_stray:
    mrs     x0, elr_el1
    mrs     x1, esr_el1
    mrs     x2, far_el1
    bl      probe_unexpected
    b       .

    /* void low_try(Area *) */
    .globl  low_try
low_try:
    add     x1, x0, #KEPT
    stp     x19, x20, [x1]
    stp     x21, x22, [x1, #16]
    stp     x23, x24, [x1, #32]
    stp     x25, x26, [x1, #48]
    stp     x27, x28, [x1, #64]
    stp     x29, x30, [x1, #80]
    mov     x2, sp
    str     x2, [x1, #96]
    ldp     x1, x2, [x0, #CODE]
    msr     elr_el1, x1
    msr     spsr_el1, x2
    mov     x1, #1
    str     x1, [x0, #RUNNING]
    ldp     x2, x3, [x0, #IN + 16]
    ldp     x4, x5, [x0, #IN + 32]
    ldp     x6, x7, [x0, #IN + 48]
    ldp     x8, x9, [x0, #IN + 64]
    ldp     x10, x11, [x0, #IN + 80]
    ldp     x12, x13, [x0, #IN + 96]
    ldp     x14, x15, [x0, #IN + 112]
    ldp     x16, x17, [x0, #IN + 128]
    ldp     x18, x19, [x0, #IN + 144]
    ldp     x20, x21, [x0, #IN + 160]
    ldp     x22, x23, [x0, #IN + 176]
    ldp     x24, x25, [x0, #IN + 192]
    ldp     x26, x27, [x0, #IN + 208]
    ldp     x28, x29, [x0, #IN + 224]
    ldr     x30, [x0, #IN + 240]
    ldp     x0, x1, [x0, #IN]
    eret

    .bss
    .balign 16
probe_stacks:
    .space  STACK * 4
    .text
"#,
    input = const offset_of!(Area, input),
    output = const offset_of!(Area, output),
    code = const offset_of!(Area, code),
    vector = const offset_of!(Area, vector),
    elr = const offset_of!(Area, elr),
    far = const offset_of!(Area, far),
    daif = const offset_of!(Area, daif),
    kept = const offset_of!(Area, kept),
    running = const offset_of!(Area, running),
    stack = const STACK,
);

/// Bytes of a CPU's stack.
const STACK: u64 = 0x8000;

/// One CPU's tries.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct Area {
    /// Where the code stands.
    pub code: u64,
    /// The processor state to run it in.
    pub pstate: u64,
    /// The exception's vector.
    pub vector: u64,
    /// ELR_EL1.
    pub elr: u64,
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
    /// SPSR_EL1.
    pub spsr: u64,
    /// DAIF in the vector.
    pub daif: u64,
    running: u64,
    kept: [u64; 13],
    /// x0 to x30 before.
    pub input: [u64; 31],
    /// x0 to x30 after.
    pub output: [u64; 31],
}

impl Area {
    const EMPTY: Self = Self {
        code: 0,
        pstate: 0,
        vector: 0,
        elr: 0,
        esr: 0,
        far: 0,
        spsr: 0,
        daif: 0,
        running: 0,
        kept: [0; 13],
        input: [0; 31],
        output: [0; 31],
    };
}

static mut AREAS: [Area; CPUS] = [Area::EMPTY; CPUS];

unsafe extern "C" {
    /// Where secondary CPUs begin.
    pub safe static probe_secondary_entry: u8;
    safe static probe_vectors: u8;
    fn low_try(area: *mut Area);
}

/// Gives the calling CPU its vectors and its area.
pub fn install(cpu: usize) {
    // SAFETY: the vectors expect the area in TPIDR_EL1, and each CPU takes its own.
    unsafe {
        let area = (&raw mut AREAS).cast::<Area>().add(cpu);
        core::arch::asm!("msr vbar_el1, {0}", "msr tpidr_el1, {1}", "isb",
             in(reg) &raw const probe_vectors, in(reg) area, options(nostack));
    }
}

/// Runs `code` in `pstate` with these registers, on this CPU.
pub fn run(code: u64, pstate: u64, registers: &[u64; 31]) -> Area {
    let area: *mut Area;
    // SAFETY: `install` put the CPU's own area there; only this CPU uses it, one try at a time.
    unsafe {
        core::arch::asm!("mrs {0}, tpidr_el1", out(reg) area, options(nomem, nostack));
        (*area).input = *registers;
        ((*area).code, (*area).pstate) = (code, pstate);
        low_try(area);
        *area
    }
}
