// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Puts parts into one ELF file: header, manifest, parts, section table.
//!
//! The file's layout is its memory's layout, because skiboot enters an ELF where it loaded it. The
//! section table stands last, because skiboot measures an ELF in flash by it.
use anchorite_spec::Manifest;
use anchorite_spec::manifest::{IMAGE_OFFSET, PARTS, Part};
use zerocopy::IntoBytes;

use crate::image::{digest, frame_digest, manifest_digest};

const PART_ALIGN: u64 = 0x1000;
const ELF_HEADER: u16 = 64;
const PROGRAM_HEADER: u16 = 56;
const SECTION_HEADER: u16 = 64;

/// A part without its place in the file.
pub struct Draft {
    /// Everything but `offset`, `size` and `digest`.
    pub part: Part,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Gives every part its place. The offsets depend on sizes only.
#[must_use]
pub fn offsets(drafts: &[Draft]) -> Vec<u64> {
    let mut at = (IMAGE_OFFSET + size_of::<Manifest>() as u64).next_multiple_of(PART_ALIGN);
    drafts
        .iter()
        .map(|draft| {
            let offset = at;
            at = (at + draft.bytes.len() as u64).next_multiple_of(PART_ALIGN);
            offset
        })
        .collect()
}

/// Makes the file. `manifest` is complete but for parts, image size and digest.
#[must_use]
pub fn assemble(
    mut manifest: Manifest,
    drafts: &[Draft],
    entry_offset: u64,
    elf: (u16, u32),
) -> Vec<u8> {
    let offsets = offsets(drafts);
    let end = offsets
        .last()
        .zip(drafts.last())
        .map_or(IMAGE_OFFSET, |(offset, draft)| offset + draft.bytes.len() as u64);
    let sections = end.next_multiple_of(u64::from(SECTION_HEADER));
    manifest.image_size = sections + u64::from(SECTION_HEADER);
    debug_assert!(drafts.len() <= PARTS);
    for ((slot, draft), offset) in manifest.parts.iter_mut().zip(drafts).zip(&offsets) {
        *slot = Part {
            offset: *offset,
            size: draft.bytes.len() as u64,
            digest: digest(&draft.bytes),
            ..draft.part
        };
    }
    let mut image = elf_header(manifest.load_window.base, entry_offset, sections, elf);
    image.resize(IMAGE_OFFSET as usize + size_of::<Manifest>(), 0);
    for (draft, offset) in drafts.iter().zip(&offsets) {
        image.resize(*offset as usize, 0);
        image.extend_from_slice(&draft.bytes);
    }
    image.resize(manifest.image_size as usize, 0);
    manifest.frame_digest = frame_digest(&image, &manifest).unwrap_or_default();
    manifest.digest = manifest_digest(&manifest);
    let at = IMAGE_OFFSET as usize;
    image[at..at + size_of::<Manifest>()].copy_from_slice(manifest.as_bytes());
    image
}

/// ELF header and the one program header.
fn elf_header(base: u64, entry_offset: u64, sections: u64, elf: (u16, u32)) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let half = |bytes: &mut Vec<u8>, value: u16| bytes.extend_from_slice(&value.to_le_bytes());
    let word = |bytes: &mut Vec<u8>, value: u32| bytes.extend_from_slice(&value.to_le_bytes());
    let long = |bytes: &mut Vec<u8>, value: u64| bytes.extend_from_slice(&value.to_le_bytes());
    half(&mut bytes, 2); // ET_EXEC
    half(&mut bytes, elf.0);
    word(&mut bytes, 1);
    long(&mut bytes, base + entry_offset);
    long(&mut bytes, ELF_HEADER.into()); // program headers
    long(&mut bytes, sections);
    word(&mut bytes, elf.1);
    half(&mut bytes, ELF_HEADER);
    half(&mut bytes, PROGRAM_HEADER);
    half(&mut bytes, 1);
    half(&mut bytes, SECTION_HEADER);
    half(&mut bytes, 1);
    half(&mut bytes, 0); // no section names
    word(&mut bytes, 1); // PT_LOAD
    word(&mut bytes, 7); // RWX
    long(&mut bytes, 0); // file offset
    long(&mut bytes, base);
    long(&mut bytes, base);
    long(&mut bytes, sections);
    long(&mut bytes, sections);
    long(&mut bytes, 0x1000);
    bytes
}
