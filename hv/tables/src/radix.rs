// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Partition-scoped radix trees of POWER9 (Power ISA 3.0B, Book III, section 5.7.10).
//!
//! The only shape that the processor accepts: a root of 13 bits, then 9, 9, and at last 9 (4 KiB
//! pages) or 5 (64 KiB pages), which together translate a 52-bit guest real address. Entries are
//! 64 bits, big-endian. The reference and change bits are always preset: the processor does not
//! maintain them, it faults.
//!
//! A *boot leaf* is a 64 KiB slot that stays invalid until the machine says which host page belongs
//! there. Its slot carries [`BOOT_LEAF`], so that [`fill_boot_leaf`] writes nowhere else.
use core::fmt;

use anchorite_spec::manifest::{PERM_R, PERM_W, PERM_X};

/// Bytes of the root table, and its alignment.
pub const ROOT_BYTES: usize = 8 << ROOT_BITS;
/// What an invalid slot holds that [`fill_boot_leaf`] may fill.
pub const BOOT_LEAF: u64 = 0x200;

const ROOT_BITS: u32 = 13;
const MIDDLE_BITS: u32 = 9;
const PAGE_BITS_4K: u32 = 9;
const PAGE_BITS_64K: u32 = 5;
const SPACE_BITS: u32 = 52;

const VALID: u64 = 1 << 63;
const LEAF: u64 = 1 << 62;
const REFERENCED: u64 = 0x100;
const CHANGED: u64 = 0x080;
const NON_IDEMPOTENT: u64 = 0x020;
const PRIVILEGED: u64 = 0x008;
const READ: u64 = 0x004;
const WRITE: u64 = 0x002;
const EXECUTE: u64 = 0x001;
/// Real page number of a leaf: bits 7:51.
const RPN: u64 = 0x01ff_ffff_ffff_f000;
/// Base of the next table: bits 4:55.
const NEXT: u64 = 0x0fff_ffff_ffff_ff00;
const NEXT_BITS: u64 = 0x1f;

const K4: u64 = 1 << 12;
const K64: u64 = 1 << 16;
const M2: u64 = 1 << 21;
const G1: u64 = 1 << 30;

/// How the processor treats accesses to a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Ordinary, cached memory.
    Normal,
    /// Non-idempotent I/O: cache-inhibited and guarded.
    Device,
}

/// A contiguous piece of guest space and the host memory behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First guest real address.
    pub guest: u64,
    /// First host real address.
    pub host: u64,
    /// Bytes.
    pub size: u64,
    /// `PERM_*` bits of the manifest.
    pub perms: u32,
    /// Memory attribute.
    pub memory: Memory,
    /// The largest leaf to use, in bytes: 1 GiB, 2 MiB, 64 KiB or 4 KiB.
    pub largest_leaf: u64,
}

impl Region {
    /// A region that uses leaves as large as alignment permits.
    #[must_use]
    pub const fn new(guest: u64, host: u64, size: u64, perms: u32, memory: Memory) -> Self {
        Self { guest, host, size, perms, memory, largest_leaf: G1 }
    }
}

/// Why a region cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// The region has no bytes.
    Empty,
    /// Guest address, host address or size is not a multiple of the smallest page.
    Misaligned,
    /// The region leaves the 52-bit guest space.
    GuestSpace,
    /// The region leaves the host addresses that a leaf can name.
    HostSpace,
    /// The permissions are not ones that a leaf can express: reading is always needed.
    Permissions,
    /// No such leaf size.
    LeafSize,
    /// Something is mapped or reserved there.
    Occupied {
        /// The guest real address that is taken.
        guest: u64,
    },
    /// The 2 MiB slot holds pages of 64 KiB, and this region needs smaller ones (or the reverse,
    /// for boot leaves).
    MixedPages {
        /// The guest real address in that slot.
        guest: u64,
    },
    /// The arena has no room for another table.
    ArenaFull,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the region has no bytes"),
            Self::Misaligned => write!(f, "the region is not aligned to its pages"),
            Self::GuestSpace => write!(f, "the region leaves the 52-bit guest space"),
            Self::HostSpace => write!(f, "the region leaves the host addresses that a leaf holds"),
            Self::Permissions => write!(f, "no leaf has these permissions"),
            Self::LeafSize => write!(f, "no leaf has this size"),
            Self::Occupied { guest } => write!(f, "guest address {guest:#x} is mapped already"),
            Self::MixedPages { guest } => {
                write!(f, "the 2 MiB around guest address {guest:#x} need two page sizes")
            }
            Self::ArenaFull => write!(f, "no room for another table"),
        }
    }
}

impl core::error::Error for MapError {}

/// The first doubleword of the partition table entry that names a tree of this shape.
#[must_use]
pub const fn partition_entry(root: u64) -> u64 {
    // Host radix; radix tree size 52 bits (value 21, split over bits 1:2 and 56:58); root size.
    const HOST_RADIX: u64 = 1 << 63;
    const SIZE_52: u64 = (21 >> 3) << 61 | (21 & 7) << 5;
    HOST_RADIX | SIZE_52 | root | ROOT_BITS as u64
}

/// The first doubleword of a process table entry that names a tree of this shape.
#[must_use]
pub const fn process_entry(root: u64) -> u64 {
    const HOST_RADIX: u64 = 1 << 63;
    partition_entry(root) & !HOST_RADIX
}

/// Builds one tree in an arena.
pub struct RadixBuilder<'a> {
    arena: &'a mut [u8],
    /// Added to every leaf.
    common: u64,
    base: u64,
    used: usize,
}

/// A table of the tree: its place in the arena and its number of index bits.
#[derive(Clone, Copy)]
struct Table {
    offset: usize,
    bits: u32,
}

impl Table {
    const ROOT: Self = Self { offset: 0, bits: ROOT_BITS };

    /// The arena offset of the entry that translates `guest`; one entry spans `1 << shift` bytes.
    fn slot(self, guest: u64, shift: u32) -> usize {
        let index = (guest >> shift) & ((1 << self.bits) - 1);
        self.offset + 8 * index as usize
    }
}

impl<'a> RadixBuilder<'a> {
    /// Starts a tree whose arena will lie at host real address `base`. The root stands first.
    ///
    /// # Errors
    /// [`MapError::Misaligned`] when `base` is not a multiple of 64 KiB, [`MapError::HostSpace`]
    /// when the arena would end beyond what a table entry can name, [`MapError::ArenaFull`] when
    /// not even the root fits.
    pub fn new(arena: &'a mut [u8], base: u64) -> Result<Self, MapError> {
        if !base.is_multiple_of(ROOT_BYTES as u64) {
            return Err(MapError::Misaligned);
        }
        match base.checked_add(arena.len() as u64) {
            Some(end) if end <= RPN + K4 => {}
            _ => return Err(MapError::HostSpace),
        }
        arena.fill(0);
        let mut builder = Self { arena, common: 0, base, used: 0 };
        builder.allocate(ROOT_BITS)?;
        Ok(builder)
    }

    /// The same for a process-scoped tree, of addresses that only privileged code reaches, whatever
    /// the authority masks say.
    ///
    /// # Errors
    /// As for [`RadixBuilder::new`].
    pub fn new_privileged(arena: &'a mut [u8], base: u64) -> Result<Self, MapError> {
        Ok(Self { common: PRIVILEGED, ..Self::new(arena, base)? })
    }

    /// Maps a region with the largest leaves that alignment and `largest_leaf` permit.
    ///
    /// # Errors
    /// See [`MapError`]. A failed call may have mapped part of the region; the tree is then useless.
    pub fn map(&mut self, region: &Region) -> Result<(), MapError> {
        check_span(region.guest, region.host, region.size, K4)?;
        let flags = leaf_flags(region.perms, region.memory)? | self.common;
        if ![K4, K64, M2, G1].contains(&region.largest_leaf) {
            return Err(MapError::LeafSize);
        }
        let (mut guest, mut host, mut left) = (region.guest, region.host, region.size);
        while left > 0 {
            let fits = |leaf: u64| {
                leaf <= region.largest_leaf && (guest | host).is_multiple_of(leaf) && left >= leaf
            };
            let step = if fits(G1) {
                self.put(Table::ROOT, 39, 30, guest, host | flags)?;
                G1
            } else if fits(M2) {
                let gigabyte = self.descend(Table::ROOT, 39, guest, MIDDLE_BITS)?;
                self.put(gigabyte, 30, 21, guest, host | flags)?;
                M2
            } else {
                let step = left.min(M2 - guest % M2);
                self.map_pages(guest, host, step, flags, region.largest_leaf)?;
                step
            };
            guest += step;
            host += step;
            left -= step;
        }
        Ok(())
    }

    /// Reserves 64 KiB slots for boot leaves: their tables exist, the slots are invalid.
    ///
    /// # Errors
    /// See [`MapError`].
    pub fn reserve_boot_leaf(&mut self, guest: u64, size: u64) -> Result<(), MapError> {
        check_span(guest, 0, size, K64)?;
        for page in (guest..guest + size).step_by(K64 as usize) {
            let table = self.page_table(page, PAGE_BITS_64K)?;
            if table.bits != PAGE_BITS_64K {
                return Err(MapError::MixedPages { guest: page });
            }
            self.put_in(table, 16, page, BOOT_LEAF)?;
        }
        Ok(())
    }

    /// The root's host real address, and the bytes of the arena that the tree occupies.
    #[must_use]
    pub fn finish(self) -> (u64, usize) {
        (self.base, self.used)
    }

    /// Maps pages within one 2 MiB slot.
    fn map_pages(
        &mut self,
        guest: u64,
        host: u64,
        size: u64,
        flags: u64,
        largest: u64,
    ) -> Result<(), MapError> {
        let large = largest >= K64 && (guest | host | size).is_multiple_of(K64);
        let wanted = if large { PAGE_BITS_64K } else { PAGE_BITS_4K };
        let table = self.page_table(guest, wanted)?;
        if table.bits == PAGE_BITS_64K && !large {
            return Err(MapError::MixedPages { guest });
        }
        let shift = 21 - table.bits;
        for offset in (0..size).step_by(1 << shift) {
            self.put_in(table, shift, guest + offset, (host + offset) | flags)?;
        }
        Ok(())
    }

    /// The page table of a 2 MiB slot: the one that is there, or a new one with `bits`.
    fn page_table(&mut self, guest: u64, bits: u32) -> Result<Table, MapError> {
        let gigabyte = self.descend(Table::ROOT, 39, guest, MIDDLE_BITS)?;
        let slot = self.descend(gigabyte, 30, guest, MIDDLE_BITS)?;
        self.descend(slot, 21, guest, bits)
    }

    /// Puts an entry of `1 << leaf` bytes below `table`, whose entries span `1 << shift` bytes.
    fn put(
        &mut self,
        table: Table,
        shift: u32,
        leaf: u32,
        guest: u64,
        entry: u64,
    ) -> Result<(), MapError> {
        let next = self.descend(table, shift, guest, MIDDLE_BITS)?;
        self.put_in(next, leaf, guest, entry)
    }

    /// Puts an entry into a table whose entries span `1 << shift` bytes.
    fn put_in(&mut self, table: Table, shift: u32, guest: u64, entry: u64) -> Result<(), MapError> {
        let slot = table.slot(guest, shift);
        if read(self.arena, slot) != Some(0) {
            return Err(MapError::Occupied { guest });
        }
        write(self.arena, slot, entry);
        Ok(())
    }

    /// The table below an entry, created with `bits` if the entry is empty.
    fn descend(
        &mut self,
        table: Table,
        shift: u32,
        guest: u64,
        bits: u32,
    ) -> Result<Table, MapError> {
        let slot = table.slot(guest, shift);
        match read(self.arena, slot) {
            Some(0) => {
                let next = self.allocate(bits)?;
                let address = self.base + next.offset as u64;
                write(self.arena, slot, VALID | address | u64::from(bits));
                Ok(next)
            }
            Some(entry) if entry & (VALID | LEAF) == VALID => Ok(Table {
                offset: ((entry & NEXT) - self.base) as usize,
                bits: (entry & NEXT_BITS) as u32,
            }),
            _ => Err(MapError::Occupied { guest }),
        }
    }

    /// Takes room for a table, aligned to its size.
    fn allocate(&mut self, bits: u32) -> Result<Table, MapError> {
        let bytes = 8usize << bits;
        let offset = self.used.next_multiple_of(bytes);
        let end = offset.checked_add(bytes).ok_or(MapError::ArenaFull)?;
        if end > self.arena.len() {
            return Err(MapError::ArenaFull);
        }
        self.used = end;
        Ok(Table { offset, bits })
    }
}

/// Why a boot leaf cannot be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillError {
    /// Guest or host address is not a multiple of 64 KiB, or out of range.
    Address,
    /// No tables lead there, or they are not as a builder leaves them.
    NoPath,
    /// The slot was not reserved, or is filled already.
    NotReserved,
}

impl fmt::Display for FillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "the address is not one of a 64 KiB page",
            Self::NoPath => "no tables lead to the boot leaf",
            Self::NotReserved => "the slot is no empty boot leaf",
        })
    }
}

impl core::error::Error for FillError {}

/// Fills one boot leaf with a readable and writable 64 KiB device page.
///
/// `arena` holds the tables that lie at host real address `base`; `root` is the root's address.
///
/// # Errors
/// See [`FillError`]; nothing is written then.
pub fn fill_boot_leaf(
    arena: &mut [u8],
    base: u64,
    root: u64,
    guest: u64,
    host: u64,
) -> Result<(), FillError> {
    if guest >> SPACE_BITS != 0
        || !guest.is_multiple_of(K64)
        || host & !RPN != 0
        || !host.is_multiple_of(K64)
    {
        return Err(FillError::Address);
    }
    let (mut address, mut bits) = (root, ROOT_BITS);
    for (shift, next_bits) in [(39, MIDDLE_BITS), (30, MIDDLE_BITS), (21, PAGE_BITS_64K)] {
        let entry = table_slot(base, address, bits, guest, shift)
            .and_then(|slot| read(arena, slot))
            .ok_or(FillError::NoPath)?;
        if entry & (VALID | LEAF) != VALID || entry & NEXT_BITS != u64::from(next_bits) {
            return Err(FillError::NoPath);
        }
        (address, bits) = (entry & NEXT, next_bits);
    }
    let slot = table_slot(base, address, bits, guest, 16).ok_or(FillError::NoPath)?;
    match read(arena, slot) {
        Some(BOOT_LEAF) => {
            let flags = READ | WRITE | NON_IDEMPOTENT | REFERENCED | CHANGED;
            write(arena, slot, VALID | LEAF | host | flags);
            Ok(())
        }
        Some(_) => Err(FillError::NotReserved),
        None => Err(FillError::NoPath),
    }
}

fn table_slot(base: u64, address: u64, bits: u32, guest: u64, shift: u32) -> Option<usize> {
    let offset = usize::try_from(address.checked_sub(base)?).ok()?;
    let table = Table { offset, bits };
    offset.checked_add(8 << bits).map(|_| table.slot(guest, shift))
}

fn check_span(guest: u64, host: u64, size: u64, page: u64) -> Result<(), MapError> {
    if size == 0 {
        return Err(MapError::Empty);
    }
    if !(guest | host | size).is_multiple_of(page) {
        return Err(MapError::Misaligned);
    }
    match guest.checked_add(size) {
        Some(end) if end <= 1 << SPACE_BITS => {}
        _ => return Err(MapError::GuestSpace),
    }
    match host.checked_add(size) {
        Some(end) if end <= RPN + K4 => Ok(()),
        _ => Err(MapError::HostSpace),
    }
}

fn leaf_flags(perms: u32, memory: Memory) -> Result<u64, MapError> {
    if perms & PERM_R == 0 || perms & !(PERM_R | PERM_W | PERM_X) != 0 {
        return Err(MapError::Permissions);
    }
    if memory == Memory::Device && perms & PERM_X != 0 {
        return Err(MapError::Permissions);
    }
    let mut flags = VALID | LEAF | REFERENCED | CHANGED | READ;
    if perms & PERM_W != 0 {
        flags |= WRITE;
    }
    if perms & PERM_X != 0 {
        flags |= EXECUTE;
    }
    if memory == Memory::Device {
        flags |= NON_IDEMPOTENT;
    }
    Ok(flags)
}

fn read(arena: &[u8], offset: usize) -> Option<u64> {
    let bytes = arena.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Callers have read the same offset before, so it lies in the arena.
fn write(arena: &mut [u8], offset: usize, entry: u64) {
    arena[offset..offset + 8].copy_from_slice(&entry.to_be_bytes());
}
