// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine's memory against its image: what nobody may have changed.
use std::fs;

use anchorite_spec::Manifest;
use anchorite_spec::low;
use anchorite_spec::manifest::{
    ARCH_ARM64, MAP_BOOT_LEAF, PART_BODY, PART_OWN_TABLES, PART_TABLES,
};
use anyhow::{Context, Result, ensure};
use zerocopy::IntoBytes;

use crate::image::Image;
use crate::monitor::Monitor;
use crate::root;

/// Bytes of POWER9's vectors, which are the first of the firmware's code: all but the last few.
pub const VECTOR_BYTES: u64 = 0x1c00;

/// Code, read-only data, manifest and tables are what the image has, but for the leaves that are
/// filled in at boot.
///
/// # Errors
///
/// Something differs, or the machine cannot be read.
pub fn untouched(monitor: &mut Monitor, image: &Image) -> Result<()> {
    let manifest = &image.manifest;
    let live = monitor.memory(manifest.manifest_copy.base, size_of::<Manifest>() as u64)?;
    ensure!(live == manifest.as_bytes(), "the manifest's copy was changed");

    let (part, body) = image.part(PART_BODY)?;
    let code = match manifest.arch {
        ARCH_ARM64 => manifest.arm64.code_bytes,
        _ => power9_code()?,
    };
    let live = monitor.memory(part.dest, code)?;
    ensure!(!live.is_empty() && live == body[..live.len()], "the firmware's code was changed");
    if manifest.arch != ARCH_ARM64 {
        for copy in low::VECTORS {
            let live = monitor.memory(copy, VECTOR_BYTES)?;
            ensure!(live == body[..live.len()], "the vectors at {copy:#x} were changed");
        }
        let (part, own) = image.part(PART_OWN_TABLES)?;
        ensure!(monitor.memory(part.dest, part.size)? == own, "the firmware's tables were changed");
    }

    let filled = tables(monitor, image)?;
    let leaves = manifest.mappings().filter(|mapping| mapping.kind == MAP_BOOT_LEAF);
    let pages: u64 = leaves.map(|leaf| leaf.size >> 16).sum();
    ensure!(filled == pages, "{filled} leaves filled for {pages} pages");
    Ok(())
}

/// The tables, root and all levels, byte for byte, except the leaves that the manifest names as
/// filled in at boot: how many of them are.
///
/// # Errors
///
/// As [`untouched`].
pub fn tables(monitor: &mut Monitor, image: &Image) -> Result<u64> {
    let manifest = &image.manifest;
    let (_, in_file) = image.part(PART_TABLES)?;
    ensure!(manifest.tables.size == in_file.len() as u64, "the tables have another size");
    let live = monitor.memory(manifest.tables.base, manifest.tables.size)?;
    let leaves: Vec<_> =
        manifest.mappings().filter(|mapping| mapping.kind == MAP_BOOT_LEAF).collect();
    let mut filled = 0;
    for (index, (file, live)) in in_file.chunks(8).zip(live.chunks(8)).enumerate() {
        if file == live {
            continue;
        }
        // Only POWER9's images have such leaves. Valid, a leaf, and of a page that is allowed.
        let entry = u64::from_be_bytes(live.try_into()?);
        ensure!(
            !leaves.is_empty() && file[0] & 0x80 == 0,
            "entry {index} was changed: {live:02x?}"
        );
        ensure!(entry >> 62 == 3, "entry {index} is {entry:#x}");
        let page = entry & 0x01ff_ffff_ffff_f000;
        let mut allowed = leaves.iter().map(|leaf| leaf.host..leaf.host + leaf.host_size);
        ensure!(allowed.any(|range| range.contains(&page)), "entry {index} maps {page:#x}");
        filled += 1;
    }
    Ok(filled)
}

/// Bytes of POWER9's first segment, which is not writable: from the ELF that the builder took.
fn power9_code() -> Result<u64> {
    let elf = fs::read(root().join("target/firmware/power9/body.elf"))?;
    let word = |at: usize| -> Result<u64> {
        let bytes = elf.get(at..at + 8).context("the body's ELF is cut short")?;
        Ok(u64::from_le_bytes(bytes.try_into()?))
    };
    // e_phoff; then p_type and p_flags, p_filesz of the first program header.
    let header = usize::try_from(word(32)?)?;
    ensure!(word(header)? == 5 << 32 | 1, "the body's first segment is not its code");
    word(header + 32)
}
