/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Entry and exit. This block is copied to real addresses 0x100 and 0x4100 and is position
 * independent: it reaches Rust only through the pointers in the GuestContext behind HSPRG0.
 * In at a vector:  the interrupted code's registers; HV, EE = 0, little-endian (HILE); real mode at
 *                  the first copy, translation on at the second (0xc000000000004100, LPCR.AIL = 3),
 *                  of which only these pages and the contexts' are mapped (anchorite_spec::low).
 * Out at hrfid:    the guest, all registers as the context has them; HV = 0 in HSRR1, ME = 1.
 * Clobbers:        HSPRG1, HSRR0, HSRR1; for a firmware fault also its CR, CTR, XER and CFAR.
 * Stack:           GC_HOST_STACK for guest exits, GC_FAULT_STACK for the firmware's own faults.
 */
    .section .vectors, "ax", @progbits
    .balign 128
    .globl  p9_vectors_start
    .type   p9_vectors_start, @function
p9_vectors_start:

/* Vectors: each keeps r13, r12, CFAR; r12 = number, + 2 if the state is in HSRR0/1. 28 of 32 bytes. */
.macro VECTORS to, list:vararg
    .irp    n, \list
    . = (\n & ~2) - 0x100
    mtspr   305, 13                     /* HSPRG1 */
    mfspr   13, 304                     /* HSPRG0 */
    std     12, GC_SCRATCH + 8(13)
    mfspr   12, 28                      /* CFAR, before the first branch */
    std     12, GC_SCRATCH + 24(13)
    li      12, \n
    b       \to
    .endr
.endm
/* Moves registers between the machine and memory; \op is std or ld. */
.macro REGISTERS op, at, list:vararg
    .irp    n, \list
    \op     \n, \at + 8 * \n(13)
    .endr
.endm
.macro CALLEE_SAVED op, at
    REGISTERS \op, \at, 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
.endm
/* Moves a special register to memory, or back, by r11. */
.macro KEEP number, at
    mfspr   11, \number
    std     11, \at(13)
.endm
.macro GIVE number, at
    ld      11, \at(13)
    mtspr   \number, 11
.endm
/* Stores r0 to r13 as they were when the vector came. Clobbers r3, r4, r7. */
.macro VOLATILE to
    REGISTERS std, \to, 0,1,2,3,4,5,6,7,8,9,10
    ld      3, GC_SCRATCH(13)
    ld      4, GC_SCRATCH + 8(13)
    mfspr   7, 305
    std     3, \to + 88(13)
    std     4, \to + 96(13)
    std     7, \to + 104(13)
.endm

/* A place that the boot makes a call of a flush, if one is wanted (flush.rs). Between the registers'
   storing and the first Rust: keeps r3 to r10, r12, CTR, CR. Between the last Rust and their loading:
   keeps r3, CR. Both keep r1, r2, r13 and what a Rust function keeps. */
.macro SITE name
    .globl  \name
\name:
    nop
.endm

/* Where the interrupted code was: r3, r4 = SRR0/1, or HSRR0/1 if r12 says so. Clobbers r11. */
.macro INTERRUPTED
    andi.   11, 12, 2
    mfspr   3, 26
    mfspr   4, 27
    beq     8f
    mfspr   3, 314
    mfspr   4, 315
8:
.endm

    VECTORS p9_reset, 0x100
    VECTORS p9_machine_check, 0x200     /* never relocated */
    VECTORS p9_exit, 0x300,0x380,0x400,0x480,0x502,0x600,0x700,0x800,0x900,0x982,0xa00

/* Up to 0x900 only ever the firmware's own; 0x500 has HSRR because LPES = 1 sends the guest's to it.

   System call. A hypercall that needs no frame is a function behind GC_CALLS, by number / 4, of r3 to
   r9 and the context. PAPR lets it change r0, r3 to r12, CTR, XER, CR0, CR1, CR5 to CR7: all zero
   afterwards, as CFAR is, but for r3, the answer. */
    . = 0xc00 - 0x100
    mtspr   305, 13
    mfspr   13, 304
    std     12, GC_SCRATCH + 8(13)
p9_call:
    std     11, GC_SCRATCH(13)
    ld      11, GC_HOST_MSR(13)
    mtmsrd  11
    isync
    mfcr    11
    std     11, GC_SCRATCH + 16(13)
    ld      11, GC_IN_GUEST(13)
    mfspr   12, 27
    andc.   11, 11, 12                  /* in the guest, and not in problem state */
    beq     p9_call_in_full
    rotldi  11, 3, 62
    cmpldi  11, CALL_SLOTS
    bge     2f
1:  ld      12, GC_CALLS(13)
    sldi    11, 11, 3
    ldx     12, 12, 11
    cmpdi   12, 0
    beq     p9_call_in_full
    mtctr   12
    KEEP    26, GC_NIP
    KEEP    27, GC_MSR
    KEEP    8, GC_LR
    KEEP    305, GC_GPR + 104
    REGISTERS std, GC_GPR, 1,2
    ld      1, GC_HOST_STACK(13)
    ld      2, GC_HOST_TOC(13)
    li      11, 0
    std     11, GC_IN_GUEST(13)         /* All is kept: a reset finds its way back from here on. */
    mr      10, 13
    SITE    p9_call_in
    bctrl
    b       p9_call_out
2:  cmpldi  3, CALL_RTAS
    beq     p9_call_in_full
    li      11, CALL_SLOTS
    b       1b

    VECTORS p9_exit, 0xd00,0xe02,0xe22,0xe42,0xe62,0xe82,0xea2,0xf00,0xf20,0xf40,0xf60
    VECTORS p9_exit, 0xf82,0x1202,0x1300,0x1502,0x1602,0x1700,0x1802

p9_call_in_full:
    li      12, 0                       /* CFAR is not the guest's any more. */
    std     12, GC_SCRATCH + 24(13)
    li      12, 0xc00
    b       p9_kept

    . = 0x1900 - 0x100
p9_exit:
    std     11, GC_SCRATCH(13)
    ld      11, GC_HOST_MSR(13)
    mtmsrd  11                          /* IR and DR off, if they were on */
    isync
p9_real:
    mfcr    11
    std     11, GC_SCRATCH + 16(13)
p9_kept:
    ld      11, GC_IN_GUEST(13)
    cmpdi   11, 0
    beq     p9_own_fault

p9_guest_exit:                          /* What Rust may clobber goes to the context. */
    VOLATILE GC_GPR
    ld      5, GC_SCRATCH + 16(13)
    ld      6, GC_SCRATCH + 24(13)
    std     5, GC_CR(13)
    std     6, GC_CFAR(13)
    KEEP    8, GC_LR
    KEEP    9, GC_CTR
    KEEP    1, GC_XER
    KEEP    896, GC_PPR
    std     12, GC_VECTOR(13)
    INTERRUPTED
    std     3, GC_NIP(13)
    std     4, GC_MSR(13)
    li      11, 0
    std     11, GC_IN_GUEST(13)
    ld      1, GC_HOST_STACK(13)
    ld      2, GC_HOST_TOC(13)
    ld      12, GC_HANDLER(13)
    mtctr   12
    mr      3, 13
    SITE    p9_exit_in
    bctrl
    cmpdi   3, 0
    bne     p9_full_frame
    b       p9_exit_out

/* A call was answered by r3. */
    SITE    p9_call_out
p9_call_resume:
    GIVE    314, GC_NIP
    ld      11, GC_MSR(13)
    ori     11, 11, 0x1000              /* ME */
    mtspr   315, 11
    GIVE    8, GC_LR
    REGISTERS ld, GC_GPR, 1,2
    li      11, IN_GUEST
    std     11, GC_IN_GUEST(13)
    .irp    n, 0,4,5,6,7,8,9,10,11,12
    li      \n, 0
    .endr
    mtctr   0
    mtxer   0
    mtcrf   0xc7, 0
    mtspr   28, 0
    ld      13, GC_GPR + 104(13)
    hrfid

/* Everything but r14 to r31 comes from the context. */
    SITE    p9_exit_out
p9_resume:
    GIVE    896, GC_PPR
    GIVE    314, GC_NIP
    GIVE    315, GC_MSR
    GIVE    8, GC_LR
    GIVE    9, GC_CTR
    GIVE    1, GC_XER
p9_return:
    ld      8, GC_CR(13)
    mtcrf   0xff, 8
    GIVE    28, GC_CFAR
    li      10, IN_GUEST
    std     10, GC_IN_GUEST(13)
    REGISTERS ld, GC_GPR, 0,1,2,3,4,5,6,7,8,9,10,11,12,13
    hrfid
p9_resume_end:

/* System reset. One that hits the firmware is kept for the guest, which HDEC takes out for it: back to
   where it hit, or to the start of the resume that it interrupted; the context is whole then. One
   that hits a vector's first instructions has overwritten what the vector came to save. */
p9_reset:
    std     11, GC_SCRATCH(13)
    mfcr    11
    std     11, GC_SCRATCH + 16(13)
    mfspr   11, 27
    rldicl. 11, 11, 4, 63               /* SRR1.HV */
    beq     p9_guest_exit
    ld      11, GC_IN_GUEST(13)
    std     12, GC_PENDING_RESET(13)
    li      12, 0
    mtspr   310, 12                     /* HDEC */
    li      12, 0x100
    cmpdi   11, 0
    mfspr   11, 26
    beq     1f
    clrldi  11, 11, 51                  /* It is in the vectors, in either copy. */
    cmpldi  11, p9_call_resume - p9_vectors_start + 0x100
    blt     p9_guest_exit
    cmpldi  11, p9_resume - p9_vectors_start + 0x100
    blt     p9_call_resume
    cmpldi  11, p9_resume_end - p9_vectors_start + 0x100
    blt     p9_resume
    b       p9_guest_exit
1:  cmpldi  11, 0x100                   /* a second one: where the first hit is lost */
    beq     p9_own_fault
    ld      11, GC_SCRATCH + 16(13)
    ld      12, GC_SCRATCH + 24(13)
    mtcrf   0xff, 11
    mtspr   28, 12
    ld      11, GC_SCRATCH(13)
    ld      12, GC_SCRATCH + 8(13)
    mfspr   13, 305
    rfid

p9_machine_check:                       /* ME stays off. */
    std     11, GC_SCRATCH(13)
    b       p9_real

p9_full_frame:
    cmpdi   3, BEGIN
    beq     1f
    CALLEE_SAVED std, GC_GPR
    ld      12, GC_SLOW_HANDLER(13)
    mtctr   12
    mr      3, 13
    bctrl
1:  CALLEE_SAVED ld, GC_GPR
    b       p9_exit_out

/* The firmware's own fault: its registers to the fault frame, then the last words. */
p9_own_fault:
    VOLATILE GC_FAULT
    CALLEE_SAVED std, GC_FAULT
    KEEP    8, GC_FAULT + 272
    KEEP    19, GC_FAULT + 288          /* DAR, DSISR */
    KEEP    18, GC_FAULT + 296
    INTERRUPTED
    std     3, GC_FAULT + 256(13)
    std     4, GC_FAULT + 264(13)
    std     12, GC_FAULT + 280(13)
    ld      1, GC_FAULT_STACK(13)
    ld      2, GC_HOST_TOC(13)
    ld      12, GC_FAULT_HANDLER(13)
    mtctr   12
    addi    3, 13, GC_FAULT
    mr      4, 13
    bctrl
    b       .

/* If exits are timed, three instructions of the copies are branches to here: at p9_call, where every
   call then takes a frame, at p9_exit and at p9_return. What they stand for comes with the time. The
   first is a branch before CFAR is read, as in p9_call_in_full; the last stands before CFAR is set. */
    .globl  p9_call, p9_exit, p9_return, p9_timed_call, p9_timed_exit, p9_timed_return
p9_timed_call:
    li      12, 0
    std     12, GC_SCRATCH + 24(13)
    li      12, 0xc00
p9_timed_exit:
    std     11, GC_SCRATCH(13)
    KEEP    268, GC_ENTERED
    b       p9_exit + 4
p9_timed_return:
    KEEP    268, GC_LEFT
    ld      8, GC_CR(13)
    b       p9_return + 4

/* First entry, in the vectors' copy at its final address: r3 = context. Never returns. */
    .globl  p9_enter
    .type   p9_enter, @function
p9_enter:
    mr      13, 3
    CALLEE_SAVED ld, GC_GPR
    b       p9_exit_out
    .size   p9_enter, . - p9_enter

    .globl  p9_vectors_end
p9_vectors_end:
    .size   p9_vectors_start, . - p9_vectors_start
