// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The console, and the power switch.
use core::fmt::{self, Write};

use crate::hcall::{self, hcall};
use crate::{rtas, say, trap};

/// The console.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for chunk in text.as_bytes().chunks(16) {
            put(chunk);
        }
        Ok(())
    }
}

/// Up to 16 bytes, as soon as the terminal takes them.
pub fn put(chunk: &[u8]) {
    let mut bytes = [0; 16];
    bytes[..chunk.len()].copy_from_slice(chunk);
    let [high, low] = [&bytes[..8], &bytes[8..]]
        .map(|half| half.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    while hcall(hcall::PUT_TERM_CHAR, &[0, chunk.len() as u64, high, low])[0] == hcall::BUSY {}
}

/// Much text, numbered.
pub fn flood(lines: u32) {
    for n in 0..lines {
        let mut line = *b"flood 0000000.\r\n";
        for (digit, place) in line[6..13].iter_mut().rev().zip(0..) {
            *digit = b'0' + (n / 10_u32.pow(place) % 10) as u8;
        }
        put(&line);
    }
}

/// RTAS power-off; returns only if the firmware refuses.
pub fn power_off() {
    let mut buffer = [0_u32; 6];
    let words = [rtas::POWER_OFF, 2, 1, u32::MAX, u32::MAX, 0];
    for (slot, word) in buffer.iter_mut().zip(words) {
        *slot = word.to_be();
    }
    hcall(hcall::RTAS, &[core::hint::black_box(&buffer).as_ptr() as u64]);
}

/// An exception without a fix-up: the vectors come here on a fresh stack.
#[expect(unsafe_code, reason = "called by name from the assembly")]
#[unsafe(no_mangle)]
extern "C" fn probe_unexpected() -> ! {
    say!("probe unexpected FAIL {:x?}", trap::last());
    power_off();
    loop {}
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    say!("probe panic FAIL {info}");
    power_off();
    loop {}
}
