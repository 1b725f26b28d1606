// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A program in the user space of a POWER9 Linux guest: what of the processor is the guest's works
//! there, and what is withheld does not exist.
#![no_std]
#![no_main]

#[path = "../../common/counters.rs"]
mod counters;
mod facilities;
#[path = "../../common/linux.rs"]
mod linux;
#[path = "../../common/report.rs"]
mod report;

use linux as console;

#[expect(unsafe_code, reason = "the first instructions")]
mod start {
    core::arch::global_asm!(
        ".globl _start",
        "_start:",
        "lis 2, .TOC.@h",
        "ori 2, 2, .TOC.@l",
        "li 0, 0",
        "stdu 0, -128(1)",
        "bl user_main",
        "nop",
    );
}

#[expect(unsafe_code, reason = "called by name from the assembly")]
#[unsafe(no_mangle)]
extern "C" fn user_main() -> ! {
    counters::run(true);
    facilities::run();
    say!("probe ends");
    linux::exit(0)
}
