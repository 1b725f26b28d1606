/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The loader's first instructions, at whatever address the image was put.
 *
 * In:       x0 = the machine's tree or 0; any exception level, MMU off, everything masked. At EL3
 *           some machines start all CPUs here: one goes on.
 * Out:      loader_main(tree, own address, address in the image, counter at the first instruction),
 *           relocated, on the stack that the builder chose. The addresses differ when the image
 *           lies in flash. Never returns.
 *
 * The header's words are filled in by the builder.
 */
    .section .text.start, "ax", @progbits
    .globl  loader_start
    .type   loader_start, @function
loader_start:
    b       1f
    .long   0
    .quad   0                           /* 0x08: from here to the manifest */
    .quad   0                           /* 0x10: stack */
    .quad   0                           /* 0x18: bytes of the loader */
    .quad   0                           /* 0x20: from the image's start to here */
    .quad   0, 0                        /* 0x28: flash, its address and bytes */
    .quad   0                           /* 0x38: where a loader in flash goes */
    .balign 128                         /* 0x40: anchorite_spec::Trust */
1:  mrs     x3, cntpct_el0
    mrs     x9, mpidr_el1
    tst     x9, #0xffffff
    b.eq    3f
    mrs     x9, CurrentEL
    cmp     x9, #12
    b.ne    3f
2:  wfe
    b       2b
3:  adr     x2, loader_start
    mov     x1, x2
    ldp     x9, x10, [x2, #0x28]
    sub     x9, x2, x9
    cmp     x9, x10
    b.hs    6f
    /* Flash cannot be written: go on in a copy. */
    ldr     x1, [x2, #0x38]
    ldr     x9, [x2, #0x18]
    add     x9, x1, x9                  /* to here; up to 511 bytes more do no harm */
    mov     x10, x2
    mov     x11, x1
4:  .rept   8
    ldp     x12, x13, [x10], #16
    ldp     x14, x15, [x10], #16
    ldp     x16, x17, [x10], #16
    ldp     x4, x5, [x10], #16
    stp     x12, x13, [x11], #16
    stp     x14, x15, [x11], #16
    stp     x16, x17, [x11], #16
    stp     x4, x5, [x11], #16
    .endr
    cmp     x11, x9
    b.lo    4b
    dsb     sy
    ic      iallu
    dsb     sy
    isb
    adr     x9, 6f
    sub     x9, x9, x2
    add     x9, x9, x1
    br      x9
6:  ldr     x9, [x1, #0x10]
    mov     sp, x9
    /* Add the load address to every word that the linker listed (R_AARCH64_RELATIVE only). */
    adrp    x10, loader_rela_start
    add     x10, x10, :lo12:loader_rela_start
    adrp    x11, loader_rela_end
    add     x11, x11, :lo12:loader_rela_end
    b       8f
7:  ldr     x12, [x10], #16
    ldr     x13, [x10], #8
    add     x13, x13, x1
    str     x13, [x1, x12]
8:  cmp     x10, x11
    b.lo    7b
    bl      loader_main
    b       .
    .size   loader_start, . - loader_start

/* Vectors of the loader: whatever it is, it ends the boot. The stack is the loader's own. */
    .globl  loader_vectors
    .type   loader_vectors, @function
    .balign 2048
loader_vectors:
    .rept   16
    .balign 0x80
    b       loader_fault
    .endr
    .size   loader_vectors, . - loader_vectors
