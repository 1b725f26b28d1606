/* SPDX-License-Identifier: Apache-2.0 OR MIT */
    .ifndef in_big_endian               /* one module may include this twice */
    .set    in_big_endian, 1
/* One instruction as a thread in big-endian state reads it. */
.macro BIG_ENDIAN insn
    .long   ((\insn) >> 24 & 0xff) | ((\insn) >> 8 & 0xff00) | ((\insn) << 8 & 0xff0000) | ((\insn) << 24 & 0xff000000)
.endm
/* Goes on little-endian, so many bytes from the second instruction; r10 = that address. Clobbers
   r11, LR, HSRR0, HSRR1. */
.macro TO_LITTLE_ENDIAN to
    BIG_ENDIAN 0x429f0005               /* bcl 20, 31, .+4 */
    BIG_ENDIAN 0x7d4802a6               /* mflr r10 */
    BIG_ENDIAN 0x7d6000a6               /* mfmsr r11 */
    BIG_ENDIAN 0x616b0001               /* ori r11, r11, 1 */
    BIG_ENDIAN 0x394a0000 | ((\to) & 0xffff) /* addi r10, r10, \to */
    BIG_ENDIAN 0x7d5a4ba6               /* mtspr HSRR0, r10 */
    BIG_ENDIAN 0x7d7b4ba6               /* mtspr HSRR1, r11 */
    BIG_ENDIAN 0x4c000224               /* hrfid */
.endm
    .endif
