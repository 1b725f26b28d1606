// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite sign`: an image signed with a key that the machine that built it does not have.
use anyhow::{Context, Result};

use crate::build::output;
use crate::cli::SignArgs;
use crate::exit::{self, Exit};
use crate::image::{ImageFile, hex};
use crate::{keys, say};

/// Runs the command.
///
/// # Errors
/// The image or the key is refused, or the file cannot be written.
pub fn sign(args: &SignArgs) -> Result<u8> {
    let mut file = exit::read(&args.image)?;
    let key = keys::named(&args.key, keys::private)?;
    let image = ImageFile::read(&file)?;
    if image.container > 0 {
        return Err(Exit::refused(
            "the image stands in a container with a digest of its own: sign the ELF, then pack it \
             again",
        ));
    }
    image.verify()?;
    let public = key.verifying_key().to_bytes();
    let trust = image.trust();
    if trust.is_required() && trust.public_key != public {
        return Err(Exit::refused(format!(
            "the image's loader trusts the key {}, this one is {}: it would refuse the image",
            hex(&trust.public_key),
            hex(&public)
        )));
    }
    let manifest = image.manifest;
    keys::seal(&mut file, manifest, Some(&key));
    let out = args.out.as_ref().unwrap_or(&args.image);
    output::write(out, &file).with_context(|| format!("cannot write {}", out.display()))?;
    say::line(format!(
        "{}: version {} signed with the key {}",
        out.display(),
        manifest.image_version,
        hex(&public)
    ));
    Ok(exit::OK)
}
