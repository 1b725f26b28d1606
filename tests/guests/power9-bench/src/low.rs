// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first pages: entry and vectors. The vectors add their own instructions to r15, and find in
//! r16 to r20 what they need.
#![expect(unsafe_code, reason = "the first instructions")]

core::arch::global_asm!(
    r#"
    .section .low, "ax", @progbits
    .macro  STACK
    lis     1, (stack_top - 64)@h
    ori     1, 1, (stack_top - 64)@l
    lis     2, .TOC.@h
    ori     2, 2, .TOC.@l
    .endm
    .macro  UNEXPECTED list:vararg
    .irp    n, \list
    . = \n
    b       unexpected
    .endr
    .endm

    .globl  probe_entry
probe_entry:
    STACK
    bl      bench_main
    nop
    b       .
    UNEXPECTED 0x100
    . = 0x200                           /* machine check: on behind the load */
machine_check:
    mfspr   16, 268
    mfspr   19, 26
    addi    19, 19, 4
    mtspr   26, 19
    addi    15, 15, 6
    rfid
    UNEXPECTED 0x300,0x380,0x400,0x480
    . = 0x500                           /* external: accepted, ended, the priority opened again */
    lhz     19, 0x800(20)
    ld      19, 0(17)
    stb     16, 1(20)
    addi    15, 15, 5
    rfid
    UNEXPECTED 0x600,0x700,0x800
    . = 0x900                           /* decrementer: far away */
    mtspr   22, 16
    addi    15, 15, 3
    rfid
    UNEXPECTED 0x980,0xa00,0xb00,0xc00,0xd00,0xe00,0xe20,0xe40,0xe60,0xe80,0xea0
    UNEXPECTED 0xf00,0xf20,0xf40,0xf60,0xf80,0x1300,0x1500,0x1700
    . = 0x1800
unexpected:
    STACK
    bl      probe_unexpected
    nop
    b       .
    . = 0x1900                          /* routines for system resets and machine checks: */
    b       unexpected
    . = 0x1940                          /* r3 points to the interrupted one, big-endian */
    ldbrx   3, 0, 3
    b       machine_check

    .bss
    .balign 16
    .space  0x8000
stack_top:
    .text
"#,
    options(raw)
);

/// This program's routines for system resets and machine checks.
pub const ROUTINES: [u32; 2] = [0x1900, 0x1940];
