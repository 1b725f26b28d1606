// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Guest memory as the guest first sees it: zero, then the parts that the image holds for it.
use anchorite_hv::mem::{Gpa, GuestMemory};
use anchorite_spec::End;
use anchorite_spec::Range;
use anchorite_spec::ledger::LAST_LIFE_BYTES;
use anchorite_spec::manifest::{
    CODEC_LZ4, CODEC_NONE, CODEC_ZSTD, MAP_RAM, Manifest, Part, SPACE_GUEST, UNPACK_BYTES,
    part_name,
};
use anchorite_spec::phases::Phase;
use ruzstd::decoding::FrameDecoder;

use crate::clock::timed;
use crate::end::{end, require};
use crate::{arch, heap, image};

/// What the unpacker is given, if guest RAM has that much left.
const HEAP: u64 = 64 << 20;

/// Zeroes all guest RAM and unpacks the guest's parts into it; `seed` is for its random pool, and
/// `last_life` what it is told of the one before, if there was one.
pub fn fill(
    image: u64,
    manifest: &Manifest,
    seed: Option<[u8; 32]>,
    last_life: Option<&[u8; LAST_LIFE_BYTES]>,
) {
    for mapping in manifest.mappings().filter(|mapping| mapping.kind == MAP_RAM) {
        // SAFETY: board::check found this to be RAM of which nothing is the firmware's; the builder
        // aligned it to 64 KiB.
        timed(Phase::Zeroing, || unsafe { arch::zero(mapping.host, mapping.host + mapping.size) });
    }
    // SAFETY: as above; nothing else writes guest RAM before the guest runs.
    let memory = unsafe { GuestMemory::new(manifest.mappings()) };
    let scratch = scratch(manifest);
    // SAFETY: guest RAM that no part goes to, zeroed again below.
    unsafe { heap::give(scratch.base, scratch.size) };
    for part in manifest.parts.iter().filter(|p| p.kind != 0 && p.space == SPACE_GUEST) {
        timed(Phase::Unpacking, || unpack(image, part, &memory));
    }
    // SAFETY: as above; the heap is used no more.
    timed(Phase::Zeroing, || unsafe { arch::zero(scratch.base, scratch.base + scratch.size) });
    plant_seed(manifest, &memory, seed);
    // The manifest's digest covers the tree, and so cannot be in it when it is built.
    timed(Phase::Unpacking, || {
        plant(manifest, &memory, manifest.guest_digest_offset, &manifest.digest)
    });
    if let Some(last_life) = last_life {
        plant(manifest, &memory, manifest.guest_last_life_offset, last_life);
    }
}

/// The end of the largest stretch of guest RAM behind all parts; nothing if none is unpacked by a
/// codec that needs memory of its own.
fn scratch(manifest: &Manifest) -> Range {
    if manifest.parts.iter().all(|part| part.kind == 0 || part.codec != CODEC_ZSTD) {
        return Range::default();
    }
    let mut best = Range::default();
    for mapping in manifest.mappings().filter(|mapping| mapping.kind == MAP_RAM) {
        let guest = Range::new(mapping.guest, mapping.size);
        let used = manifest
            .parts
            .iter()
            .filter(|p| {
                p.kind != 0 && p.space == SPACE_GUEST && guest.contains(Range::new(p.dest, 1))
            })
            .map(|p| p.dest + p.memory_size - guest.base)
            .max()
            .unwrap_or(0);
        let used = used.next_multiple_of(4096);
        let free = mapping.size.saturating_sub(used);
        if free > best.size {
            best = Range::new(mapping.host + used, free);
        }
    }
    require(best.size >= UNPACK_BYTES, "guest RAM has no room to unpack the kernel in");
    let size = best.size.min(HEAP);
    Range::new(best.base + best.size - size, size)
}

fn unpack(image: u64, part: &Part, memory: &GuestMemory) {
    let packed = image::bytes(image, part);
    let Ok(host) = memory.translate(Gpa(part.dest), part.unpacked_size) else {
        refuse(part, "does not fit guest RAM")
    };
    // SAFETY: guest RAM, found so by `translate`; the guest does not run yet.
    let target =
        unsafe { core::slice::from_raw_parts_mut(host.0 as *mut u8, part.unpacked_size as usize) };
    let written = match part.codec {
        CODEC_NONE if packed.len() == target.len() => {
            target.copy_from_slice(packed);
            target.len()
        }
        CODEC_ZSTD => match FrameDecoder::new().decode_all(packed, target) {
            Ok(written) => written,
            Err(_) => refuse(part, "cannot be unpacked"),
        },
        CODEC_LZ4 => match lz4_flex::block::decompress_into(packed, target) {
            Ok(written) => written,
            Err(_) => refuse(part, "cannot be unpacked"),
        },
        _ => refuse(part, "has a codec that this firmware lacks"),
    };
    if written != target.len() {
        refuse(part, "is shorter than it says");
    }
    // SAFETY: as above.
    unsafe { arch::publish(host.0, part.unpacked_size) };
}

fn refuse(part: &Part, what: &str) -> ! {
    end(End::ImageRefused, format_args!("part {} {what}", part_name(part.kind)))
}

/// Puts a property's value into the guest's tree; an offset of 0 is no property.
fn plant(manifest: &Manifest, memory: &GuestMemory, offset: u64, value: &[u8]) {
    if offset == 0 {
        return;
    }
    let at = Gpa(manifest.guest_tree + offset);
    let size = value.len() as u64;
    if let (Ok(property), Ok(host)) = (memory.view(at, value.len()), memory.translate(at, size)) {
        property.write(0, value);
        // SAFETY: guest RAM, as `translate` found.
        unsafe { arch::publish(host.0, size) };
    }
}

/// Puts the seed into the guest's tree. Without one the property goes: a pool that is fed what
/// everybody knows would be worse than one that waits.
fn plant_seed(manifest: &Manifest, memory: &GuestMemory, seed: Option<[u8; 32]>) {
    /// A property's token, length and name come before its value.
    const PROPERTY_HEAD: u64 = 12;
    const NOP: [u8; 4] = 4_u32.to_be_bytes();
    if manifest.guest_seed_offset == 0 {
        return;
    }
    if let Some(seed) = seed {
        return plant(manifest, memory, manifest.guest_seed_offset, &seed);
    }
    let at = Gpa(manifest.guest_tree + manifest.guest_seed_offset - PROPERTY_HEAD);
    let size = PROPERTY_HEAD + 32;
    if let (Ok(property), Ok(host)) = (memory.view(at, size as usize), memory.translate(at, size)) {
        (0..property.len()).step_by(4).for_each(|word| property.write(word, &NOP));
        // SAFETY: guest RAM, as `translate` found.
        unsafe { arch::publish(host.0, size) };
    }
}
