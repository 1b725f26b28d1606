// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lines on the console, `probe NAME ok` or `probe NAME FAIL …`, and the power switch.
use core::cell::Cell;
use core::fmt::{self, Write};

use crate::hcall::{self, hcall};
use crate::rtas;
use crate::trap;

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

/// `say!(…)`: a line.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => {{
        use core::fmt::Write;
        let _ = write!($crate::console::Console, "{}\n", format_args!($($arg)*));
    }};
}

/// A probe under way: it is ok unless something was not as wanted.
pub struct Probe {
    name: &'static str,
    wrong: Cell<u32>,
}

/// Differences of one probe that are printed.
const SHOWN: u32 = 6;

impl Probe {
    /// Runs a probe and prints its verdict.
    pub fn run(name: &'static str, body: impl FnOnce(&Self)) {
        let probe = Self { name, wrong: Cell::new(0) };
        body(&probe);
        match probe.wrong.get() {
            0 => say!("probe {name} ok"),
            n => say!("probe {name} FAIL got={n} differences want=0"),
        }
    }

    /// What came, against what should have.
    pub fn equal(&self, what: &dyn fmt::Display, got: u64, want: u64) {
        if got != want {
            self.wrong.set(self.wrong.get() + 1);
            if self.wrong.get() <= SHOWN {
                say!("probe {} FAIL got={got:#x} want={want:#x} in {what}", self.name);
            }
        }
    }

    /// A condition.
    pub fn holds(&self, what: &dyn fmt::Display, condition: bool) {
        self.equal(what, u64::from(condition), 1);
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
