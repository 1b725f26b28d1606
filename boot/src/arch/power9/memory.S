/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * void *memset(void *start, int byte, size_t len)
 * void *memcpy(void *to, const void *from, size_t len)
 *
 * The compiler's own move eight bytes in five instructions, and most of what a boot does between its
 * larger tasks is to clear tables and to copy. Memory is ordinary, so nothing has to be aligned.
 * In:       r3, r4, r5 = the arguments. Out: r3 unchanged. Clobbers r4 to r10, CTR, CR0.
 */
    .section .text.memory, "ax", @progbits
    .globl  memset
    .type   memset, @function
    .balign 16
memset:
    rldimi  4, 4, 8, 48
    rldimi  4, 4, 16, 32
    rldimi  4, 4, 32, 0
    mr      6, 3
    srdi.   7, 5, 7
    beq     2f
    mtctr   7
1:  .irp    k, 0,8,16,24,32,40,48,56,64,72,80,88,96,104,112,120
    std     4, \k(6)
    .endr
    addi    6, 6, 128
    bdnz    1b
2:  rldicl. 7, 5, 61, 60
    beq     4f
    mtctr   7
3:  std     4, 0(6)
    addi    6, 6, 8
    bdnz    3b
4:  andi.   7, 5, 7
    beqlr
    mtctr   7
5:  stb     4, 0(6)
    addi    6, 6, 1
    bdnz    5b
    blr
    .size   memset, . - memset

    .globl  memcpy
    .type   memcpy, @function
    .balign 16
memcpy:
    mr      6, 3
    srdi.   7, 5, 6
    beq     2f
    mtctr   7
1:  .irp    k, 0,16,32,48
    ld      8, \k(4)
    ld      9, \k + 8(4)
    std     8, \k(6)
    std     9, \k + 8(6)
    .endr
    addi    4, 4, 64
    addi    6, 6, 64
    bdnz    1b
2:  rldicl. 7, 5, 61, 61
    beq     4f
    mtctr   7
3:  ld      8, 0(4)
    std     8, 0(6)
    addi    4, 4, 8
    addi    6, 6, 8
    bdnz    3b
4:  andi.   7, 5, 7
    beqlr
    mtctr   7
5:  lbz     8, 0(4)
    stb     8, 0(6)
    addi    4, 4, 1
    addi    6, 6, 1
    bdnz    5b
    blr
    .size   memcpy, . - memcpy
