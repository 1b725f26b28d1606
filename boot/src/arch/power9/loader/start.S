/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The loader's first instructions, at whatever address skiboot put the image, or at real 0x10.
 *
 * In:       r3 = device tree, r8 = OPAL base, r9 = OPAL entry; real mode, HV, EE = 0, big-endian.
 * Out:      loader_main(tree, OPAL base, OPAL entry, own address, timebase), little-endian, relocated,
 *           on the stack that the builder chose. Never returns.
 *
 * The header's words are filled in by the builder.
 */
    .section .text.start, "ax", @progbits
    .globl  loader_start
    .type   loader_start, @function
loader_start:
    BIG_ENDIAN 0x48000080               /* b loader_start + 0x80 */
    .long   0
    .quad   0                           /* 0x08: from here to the manifest */
    .quad   0                           /* 0x10: stack */
    .quad   0                           /* 0x18: bytes of the loader */
    .quad   0                           /* 0x20: from the image's start to here */
    .balign 128                         /* 0x40: anchorite_spec::Trust */
    TO_LITTLE_ENDIAN 28
    addi    31, 10, -0xa0               /* r10 = this address */
    mftb    12
    /* Without OPAL all threads come at once: thread 0 boots, the others wait for a doorbell and
       then for the two words of Bare::GATE, who is meant and where to go. An expired decrementer
       would end every stop at once. */
    mfspr   5, 1023                     /* PIR */
    cmpdi   9, 0
    bne     5f
    cmpdi   5, 0
    beq     5f
4:  lis     6, 0x7fff
    mtdec   6
    stop
    ld      6, 0x18(0)
    cmpd    6, 5
    bne     4b
    ld      6, 0x20(0)
    mtctr   6
    mr      3, 5
    bctr
5:  ld      1, 0x10(31)
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
    mr      7, 12
    bl      loader_main
    nop
    b       .
    .size   loader_start, . - loader_start
