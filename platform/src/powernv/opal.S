/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * i64 opal_enter(const u64 args[9], u64 base, u64 entry)
 *
 * In:       r3 = token and eight arguments, r4 = OPAL base, r5 = OPAL entry; real mode, HV, EE = 0.
 * Out:      r3 = OPAL's return value.
 * Clobbers: what a C call may, and HSRR0/1. SRR0/1, which may be the guest's, are put back.
 * Stack:    112 bytes of the caller's; OPAL switches to its own.
 *
 * OPAL runs big-endian and returns to LR in that mode, so the return lands on three instructions
 * stored big-endian that switch back.
 */
    .section .text.opal_enter, "ax", @progbits
    .balign 16
    .globl  opal_enter
    .type   opal_enter, @function
opal_enter:
    mflr    0
    mfcr    12
    std     0, 16(1)
    stw     12, 8(1)
    stdu    1, -112(1)
    std     2, 24(1)
    .irp    n, 28,29,30,31
    std     \n, 8 * \n - 144(1)
    .endr
    mfspr   28, 26                      /* SRR0, SRR1 */
    mfspr   29, 27
    mfmsr   30
    bcl     20, 31, 1f
1:  mflr    31
    addi    0, 31, 2f - 1b
    mtlr    0
    addi    31, 31, 3f - 1b
    mr      12, 3
    mr      2, 4
    li      0, 1
    andc    0, 30, 0                    /* MSR without LE */
    mtspr   314, 5
    mtspr   315, 0
    ld      0, 0(12)
    .irp    n, 3,4,5,6,7,8,9,10
    ld      \n, 8 * (\n - 2)(12)
    .endr
    hrfid
2:  BIG_ENDIAN 0x7ffa4ba6               /* mtspr HSRR0, r31 */
    BIG_ENDIAN 0x7fdb4ba6               /* mtspr HSRR1, r30 */
    BIG_ENDIAN 0x4c000224               /* hrfid */
3:  mtspr   26, 28
    mtspr   27, 29
    ld      2, 24(1)
    .irp    n, 28,29,30,31
    ld      \n, 8 * \n - 144(1)
    .endr
    addi    1, 1, 112
    lwz     12, 8(1)
    ld      0, 16(1)
    mtcrf   0xff, 12
    mtlr    0
    blr
    .size   opal_enter, . - opal_enter
