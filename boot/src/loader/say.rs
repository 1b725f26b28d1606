// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The loader's lines on the console.
use core::cell::Cell;
use core::fmt::{self, Write};

use anchorite_hv::power9::report::TAG;
use anchorite_platform::powernv::Opal;

struct Console(Cell<Option<Opal>>);

// SAFETY: the loader runs on one thread.
unsafe impl Sync for Console {}

static CONSOLE: Console = Console(Cell::new(None));

struct Writer(Opal);

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.console_print(text.as_bytes());
        Ok(())
    }
}

/// From now on lines go to OPAL's console.
pub fn start(opal: Opal) {
    CONSOLE.0.set(Some(opal));
}

/// OPAL, once [`start`] was called.
pub fn opal() -> Option<Opal> {
    CONSOLE.0.get()
}

/// Writes one tagged line.
pub fn line(text: fmt::Arguments) {
    raw(format_args!("{TAG}{text}"));
}

/// Writes one line without a tag.
pub fn raw(text: fmt::Arguments) {
    if let Some(opal) = opal() {
        let _ = write!(Writer(opal), "{text}\r\n");
    }
}

macro_rules! say {
    ($($arg:tt)*) => { $crate::say::line(format_args!($($arg)*)) };
}
pub(crate) use say;
