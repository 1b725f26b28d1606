// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Puts parts into one ELF file: headers, manifest, parts, section table.
//!
//! The file's layout is its memory's layout, because skiboot enters an ELF where it loaded it. The
//! section table stands last, because skiboot measures an ELF in flash by it.
use anchorite_spec::form::{HEADER_BYTES, SECTION_TABLE_BYTES};
use anchorite_spec::manifest::{IMAGE_OFFSET, PARTS, Part};
use anchorite_spec::{Form, Manifest, Range};
use ed25519_dalek::SigningKey;

use crate::image::frame_digest;
use crate::keys;

const PART_ALIGN: u64 = 0x1000;

/// A part without its place in the file.
pub struct Draft {
    /// Everything but `offset`.
    pub part: Part,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The first offset of a part: behind the manifest, and, in an image that starts at 0, behind where
/// the vectors will be.
#[must_use]
pub fn first_offset(load_window: Range, vectors: Range) -> u64 {
    let behind_manifest = IMAGE_OFFSET + size_of::<Manifest>() as u64;
    let overwritten = if load_window.base == vectors.base { vectors.size } else { 0 };
    behind_manifest.max(overwritten).next_multiple_of(PART_ALIGN)
}

/// Gives every part its place, from `first` on. The offsets depend on sizes only.
fn offsets(drafts: &[Draft], first: u64) -> Vec<u64> {
    let mut at = first;
    drafts
        .iter()
        .map(|draft| {
            let offset = at;
            at = (at + draft.bytes.len() as u64).next_multiple_of(PART_ALIGN);
            offset
        })
        .collect()
}

/// Makes the file. `manifest` is complete but for parts, image size, signature and digest.
#[must_use]
pub fn assemble(mut manifest: Manifest, drafts: &[Draft], key: Option<&SigningKey>) -> Vec<u8> {
    let offsets = offsets(drafts, first_offset(manifest.load_window, manifest.vectors));
    let end = offsets
        .last()
        .zip(drafts.last())
        .map_or(IMAGE_OFFSET, |(offset, draft)| offset + draft.bytes.len() as u64);
    let sections = end.next_multiple_of(SECTION_TABLE_BYTES);
    manifest.image_size = sections + SECTION_TABLE_BYTES;
    debug_assert!(drafts.len() <= PARTS);
    for ((slot, draft), offset) in manifest.parts.iter_mut().zip(drafts).zip(&offsets) {
        *slot = Part { offset: *offset, ..draft.part };
    }
    let mut image = Form::Elf.header(&manifest).unwrap_or([0; HEADER_BYTES]).to_vec();
    image.extend(program_header(manifest.load_window.base, sections));
    image.resize(IMAGE_OFFSET as usize + size_of::<Manifest>(), 0);
    for (draft, offset) in drafts.iter().zip(&offsets) {
        image.resize(*offset as usize, 0);
        image.extend_from_slice(&draft.bytes);
    }
    image.resize(manifest.image_size as usize, 0);
    manifest.frame_digest = frame_digest(&image, &manifest).unwrap_or_default();
    keys::seal(&mut image, manifest, key);
    image
}

/// The one program header: everything but the section table, readable, writable, executable.
fn program_header(base: u64, sections: u64) -> Vec<u8> {
    const LOAD_RWX: u64 = 7 << 32 | 1;
    const ALIGNMENT: u64 = 0x1000;
    let words = [LOAD_RWX, 0, base, base, sections, sections, ALIGNMENT];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
