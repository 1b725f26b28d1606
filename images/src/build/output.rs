// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files appear whole or not at all.
use std::fs;
use std::io;
use std::path::Path;

/// Writes a file beside its place and moves it there.
///
/// # Errors
/// The file system refused; nothing stays behind.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let temporary =
        path.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
