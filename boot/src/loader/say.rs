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
        let (name, guest) = (mapping.name.as_str(), mapping.guest);
        say!("map {name} guest {guest:#x} size {:#x} host {:#x}", mapping.size, mapping.host);
    }
}

macro_rules! say {
    ($($arg:tt)*) => { $crate::say::line(format_args!($($arg)*)) };
}
pub(crate) use say;
