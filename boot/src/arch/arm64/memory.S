/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * void *memset(void *start, int byte, size_t len)
 *
 * The compiler's own stores eight bytes at a time, and most of what a boot does between its larger
 * tasks is to clear tables. All stores are aligned: the MMU may be off.
 * In:       x0 = start, w1 = byte, x2 = length. Out: x0 unchanged. Clobbers x1, x2, x8, x9.
 */
    .section .text.memset, "ax", @progbits
    .globl  memset
    .type   memset, @function
    .balign 16
memset:
    mov     x8, x0
    and     x1, x1, #0xff
    mov     x9, #0x0101010101010101
    mul     x1, x1, x9
1:  tst     x8, #15
    b.eq    2f
    cbz     x2, 6f
    strb    w1, [x8], #1
    sub     x2, x2, #1
    b       1b
2:  subs    x2, x2, #128
    b.lo    4f
3:  .rept   8
    stp     x1, x1, [x8], #16
    .endr
    subs    x2, x2, #128
    b.hs    3b
4:  add     x2, x2, #128
5:  cbz     x2, 6f
    strb    w1, [x8], #1
    sub     x2, x2, #1
    b       5b
6:  ret
    .size   memset, . - memset
