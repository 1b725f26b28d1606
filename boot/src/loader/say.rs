// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The loader's lines on the console.
use core::fmt::{self, Write};

use anchorite_hv::core::report::TAG;
use anchorite_spec::Manifest;

use crate::arch;

struct Writer;

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        arch::console_print(text.as_bytes());
        Ok(())
    }
}

/// Writes one tagged line.
pub fn line(text: fmt::Arguments) {
    raw(format_args!("{TAG}{text}"));
}

/// Writes one line without a tag.
pub fn raw(text: fmt::Arguments) {
    let _ = write!(Writer, "{text}\r\n");
}

/// Says what the guest can reach.
pub fn mappings(manifest: &Manifest) {
    for mapping in manifest.mappings() {
        let [guest, size, host] = [mapping.guest, mapping.size, mapping.host].map(Hex);
        say!("map {} guest {guest} size {size} host {host}", mapping.name.as_str());
    }
}

/// A number as `{:#x}` shows it, with a third of the instructions.
struct Hex(u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut text = *b"0x0000000000000000";
        let digits = (67 - (self.0 | 1).leading_zeros() as usize) / 4;
        for (n, digit) in text[2..2 + digits].iter_mut().rev().enumerate() {
            *digit = b"0123456789abcdef"[(self.0 >> (4 * n) & 15) as usize];
        }
        f.write_str(core::str::from_utf8(&text[..2 + digits]).map_err(|_| fmt::Error)?)
    }
}

macro_rules! say {
    ($($arg:tt)*) => { $crate::say::line(format_args!($($arg)*)) };
}
pub(crate) use say;
