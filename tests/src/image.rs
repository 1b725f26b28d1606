// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images for the tests, each built once, and what stands in them.
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use anchorite_spec::Manifest;
use anchorite_spec::manifest::{IMAGE_OFFSET, Part};
use anyhow::{Context, Result};
use zerocopy::FromBytes;

use crate::{anchorite, board, root, succeed};

/// Where the parts of an image that the tests change or compare stand.
#[derive(Clone)]
pub struct Image {
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Arc<Vec<u8>>,
    /// Its manifest.
    pub manifest: Manifest,
}

/// A kernel recipe's file.
#[must_use]
pub fn kernel(recipe: &str) -> PathBuf {
    root().join("target/guests").join(recipe).join("vmlinux")
}

/// The image of the test board, built with these further arguments: once in a run of the tests.
///
/// # Errors
///
/// The build fails.
pub fn image(name: &str, arguments: &[&str]) -> Result<Image> {
    image_of(&board(), name, arguments)
}

/// The same for another board. The name must be another too.
///
/// # Errors
///
/// The build fails.
pub fn image_of(board: &Path, name: &str, arguments: &[&str]) -> Result<Image> {
    static IMAGES: OnceLock<Mutex<HashMap<String, Image>>> = OnceLock::new();
    let mut images = IMAGES.get_or_init(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
    if let Some(image) = images.get(name) {
        return Ok(image.clone());
    }
    let directory = root().join("target/test-images");
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{name}.elf"));
    build_of(board, &path, arguments)?;
    let image = read(&path)?;
    images.insert(name.to_owned(), image.clone());
    Ok(image)
}

/// Builds an image of the test board.
///
/// # Errors
///
/// What the builder says.
pub fn build(path: &Path, arguments: &[&str]) -> Result<()> {
    build_of(&board(), path, arguments)
}

fn build_of(board: &Path, path: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = anchorite();
    // Paths in the tests' own boards are the checkout's.
    command.current_dir(root()).arg("build").arg("--board").arg(board);
    command.arg("--out").arg(path).args(arguments);
    succeed(&mut command).with_context(|| format!("build {arguments:?}"))?;
    Ok(())
}

/// The board config's own guest.
///
/// # Errors
///
/// The build fails.
pub fn default_image() -> Result<Image> {
    image("default", &[])
}

/// A guest that powers off as its first act, with no input: for runs that must repeat, or end soon.
///
/// # Errors
///
/// The build fails.
pub fn power_off_image() -> Result<Image> {
    image("power-off", &["--cmdline", "console=hvc0 rdinit=/bin/busybox -- poweroff -f"])
}

fn read(path: &Path) -> Result<Image> {
    let bytes = fs::read(path)?;
    let start = usize::try_from(IMAGE_OFFSET)?;
    let raw = bytes.get(start..start + size_of::<Manifest>()).context("no manifest")?;
    let manifest = Manifest::read_from_bytes(raw).map_err(|_| anyhow::anyhow!("no manifest"))?;
    Ok(Image { path: path.to_owned(), bytes: Arc::new(bytes), manifest })
}

impl Image {
    /// A part and its bytes in the file.
    ///
    /// # Errors
    ///
    /// The image has no such part.
    pub fn part(&self, kind: u32) -> Result<(Part, &[u8])> {
        let part = *self.manifest.part(kind).context("no such part")?;
        let start = usize::try_from(part.offset)?;
        let end = start + usize::try_from(part.size)?;
        Ok((part, self.bytes.get(start..end).context("part outside the file")?))
    }

    /// Packs it in a form, into a file.
    ///
    /// # Errors
    ///
    /// What `anchorite pack` says.
    pub fn pack(&self, format: &str, file: &Path) -> Result<()> {
        let mut command = anchorite();
        command.args(["pack", "--format", format]).arg(&self.path).arg("--out").arg(file);
        succeed(&mut command)?;
        Ok(())
    }

    /// A copy of the file with other bytes.
    ///
    /// # Errors
    ///
    /// The copy cannot be written.
    pub fn variant(&self, bytes: &[u8]) -> Result<tempfile::TempPath> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), bytes)?;
        Ok(file.into_temp_path())
    }
}
