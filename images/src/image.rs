// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reading an image file: its ELF header, its manifest, and what must be right for it to start.
//!
//! The bytes are taken as hostile: every offset is checked before it is followed.
use std::fmt;

use anchorite_spec::Manifest;
use anchorite_spec::manifest::{self, IMAGE_OFFSET, PART_LOADER, Part};
use sha2::{Digest, Sha256};
use zerocopy::{FromBytes, IntoBytes};

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
    /// Bytes of the header, first instruction included.
    pub const SIZE: usize = 0x28;
}

/// Why a file is no image that can be used.
#[derive(Debug)]
pub enum ImageError {
    /// The file cannot be read.
    Read(std::io::Error),
    /// The ELF header is not the one that an image has.
    Elf(&'static str),
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
            Self::Read(error) => write!(f, "cannot read the image: {error}"),
            Self::Elf(what) => write!(f, "not an Anchorite image: {what}"),
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

/// Finds the manifest in an image's bytes, after a look at the ELF header.
///
/// # Errors
/// See [`ImageError`].
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, ImageError> {
    check_elf(bytes)?;
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

/// Checks what the machine needs before the firmware can check anything itself: the ELF header
/// with the rest of the frame, the manifest and the loader.
///
/// # Errors
/// See [`ImageError`].
pub fn verify_boot_critical(bytes: &[u8]) -> Result<(), ImageError> {
    let manifest = parse_manifest(bytes)?;
    if manifest_digest(&manifest) != manifest.digest {
        return Err(ImageError::Digest("manifest"));
    }
    if manifest.image_size != bytes.len() as u64 {
        return Err(ImageError::Size { stated: manifest.image_size, found: bytes.len() as u64 });
    }
    if frame_digest(bytes, &manifest) != Some(manifest.frame_digest) {
        return Err(ImageError::Digest("frame"));
    }
    let loader = manifest.part(PART_LOADER).ok_or(ImageError::PartMissing("loader"))?;
    verify_part(bytes, loader)
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

/// Checks the ELF header as far as skiboot relies on it, and the section table at the file's end.
fn check_elf(bytes: &[u8]) -> Result<(), ImageError> {
    if bytes.get(..4) != Some(b"\x7fELF") {
        return Err(ImageError::Elf("no ELF header"));
    }
    let header = bytes.get(..64).ok_or(ImageError::Elf("the ELF header is cut off"))?;
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let word =
        |at: usize| header[at..at + 8].iter().rev().fold(0, |acc, b| acc << 8 | u64::from(*b));
    if header[4..6] != [2, 1] || ![21, 183].contains(&half(18)) {
        return Err(ImageError::Elf("not a little-endian 64-bit ELF for PowerPC or arm64"));
    }
    let sections = u64::from(half(58)) * u64::from(half(60));
    if sections == 0 || word(40).checked_add(sections) != Some(bytes.len() as u64) {
        return Err(ImageError::Elf("the file does not end with its section table"));
    }
    Ok(())
}
