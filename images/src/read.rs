// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files that a config names: anything may stand there, and nothing may hang or fill the memory.
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

use crate::config::units;

/// No kernel and no initial file system is larger.
pub const GUEST_FILE: u64 = 1 << 30;
/// No key's file is larger.
pub const KEY: u64 = 64 << 10;

/// Reads a whole file of this size at most.
///
/// # Errors
/// It cannot be read, is no file, or is larger.
pub fn file(path: &Path, most: u64) -> Result<Vec<u8>> {
    let about = fs::metadata(path)?;
    if about.len() > most && about.is_file() {
        let what = format!("it is larger than {}", units::size(most));
        return Err(Error::new(ErrorKind::FileTooLarge, what));
    }
    // A directory's error is the system's own.
    if !about.is_file() && !about.is_dir() {
        return Err(Error::other("it is a pipe or a device, no file"));
    }
    fs::read(path)
}
