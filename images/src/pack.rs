// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite pack`: an image in the form that a machine or a bootloader wants.
//!
//! The forms differ in their first 64 bytes, which follow from the manifest: every form can be made
//! of every other. Containers hold an image in one of them.
use anchorite_spec::form::IMAGE_ALIGN;
use anchorite_spec::manifest::ARCH_POWER9;
use anchorite_spec::{Form, Manifest};
use anyhow::{Context, Result};

use crate::build::output;
use crate::cli::{Format, PackArgs};
use crate::config::platform::Platform;
use crate::config::units;
use crate::container::{self, PARTITION_BYTES};
use crate::exit::{self, Exit};
use crate::fit;
use crate::image::ImageFile;
use crate::say;

/// Runs the command.
///
/// # Errors
/// The image is refused, cannot have this form, or the file cannot be written.
pub fn pack(args: &PackArgs) -> Result<u8> {
    let size = match (&args.partition_size, args.format) {
        (None, _) => PARTITION_BYTES,
        (Some(text), Format::Pnor) => units::parse_size(text)
            .map_err(|error| Exit::usage(format!("--partition-size {text}: {error}")))?,
        (Some(_), _) => return Err(Exit::usage("--partition-size goes with --format pnor")),
    };
    let file = exit::read(&args.image)?;
    let image = ImageFile::read(&file)?;
    image.verify()?;
    let (packed, name) = match args.format {
        Format::Elf => (stored(&image, Form::Elf)?, Form::Elf.name()),
        Format::Raw => (stored(&image, Form::Raw)?, Form::Raw.name()),
        Format::Arm64Image => (stored(&image, Form::Arm64Image)?, Form::Arm64Image.name()),
        Format::Stb => (contained(&image)?, "stb"),
        Format::Pnor => (partition(contained(&image)?, size)?, "pnor"),
        Format::Fit => (in_fit(&image)?, "fit"),
    };
    output::write(&args.out, &packed)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    say::line(format!("{}: {} bytes, {}", args.out.display(), packed.len(), name));
    Ok(exit::OK)
}

/// An image in the container that POWER9's flash has it in.
fn contained(image: &ImageFile<'_>) -> Result<Vec<u8>> {
    if image.manifest.arch != ARCH_POWER9 {
        let board = image.manifest.board.as_str();
        return Err(Exit::refused(format!(
            "images for {board} stand in no OpenPOWER container: write `--format raw` for flash"
        )));
    }
    Ok(container::wrap(&stored(image, Form::Elf)?))
}

/// An image for U-Boot, which puts it where the board has set RAM apart for it.
fn in_fit(image: &ImageFile<'_>) -> Result<Vec<u8>> {
    let manifest = &image.manifest;
    let board = manifest.board.as_str();
    let Some(arm) = Platform::numbered(manifest.arch, manifest.boot).arm else {
        return Err(Exit::refused(format!(
            "images for {board} stand in no FIT: it is for arm64, write `--format stb`"
        )));
    };
    let content = stored(image, Form::Arm64Image)?;
    // As high as it may lie: below, where U-Boot has its own default addresses, is room for the FIT,
    // which must not lie where its content goes.
    let window = manifest.load_window;
    let room = window.size.saturating_sub(content.len() as u64);
    let load = (window.base + room) & !(IMAGE_ALIGN - 1);
    Ok(fit::wrap(board, arm.compatible, &content, load))
}

fn partition(container: Vec<u8>, size: u64) -> Result<Vec<u8>> {
    let bytes = container.len();
    container::partition(container, size).ok_or_else(|| {
        Exit::refused(format!(
            "the container has {bytes} bytes, too many for a partition of {} ({size}); take a \
             smaller kernel or initrd, or say with --partition-size how large it is",
            units::size(size)
        ))
    })
}

/// An image in another form.
///
/// # Errors
/// It cannot have this form, or does not fit where the form is kept.
pub fn stored(image: &ImageFile<'_>, form: Form) -> Result<Vec<u8>> {
    let manifest = &image.manifest;
    let packed = image.stored_as(form).ok_or_else(|| {
        let board = manifest.board.as_str();
        Exit::refused(format!(
            "images for {board} have no form `{}`: it is for arm64, write `--format elf`",
            form.name()
        ))
    })?;
    fits(manifest, form, packed.len() as u64)?;
    Ok(packed)
}

/// Flash is as large as it is, and so is the RAM that a board has set apart for its image.
fn fits(manifest: &Manifest, form: Form, size: u64) -> Result<()> {
    let platform = Platform::numbered(manifest.arch, manifest.boot);
    let (room, what) = match (form, platform.arm) {
        (Form::Raw, Some(arm)) => (arm.flash, crate::config::platform::FLASH),
        (Form::Raw | Form::Arm64Image, _) => (manifest.load_window, platform.names[1]),
        _ => return Ok(()),
    };
    if size > room.size {
        return Err(Exit::refused(format!(
            "the image has {size} bytes, too many for {what} ({}); {}",
            units::size(room.size),
            match form {
                Form::Raw => "take a smaller kernel or initrd",
                _ => "build it with `board.boot = \"arm64-image\"`, which keeps more RAM for it",
            }
        )));
    }
    Ok(())
}
