/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * void body_start(const BootInfo *info)
 *
 * In:       r3 = the loader's findings; real mode, HV, EE = 0, little-endian.
 * Out:      body_main(info, toc) on the resident stack. Never returns.
 */
    .section .text.start, "ax", @progbits
    .globl  body_start
    .type   body_start, @function
body_start:
    bcl     20, 31, 1f
1:  mflr    2
    addis   2, 2, (.TOC. - 1b)@ha
    addi    2, 2, (.TOC. - 1b)@l
    addis   1, 2, (body_stack + 16384 - 64)@toc@ha
    addi    1, 1, (body_stack + 16384 - 64)@toc@l
    mr      4, 2
    bl      body_main
    nop
    b       .
    .size   body_start, . - body_start
