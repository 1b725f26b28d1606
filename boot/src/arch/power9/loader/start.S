/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The loader's first instructions, at whatever address skiboot put the image.
 *
 * In:       r3 = device tree, r8 = OPAL base, r9 = OPAL entry; real mode, HV, EE = 0, big-endian.
 * Out:      loader_main(tree, OPAL base, OPAL entry, own address, header), little-endian, relocated,
 *           on the stack that the builder chose. Never returns.
 *
 * The header's words are filled in by the builder.
 */
.macro BIG_ENDIAN insn
    .long   ((\insn) >> 24 & 0xff) | ((\insn) >> 8 & 0xff00) | ((\insn) << 8 & 0xff0000) | ((\insn) << 24 & 0xff000000)
.endm
    .section .text.start, "ax", @progbits
    .globl  loader_start
    .type   loader_start, @function
loader_start:
    BIG_ENDIAN 0x48000040               /* b loader_start + 0x40 */
    .long   0
    .quad   0                           /* 0x08: from here to the manifest */
    .quad   0                           /* 0x10: stack */
    .quad   0                           /* 0x18: bytes of the loader */
    .quad   0                           /* 0x20: from the image's start to here */
    .balign 64
    BIG_ENDIAN 0x429f0005               /* bcl 20, 31, .+4 */
    BIG_ENDIAN 0x7d4802a6               /* mflr r10 */
    BIG_ENDIAN 0x7d6000a6               /* mfmsr r11 */
    BIG_ENDIAN 0x616b0001               /* ori r11, r11, 1 */
    BIG_ENDIAN 0x394a001c               /* addi r10, r10, 28: 0x60, the little-endian code */
    BIG_ENDIAN 0x7d5a4ba6               /* mtspr HSRR0, r10 */
    BIG_ENDIAN 0x7d7b4ba6               /* mtspr HSRR1, r11 */
    BIG_ENDIAN 0x4c000224               /* hrfid */
    /* 0x60: little-endian. r10 = this address. */
    addi    31, 10, -0x60
    ld      1, 0x10(31)
    mr      4, 8
    mr      5, 9
    mr      6, 31
    /* Add the load address to every word that the linker listed (R_PPC64_RELATIVE only). */
    bcl     20, 31, 1f
1:  mflr    10
    addis   7, 10, (loader_rela_start - 1b)@ha
    addi    7, 7, (loader_rela_start - 1b)@l
    addis   8, 10, (loader_rela_end - 1b)@ha
    addi    8, 8, (loader_rela_end - 1b)@l
2:  cmpld   7, 8
    bge     3f
    ld      9, 0(7)
    ld      11, 16(7)
    add     11, 11, 31
    stdx    11, 9, 31
    addi    7, 7, 24
    b       2b
3:  addis   2, 10, (.TOC. - 1b)@ha
    addi    2, 2, (.TOC. - 1b)@l
    bl      loader_main
    nop
    b       .
    .size   loader_start, . - loader_start
    .purgem BIG_ENDIAN
