// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who gets which RAM: the firmware a little, as low as it fits, the guest what is left in large
//! pieces.
use anchorite_spec::Range;
use anchorite_spec::manifest::RAM_RANGES;

use super::machine::Machine;
use super::{NewError, size};

/// Pieces of guest memory begin and end at these borders, for large pages.
const LARGE: u64 = 2 << 20;
const HUGE: u64 = 1 << 30;
/// A kernel, its initial file system and room to unpack them want this much in one piece.
const LEAST: u64 = 128 << 20;
/// No smaller piece is worth a region of its own.
const WORTH: u64 = 64 << 20;
const REGIONS: usize = 4;

/// A region of guest memory.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// Its first guest address.
    pub guest: u64,
    /// Its place in the machine.
    pub host: Range,
}

/// Who gets what.
pub struct Plan {
    /// RAM that the config names.
    pub ram: Vec<Range>,
    /// The firmware's.
    pub firmware: Range,
    /// The guest's.
    pub regions: Vec<Region>,
}

impl Plan {
    /// Divides a machine's RAM.
    ///
    /// # Errors
    /// There is too little, or none where the platform needs it.
    pub fn new(machine: &Machine) -> Result<Self, NewError> {
        let platform = &machine.platform;
        let given = [platform.vectors, platform.load_window, platform.earlier];
        for (name, range) in platform.names.iter().zip(given) {
            if !machine.ram.iter().any(|ram| ram.contains(range)) {
                return Err(NewError::Ram(format!(
                    "the machine has no RAM for {name} ({:#x}..{:#x})",
                    range.base,
                    range.base + range.size
                )));
            }
        }
        let ram: Vec<Range> = machine.ram.iter().copied().take(RAM_RANGES).collect();
        let mut taken = given.to_vec();
        taken.extend(&machine.reserved);
        let wanted = if platform.arm.is_some() { 512 << 10 } else { 1 << 20 };
        let kept_free = [&taken[..], &[platform.handed_tree()]].concat();
        let firmware = free(&ram, &kept_free)
            .into_iter()
            .find_map(|piece| inside(piece, 1 << 20, 1).filter(|fit| fit.size >= wanted))
            .map(|piece| Range::new(piece.base, wanted))
            .ok_or_else(|| NewError::Ram(format!("no {} of RAM for the firmware", size(wanted))))?;
        taken.push(firmware);
        let regions = regions(&ram, &taken, platform.arm.is_some());
        match regions.first() {
            Some(first) if first.host.size >= LEAST => Ok(Self { ram, firmware, regions }),
            _ => Err(NewError::Ram(format!(
                "no {} of RAM in one piece are left for the guest",
                size(LEAST)
            ))),
        }
    }
}

/// The guest's regions, the largest first: kernel, initial file system and tree go there.
fn regions(ram: &[Range], taken: &[Range], same: bool) -> Vec<Region> {
    let mut pieces: Vec<Range> = free(ram, taken)
        .into_iter()
        .filter_map(|piece| {
            // Huge pages where that leaves most of the piece.
            let huge = inside(piece, HUGE, HUGE).filter(|fit| fit.size >= piece.size / 8 * 7);
            huge.or_else(|| inside(piece, LARGE, LARGE))
        })
        // Guest addresses that are the machine's must fit the guest's 40 bits.
        .filter(|piece| piece.size >= WORTH && (!same || piece.base + piece.size <= 1 << 40))
        .collect();
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.size));
    pieces.truncate(REGIONS);
    let mut next = 0u64;
    let place = |host: Range| {
        let align = if host.base.is_multiple_of(HUGE) { HUGE } else { LARGE };
        let guest = if same { host.base } else { next.next_multiple_of(align) };
        next = guest + host.size;
        Region { guest, host }
    };
    pieces.into_iter().map(place).collect()
}

/// What is left of RAM, ascending.
fn free(ram: &[Range], taken: &[Range]) -> Vec<Range> {
    let mut left: Vec<(u64, u64)> = ram.iter().map(|ram| (ram.base, ram.base + ram.size)).collect();
    for taken in taken.iter().filter(|taken| !taken.is_empty()) {
        let (from, to) = (taken.base, taken.base.saturating_add(taken.size));
        left = left
            .into_iter()
            .flat_map(|(start, end)| [(start, end.min(from)), (start.max(to), end)])
            .filter(|(start, end)| start < end)
            .collect();
        // A piece that a taken range does not touch is there twice.
        left.sort_unstable();
        left.dedup();
    }
    left.into_iter().map(|(start, end)| Range::new(start, end - start)).collect()
}

/// The part of a piece between borders of these sizes.
fn inside(piece: Range, align: u64, granule: u64) -> Option<Range> {
    let start = piece.base.checked_next_multiple_of(align)?;
    let size = piece.end()?.checked_sub(start)? / granule * granule;
    (size > 0).then_some(Range::new(start, size))
}
