/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Vectors, exit, entry and the start of secondary CPUs. TPIDR_EL2 holds the CPU's GuestContext.
 */
    .section .text.vectors, "ax", @progbits

/* An exception of the firmware itself. Trusts no stack; the guest's SP_EL0 is lost, it ends here. */
.macro A64_OWN offset
    .balign 0x80
    msr     sp_el0, x0
    mrs     x0, tpidr_el2
    add     x0, x0, #GC_FAULT
    stp     x1, x2, [x0, #8]
    mov     x1, #\offset
    b       a64_own_fault
.endm
/* An exception from EL1 or EL0: SP_EL2 is the top of this CPU's stack. */
.macro A64_GUEST offset, to
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    mov     x1, #\offset
    b       \to
.endm

/* The same for what an instruction of the guest's asks for. */
.macro A64_SYNC
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    stp     x2, x3, [sp, #-16]!
    b       a64_call
.endm

/* Vectors for VBAR_EL2. \sync is the one for what an instruction asks for. */
.macro A64_VECTORS name, to, sync:vararg
    .globl  \name
    .type   \name, @function
    .balign 2048
\name:
    .irp offset, 0x000, 0x080, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380
    A64_OWN \offset
    .endr
    \sync
    .irp offset, 0x480, 0x500, 0x580, 0x600, 0x680, 0x700, 0x780
    A64_GUEST \offset, \to
    .endr
    .balign 0x80
    .size   \name, . - \name
.endm
    A64_VECTORS a64_vectors, a64_exit, A64_SYNC
    A64_VECTORS a64_timed_vectors, a64_timed_exit, A64_GUEST 0x400, a64_timed_exit

/* Moves pairs of the guest's registers between the machine and the context; \op is stp or ldp. */
.macro A64_PAIRS op, base, at, first, second, more:vararg
    \op     x\first, x\second, [\base, #\at + 8 * \first]
    .ifnb   \more
    A64_PAIRS \op, \base, \at, \more
    .endif
.endm

/*
 * In:  x0-x3 of the guest on the stack; all else is the guest's.
 * Out: HVC #0 or SMC #0 with the number of PSCI VERSION, or with one that nobody serves, is counted
 *      and answered (psci.rs has the same answers); everything else is an exit like others.
 */
    .type   a64_call, @function
a64_call:
    mrs     x1, esr_el2
    mov     w2, #0x5a000000             /* HVC #0; SMC #0 has bit 26 too */
    eor     x2, x2, x1
    tst     x2, #~(1 << 26)
    b.ne    4f
    mrs     x3, tpidr_el2
    ldr     x2, [x3, #GC_CALLS_IN_FULL]
    cbnz    x2, 4f
    mov     w2, #PSCI
    cmp     w0, w2
    b.ne    1f
    mov     w0, #PSCI_VERSION & 0xffff
    movk    w0, #PSCI_VERSION >> 16, lsl #16
    mov     w2, #COUNT_VERSION
    b       2f
1:  and     w2, w0, #~(1 << 30)         /* of either width */
    mov     w3, #PSCI >> 7
    cmp     w3, w2, lsr #7
    b.eq    4f
    mov     w3, #SMCCC >> 16
    cmp     w3, w2, lsr #16
    b.eq    4f
    mov     x0, #NOT_SUPPORTED
    mov     w2, #COUNT_UNKNOWN
2:  mrs     x3, tpidr_el2
    ldr     x3, [x3, #GC_ROW]
    add     x3, x3, x2
    ldr     x2, [x3]
    add     x2, x2, #1
    str     x2, [x3]
    tbz     x1, #26, 3f
    mrs     x2, elr_el2                 /* a trapped SMC is not behind us yet */
    add     x2, x2, #4
    msr     elr_el2, x2
3:  ldp     x2, x3, [sp], #16
    ldp     xzr, x1, [sp], #16
    eret
    dsb     nsh                         /* nothing is speculated past the eret */
    isb
4:  ldp     x2, x3, [sp], #16
    mov     x1, #0x400
    b       a64_exit
    .size   a64_call, . - a64_call

/*
 * In:  x1 = vector; x0, x1 of the guest on the stack; all else is the guest's.
 * Out: handler(context); the guest goes on with what the context then holds. Twice: if exits are timed,
 *      the counter goes to the context besides.
 */
.macro A64_EXIT timed
    .type   a64_\timed\()exit, @function
a64_\timed\()exit:
    mrs     x0, tpidr_el2
    A64_PAIRS stp, x0, GC_GPR, 2,3
    .ifnb   \timed
    mrs     x2, cntpct_el0
    str     x2, [x0, #GC_ENTERED]
    .endif
    A64_PAIRS stp, x0, GC_GPR, 4,5,6,7,8,9,10,11,12,13,14,15,16,17
    str     x18, [x0, #GC_GPR + 144]
    str     x30, [x0, #GC_GPR + 240]
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x0, #GC_GPR]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x2, x3, [x0, #GC_PC]
    mrs     x2, esr_el2
    stp     x2, x1, [x0, #GC_ESR]
    ldr     x2, [x0, #GC_HANDLER]
    blr     x2
    mrs     x1, tpidr_el2
    cbnz    x0, a64_\timed\()full_frame
a64_\timed\()resume:
    ldp     x2, x3, [x1, #GC_PC]
    msr     elr_el2, x2
    msr     spsr_el2, x3
    A64_PAIRS ldp, x1, GC_GPR, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17
    ldr     x18, [x1, #GC_GPR + 144]
    ldr     x30, [x1, #GC_GPR + 240]
    .ifnb   \timed
    mrs     x0, cntpct_el0
    str     x0, [x1, #GC_LEFT]
    .endif
    ldp     x0, x1, [x1, #GC_GPR]
    eret
    dsb     nsh                         /* nothing is speculated past the eret */
    isb
a64_\timed\()full_frame:
    A64_PAIRS stp, x1, GC_GPR, 19,20,21,22,23,24,25,26,27,28
    str     x29, [x1, #GC_GPR + 232]
    mov     x0, x1
    ldr     x2, [x1, #GC_SLOW_HANDLER]
    blr     x2
    mrs     x1, tpidr_el2
a64_\timed\()load_frame:
    A64_PAIRS ldp, x1, GC_GPR, 19,20,21,22,23,24,25,26,27,28
    ldr     x29, [x1, #GC_GPR + 232]
    b       a64_\timed\()resume
    .size   a64_\timed\()exit, . - a64_\timed\()exit
.endm
    A64_EXIT
    A64_EXIT timed_

/* void a64_enter(GuestContext *): the first entry on this CPU. Leaves an empty stack behind. */
    .globl  a64_enter
    .type   a64_enter, @function
a64_enter:
    mov     x1, x0
    ldr     x2, [x1, #GC_HOST_STACK]
    mov     sp, x2
    b       a64_load_frame
    .size   a64_enter, . - a64_enter

/*
 * In:  x0 = the context's fault frame, x1 = vector, x0 of the firmware in SP_EL0, x1 and x2 stored.
 * Out: fault_handler(frame) on the fault stack. Never returns.
 */
    .type   a64_own_fault, @function
a64_own_fault:
    A64_PAIRS stp, x0, 0, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    mrs     x2, sp_el0
    str     x2, [x0]
    mov     x2, sp
    mrs     x3, elr_el2
    stp     x2, x3, [x0, #FF_SP]
    mrs     x2, spsr_el2
    mrs     x3, esr_el2
    stp     x2, x3, [x0, #FF_PSTATE]
    mrs     x2, far_el2
    stp     x2, x1, [x0, #FF_FAR]
    mrs     x3, tpidr_el2
    ldr     x2, [x3, #GC_FAULT_STACK]
    mov     sp, x2
    ldr     x2, [x3, #GC_FAULT_HANDLER]
    br      x2
    .size   a64_own_fault, . - a64_own_fault

/*
 * In:  x0 = SecondaryStart, EL2, MMU off, everything masked.
 * Out: entry(vcpu) on the CPU's stack, EL2's own translation and caches on. Never returns.
 */
    .globl  a64_secondary
    .type   a64_secondary, @function
a64_secondary:
    ldp     x1, x2, [x0, #SS_MAIR]
    ldp     x3, x4, [x0, #SS_TTBR]
    msr     mair_el2, x1
    msr     tcr_el2, x2
    msr     ttbr0_el2, x3
    isb
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el2, x4
    isb
    ldp     x1, x2, [x0, #SS_STACK]
    mov     sp, x1
    ldr     x0, [x0, #SS_VCPU]
    br      x2
    .size   a64_secondary, . - a64_secondary
    .purgem A64_OWN
    .purgem A64_GUEST
    .purgem A64_SYNC
    .purgem A64_VECTORS
    .purgem A64_PAIRS
    .purgem A64_EXIT
