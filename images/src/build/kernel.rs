// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest kernel: an ELF as Linux ships it, or raw bytes, laid out as the guest's memory.
use anchorite_spec::Range;
use object::elf::{EM_AARCH64, EM_PPC64};

use super::elf::{Elf, ElfError, Segment};
use super::fault::Fault;
use super::inputs::Input;
use super::{kernel_arm64, sniff};
use crate::config::checked::{Config, Format, Guest};
use crate::config::diagnostic::Diagnostic;
use crate::config::platform::Platform;
use crate::config::units;

/// Link addresses of Linux on 64-bit PowerPC: the linear mapping of real address 0.
const LINEAR: u64 = 0xC << 60;
const REGION: u64 = 0xF << 60;

/// A kernel in the guest's memory.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its bytes, from its first address on; what follows up to `memory.size` is zero.
    pub bytes: Vec<u8>,
    /// The guest real addresses that it needs.
    pub memory: Range,
    /// Guest real address of its first instruction.
    pub entry: u64,
}

/// Judges a kernel by itself: its format, and whether it is whole.
///
/// # Errors
/// Why no guest of this platform could have it.
pub fn identify(input: &Input, platform: &Platform, format: Option<Format>) -> Result<(), Fault> {
    match (format, platform.arm) {
        (None | Some(Format::Raw { .. }), _) => Ok(()),
        (Some(format), Some(_)) => kernel_arm64::identify(input, format),
        (Some(_), None) => match Elf::parse(&input.bytes, EM_PPC64) {
            Ok(_) => Ok(()),
            Err(error) => Err(refusal(input, &error, EM_PPC64).into()),
        },
    }
}

/// Lays a kernel out.
///
/// # Errors
/// Why it cannot be the guest's kernel, and what to do.
pub fn lay_out(input: &Input, config: &Config) -> Result<Kernel, Fault> {
    let guest = &config.guest;
    let kernel = match guest.format {
        Format::Raw { load, entry } => {
            let memory = config.platform.arm.and_then(|_| kernel_arm64::memory(&input.bytes));
            if memory.is_some() {
                kernel_arm64::check_place(input, load)?;
            }
            raw(input, load, entry, memory)
        }
        format if config.platform.arm.is_some() => kernel_arm64::lay_out(input, guest, format),
        Format::Auto | Format::Elf => elf(input, &input.bytes, guest, EM_PPC64, powerpc),
    }?;
    if !in_ram(kernel.memory, guest) {
        return Err(outside(input, kernel.memory, guest).into());
    }
    Ok(kernel)
}

fn in_ram(range: Range, guest: &Guest) -> bool {
    guest.memory.iter().any(|memory| memory.value.guest.contains(range))
}

/// Bytes as they are; `memory` is what they ask for, if they do.
fn raw(input: &Input, load: u64, entry: u64, memory: Option<u64>) -> Result<Kernel, Fault> {
    let size = (input.bytes.len() as u64).max(memory.unwrap_or(0));
    let memory = Range::new(load, size);
    if !memory.contains(Range::new(entry, 4)) || !entry.is_multiple_of(4) {
        let title = format!("the raw kernel's entry {entry:#x} is no instruction of it");
        let label = format!("it takes {}", units::range(memory));
        return Err(Diagnostic::new("kernel", title, input.span.clone(), label)
            .help("set `entry` to an address inside the kernel that is a multiple of 4")
            .into());
    }
    Ok(Kernel { bytes: input.bytes.clone(), memory, entry })
}

/// An ELF for `machine`: `bytes` is what `input` holds once unpacked, `place` says where in the
/// guest's memory a segment goes.
pub(super) fn elf(
    input: &Input,
    bytes: &[u8],
    guest: &Guest,
    machine: u16,
    place: impl Fn(&Elf<'_>, &Segment<'_>) -> u64,
) -> Result<Kernel, Fault> {
    let refuse = |error: ElfError| Fault::from(refusal(input, &error, machine));
    let elf = Elf::parse(bytes, machine).map_err(refuse)?;
    let segments: Vec<_> =
        elf.segments.iter().map(|segment| (place(&elf, segment), *segment)).collect();
    check_overlap(&segments).map_err(refuse)?;
    for (address, segment) in &segments {
        // Checked before any memory is taken for the layout: sizes in a file are only claims.
        let range = Range::new(*address, segment.memory_size);
        if !in_ram(range, guest) {
            return Err(outside(input, range, guest).into());
        }
    }
    let entry = entry(&elf, &segments).map_err(refuse)?;
    let start = segments.iter().map(|(address, _)| *address).min().unwrap_or(0);
    let end = segments.iter().map(|(at, segment)| at + segment.memory_size).max().unwrap_or(0);
    let memory = Range::new(start, end - start);
    if !in_ram(memory, guest) {
        return Err(outside(input, memory, guest).into());
    }
    Ok(Kernel { bytes: flatten(&segments, start), memory, entry })
}

/// Where Linux on PowerPC wants a segment.
fn powerpc(_: &Elf<'_>, segment: &Segment<'_>) -> u64 {
    match segment.vaddr & REGION {
        LINEAR => segment.vaddr & !REGION,
        _ => segment.paddr,
    }
}

fn check_overlap(segments: &[(u64, Segment<'_>)]) -> Result<(), ElfError> {
    let range = |(at, segment): &(u64, Segment<'_>)| Range::new(*at, segment.memory_size);
    for (first, a) in segments.iter().enumerate() {
        for (second, b) in segments.iter().enumerate().skip(first + 1) {
            if range(a).overlaps(range(b)) {
                return Err(ElfError::Overlap { segments: (first, second) });
            }
        }
    }
    Ok(())
}

fn entry(elf: &Elf<'_>, segments: &[(u64, Segment<'_>)]) -> Result<u64, ElfError> {
    let entry = elf.entry();
    segments
        .iter()
        .find_map(|(address, segment)| {
            let offset = entry.checked_sub(segment.vaddr)?;
            (offset < segment.memory_size).then_some(address + offset)
        })
        .filter(|entry| entry.is_multiple_of(4))
        .ok_or(ElfError::Entry(entry))
}

fn flatten(segments: &[(u64, Segment<'_>)], start: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (address, segment) in segments {
        let at = (address - start) as usize;
        let end = at + segment.bytes.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at..end].copy_from_slice(segment.bytes);
    }
    bytes
}

fn outside(input: &Input, range: Range, guest: &Guest) -> Diagnostic {
    let title = "the kernel does not fit the guest's memory";
    let label = format!("it needs {}", units::range(range));
    let mut diagnostic = Diagnostic::new("kernel", title, input.span.clone(), label);
    for memory in &guest.memory {
        let text = format!("`{}` has {}", memory.value.name, units::range(memory.value.guest));
        diagnostic = diagnostic.also(memory.span.clone(), text);
    }
    diagnostic.help("give the guest more memory, or link the kernel to where there is some")
}

pub(super) fn refusal(input: &Input, error: &ElfError, machine: u16) -> Diagnostic {
    let title = format!("{} cannot be the guest's kernel", input.name);
    let (processor, package, architecture) = match machine {
        EM_AARCH64 => ("arm64", "linux-image-arm64", "arm64"),
        _ => ("POWER", "linux-image-powerpc64le", "ppc64el"),
    };
    let help = match error {
        ElfError::NotElf => format!(
            "name an ELF vmlinux for {processor} (Debian: {package}); for a raw kernel, set `format = \
             \"raw\"`, `load` and `entry`"
        ),
        ElfError::Compressed(_) => "name the unpacked vmlinux".into(),
        ElfError::ThirtyTwoBit => format!("name a 64-bit kernel (Debian: {package})"),
        ElfError::BigEndian => {
            format!("name a little-endian kernel (Debian: architecture {architecture})")
        }
        ElfError::Machine(_) => format!("name a kernel for {processor} (Debian: {package})"),
        ElfError::Kind(_) => "name the linked kernel, not an object file or a core dump".into(),
        ElfError::HeadersCut | ElfError::SegmentCut { .. } | ElfError::SectionsCut { .. } => {
            "copy or download the file again".into()
        }
        _ => "the file is damaged, or was linked in a way that no loader can follow".to_owned(),
    };
    let label = match (error, sniff::format(&input.bytes)) {
        (ElfError::NotElf, Some(other)) => format!("{error}, but {other}"),
        _ => error.to_string(),
    };
    Diagnostic::new("kernel", title, input.span.clone(), label).help(help)
}
