// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Standard output for text that nobody may be waiting for any more.
use std::io::Write;

/// Writes a line to standard output. A reader that has gone away is no failure.
pub fn line(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
