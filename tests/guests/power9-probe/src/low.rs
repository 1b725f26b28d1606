// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first pages: entry, vectors, and the words through which they talk to Rust.
//!
//! Each CPU has a block of words, 4 KiB apart; SPRG0 holds its distance from the first CPU's, for whom
//! the words are at fixed addresses that fit an instruction's displacement. The vectors keep what they
//! use there, note what came, and resume at the fix-up that [`crate::trap`] left, in the machine state
//! that it left. The decrementer, the external interrupt and the system reset are only counted and made
//! silent; anything else without a fix-up ends the run.
#![expect(unsafe_code, reason = "the first instructions, and words at fixed addresses")]

use core::ptr;

core::arch::global_asm!(
    r#"
    .set FIXUP, 0x2800
    .set VEC, 0x2808
    .set WORDS, 0x2810                  /* SRR0, SRR1, DAR, DSISR, MSR */
    .set RESUME, 0x2838
    .set R3, 0x2840
    .set R4, 0x2848
    .set R5, 0x2850
    .set KEPT_CR, 0x2858
    .set DECS, 0x2860
    .set EXTS, 0x2868
    .set SEEN, 0x2870
    .set RESETS, 0x2878
    .set NMI, 0x2880                    /* r3 of the last routine for one */
    .set LOST, 0x2888
    .set AGAIN, 0x2890
    .set HCALL_IN, 0x2a00               /* r0 to r31, CR, LR, CTR, XER, CFAR */
    .set HCALL_OUT, 0x2c00
    .set KEPT, 0x2e00

    .macro BE insn
    .long ((\insn) >> 24 & 0xff) | ((\insn) >> 8 & 0xff00) | ((\insn) << 8 & 0xff0000) | ((\insn) << 24 & 0xff000000)
    .endm

    .section .low, "ax", @progbits
    .globl probe_entry
probe_entry:
    tdi     0, 0, 0x48                  /* big-endian: b 8 */
    b       1f
    BE 0x39800001                       /* li r12, 1 */
    BE 0x7d6000a6                       /* mfmsr r11 */
    BE 0x616b0003                       /* ori r11, r11, 3: LE, RI */
    BE 0x39400028                       /* li r10, 0x28 */
    BE 0x7d5a03a6                       /* mtsrr0 r10 */
    BE 0x7d7b03a6                       /* mtsrr1 r11 */
    BE 0x4c000024                       /* rfid */
1:  li      12, 0
    li      5, 0
    mtspr   272, 5
    lis     1, (stack_top - 64)@h       /* 0x28 */
    ori     1, 1, (stack_top - 64)@l
    lis     2, .TOC.@h
    ori     2, 2, .TOC.@l
    mr      4, 12
    bl      probe_main
    nop
    b       .

    .macro VECTOR number
    . = \number
    mtspr   273, 3
    mfspr   3, 272
    std     4, R4(3)
    li      4, \number
    b       common
    .endm
    . = 0x100                           /* also before this CPU has set its SPRG0 */
    mtspr   273, 3
    mfspr   3, 1023                     /* PIR: four times its number */
    sldi    3, 3, 10
    std     4, R4(3)
    li      4, 0x100
    b       common
    .irp n, 0x200,0x300,0x380,0x400,0x480,0x500,0x600,0x700,0x800,0x900,0x980,0xa00,0xb00,0xc00,0xd00,0xe00,0xe20,0xe40,0xe60,0xe80,0xea0,0xf00,0xf20,0xf40,0xf60,0xf80,0x1300,0x1500,0x1700
    VECTOR \n
    .endr

    . = 0x1900
common:
    std     5, R5(3)
    mfspr   5, 273
    std     5, R3(3)
    mfcr    5
    std     5, KEPT_CR(3)
    cmpldi  4, 0x900
    beq     3f
    cmpldi  4, 0x500
    beq     4f
    cmpldi  4, 0x100
    beq     2f
    std     4, VEC(3)
    mfspr   4, 26
    std     4, WORDS(3)
    mfspr   4, 27
    std     4, WORDS + 8(3)
    mfspr   4, 19
    std     4, WORDS + 16(3)
    mfspr   4, 18
    std     4, WORDS + 24(3)
    mfmsr   4
    std     4, WORDS + 32(3)
8:  ld      4, FIXUP(3)
    cmpdi   4, 0
    bne     9f
    ld      4, AGAIN(3)
    cmpdi   4, 0
    beq     6f
9:  mtspr   26, 4
    ld      4, RESUME(3)
    mtspr   27, 4
    li      4, 0
    std     4, FIXUP(3)
    b       5f
2:  ld      4, RESETS(3)
    addi    4, 4, 1
    std     4, RESETS(3)
    mfspr   4, 27
    andi.   4, 4, 2                     /* without RI nobody knows where it was */
    bne     5f
    ld      4, LOST(3)
    addi    4, 4, 1
    std     4, LOST(3)
    b       8b
3:  ld      4, DECS(3)                  /* decrementer: far away */
    addi    4, 4, 1
    std     4, DECS(3)
    li      4, -1
    rldicl  4, 4, 0, 10
    mtspr   22, 4
    b       5f
4:  ld      4, EXTS(3)                  /* external: return without EE; whoever waits accepts it */
    addi    4, 4, 1
    std     4, EXTS(3)
    mfspr   4, 27
    rldicl  4, 4, 48, 1
    rotldi  4, 4, 16
    mtspr   27, 4
5:  ld      4, KEPT_CR(3)
    mtcrf   0xff, 4
    ld      4, R4(3)
    ld      5, R5(3)
    ld      3, R3(3)
    rfid
6:  lis     1, (stack_top - 64)@h
    ori     1, 1, (stack_top - 64)@l
    lis     2, .TOC.@h
    ori     2, 2, .TOC.@l
    bl      probe_unexpected
    nop
    b       .

    .macro ALL op, base
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op     \n, \base + 8 * \n(0)
    .endr
    .endm

    /* One hypercall with every register from HCALL_IN; every register after it to HCALL_OUT. */
    .globl low_hcall
low_hcall:
    mflr    0
    std     0, KEPT + 256(0)
    mfcr    0
    std     0, KEPT + 264(0)
    ALL std, KEPT
    ld      0, HCALL_IN + 256(0)
    mtcrf   0xff, 0
    ld      0, HCALL_IN + 264(0)
    mtlr    0
    ld      0, HCALL_IN + 272(0)
    mtctr   0
    ld      0, HCALL_IN + 280(0)
    mtxer   0
    b       .+4                         /* nothing branches from here to the reading of CFAR */
    mfspr   0, 28
    std     0, HCALL_IN + 288(0)
    ALL ld, HCALL_IN
    sc      1
    ALL std, HCALL_OUT
    mfcr    0
    std     0, HCALL_OUT + 256(0)
    mflr    0
    std     0, HCALL_OUT + 264(0)
    mfctr   0
    std     0, HCALL_OUT + 272(0)
    mfxer   0
    std     0, HCALL_OUT + 280(0)
    mfspr   0, 28
    std     0, HCALL_OUT + 288(0)
    ALL ld, KEPT
    ld      0, KEPT + 264(0)
    mtcrf   0xff, 0
    ld      0, KEPT + 256(0)
    mtlr    0
    blr

    /* u64 low_try(code, r4, r5, r3, msr): calls code(r4, r5) in that machine state; whatever it does
       or provokes, goes on in the state that RESUME holds. Returns r3. */
    .globl low_try
low_try:
    mflr    0
    ALL std, KEPT
    mfcr    9
    std     9, KEPT + 264(0)
    lis     9, 7f@h
    ori     9, 9, 7f@l
    std     9, FIXUP(0)
    li      9, 0
    std     9, VEC(0)
    mtctr   3
    mr      3, 6
    lis     9, 8f@h                     /* RI stays on: QEMU lets no reset in before rfid */
    ori     9, 9, 8f@l
    mtspr   26, 9
    mtspr   27, 7
    rfid
8:  bctrl
7:  mfmsr   9
    std     9, SEEN(0)
    ld      9, RESUME(0)
    mtmsrd  9
    isync
    li      9, 0
    std     9, FIXUP(0)
    std     3, R3(0)
    ld      9, KEPT + 264(0)
    mtcrf   0xff, 9
    ALL ld, KEPT
    ld      3, R3(0)
    mtlr    0
    blr

    /* u64 low_user(code, r4, r5, r3): as low_try, in problem state. */
    .globl low_user
low_user:
    mflr    0
    ALL std, KEPT
    mfcr    9
    std     9, KEPT + 264(0)
    lis     9, 7b@h
    ori     9, 9, 7b@l
    std     9, FIXUP(0)
    li      9, 0
    std     9, VEC(0)
    mtspr   26, 3
    mr      3, 6
    ld      9, RESUME(0)
    ori     9, 9, 0x4030                /* PR, IR, DR */
    mtspr   27, 9
    rfid

    /* A further CPU: r3 = its number. r14 to r31 are looked at. */
    . = 0x2600
    tdi     0, 0, 0x48
    b       1f
    BE 0x7d6000a6                       /* mfmsr r11 */
    BE 0x616b0003                       /* ori r11, r11, 3: LE, RI */
    BE 0x39402620                       /* li r10, 0x2620 */
    BE 0x7d5a03a6                       /* mtsrr0 r10 */
    BE 0x7d7b03a6                       /* mtsrr1 r11 */
    BE 0x4c000024                       /* rfid */
1:  li      5, 2                        /* 0x2620 */
    mtmsrd  5, 1                        /* RI, also when entered little-endian */
    sldi    5, 3, 12
    mtspr   272, 5
    lis     1, (stack_top - 64)@h
    ori     1, 1, (stack_top - 64)@l
    sldi    5, 3, 14
    add     1, 1, 5
    lis     2, .TOC.@h
    ori     2, 2, .TOC.@l
    or      4, 14, 15
    .irp n, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    or      4, 4, \n
    .endr
    bl      probe_cpu
    nop
    b       .

    /* A CPU of an attack that lost its place: from the top of its loop, on an empty stack. */
    .globl low_again
low_again:
    mfspr   3, 1023
    sldi    3, 3, 10
    mtspr   272, 3
    lis     1, (stack_top - 64)@h
    ori     1, 1, (stack_top - 64)@l
    sldi    5, 3, 2
    add     1, 1, 5
    lis     2, .TOC.@h
    ori     2, 2, .TOC.@l
    srdi    3, 3, 12
    bl      attack_again
    nop
    b       .

    /* Routines for system resets and machine checks: r3 points to the interrupted one, big-endian. */
    .macro NMI at, vector
    . = \at
    mtspr   274, 4
    mfspr   4, 272
    std     3, NMI(4)
    ldbrx   3, 0, 3
    mfspr   4, 274
    b       probe_entry + \vector
    .endm
    NMI     0x2700, 0x100
    NMI     0x2740, 0x200

    /* With translation on; the other vectors' places there are the CPUs' words. */
    .macro RELOCATED number
    . = 0x4000 + \number
    mtspr   273, 3
    mfspr   3, 272
    std     4, R4(3)
    li      4, \number
    ba      common - probe_entry
    .endm
    .irp n, 0x200,0x300,0x380,0x400,0x480,0x700
    RELOCATED \n
    .endr

    . = 0x6000
    .purgem BE

    .bss
    .balign 16
    .space  0x8000
stack_top:
    .space  0xc000                      /* three more CPUs' */
    .text
"#,
    options(raw)
);

unsafe extern "C" {
    /// One hypercall, all registers from and to the words below.
    pub fn low_hcall();
    /// Calls code with a fix-up; see the assembly.
    pub fn low_try(code: u64, r4: u64, r5: u64, r3: u64, msr: u64) -> u64;
    /// Where an attack's CPUs go on that lost their place.
    pub fn low_again();
    /// Calls code in problem state with a fix-up.
    pub fn low_user(code: u64, r4: u64, r5: u64, r3: u64) -> u64;
}

/// A word of the first pages.
#[derive(Clone, Copy)]
pub struct Word(u64);

/// The vector that came, or 0.
pub const VEC: Word = Word(0x2808);
/// SRR0, SRR1, DAR, DSISR and the machine state that the vector began with.
pub const WORDS: Word = Word(0x2810);
/// The machine state in which to go on after a trap.
pub const RESUME: Word = Word(0x2838);
/// Decrementer interrupts so far.
pub const DECS: Word = Word(0x2860);
/// External interrupts so far.
pub const EXTS: Word = Word(0x2868);
/// System resets so far.
pub const RESETS: Word = Word(0x2878);
/// Those among them that hit what cannot be gone on with.
pub const LOST: Word = Word(0x2888);
/// The save area that a routine for one of these was last given.
pub const NMI: Word = Word(0x2880);
/// Where an attack's CPU goes on when nobody waited for what came; 0 if it is the end of the run.
pub const AGAIN: Word = Word(0x2890);
/// This program's routine for system resets.
pub const RESET_ROUTINE: u64 = 0x2700;
/// This program's routine for machine checks.
pub const CHECK_ROUTINE: u64 = 0x2740;
/// Where a further CPU enters.
pub const CPU_ENTRY: u64 = 0x2600;
/// The machine state that the tried code left.
pub const SEEN: Word = Word(0x2870);
/// A hypercall's registers before: r0–r31, CR, LR, CTR, XER, CFAR.
pub const HCALL_IN: Word = Word(0x2a00);
/// And after.
pub const HCALL_OUT: Word = Word(0x2c00);

impl Word {
    /// The same word of another CPU.
    pub const fn of(self, cpu: usize) -> Self {
        Self(self.0 + 0x1000 * cpu as u64)
    }

    /// The `n`th word from here.
    pub fn at(self, n: usize) -> u64 {
        // SAFETY: all words lie in `.low`, which only the assembly above uses besides.
        unsafe { ptr::read_volatile((self.0 as *const u64).add(n)) }
    }

    /// This word.
    pub fn get(self) -> u64 {
        self.at(0)
    }

    /// Sets the `n`th word from here.
    pub fn put(self, n: usize, value: u64) {
        // SAFETY: as in `at`.
        unsafe { ptr::write_volatile((self.0 as *mut u64).add(n), value) };
    }

    /// Sets this word.
    pub fn set(self, value: u64) {
        self.put(0, value);
    }
}
