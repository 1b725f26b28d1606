// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A program in the user space of an arm64 Linux guest: what of the processor is the guest's works
//! there. An argument says that the emulator counts instructions.
#![no_std]
#![no_main]

#[path = "../../common/counters.rs"]
mod counters;
#[path = "../../common/linux.rs"]
mod linux;
#[path = "../../common/report.rs"]
mod report;

use linux as console;

#[expect(unsafe_code, reason = "the first instructions")]
mod start {
    core::arch::global_asm!(".globl _start", "_start:", "ldr x0, [sp]", "b user_main",);
}

#[expect(unsafe_code, reason = "called by name from the assembly")]
#[unsafe(no_mangle)]
extern "C" fn user_main(arguments: u64) -> ! {
    counters::run(arguments > 1);
    say!("probe ends");
    linux::exit(0)
}
