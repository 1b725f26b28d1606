// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An arm64 kernel: Linux's `Image` or its ELF `vmlinux`, packed or not.
use std::borrow::Cow;

use anchorite_spec::Range;
use anchorite_spec::form::IMAGE_ALIGN;
use object::LittleEndian;
use object::elf::EM_AARCH64;
use object::pe::{
    IMAGE_DIRECTORY_ENTRY_SECURITY, ImageDosHeader, ImageNtHeaders64, ImageSectionHeader,
};
use object::read::pe::ImageNtHeaders;

use super::elf::{Elf, Segment};
use super::fault::Fault;
use super::inputs::Input;
use super::kernel::{self, Kernel};
use super::sniff;
use super::unpack::{UnpackError, unpack};
use crate::config::checked::{Format, Guest};
use crate::config::diagnostic::Diagnostic;

/// Link addresses of Linux: the upper half of the virtual addresses. Load addresses are the same
/// there, and say nothing.
const KERNEL_HALF: u64 = 1 << 63;
/// An `Image`'s header.
const HEADER_BYTES: usize = 64;
const PAGE: u64 = 4096;
/// No kernel unpacks to more.
const UNPACKED_MOST: u64 = 1 << 30;

/// Lays a kernel out.
///
/// # Errors
/// Why it cannot be the guest's kernel, and what to do.
pub fn lay_out(input: &Input, guest: &Guest, format: Format) -> Result<Kernel, Fault> {
    let largest = guest.memory.iter().map(|memory| memory.value.guest.size).max().unwrap_or(0);
    let bytes = unpacked(input, largest)?;
    if format == Format::Elf || bytes.starts_with(b"\x7fELF") {
        return vmlinux(input, &bytes, guest);
    }
    image(input, bytes.into_owned(), guest)
}

/// Judges a kernel by itself.
///
/// # Errors
/// It is no kernel for arm64, or was cut off.
pub fn identify(input: &Input, format: Format) -> Result<(), Fault> {
    let bytes = unpacked(input, UNPACKED_MOST)?;
    if format == Format::Elf || bytes.starts_with(b"\x7fELF") {
        let elf = Elf::parse(&bytes, EM_AARCH64).map(drop);
        return elf.map_err(|error| kernel::refusal(input, &error, EM_AARCH64).into());
    }
    header(input, &bytes).map(drop)
}

/// An `Image` that is put somewhere as raw bytes is put where it can run.
///
/// # Errors
/// It would not run there.
pub fn check_place(input: &Input, load: u64) -> Result<(), Fault> {
    let offset = Header::of(&input.bytes).map_or(0, |header| header.text_offset);
    if load.wrapping_sub(offset).is_multiple_of(IMAGE_ALIGN) {
        return Ok(());
    }
    let place = match offset {
        0 => "a multiple of 2MiB".to_owned(),
        _ => format!("{offset:#x} behind a multiple of 2MiB"),
    };
    let title = format!("{} cannot run at {load:#x}", input.name);
    let label = format!("its header wants {place}");
    let help = "change `load`, or leave `format`, `load` and `entry` out: the builder then finds a \
                place";
    Err(Diagnostic::new("kernel", title, input.span.clone(), label).help(help).into())
}

fn unpacked(input: &Input, most: u64) -> Result<Cow<'_, [u8]>, Fault> {
    unpack(&input.bytes, most.min(UNPACKED_MOST)).map_err(|error| {
        let help = match error {
            UnpackError::TooLarge(_) => "give the guest more memory in one region, if it is right",
            UnpackError::Zboot(_) => "name the `Image` that it was made from",
            UnpackError::Damaged(..) | UnpackError::ZbootCut => "copy or download the file again",
        };
        refusal(input, &error.to_string(), help)
    })
}

/// The memory that an `Image` asks for in its header: more than the file, which leaves out what is
/// zero.
#[must_use]
pub fn memory(bytes: &[u8]) -> Option<u64> {
    Header::of(bytes).map(|header| header.image_size)
}

fn refusal(input: &Input, label: &str, help: &str) -> Fault {
    let title = format!("{} cannot be the guest's kernel", input.name);
    Diagnostic::new("kernel", title, input.span.clone(), label).help(help).into()
}

/// An `Image`'s header.
struct Header {
    text_offset: u64,
    image_size: u64,
    flags: u64,
}

impl Header {
    fn of(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        (bytes.get(56..60)? == b"ARM\x64").then_some(())?;
        Some(Self { text_offset: word(8)?, image_size: word(16)?, flags: word(24)? })
    }

    /// Where its first byte goes: into the guest's first region.
    fn base(&self, guest: &Guest) -> u64 {
        first_place(guest).saturating_add(self.text_offset)
    }
}

fn first_place(guest: &Guest) -> u64 {
    let first = guest.memory.first().map_or(0, |memory| memory.value.guest.base);
    first.checked_next_multiple_of(IMAGE_ALIGN).unwrap_or(u64::MAX)
}

/// An `Image` (Linux, Documentation/arch/arm64/booting.rst): 2 MiB aligned plus its offset, in the
/// guest's first region, with as much memory as it says that it needs.
fn image(input: &Input, bytes: Vec<u8>, guest: &Guest) -> Result<Kernel, Fault> {
    let header = header(input, &bytes)?;
    let base = header.base(guest);
    let memory = Range::new(base, header.image_size.max(bytes.len() as u64));
    if memory.end().is_none() {
        let help = "copy the file again";
        return Err(refusal(input, "its header asks for impossible memory", help));
    }
    Ok(Kernel { bytes, memory, entry: base })
}

/// The header of an `Image` that is whole.
fn header(input: &Input, bytes: &[u8]) -> Result<Header, Fault> {
    const BIG_ENDIAN: u64 = 1;
    let Some(header) = Header::of(bytes) else {
        let help = "name an arm64 `Image`, `Image.gz` or ELF vmlinux (Debian: vmlinuz of \
                    linux-image-*-arm64); for a raw kernel, set `format = \"raw\"`, `load` and `entry`";
        let label = match sniff::format(bytes) {
            Some(other) => format!("it is no arm64 Image, but {other}"),
            None => "it is no arm64 Image".to_owned(),
        };
        return Err(refusal(input, &label, help));
    };
    if header.flags & BIG_ENDIAN != 0 {
        return Err(refusal(input, "it is big-endian", "name a little-endian kernel"));
    }
    if let Some(needed) = efi_size(bytes).filter(|needed| *needed > bytes.len() as u64) {
        let label = format!("it is cut off: {} of {needed} bytes", bytes.len());
        return Err(refusal(input, &label, "copy or download the file again"));
    }
    if bytes.len() <= HEADER_BYTES {
        let label = "it is cut off: there is nothing behind its header";
        return Err(refusal(input, label, "copy or download the file again"));
    }
    if !header.text_offset.is_multiple_of(PAGE) {
        let label =
            format!("its header wants it {:#x} behind a border of 2MiB", header.text_offset);
        return Err(refusal(input, &label, "the file is damaged: a kernel begins with a page"));
    }
    Ok(header)
}

/// The bytes that an `Image` has by its EFI header, if it is also an EFI program: its own header
/// counts memory, not the file. As many as its headers take, if they are not all there.
fn efi_size(bytes: &[u8]) -> Option<u64> {
    if !bytes.starts_with(b"MZ") {
        return None;
    }
    let Ok(dos) = ImageDosHeader::parse(bytes) else {
        return Some(size_of::<ImageDosHeader>() as u64);
    };
    let mut offset = u64::from(dos.nt_headers_offset());
    let end = offset + size_of::<ImageNtHeaders64>() as u64;
    if end > bytes.len() as u64 {
        return Some(end);
    }
    let (nt, directories) = ImageNtHeaders64::parse(bytes, &mut offset).ok()?;
    let Ok(sections) = nt.sections(bytes, offset) else {
        let count = u64::from(nt.file_header().number_of_sections.get(LittleEndian));
        return Some(offset + count * size_of::<ImageSectionHeader>() as u64);
    };
    // Signatures stand behind all sections. Their address is the place in the file.
    let signatures = directories.get(IMAGE_DIRECTORY_ENTRY_SECURITY);
    let ranges = sections.iter().map(|section| section.pe_file_range());
    ranges
        .chain(signatures.map(|directory| directory.address_range()))
        .map(|(at, size)| u64::from(at) + u64::from(size))
        .max()
}

/// An ELF. Linux's is linked in the upper half of the addresses and goes where its `Image` would:
/// its first bytes are the `Image`'s header. Any other goes to its load addresses.
fn vmlinux(input: &Input, bytes: &[u8], guest: &Guest) -> Result<Kernel, Fault> {
    kernel::elf(input, bytes, guest, EM_AARCH64, |elf: &Elf<'_>, segment: &Segment<'_>| {
        let lowest = elf.segments.iter().min_by_key(|segment| segment.vaddr);
        let Some(lowest) = lowest.filter(|lowest| lowest.vaddr >= KERNEL_HALF) else {
            return segment.paddr;
        };
        let base = Header::of(lowest.bytes).map_or(first_place(guest), |header| header.base(guest));
        base.saturating_add(segment.vaddr - lowest.vaddr)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::{Fault, Input, Kernel, lay_out};
    use crate::config::checked::{Config, Format};
    use crate::config::judge;
    use crate::config::overrides::Override;

    const BOARD: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../board-configs/qemu-arm64-virt.toml"));
    const LINKED: u64 = 0xffff_8000_8000_0000;

    fn config(sets: &[&str]) -> Config {
        let sets = sets.iter().map(|set| Override::from_set(set).unwrap()).collect();
        judge("board.toml", BOARD.into(), sets).unwrap().config
    }

    fn kernel_of(bytes: Vec<u8>, config: &Config) -> Result<Kernel, String> {
        let input = Input::unknown("k", bytes);
        super::kernel::lay_out(&input, config).map_err(|fault| match fault {
            Fault::Input(diagnostic) => format!("{diagnostic:?}"),
            Fault::Tool(error) => panic!("{error}"),
        })
    }

    fn image(text_offset: u64, image_size: u64) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..0x3000u32).map(|i| ((i * i) >> 7) as u8).collect();
        bytes[8..16].copy_from_slice(&text_offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&image_size.to_le_bytes());
        bytes[24..32].copy_from_slice(&0xAu64.to_le_bytes());
        bytes[56..60].copy_from_slice(b"ARM\x64");
        bytes
    }

    /// An ELF with the image's first 0x2000 bytes in one segment, the rest and `memory_size` bytes
    /// in all in a second.
    fn elf(image: &[u8], at: u64, load: u64, memory_size: u64) -> Vec<u8> {
        let mut file = vec![0; 64 + 2 * 56];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        let half = |file: &mut [u8], at: usize, value: u16| {
            file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        };
        for (place, value) in [(16, 3), (18, 183), (20, 1), (52, 64), (54, 56), (56, 2)] {
            half(&mut file, place, value);
        }
        let put = |file: &mut [u8], at: usize, value: u64| {
            file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        };
        put(&mut file, 24, at);
        put(&mut file, 32, 64);
        let offset = file.len() as u64;
        let (head, tail) = (0x2000, image.len() as u64 - 0x2000);
        let loads = [(0, head, head), (head, tail, memory_size - head)];
        for (n, (from, in_file, in_memory)) in loads.into_iter().enumerate() {
            let header = 64 + 56 * n;
            put(&mut file, header, 1 | 7 << 32);
            let fields = [offset + from, at + from, load + from, in_file, in_memory, 0x1_0000];
            for (field, value) in fields.into_iter().enumerate() {
                put(&mut file, header + 8 + 8 * field, value);
            }
        }
        file.extend_from_slice(image);
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn an_image_lies_the_same_packed_and_as_elf() {
        let config = config(&[]);
        for text_offset in [0, 0x8_0000] {
            let image = image(text_offset, 0x8000);
            let plain = kernel_of(image.clone(), &config).unwrap();
            assert_eq!(plain.memory.base, 0x4000_0000 + text_offset);
            assert_eq!((plain.memory.size, plain.entry), (0x8000, plain.memory.base));
            assert_eq!(kernel_of(gzip(&image), &config).unwrap(), plain);
            // Linux's load addresses equal its link addresses.
            let elf = elf(&image, LINKED + text_offset, LINKED + text_offset, 0x8000);
            assert_eq!(kernel_of(gzip(&elf), &config).unwrap(), plain);
            assert_eq!(kernel_of(elf, &config).unwrap(), plain);
        }
    }

    #[test]
    fn other_elfs_go_to_their_load_addresses() {
        let bytes = elf(&image(0, 0x8000), 0x40_0000, 0x4100_0000, 0x8000);
        let kernel = kernel_of(bytes, &config(&["guest.format=elf"])).unwrap();
        assert_eq!((kernel.memory.base, kernel.entry), (0x4100_0000, 0x4100_0000));
        let outside = elf(&image(0, 0x8000), 0x40_0000, 0x40_0000, 0x8000);
        assert!(kernel_of(outside, &config(&[])).unwrap_err().contains("does not fit"));
    }

    #[test]
    fn a_raw_kernel_lies_where_the_config_says() {
        let sets = ["guest.format=raw", "guest.load=0x4100_0000", "guest.entry=0x4100_0040"];
        let kernel = kernel_of(vec![7; 0x1000], &config(&sets)).unwrap();
        assert_eq!((kernel.memory.base, kernel.memory.size), (0x4100_0000, 0x1000));
        assert_eq!(kernel.entry, 0x4100_0040);
        // An `Image` gets the memory that it asks for also when it is put there raw.
        let kernel = kernel_of(image(0, 0x8000), &config(&sets)).unwrap();
        assert_eq!((kernel.memory.size, kernel.bytes.len()), (0x8000, 0x3000));
        assert!(
            kernel_of(image(0, u64::MAX), &config(&sets)).unwrap_err().contains("does not fit")
        );
        // Without `load` it would lie at 0, where this guest has nothing.
        let error = kernel_of(vec![7; 0x1000], &config(&["guest.format=raw"])).unwrap_err();
        assert!(error.contains("does not fit"), "{error}");
    }

    #[test]
    fn what_is_no_kernel_is_told_why() {
        let whole = image(0, 0x8000);
        let patch = |at: usize, bytes: &[u8]| {
            let mut file = elf(&whole, LINKED, LINKED, 0x8000);
            file[at..at + bytes.len()].copy_from_slice(bytes);
            file
        };
        let packed = gzip(&whole);
        let mut big_endian = whole.clone();
        big_endian[24] |= 1;
        let cases = [
            (b"#!/bin/sh\n".to_vec(), "no arm64 Image"),
            (packed[..packed.len() - 9].to_vec(), "gzip content is damaged"),
            (gzip(b"#!/bin/sh\n"), "no arm64 Image"),
            (big_endian, "big-endian"),
            (image(0, u64::MAX), "impossible memory"),
            (image(1 << 40, 0x8000), "does not fit"),
            (patch(18, &[21, 0]), "another machine (21): POWER"),
            (patch(24, &[4, 0, 0, 0, 0, 0, 0, 0]), "entry point"),
            (patch(64 + 56 + 16, &[0xff; 8]), "impossible sizes"),
            (patch(64 + 56 + 23, &[0]), "does not fit"),
            (elf(&whole, LINKED, LINKED, 1 << 40), "does not fit"),
        ];
        for (bytes, words) in cases {
            let error = kernel_of(bytes, &config(&[])).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
        let input = Input::unknown("k", whole);
        assert!(lay_out(&input, &config(&[]).guest, Format::Elf).is_err());
        // A guest with little memory is no place for a bomb.
        let small = config(&["guest.memory.0.size=64MiB", "guest.compression=none"]);
        let bomb = gzip(&vec![0; 65 << 20]);
        assert!(kernel_of(bomb, &small).unwrap_err().contains("more than 67108864 bytes"));
    }
}
