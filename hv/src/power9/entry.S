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

/* One vector: keeps r13, r12, CFAR; r12 = number, + 2 if the state is in HSRR0/1. 28 of 32 bytes. */
.macro VECTOR number, flag, to=p9_exit
    . = (\number) - 0x100
    mtspr   305, 13                     /* HSPRG1 */
    mfspr   13, 304                     /* HSPRG0 */
    std     12, GC_SCRATCH + 8(13)
    mfspr   12, 28                      /* CFAR, before the first branch */
    std     12, GC_SCRATCH + 24(13)
    li      12, (\number) + (\flag)
    b       \to
.endm

.macro VECTORS flag, list:vararg
    .irp    n, \list
    VECTOR  \n, \flag
    .endr
.endm

/* Stores r0 to r13 as they were when the vector came. Clobbers r3, r4, r7. */
.macro VOLATILE to
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10
    std     \n, \to + 8 * \n(13)
    .endr
    ld      3, GC_SCRATCH(13)
    ld      4, GC_SCRATCH + 8(13)
    mfspr   7, 305
    std     3, \to + 88(13)
    std     4, \to + 96(13)
    std     7, \to + 104(13)
.endm

/* Moves r14 to r31 between the machine and memory; \op is std or ld. */
.macro CALLEE_SAVED op, at
    .irp    n, 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op     \n, \at + 8 * \n(13)
    .endr
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

    VECTOR 0x100, 0, p9_reset           /* system reset */
    VECTOR 0x200, 0, p9_machine_check   /* never relocated */
    VECTORS 0, 0x300,0x380,0x400,0x480  /* up to 0x900 only ever the firmware's own */
    VECTORS 2, 0x500                    /* HSRR because LPES = 1 sends the guest's to it */
    VECTORS 0, 0x600,0x700,0x800,0x900
    VECTORS 2, 0x980                    /* hypervisor decrementer */
    VECTORS 0, 0xa00,0xc00,0xd00        /* 0xc00: system call */
    /* Data and instruction storage, emulation assistance, maintenance, doorbell, virtualization. */
    VECTORS 2, 0xe00,0xe20,0xe40,0xe60,0xe80,0xea0
    VECTORS 0, 0xf00,0xf20,0xf40,0xf60
    VECTORS 2, 0xf80,0x1200             /* 0xf80: hypervisor facility unavailable */
    VECTORS 0, 0x1300
    VECTORS 2, 0x1500,0x1600            /* 0x1500: soft patch */
    VECTORS 0, 0x1700
    VECTORS 2, 0x1800

    . = 0x1900 - 0x100
p9_exit:
    std     11, GC_SCRATCH(13)
    ld      11, GC_HOST_MSR(13)
    mtmsrd  11                          /* IR and DR off, if they were on */
    isync
p9_real:
    mfcr    11
    std     11, GC_SCRATCH + 16(13)
    ld      11, GC_IN_GUEST(13)
    cmpdi   11, 0
    beq     p9_own_fault

p9_guest_exit:                          /* What Rust may clobber goes to the context. */
    li      11, 0
    std     11, GC_IN_GUEST(13)
    VOLATILE GC_GPR
    ld      5, GC_SCRATCH + 16(13)
    ld      6, GC_SCRATCH + 24(13)
    std     5, GC_CR(13)
    std     6, GC_CFAR(13)
    mflr    3
    mfctr   4
    mfxer   5
    std     3, GC_LR(13)
    std     4, GC_CTR(13)
    mfspr   8, 896                      /* PPR */
    std     5, GC_XER(13)
    std     8, GC_PPR(13)
    std     12, GC_VECTOR(13)
    INTERRUPTED
    std     3, GC_NIP(13)
    std     4, GC_MSR(13)
    ld      1, GC_HOST_STACK(13)
    ld      2, GC_HOST_TOC(13)
    ld      12, GC_HANDLER(13)
    mtctr   12
    mr      3, 13
    bctrl
    cmpdi   3, 0
    bne     p9_full_frame

/* Everything but r14 to r31 comes from the context. */
p9_resume:
    ld      3, GC_NIP(13)
    ld      4, GC_MSR(13)
    ld      5, GC_LR(13)
    ld      6, GC_CTR(13)
    ld      7, GC_XER(13)
    ld      8, GC_CR(13)
    ld      9, GC_CFAR(13)
    ld      10, GC_PPR(13)
    mtspr   896, 10
    mtspr   314, 3
    mtspr   315, 4
    mtlr    5
    mtctr   6
    mtxer   7
    mtcrf   0xff, 8
    mtspr   28, 9
    li      10, 1
    std     10, GC_IN_GUEST(13)
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13
    ld      \n, GC_GPR + 8 * \n(13)
    .endr
    hrfid
p9_resume_end:

/* System reset. One that hits the firmware is kept for the guest: taken back to where it hit if
   Rust was running, or to the start of the resume that it interrupted; the context is whole then.
   One that hits a vector's first instructions has overwritten what the vector came to save. */
p9_reset:
    std     11, GC_SCRATCH(13)
    mfcr    11
    std     11, GC_SCRATCH + 16(13)
    mfspr   11, 27
    rldicl. 11, 11, 4, 63               /* SRR1.HV */
    beq     p9_guest_exit
    ld      11, GC_IN_GUEST(13)
    std     12, GC_PENDING_RESET(13)
    cmpdi   11, 0
    mfspr   11, 26
    beq     1f
    clrldi  11, 11, 51                  /* It is in the vectors, in either copy. */
    cmpldi  11, p9_resume - p9_vectors_start + 0x100
    blt     p9_guest_exit
    cmpldi  11, p9_resume_end - p9_vectors_start + 0x100
    blt     p9_resume
    b       p9_guest_exit
1:  ld      11, GC_SCRATCH + 16(13)
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
    CALLEE_SAVED std, GC_GPR
    ld      12, GC_SLOW_HANDLER(13)
    mtctr   12
    mr      3, 13
    bctrl
    CALLEE_SAVED ld, GC_GPR
    b       p9_resume

/* The firmware's own fault: its registers to the fault frame, then the last words. */
p9_own_fault:
    VOLATILE GC_FAULT
    CALLEE_SAVED std, GC_FAULT
    mflr    6
    mfspr   7, 19                       /* DAR */
    mfspr   8, 18                       /* DSISR */
    INTERRUPTED
    std     3, GC_FAULT + 256(13)
    std     4, GC_FAULT + 264(13)
    std     6, GC_FAULT + 272(13)
    std     12, GC_FAULT + 280(13)
    std     7, GC_FAULT + 288(13)
    std     8, GC_FAULT + 296(13)
    ld      1, GC_FAULT_STACK(13)
    ld      2, GC_HOST_TOC(13)
    ld      12, GC_FAULT_HANDLER(13)
    mtctr   12
    addi    3, 13, GC_FAULT
    mr      4, 13
    bctrl
    b       .

/* First entry, in the vectors' copy at its final address: r3 = context. Never returns. */
    .globl  p9_enter
    .type   p9_enter, @function
p9_enter:
    mr      13, 3
    CALLEE_SAVED ld, GC_GPR
    b       p9_resume
    .size   p9_enter, . - p9_enter

    .globl  p9_vectors_end
p9_vectors_end:
    .size   p9_vectors_start, . - p9_vectors_start
