/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Two entries: the loader's, and that of a thread which OPAL starts, big-endian.
 *
 * In:       r3 = the loader's findings, or the thread's PIR; real mode, HV, EE = 0. body_next = a
 *           stack and a function.
 * Out:      the function, called with r3 and r4 = TOC on that stack. Never returns.
 */
.macro BIG_ENDIAN insn
    .long   ((\insn) >> 24 & 0xff) | ((\insn) >> 8 & 0xff00) | ((\insn) << 8 & 0xff0000) | ((\insn) << 24 & 0xff000000)
.endm
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
    BIG_ENDIAN 0x429f0005               /* bcl 20, 31, .+4 */
    BIG_ENDIAN 0x7d4802a6               /* mflr r10 */
    BIG_ENDIAN 0x7d6000a6               /* mfmsr r11 */
    BIG_ENDIAN 0x616b0001               /* ori r11, r11, 1 */
    BIG_ENDIAN 0x394affd0               /* addi r10, r10, -48: body_start */
    BIG_ENDIAN 0x7d5a4ba6               /* mtspr HSRR0, r10 */
    BIG_ENDIAN 0x7d7b4ba6               /* mtspr HSRR1, r11 */
    BIG_ENDIAN 0x4c000224               /* hrfid */
    .size   body_start, . - body_start
    .purgem BIG_ENDIAN
