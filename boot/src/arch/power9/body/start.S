/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Two entries: the loader's, and that of a thread which OPAL starts, big-endian.
 *
 * In:       r3 = the loader's findings, or the thread's PIR; real mode, HV, EE = 0. body_next = a
 *           stack and a function.
 * Out:      the function, called with r3 and r4 = TOC on that stack. Never returns.
 */
    .section .text.start, "ax", @progbits
    .globl  body_start
    .type   body_start, @function
body_start:
    bcl     20, 31, 1f
1:  mflr    2
    addis   2, 2, (.TOC. - 1b)@ha
    addi    2, 2, (.TOC. - 1b)@l
    addis   5, 2, body_next@toc@ha
    addi    5, 5, body_next@toc@l
    ld      1, 0(5)
    ld      12, 8(5)
    mr      4, 2
    mtctr   12
    bctr
    .globl  body_thread
body_thread:
    TO_LITTLE_ENDIAN body_start - body_thread - 4
    .size   body_start, . - body_start
