// SPDX-License-Identifier: Apache-2.0 OR MIT
//! EL2's own translation (Armv8-A, nVHE, 4 KiB granule): every address is itself, from a table at
//! level 1 that covers 39 bits.
//!
//! Nothing is both writable and executable. Ranges that only exist while booting can be taken away
//! again as a whole.
#![allow(clippy::missing_panics_doc)]

/// Bytes of one table.
pub const TABLE: usize = 4096;
/// TCR_EL2 without PS: RES1, 39 bits, 4 KiB, inner shareable write-back walks.
pub const TCR: u64 = 0x8080_0000 | 3 << 12 | 1 << 10 | 1 << 8 | (64 - 39);
/// MAIR_EL2: 0 is write-back, 1 is Device-nGnRE.
pub const MAIR: u64 = 0x04FF;
/// SCTLR_EL2: RES1, caches and MMU on, stack alignment, nothing writable is executable.
pub const SCTLR: u64 = 0x30C5_0830 | 1 << 19 | 1 << 12 | 1 << 3 | 1 << 2 | 1;

/// What a range is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Instructions and constants.
    Code,
    /// Memory to read and write.
    Data,
    /// Memory to read.
    Constant,
    /// Registers.
    Device,
}

/// The ranges cannot be mapped: tables run out, or a range overlaps another or is not of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmappable;

/// Tables in an arena that lies where its addresses say, as memory that the caller owns.
pub struct Stage1<'a> {
    arena: &'a mut [[u64; 512]],
    base: u64,
    used: usize,
}

impl<'a> Stage1<'a> {
    /// No mappings; `base` is the arena's physical address.
    pub fn new(arena: &'a mut [[u64; 512]], base: u64) -> Self {
        if let Some(root) = arena.first_mut() {
            *root = [0; 512];
        }
        Self { arena, base, used: 1 }
    }

    /// Tables that were made before, for taking ranges away.
    pub fn resume(arena: &'a mut [[u64; 512]], base: u64) -> Self {
        let used = arena.len();
        Self { arena, base, used }
    }

    /// Maps a range to itself.
    ///
    /// # Errors
    /// See [`Unmappable`].
    pub fn map(&mut self, start: u64, size: u64, purpose: Use) -> Result<(), Unmappable> {
        let end = start.checked_add(size).filter(|end| *end <= 1 << 39).ok_or(Unmappable)?;
        if !(start | size).is_multiple_of(4096) {
            return Err(Unmappable);
        }
        let mut at = start;
        while at < end {
            let fits = |shift: &u32| at.is_multiple_of(1 << shift) && end - at >= 1 << shift;
            let shift = [30, 21].into_iter().find(fits).unwrap_or(12);
            let kind = if shift == 12 { 3 } else { 1 };
            // As many entries as are in this table: where a larger one would do, the table ends.
            let table_end = ((at >> (shift + 9)) + 1) << (shift + 9);
            let stop = end.min(table_end) >> shift << shift;
            let first = (at >> shift) as usize & 511;
            let count = ((stop - at) >> shift) as usize;
            let table = self.table(at, shift, true).ok_or(Unmappable)?;
            let attributes = bits(purpose) | kind;
            let slots = self.arena[table].get_mut(first..first + count).ok_or(Unmappable)?;
            let (mut entry, step) = (at | attributes, 1 << shift);
            for slot in slots {
                if *slot != 0 {
                    return Err(Unmappable);
                }
                *slot = entry;
                entry += step;
            }
            at = stop;
        }
        Ok(())
    }

    /// Takes a range away that [`Self::map`] mapped as one; the caller invalidates the TLB.
    pub fn unmap(&mut self, start: u64, size: u64) {
        let mut at = start;
        while at < start + size {
            let leaf = [12, 21, 30].into_iter().find(|shift| {
                self.slot(at, *shift)
                    .is_some_and(|slot| *slot & 1 != 0 && (*shift == 12 || *slot & 2 == 0))
            });
            let shift = leaf.unwrap_or(12);
            if let Some(slot) = self.slot(at, shift) {
                *slot = 0;
            }
            at += 1 << shift;
        }
    }

    /// The entry that spans `1 << shift` bytes at an address.
    fn slot(&mut self, address: u64, shift: u32) -> Option<&mut u64> {
        let table = self.table(address, shift, false)?;
        Some(&mut self.arena[table][(address >> shift) as usize & 511])
    }

    /// The table with the entry that spans `1 << shift` bytes at an address.
    fn table(&mut self, address: u64, shift: u32, create: bool) -> Option<usize> {
        let mut table = 0;
        let mut level = 30;
        while level > shift {
            let index = (address >> level) as usize & 511;
            let entry = self.arena[table][index];
            table = match entry & 3 {
                0 if create && self.used < self.arena.len() => {
                    let next = self.used;
                    self.used += 1;
                    self.arena[next] = [0; 512];
                    self.arena[table][index] = (self.base + (next * TABLE) as u64) | 3;
                    next
                }
                3 => ((entry & 0xffff_ffff_f000) - self.base) as usize / TABLE,
                _ => return None,
            };
            level -= 9;
        }
        Some(table)
    }
}

const fn bits(purpose: Use) -> u64 {
    const ACCESSED: u64 = 1 << 10;
    const INNER: u64 = 3 << 8;
    const RES1: u64 = 1 << 6;
    const READ_ONLY: u64 = 1 << 7;
    const NEVER: u64 = 1 << 54;
    match purpose {
        Use::Code => ACCESSED | INNER | RES1 | READ_ONLY,
        Use::Data => ACCESSED | INNER | RES1 | NEVER,
        Use::Constant => ACCESSED | INNER | RES1 | READ_ONLY | NEVER,
        Use::Device => ACCESSED | RES1 | NEVER | 1 << 2,
    }
}
