// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The forms in which one image is stored. They differ in the file's first 64 bytes and nowhere else.
//!
//! Each form's header follows from the manifest alone. So a reader that knows the manifest to be
//! right knows what the header must be, and the digests are those of the ELF in every form.
use crate::Manifest;
use crate::manifest::{ARCH_ARM64, ARCH_POWER9, BOOT_BARE, PART_LOADER};

/// Where POWER9 machines without earlier firmware begin.
const RESET: u64 = 0x10;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of the section table, one empty entry, at the end of the file.
pub const SECTION_TABLE_BYTES: u64 = 64;
/// What arm64's `Image`s are aligned to in memory (Linux, Documentation/arch/arm64/booting.rst).
pub const IMAGE_ALIGN: u64 = 2 << 20;
/// Where an arm64 `Image` says that it is one, and how.
const IMAGE_MAGIC: (usize, [u8; 4]) = (56, *b"ARM\x64");

/// How an image is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An ELF64, as the builder writes it.
    Elf,
    /// An arm64 `Image`: loaded at a multiple of 2 MiB and entered at its first byte, x0 = the
    /// machine's tree.
    Arm64Image,
    /// Bytes that are entered where they lie, from flash as well: arm64 at the first one, POWER9 at
    /// 0x10.
    Raw,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 3] = [Self::Elf, Self::Arm64Image, Self::Raw];

    /// The name by which `anchorite pack` knows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Elf => "elf",
            Self::Arm64Image => "arm64-image",
            Self::Raw => "raw",
        }
    }

    /// The header of an image in this form; `None` if images of its architecture do not have it.
    #[must_use]
    pub fn header(self, manifest: &Manifest) -> Option<[u8; HEADER_BYTES]> {
        let loader = manifest.part(PART_LOADER)?.offset;
        match (self, manifest.arch) {
            (Self::Elf, ARCH_POWER9 | ARCH_ARM64) => Some(elf(manifest, loader)),
            (Self::Arm64Image, ARCH_ARM64) => Some(arm64_image(manifest, loader)),
            (Self::Raw, ARCH_ARM64) => {
                let mut header = [0; HEADER_BYTES];
                put(&mut header, 0, &branch(loader));
                Some(header)
            }
            (Self::Raw, ARCH_POWER9) if manifest.boot == BOOT_BARE => {
                let mut header = [0; HEADER_BYTES];
                let distance = loader.wrapping_sub(RESET) as u32 & 0x03ff_fffc;
                // `b`, as a core in reset reads it: big-endian.
                put(&mut header, RESET as usize, &(18 << 26 | distance).to_be_bytes());
                Some(header)
            }
            _ => None,
        }
    }

    /// The form that has exactly this header.
    #[must_use]
    pub fn of(header: &[u8], manifest: &Manifest) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.header(manifest).is_some_and(|own| own == header))
    }
}

fn put(header: &mut [u8; HEADER_BYTES], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
}

/// ELF64, little-endian, executable, one program header behind this one.
fn elf(manifest: &Manifest, loader: u64) -> [u8; HEADER_BYTES] {
    // ELFv2 on POWER9: without it a loader would take the entry point for a function descriptor.
    let (machine, flags): (u16, u32) = if manifest.arch == ARCH_ARM64 { (183, 0) } else { (21, 2) };
    let mut header = [0; HEADER_BYTES];
    put(&mut header, 0, b"\x7fELF\x02\x01\x01");
    for (at, half) in [(16, 2), (18, machine), (52, 64), (54, 56), (56, 1), (58, 64), (60, 1)] {
        put(&mut header, at, &half.to_le_bytes());
    }
    put(&mut header, 20, &1_u32.to_le_bytes());
    let entry = manifest.load_window.base.wrapping_add(loader);
    put(&mut header, 24, &entry.to_le_bytes());
    put(&mut header, 32, &(HEADER_BYTES as u64).to_le_bytes());
    let sections = manifest.image_size.wrapping_sub(SECTION_TABLE_BYTES);
    put(&mut header, 40, &sections.to_le_bytes());
    put(&mut header, 48, &flags.to_le_bytes());
    header
}

/// Linux, Documentation/arch/arm64/booting.rst: no offset, little-endian, 4 KiB pages, anywhere.
fn arm64_image(manifest: &Manifest, loader: u64) -> [u8; HEADER_BYTES] {
    const FLAGS: u64 = 1 << 3 | 1 << 1;
    let mut header = [0; HEADER_BYTES];
    put(&mut header, 0, &branch(loader));
    put(&mut header, 16, &manifest.image_size.to_le_bytes());
    put(&mut header, 24, &FLAGS.to_le_bytes());
    put(&mut header, IMAGE_MAGIC.0, &IMAGE_MAGIC.1);
    header
}

/// `b` from the first byte to an offset.
fn branch(offset: u64) -> [u8; 4] {
    (5 << 26 | (offset >> 2) as u32 & 0x03ff_ffff).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::Form;
    use crate::Manifest;
    use crate::manifest::{ARCH_ARM64, ARCH_POWER9, BOOT_BARE, PART_LOADER};
    use zerocopy::FromZeros;

    fn manifest(arch: u32) -> Manifest {
        let mut manifest = Manifest::new_zeroed();
        (manifest.arch, manifest.image_size) = (arch, 0x12_3440);
        (manifest.parts[0].kind, manifest.parts[0].offset) = (PART_LOADER, 0x3000);
        manifest
    }

    #[test]
    fn a_header_is_known_by_every_byte() {
        let manifest = manifest(ARCH_ARM64);
        for form in Form::ALL {
            let header = form.header(&manifest).unwrap();
            assert_eq!(Form::of(&header, &manifest), Some(form));
            for at in 0..header.len() {
                let mut other = header;
                other[at] ^= 1;
                assert_eq!(Form::of(&other, &manifest), None, "{form:?} byte {at}");
            }
        }
    }

    #[test]
    fn an_arm64_image_is_what_loaders_expect() {
        let header = Form::Arm64Image.header(&manifest(ARCH_ARM64)).unwrap();
        // b #0x3000
        assert_eq!(header[..4], 0x1400_0c00_u32.to_le_bytes());
        assert_eq!(header[8..16], [0; 8], "no offset");
        assert_eq!(header[16..24], 0x12_3440_u64.to_le_bytes());
        assert_eq!(header[24..32], 10_u64.to_le_bytes());
        assert_eq!(&header[56..60], b"ARMd");
    }

    #[test]
    fn power9_has_its_elf_and_is_raw_where_nobody_loads_it() {
        let mut manifest = manifest(ARCH_POWER9);
        let forms = |manifest: &Manifest| Form::ALL.map(|form| form.header(manifest).is_some());
        assert_eq!(forms(&manifest), [true, false, false]);
        manifest.boot = BOOT_BARE;
        assert_eq!(forms(&manifest), [true, false, true]);
        // b 0x3000, from 0x10
        let header = Form::Raw.header(&manifest).unwrap();
        assert_eq!(header[16..20], [0x48, 0x00, 0x2f, 0xf0]);
    }
}
