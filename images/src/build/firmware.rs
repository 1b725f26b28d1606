// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware's own two programs: the resident body, linked here to its final address, and the
//! loader, which runs wherever it was put.
use anchorite_spec::trust::LOADER_OFFSET as TRUST;
use anchorite_spec::{Range, Trust};
use anyhow::{Context, bail, ensure};
use object::elf::EM_AARCH64;
use zerocopy::IntoBytes;

use super::elf::Elf;
use crate::image::loader_header as header;

/// An ELF linked at 0, as memory.
struct Flat {
    bytes: Vec<u8>,
    memory_size: u64,
}

/// The body, linked.
pub struct Body {
    /// Its bytes from its first address on.
    pub bytes: Vec<u8>,
    /// Host real address of its first instruction.
    pub entry: u64,
    /// Host real address of the ledger.
    pub ledger: u64,
    /// Host real address of the epitaph.
    pub epitaph: u64,
    /// Bytes, from the first, that are executed and never written; 0 where nothing keeps them apart.
    pub code: u64,
}

/// Bytes of memory that a body needs, from its ELF.
///
/// # Errors
/// The ELF is not one that this builder can link.
pub fn body_memory(elf: &[u8], machine: u16) -> anyhow::Result<u64> {
    Ok(flatten(&Elf::parse(elf, machine).context("the firmware's body")?)?.memory_size)
}

/// Links the body to its address.
///
/// # Errors
/// The ELF is not one that this builder can link.
pub fn link_body(elf: &[u8], base: u64, machine: u16) -> anyhow::Result<Body> {
    let elf = Elf::parse(elf, machine).context("the firmware's body")?;
    let mut flat = flatten(&elf)?;
    for (place, addend) in elf.relative_relocations().context("the firmware's body")? {
        let at = usize::try_from(place)?;
        let Some(slot) = flat.bytes.get_mut(at..at + 8) else {
            bail!("the firmware's body is relocated at {place:#x}, outside its content");
        };
        slot.copy_from_slice(&base.wrapping_add(addend).to_le_bytes());
    }
    let address = |name: &'static str| -> anyhow::Result<u64> {
        let value = elf.symbol(name).context("the firmware's body")?;
        ensure!(value < flat.memory_size, "the firmware's symbol `{name}` lies outside its body");
        Ok(base + value)
    };
    Ok(Body {
        entry: address("body_start")?,
        ledger: address("LEDGER")?,
        epitaph: address("EPITAPH")?,
        code: match machine {
            EM_AARCH64 => address("body_data_start")? - base,
            _ => 0,
        },
        bytes: flat.bytes,
    })
}

/// What the loader is told about the image that it starts.
pub struct LoaderPlace {
    /// Its place in the image file.
    pub offset: u64,
    /// The manifest's place in the image file.
    pub manifest: u64,
    /// The top of the boot stack.
    pub stack_top: u64,
    /// arm64: the machine's flash, and where a loader in it copies itself to.
    pub flash: Option<(Range, u64)>,
    /// What it demands of the image.
    pub trust: Trust,
}

/// The loader as memory, its header not yet filled in.
///
/// # Errors
/// The ELF is not one that this builder can use.
pub fn loader(elf: &[u8], machine: u16) -> anyhow::Result<Vec<u8>> {
    let elf = Elf::parse(elf, machine).context("the firmware's loader")?;
    let mut flat = flatten(&elf)?;
    ensure!(elf.entry() == 0, "the firmware's loader must be entered at its first byte");
    ensure!(flat.bytes.len() >= header::SIZE, "the firmware's loader has no header");
    flat.bytes.resize(usize::try_from(flat.memory_size)?, 0);
    Ok(flat.bytes)
}

/// Fills the loader's header in.
pub fn place_loader(loader: &mut [u8], place: &LoaderPlace) {
    let size = loader.len() as u64;
    let mut put = |at: usize, value: u64| loader[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(header::MANIFEST_DELTA, place.manifest.wrapping_sub(place.offset));
    put(header::STACK_TOP, place.stack_top);
    put(header::MEMORY_SIZE, size);
    put(header::FILE_OFFSET, place.offset);
    if let Some((flash, copy)) = place.flash {
        put(header::FLASH_BASE, flash.base);
        put(header::FLASH_SIZE, flash.size);
        put(header::COPY, copy);
    }
    let trust = place.trust.as_bytes();
    loader[TRUST..TRUST + trust.len()].copy_from_slice(trust);
}

/// No firmware is larger; a file that claims more is damaged.
const MOST: u64 = 16 << 20;

fn flatten(elf: &Elf<'_>) -> anyhow::Result<Flat> {
    let mut flat = Flat { bytes: Vec::new(), memory_size: 0 };
    for segment in &elf.segments {
        let end = segment.vaddr + segment.memory_size;
        ensure!(end <= MOST, "the firmware is not linked at 0");
        let at = segment.vaddr as usize;
        ensure!(at >= flat.memory_size as usize, "the firmware's segments overlap");
        flat.bytes.resize(at + segment.bytes.len(), 0);
        flat.bytes[at..].copy_from_slice(segment.bytes);
        flat.memory_size = end;
    }
    Ok(flat)
}
