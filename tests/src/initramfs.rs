// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The shell guest's initramfs with more files in it.
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc;

use crate::root;

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;

/// A file that `scripts/guests` has fetched or made.
///
/// # Errors
///
/// It is not there.
pub fn fetched(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

/// The shell's initramfs for Debian's architecture `arch`, with these directories and these
/// executable files besides, under a name of its own.
///
/// # Errors
///
/// It is not there, or cannot be written.
pub fn with(
    arch: &str,
    name: &str,
    directories: &[&str],
    files: &[(String, Vec<u8>)],
) -> Result<PathBuf> {
    let recipe = root().join("target/guests").join(format!("shell-{arch}"));
    let mut archive = fetched(&recipe.join("initramfs.cpio"))?;
    for directory in directories {
        newc::Builder::new(directory).mode(S_IFDIR | 0o755).write(&mut archive, 0).finish()?;
    }
    for (name, content) in files {
        let size = u32::try_from(content.len())?;
        let mut entry = newc::Builder::new(name).mode(S_IFREG | 0o755).write(&mut archive, size);
        entry.write_all(content)?;
        entry.finish()?;
    }
    newc::trailer(&mut archive)?;
    let path = root().join(format!("target/test-images/{name}.cpio"));
    let directory = path.parent().context("no directory")?;
    fs::create_dir_all(directory)?;
    // Tests run side by side: never a file that is half written.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&archive)?;
    file.persist(&path)?;
    Ok(path)
}
