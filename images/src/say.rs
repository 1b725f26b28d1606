// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Text for standard output and standard error that nobody may be waiting for any more: a reader
//! that has gone away, or a terminal that was closed, is no failure.
use std::fmt::Display;
use std::io::Write;

/// Writes a line to standard output.
pub fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes a line to standard error.
pub fn aside(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
