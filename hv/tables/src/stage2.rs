// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Stage 2 translation tables of Armv8-A with 4 KiB granule (Arm ARM, D8 "The AArch64 Virtual
//! Memory System Architecture"; VTCR_EL2, VTTBR_EL2).
//!
//! A table cannot be made without the [`Stage2`] that it belongs to. IPA size, start level, number
//! of concatenated root tables and VTCR_EL2 all come from that one value, so they cannot disagree.
//! Access flags are preset: hardware maintains none. Memory attributes mean one thing with forced
//! write-back (FEAT_S2FWB) and another without: the context says which, for the leaves and for
//! HCR_EL2.
use core::fmt;

use anchorite_spec::manifest::{PERM_R, PERM_W, PERM_X};

/// Bytes of one table.
pub const TABLE: u64 = 4096;
const ENTRIES: u64 = 512;
const PAGE_SHIFT: u32 = 12;
/// A root has at most this many tables side by side.
const MOST_ROOT_TABLES: u64 = 16;
/// From so many bits of physical address on a walk may start at level 0.
const LEVEL0_PA_BITS: u32 = 44;

const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 2;
const READ: u64 = 1 << 6;
const WRITE: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 3 << 8;
const ACCESSED: u64 = 1 << 10;
const EXECUTE_NEVER: u64 = 2 << 53;
/// MemAttr: normal memory, write-back inside and outside.
const WRITE_BACK: u64 = 0xF << 2;
/// The same where HCR_EL2.FWB is set: whatever the guest's own attributes say.
const FORCED_WRITE_BACK: u64 = 6 << 2;
/// MemAttr.
const ATTRIBUTE: u64 = 0xF << 2;
/// HCR_EL2.FWB.
const HCR_FWB: u64 = 1 << 46;
/// MemAttr: device memory, nGnRE.
const DEVICE: u64 = 1 << 2;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const OWNER_SHIFT: u32 = 55;

/// How large guest addresses are, and the shape of the tables that follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2 {
    ipa_bits: u32,
    pa_range: u32,
    start_level: u32,
    root_tables: u64,
    forced_write_back: bool,
}

/// Why there is no stage 2 of some size on some processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextError {
    /// Fewer than 32 bits, or more than 48.
    IpaBits(u32),
    /// PARange is not one that 4 KiB tables know.
    PaRange(u32),
    /// The processor has fewer bits of physical address than the guest is to have.
    BeyondPa {
        /// Bits wanted.
        ipa_bits: u32,
        /// Bits that the processor has.
        pa_bits: u32,
    },
    /// The size needs a walk from level 0, which the processor does not do.
    NoLevel0 {
        /// Bits wanted.
        ipa_bits: u32,
        /// Bits that the processor has.
        pa_bits: u32,
    },
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IpaBits(bits) => write!(f, "guest addresses have 32 to 48 bits, not {bits}"),
            Self::PaRange(value) => write!(f, "PARange {value} is not known"),
            Self::BeyondPa { ipa_bits, pa_bits } => {
                write!(
                    f,
                    "guest addresses of {ipa_bits} bits do not fit a processor with {pa_bits}"
                )
            }
            Self::NoLevel0 { ipa_bits, pa_bits } => write!(
                f,
                "guest addresses of {ipa_bits} bits need tables from level 0, which a processor \
                 with {pa_bits} bits of physical address does not walk"
            ),
        }
    }
}

impl core::error::Error for ContextError {}

/// Bits of physical address that a value of ID_AA64MMFR0_EL1.PARange stands for; 52 bits need other
/// granules and count as 48.
#[must_use]
pub const fn pa_bits(pa_range: u32) -> Option<u32> {
    match pa_range {
        0 => Some(32),
        1 => Some(36),
        2 => Some(40),
        3 => Some(42),
        4 => Some(44),
        5..=7 => Some(48),
        _ => None,
    }
}

impl Stage2 {
    /// The context for guest addresses of `ipa_bits` on processors whose PARange is at least
    /// `pa_range`.
    ///
    /// # Errors
    /// See [`ContextError`].
    pub const fn new(ipa_bits: u32, pa_range: u32) -> Result<Self, ContextError> {
        let Some(pa_bits) = pa_bits(pa_range) else { return Err(ContextError::PaRange(pa_range)) };
        if ipa_bits < 32 || ipa_bits > 48 {
            return Err(ContextError::IpaBits(ipa_bits));
        }
        if ipa_bits > pa_bits {
            return Err(ContextError::BeyondPa { ipa_bits, pa_bits });
        }
        // One table at level 1 translates 39 bits; up to 16 of them side by side make 43.
        let (start_level, span_bits) = if ipa_bits <= 43 { (1, 39) } else { (0, 48) };
        if start_level == 0 && pa_bits < LEVEL0_PA_BITS {
            return Err(ContextError::NoLevel0 { ipa_bits, pa_bits });
        }
        let root_tables = if ipa_bits > span_bits { 1 << (ipa_bits - span_bits) } else { 1 };
        debug_assert!(root_tables <= MOST_ROOT_TABLES);
        let pa_range = if pa_range > 5 { 5 } else { pa_range };
        Ok(Self { ipa_bits, pa_range, start_level, root_tables, forced_write_back: false })
    }

    /// The same with guest memory that is cached whatever the guest's own attributes say, or with
    /// memory that is cached where both agree. The former needs FEAT_S2FWB.
    #[must_use]
    pub const fn with_forced_write_back(self, forced: bool) -> Self {
        Self { forced_write_back: forced, ..self }
    }

    /// What HCR_EL2 must have set for the leaves to mean what was meant.
    #[must_use]
    pub const fn hcr(self) -> u64 {
        if self.forced_write_back { HCR_FWB } else { 0 }
    }

    const fn normal(self) -> u64 {
        if self.forced_write_back { FORCED_WRITE_BACK } else { WRITE_BACK }
    }

    /// The smallest PARange on which `ipa_bits` work: what an image can be built for without
    /// knowing its processor.
    ///
    /// # Errors
    /// See [`ContextError`].
    pub fn smallest(ipa_bits: u32) -> Result<Self, ContextError> {
        let mut last = ContextError::IpaBits(ipa_bits);
        for pa_range in 0..6 {
            match Self::new(ipa_bits, pa_range) {
                Ok(context) => return Ok(context),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Bits of guest addresses.
    #[must_use]
    pub const fn ipa_bits(self) -> u32 {
        self.ipa_bits
    }

    /// Bits of host addresses that tables and leaves can have.
    #[must_use]
    pub const fn real_bits(self) -> u32 {
        match pa_bits(self.pa_range) {
            Some(bits) => bits,
            None => 32,
        }
    }

    /// The level at which a walk starts.
    #[must_use]
    pub const fn start_level(self) -> u32 {
        self.start_level
    }

    /// Tables side by side that make up the root.
    #[must_use]
    pub const fn root_tables(self) -> u64 {
        self.root_tables
    }

    /// Bytes of the root, which are also its alignment.
    #[must_use]
    pub const fn root_bytes(self) -> u64 {
        self.root_tables * TABLE
    }

    /// The value for VTCR_EL2: RES1, PS, 4 KiB, inner shareable and write-back walks, SL0, T0SZ.
    #[must_use]
    pub const fn vtcr(self) -> u64 {
        let start = if self.start_level == 0 { 2 } else { 1 };
        1 << 31
            | (self.pa_range as u64) << 16
            | 3 << 12
            | 1 << 10
            | 1 << 8
            | start << 6
            | (64 - self.ipa_bits) as u64
    }

    /// The value for VTTBR_EL2.
    #[must_use]
    pub const fn vttbr(self, root: u64, vmid: u8) -> u64 {
        (vmid as u64) << 48 | root
    }

    const fn shift(level: u32) -> u32 {
        PAGE_SHIFT + 9 * (3 - level)
    }
}

/// Ordinary memory or registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Cached: as far as the guest's own attributes say so too, or in any case with forced
    /// write-back.
    Normal,
    /// Device-nGnRE, never executable.
    Device,
}

/// A contiguous piece of guest space and the host memory behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First guest physical address.
    pub guest: u64,
    /// First host physical address.
    pub host: u64,
    /// Bytes.
    pub size: u64,
    /// `PERM_*` bits of the manifest.
    pub perms: u32,
    /// Memory attribute.
    pub memory: Memory,
    /// Use 4 KiB pages even where a larger leaf would fit.
    pub pages_only: bool,
    /// Whose memory this is: 0 to 15, kept in software bits that [`Tables::protect`] leaves alone.
    pub owner: u8,
}

/// Why a region cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// The region has no bytes.
    Empty,
    /// Guest address, host address, size or the arena is not a multiple of its page.
    Misaligned,
    /// The region leaves the guest's address space.
    GuestSpace,
    /// The region leaves the host addresses that a leaf can name.
    HostSpace,
    /// The permissions are not ones that are given: reading always, no execution of registers.
    Permissions,
    /// The owner is larger than 15.
    Owner,
    /// Something is mapped there already, or is not mapped with leaves of its own.
    Occupied {
        /// The guest address.
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
            Self::GuestSpace => write!(f, "the region leaves the guest's address space"),
            Self::HostSpace => write!(f, "the region leaves the host addresses that a leaf holds"),
            Self::Permissions => write!(f, "no leaf has these permissions"),
            Self::Owner => write!(f, "no leaf holds this owner"),
            Self::Occupied { guest } => write!(f, "guest address {guest:#x} is mapped already"),
            Self::ArenaFull => write!(f, "no room for another table"),
        }
    }
}

impl core::error::Error for MapError {}

/// Tables of one context, being built in an arena.
pub struct Tables<'a> {
    context: Stage2,
    arena: &'a mut [u8],
    base: u64,
    used: u64,
}

impl<'a> Tables<'a> {
    /// Starts tables whose arena will lie at host physical address `base`. The root stands first.
    ///
    /// # Errors
    /// [`MapError::Misaligned`] when `base` is not a multiple of the root's size,
    /// [`MapError::ArenaFull`] when not even the root fits, [`MapError::HostSpace`].
    pub fn new(context: Stage2, arena: &'a mut [u8], base: u64) -> Result<Self, MapError> {
        if !base.is_multiple_of(context.root_bytes()) {
            return Err(MapError::Misaligned);
        }
        match base.checked_add(arena.len() as u64) {
            Some(end) if end <= ADDRESS + TABLE => {}
            _ => return Err(MapError::HostSpace),
        }
        if (arena.len() as u64) < context.root_bytes() {
            return Err(MapError::ArenaFull);
        }
        arena.fill(0);
        Ok(Self { context, arena, base, used: context.root_bytes() })
    }

    /// Maps a region with the largest leaves that its alignment permits.
    ///
    /// # Errors
    /// See [`MapError`]. A failed call may have mapped part of the region; the tables are then
    /// useless.
    pub fn map(&mut self, region: &Region) -> Result<(), MapError> {
        self.check(region)?;
        let bits = self.leaf_bits(region.perms, region.memory, region.owner)?;
        let (mut guest, mut host, mut left) = (region.guest, region.host, region.size);
        while left > 0 {
            let fits = |level: &u32| {
                let leaf = 1 << Stage2::shift(*level);
                (guest | host).is_multiple_of(leaf) && left >= leaf
            };
            let level =
                if region.pages_only { 3 } else { [1, 2].into_iter().find(fits).unwrap_or(3) };
            let slot = self.slot(guest, level, true)?;
            if self.read(slot) != 0 {
                return Err(MapError::Occupied { guest });
            }
            let kind = if level == 3 { VALID | TABLE_OR_PAGE } else { VALID };
            self.write(slot, host | bits | kind);
            let step = 1 << Stage2::shift(level);
            (guest, host, left) = (guest + step, host + step, left - step);
        }
        Ok(())
    }

    /// Changes the permissions of leaves that lie wholly in a range; owner, address and attribute
    /// stay.
    ///
    /// # Errors
    /// [`MapError::Occupied`] where the range holds no leaf or cuts one.
    pub fn protect(&mut self, guest: u64, size: u64, perms: u32) -> Result<(), MapError> {
        let end = guest.checked_add(size).ok_or(MapError::GuestSpace)?;
        let mut at = guest;
        while at < end {
            let leaf = (1..=3).find_map(|level| {
                let slot = self.slot(at, level, false).ok()?;
                let raw = self.read(slot);
                let is_leaf = raw & VALID != 0 && (level == 3 || raw & TABLE_OR_PAGE == 0);
                is_leaf.then_some((slot, raw, 1u64 << Stage2::shift(level)))
            });
            let Some((slot, raw, span)) = leaf else {
                return Err(MapError::Occupied { guest: at });
            };
            if !at.is_multiple_of(span) || end - at < span {
                return Err(MapError::Occupied { guest: at });
            }
            let memory = if raw & ATTRIBUTE == DEVICE { Memory::Device } else { Memory::Normal };
            let owner = (raw >> OWNER_SHIFT & 15) as u8;
            let kind = raw & (VALID | TABLE_OR_PAGE);
            self.write(slot, raw & ADDRESS | kind | self.leaf_bits(perms, memory, owner)?);
            at += span;
        }
        Ok(())
    }

    /// The root's host physical address and the bytes of the arena that the tables occupy.
    #[must_use]
    pub fn finish(self) -> (u64, usize) {
        (self.base, self.used as usize)
    }

    fn check(&self, region: &Region) -> Result<(), MapError> {
        if region.size == 0 {
            return Err(MapError::Empty);
        }
        if !(region.guest | region.host | region.size).is_multiple_of(TABLE) {
            return Err(MapError::Misaligned);
        }
        match region.guest.checked_add(region.size) {
            Some(end) if end <= 1 << self.context.ipa_bits => {}
            _ => return Err(MapError::GuestSpace),
        }
        let limit = 1u64 << self.context.real_bits();
        match region.host.checked_add(region.size) {
            Some(end) if end <= limit => Ok(()),
            _ => Err(MapError::HostSpace),
        }
    }

    /// The arena offset of the entry of `level` that translates `guest`.
    fn slot(&mut self, guest: u64, level: u32, create: bool) -> Result<u64, MapError> {
        let mut at = self.context.start_level;
        let mut index = guest >> Stage2::shift(at);
        let mut table = 0;
        while at < level {
            let slot = table + index * 8;
            let raw = self.read(slot);
            table = match raw & (VALID | TABLE_OR_PAGE) {
                0 if create => {
                    let offset = self.used;
                    if offset + TABLE > self.arena.len() as u64 {
                        return Err(MapError::ArenaFull);
                    }
                    self.used += TABLE;
                    self.write(slot, (self.base + offset) | VALID | TABLE_OR_PAGE);
                    offset
                }
                3 => (raw & ADDRESS) - self.base,
                _ => return Err(MapError::Occupied { guest }),
            };
            at += 1;
            index = guest >> Stage2::shift(at) & (ENTRIES - 1);
        }
        Ok(table + index * 8)
    }

    fn leaf_bits(&self, perms: u32, memory: Memory, owner: u8) -> Result<u64, MapError> {
        leaf_bits(self.context, perms, memory, owner)
    }

    fn read(&self, slot: u64) -> u64 {
        let at = slot as usize;
        u64::from_le_bytes(self.arena[at..at + 8].try_into().unwrap_or_default())
    }

    fn write(&mut self, slot: u64, entry: u64) {
        let at = slot as usize;
        self.arena[at..at + 8].copy_from_slice(&entry.to_le_bytes());
    }
}

fn leaf_bits(context: Stage2, perms: u32, memory: Memory, owner: u8) -> Result<u64, MapError> {
    if perms & PERM_R == 0 || perms & !(PERM_R | PERM_W | PERM_X) != 0 {
        return Err(MapError::Permissions);
    }
    if memory == Memory::Device && perms & PERM_X != 0 {
        return Err(MapError::Permissions);
    }
    if owner > 15 {
        return Err(MapError::Owner);
    }
    let mut bits = READ | ACCESSED | u64::from(owner) << OWNER_SHIFT;
    bits |= match memory {
        Memory::Normal => context.normal() | INNER_SHAREABLE,
        Memory::Device => DEVICE,
    };
    if perms & PERM_W != 0 {
        bits |= WRITE;
    }
    if perms & PERM_X == 0 {
        bits |= EXECUTE_NEVER;
    }
    Ok(bits)
}
