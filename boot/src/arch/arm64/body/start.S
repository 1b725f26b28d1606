/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * void body_start(const BootInfo *info)
 *
 * In:       x0 = the loader's findings; EL2, the loader's translation, everything masked.
 * Out:      body_main(info) on the resident stack. Never returns.
 */
    .section .text.start, "ax", @progbits
    .globl  body_start
    .type   body_start, @function
body_start:
    adrp    x9, body_stack
    add     x9, x9, :lo12:body_stack
    mov     x10, #(8192 - 64)
    add     x9, x9, x10
    mov     sp, x9
    mov     x29, #0
    mov     x30, #0
    b       body_main
    .size   body_start, . - body_start
