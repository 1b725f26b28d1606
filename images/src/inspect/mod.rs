// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite inspect`: proves from an image's bytes alone what its guest can reach, or says why
//! not.
//!
//! Nothing but the file is read: no board config, no firmware, no other program. The bytes are
//! taken as hostile, and right digests are not taken as an argument: whoever changes a table can
//! change its digest too.
mod claims;
mod dts;
mod features;
mod owners;
mod report;
mod svg;
pub mod walked;

use std::borrow::Cow;

use crate::cli::InspectArgs;
use crate::exit::{self, Exit};
use crate::image::{self, ImageError, ImageFile};
use crate::keys::{self, Verdict};
use crate::say;
use anchorite_spec::manifest::{PART_GUEST_TREE, PART_TABLES, Part};
use anchorite_spec::trust::VERIFY_REQUIRED;
use anchorite_spec::{Form, Manifest, Trust};

/// An image taken apart.
pub struct Inspected<'a> {
    /// Bytes before the image's header.
    pub container: usize,
    /// Bytes of unwritten flash behind it: the file is a whole partition then.
    pub padding: usize,
    /// The form that the header says.
    pub form: Option<Form>,
    /// The image as an ELF.
    pub bytes: Cow<'a, [u8]>,
    /// Its manifest.
    pub manifest: Manifest,
    /// Whether the digest of headers and padding is right.
    pub frame_intact: bool,
    /// Whether the manifest's digest is right.
    pub manifest_intact: bool,
    /// What its loader demands; with a key of the user's, that key.
    pub trust: Trust,
    /// What its loader makes of its signature; with a key of the user's, what a loader with that would.
    pub signature: Verdict,
    /// The parts in use, their numbers in the manifest, and whether their digests are right.
    pub parts: Vec<(usize, Part, bool)>,
    /// What is proved.
    pub walls: Vec<claims::Wall>,
}

impl Inspected<'_> {
    /// Whether every digest is right.
    #[must_use]
    pub fn intact(&self) -> bool {
        self.manifest_intact && self.frame_intact && self.parts.iter().all(|(_, _, intact)| *intact)
    }

    /// Why the image's own loader, or one with the user's key, would not start it.
    #[must_use]
    pub fn refused(&self) -> Option<&'static str> {
        match self.signature {
            Verdict::Wrong => {
                Some("the signature is wrong: the image was changed, or signed with another key")
            }
            Verdict::Old => Some("the image is older than its loader starts"),
            Verdict::Unsigned if self.trust.is_required() => Some(
                "the image is not signed, and its loader starts it only when it is: `anchorite sign`",
            ),
            _ => None,
        }
    }

    /// Whether every wall is proved.
    #[must_use]
    pub fn proved(&self) -> bool {
        self.walls.iter().all(|wall| wall.why.is_none())
    }
}

/// A text out of an image, without the characters by which it could pose as another line.
#[must_use]
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// What is not proved of an image.
///
/// # Errors
/// It is no image.
pub fn not_proved(file: &[u8]) -> Result<Vec<String>, ImageError> {
    let walls = take_apart(file, None)?.walls.into_iter();
    Ok(walls.filter_map(|wall| Some(format!("{}: {}", wall.claim, wall.why?))).collect())
}

/// The report on an image, as data.
///
/// # Errors
/// It is no image.
pub fn report_of(name: &str, file: &[u8]) -> Result<serde_json::Value, ImageError> {
    Ok(report::json(name, &take_apart(file, None)?))
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read, or is no image at all.
pub fn inspect(args: &InspectArgs) -> anyhow::Result<u8> {
    let name = args.image.display().to_string();
    let file = exit::read(&args.image)?;
    let key = args.public_key.as_ref().map(|path| keys::named(path, keys::public)).transpose()?;
    let key = key.map(|key| key.to_bytes());
    let inspected = take_apart(&file, key)?;
    if args.svg {
        say::line(svg::draw(&inspected));
    } else if args.dts {
        say::line(dts_of(&inspected)?.trim_end());
    } else if args.json {
        say::line(report::json(&name, &inspected));
    } else {
        say::line(report::text(&name, &inspected).trim_end());
    }
    if !inspected.intact() && !args.ignore_digests {
        say::aside(format_args!(
            "anchorite: {name}: a digest does not match: the image was changed or damaged after \
             the build (--ignore-digests judges the rest)"
        ));
        return Ok(exit::IMAGE);
    }
    if let Some(why) = inspected.refused().filter(|_| !args.ignore_digests) {
        say::aside(format_args!("anchorite: {name}: {why}"));
        let unsigned = inspected.signature == Verdict::Unsigned;
        return Ok(if unsigned { exit::REFUSED } else { exit::IMAGE });
    }
    Ok(if inspected.proved() { exit::OK } else { exit::REFUSED })
}

/// The guest's device tree as source.
fn dts_of(inspected: &Inspected<'_>) -> anyhow::Result<String> {
    let part = inspected.manifest.part(PART_GUEST_TREE);
    let tree = part.and_then(|part| image::part_bytes(&inspected.bytes, part));
    let tree = tree.ok_or(ImageError::PartMissing("guest-tree"))?;
    dts::source(tree).map_err(|error| Exit::refused(format!("the guest's device tree: {error}")))
}

/// Takes an image apart and judges it; with a key, its signature by that.
///
/// # Errors
/// It is no image, or a part does not lie in it.
fn take_apart(file: &[u8], key: Option<[u8; 32]>) -> Result<Inspected<'_>, ImageError> {
    let image = ImageFile::read(file)?;
    let bytes = image.elf();
    let ImageFile { container, padding, form, manifest, .. } = image;
    let mut parts = Vec::new();
    for (index, part) in manifest.parts.iter().enumerate().filter(|(_, part)| part.kind != 0) {
        let intact = match image::verify_part(&bytes, part) {
            Ok(()) => true,
            Err(error) if error.is_digest() => false,
            Err(error) => return Err(error),
        };
        parts.push((index, *part, intact));
    }
    let tables = manifest
        .part(PART_TABLES)
        .and_then(|part| image::part_bytes(&bytes, part))
        .ok_or(ImageError::PartMissing("tables"))?;
    let manifest_intact = image::manifest_digest(&manifest) == manifest.digest;
    // A frame that does not lie in the file has no digest; the wall `platform` tells of it.
    let frame = image::frame_digest(&bytes, &manifest);
    let frame_intact = frame.is_none_or(|digest| digest == manifest.frame_digest);
    let walls = claims::judge(&manifest, form, tables, &bytes);
    let trust = image::trust(&bytes, &manifest);
    let trust = match key {
        Some(public_key) => Trust { verify: VERIFY_REQUIRED, public_key, ..trust },
        None => trust,
    };
    let signature = keys::judge(&manifest, &trust);
    Ok(Inspected {
        container,
        padding,
        form,
        bytes,
        manifest,
        frame_intact,
        manifest_intact,
        trust,
        signature,
        parts,
        walls,
    })
}
