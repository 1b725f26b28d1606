// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exit codes, and errors that choose one.
use std::fmt;
use std::path::Path;

use crate::image::ImageError;

/// All is well.
pub const OK: u8 = 0;
/// The input was refused.
pub const REFUSED: u8 = 1;
/// The command line cannot be understood.
pub const USAGE: u8 = 2;
/// A tool, the machine or the file system failed.
pub const FAILED: u8 = 3;
/// An image is not what its digests say.
pub const IMAGE: u8 = 14;

/// An error that says how the program ends.
#[derive(Debug)]
pub struct Exit {
    code: u8,
    message: String,
}

impl Exit {
    /// An input that is refused.
    pub fn refused(message: impl Into<String>) -> anyhow::Error {
        Self { code: REFUSED, message: message.into() }.into()
    }

    /// A command line that cannot be understood.
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Self { code: USAGE, message: message.into() }.into()
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}

/// A file that the command line names.
///
/// # Errors
/// It cannot be read: that is the input's fault.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| Exit::refused(format!("cannot read {}: {error}", path.display())))
}

/// The exit code of an error.
#[must_use]
pub fn code(error: &anyhow::Error) -> u8 {
    if let Some(exit) = error.downcast_ref::<Exit>() {
        return exit.code;
    }
    match error.downcast_ref::<ImageError>() {
        None => FAILED,
        Some(image) if image.is_digest() => IMAGE,
        Some(_) => REFUSED,
    }
}
