// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The console, and the power switch.
#![expect(unsafe_code, reason = "device registers, and called by name from the assembly")]

use core::fmt::{self, Write};
use core::ptr;

use crate::board::UART;
use crate::{psci, say};

const DATA: u64 = UART;
const FLAGS: u64 = UART + 0x18;
const RECEIVE_EMPTY: u32 = 1 << 4;
const TRANSMIT_FULL: u32 = 1 << 5;

fn read(register: u64) -> u32 {
    // SAFETY: a register of the UART, which is this guest's.
    unsafe { ptr::read_volatile(register as *const u32) }
}

/// The console.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while read(FLAGS) & TRANSMIT_FULL != 0 {}
            // SAFETY: as above.
            unsafe { ptr::write_volatile(DATA as *mut u32, byte.into()) };
        }
        Ok(())
    }
}

/// A byte that was typed.
pub fn typed() -> Option<u8> {
    (read(FLAGS) & RECEIVE_EMPTY == 0).then(|| read(DATA) as u8)
}

/// An exception that nobody waited for.
#[unsafe(no_mangle)]
extern "C" fn probe_unexpected(elr: u64, esr: u64, far: u64) -> ! {
    say!("probe unexpected FAIL at {elr:#x}, esr {esr:#x}, address {far:#x}");
    psci::power_off()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    say!("probe panic FAIL {info}");
    psci::power_off()
}
