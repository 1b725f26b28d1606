// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reading an image file: its form, its manifest, and what must be right for it to start.
//!
//! The bytes are taken as hostile: every offset is checked before it is followed.
use std::borrow::Cow;
use std::fmt;

use anchorite_spec::form::HEADER_BYTES;
use anchorite_spec::manifest::{self, IMAGE_OFFSET, PART_LOADER, Part};
use anchorite_spec::trust::LOADER_OFFSET;
use anchorite_spec::{Form, Manifest, Trust};
use sha2::{Digest, Sha256};
use zerocopy::{FromBytes, IntoBytes};

use crate::container::{self, Contained};

/// Offsets in the loader's header, which follows its first instruction.
pub mod loader_header {
    /// Where the manifest is, from the loader's first byte.
    pub const MANIFEST_DELTA: usize = 0x08;
    /// The top of the boot stack.
    pub const STACK_TOP: usize = 0x10;
    /// Bytes that the loader occupies.
    pub const MEMORY_SIZE: usize = 0x18;
    /// The loader's place in the image file.
    pub const FILE_OFFSET: usize = 0x20;
    /// arm64: the machine's flash, where the loader cannot run as it lies.
    pub const FLASH_BASE: usize = 0x28;
    /// arm64: how much flash there is.
    pub const FLASH_SIZE: usize = 0x30;
    /// arm64: where a loader in flash copies itself to.
    pub const COPY: usize = 0x38;
    /// Bytes of the header, first instruction and [`anchorite_spec::Trust`] included.
    pub const SIZE: usize = 0x80;
}

/// Why a file is no image that can be used.
#[derive(Debug)]
pub enum ImageError {
    /// The file ends before the manifest does.
    NoManifest,
    /// The manifest does not begin as a manifest.
    Magic,
    /// The manifest has a layout that this program does not know.
    Version(u32),
    /// A part does not lie in the file.
    PartOutside(&'static str),
    /// The image has no such part.
    PartMissing(&'static str),
    /// A digest does not match: of the manifest, or of the part named.
    Digest(&'static str),
    /// The file's size is not the one that the manifest states.
    Size {
        /// Bytes that the manifest states.
        stated: u64,
        /// Bytes in the file.
        found: u64,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoManifest => write!(f, "not an Anchorite image: too short for a manifest"),
            Self::Magic => write!(f, "not an Anchorite image: no manifest at {IMAGE_OFFSET:#x}"),
            Self::Version(found) => write!(
                f,
                "the image's manifest has version {found}, this program reads version {}: \
                 build the image again",
                manifest::VERSION
            ),
            Self::PartOutside(name) => write!(f, "part `{name}` does not lie in the image file"),
            Self::PartMissing(name) => write!(f, "the image has no part `{name}`"),
            Self::Digest(name) => {
                write!(f, "the digest of `{name}` does not match: the image was changed or damaged")
            }
            Self::Size { stated, found } => {
                write!(f, "the image file has {found} bytes, its manifest states {stated}")
            }
        }
    }
}

impl std::error::Error for ImageError {}

impl ImageError {
    /// Whether this is about a digest: the image may be whole, but it is not what was built.
    #[must_use]
    pub fn is_digest(&self) -> bool {
        matches!(self, Self::Digest(_))
    }
}

/// An image file of any form.
pub struct ImageFile<'a> {
    /// Bytes of a container before the image.
    pub container: usize,
    /// Bytes of unwritten flash behind the image.
    pub padding: usize,
    /// The form that the image's header is the header of, byte for byte.
    pub form: Option<Form>,
    /// The manifest.
    pub manifest: Manifest,
    bytes: &'a [u8],
}

impl<'a> ImageFile<'a> {
    /// Finds the manifest in a file.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn read(file: &'a [u8]) -> Result<Self, ImageError> {
        let Contained { before, content: bytes, padding } = container::open(file);
        let manifest = parse_manifest(bytes)?;
        let form = bytes.get(..HEADER_BYTES).and_then(|header| Form::of(header, &manifest));
        Ok(Self { container: before, padding, form, manifest, bytes })
    }

    /// The image as an ELF: what its digests are of. With a header of no form, as it stands.
    #[must_use]
    pub fn elf(&self) -> Cow<'a, [u8]> {
        match self.form {
            None | Some(Form::Elf) => Cow::Borrowed(self.bytes),
            Some(_) => self.stored_as(Form::Elf).map_or(Cow::Borrowed(self.bytes), Cow::Owned),
        }
    }

    /// The image in a form, or `None` if images of its architecture do not have it.
    #[must_use]
    pub fn stored_as(&self, form: Form) -> Option<Vec<u8>> {
        let header = form.header(&self.manifest)?;
        let mut bytes = self.bytes.to_vec();
        bytes.get_mut(..HEADER_BYTES)?.copy_from_slice(&header);
        Some(bytes)
    }

    /// What the image's loader demands of it.
    #[must_use]
    pub fn trust(&self) -> Trust {
        trust(self.bytes, &self.manifest)
    }

    /// Checks what the machine needs before the firmware can check anything itself: the header with
    /// the rest of the frame, the manifest and the loader.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn verify_boot_critical(&self) -> Result<(), ImageError> {
        let manifest = &self.manifest;
        if manifest_digest(manifest) != manifest.digest {
            return Err(ImageError::Digest("manifest"));
        }
        let found = self.bytes.len() as u64;
        if manifest.image_size != found {
            return Err(ImageError::Size { stated: manifest.image_size, found });
        }
        if self.form.is_none() {
            return Err(ImageError::Digest("header"));
        }
        if frame_digest(&self.elf(), manifest) != Some(manifest.frame_digest) {
            return Err(ImageError::Digest("frame"));
        }
        let loader = manifest.part(PART_LOADER).ok_or(ImageError::PartMissing("loader"))?;
        verify_part(self.bytes, loader)
    }

    /// Checks every digest.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn verify(&self) -> Result<(), ImageError> {
        self.verify_boot_critical()?;
        let mut parts = self.manifest.parts.iter().filter(|part| part.kind != 0);
        parts.try_for_each(|part| verify_part(self.bytes, part))
    }
}

/// Finds the manifest in an image's bytes.
///
/// # Errors
/// See [`ImageError`].
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, ImageError> {
    let start = IMAGE_OFFSET as usize;
    let range = start..start + size_of::<Manifest>();
    let raw = bytes.get(range).ok_or(ImageError::NoManifest)?;
    let manifest = Manifest::read_from_bytes(raw).map_err(|_| ImageError::NoManifest)?;
    if manifest.magic != manifest::MAGIC {
        return Err(ImageError::Magic);
    }
    if manifest.version != manifest::VERSION || manifest.size as usize != size_of::<Manifest>() {
        return Err(ImageError::Version(manifest.version));
    }
    Ok(manifest)
}

/// Checks one part against its digest.
///
/// # Errors
/// [`ImageError::PartOutside`] or [`ImageError::Digest`].
pub fn verify_part(bytes: &[u8], part: &Part) -> Result<(), ImageError> {
    let name = manifest::part_name(part.kind);
    let content = part_bytes(bytes, part).ok_or(ImageError::PartOutside(name))?;
    if digest(content) == part.digest { Ok(()) } else { Err(ImageError::Digest(name)) }
}

/// The bytes of a part, if it lies in the file.
#[must_use]
pub fn part_bytes<'a>(bytes: &'a [u8], part: &Part) -> Option<&'a [u8]> {
    let start = usize::try_from(part.offset).ok()?;
    let end = usize::try_from(part.offset.checked_add(part.size)?).ok()?;
    bytes.get(start..end)
}

/// What an image's loader demands of it.
#[must_use]
pub fn trust(bytes: &[u8], manifest: &Manifest) -> Trust {
    let loader = manifest.part(PART_LOADER).and_then(|part| part_bytes(bytes, part));
    let found = loader.and_then(|loader| loader.get(LOADER_OFFSET..));
    found
        .and_then(|found| Trust::read_from_prefix(found).ok())
        .map_or(Trust::NONE, |(trust, _)| trust)
}

/// SHA-256 of some bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 of what belongs neither to the manifest nor to a part, or `None` if the manifest places
/// that outside the file.
#[must_use]
pub fn frame_digest(bytes: &[u8], manifest: &Manifest) -> Option<[u8; 32]> {
    let mut hash = Sha256::new();
    for gap in manifest.frame() {
        let (start, end) = (usize::try_from(gap.base).ok()?, usize::try_from(gap.end()?).ok()?);
        hash.update(bytes.get(start..end)?);
    }
    Some(hash.finalize().into())
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of a manifest with its own digest zero.
#[must_use]
pub fn manifest_digest(manifest: &Manifest) -> [u8; 32] {
    digest(Manifest { digest: [0; 32], ..*manifest }.as_bytes())
}
