// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads stage 2 tables of Armv8-A (4 KiB granule, no FEAT_S2FWB) as the processor would under a
//! given VTCR_EL2, and reports all of them.
//!
//! This is the second opinion on [`crate::stage2`]: it is written from the architecture's text (Arm
//! ARM, D8), takes hostile bytes, and must never borrow a constant or a function from the builder.
use core::fmt;
use core::ops::ControlFlow;

/// One thing found in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A table, reported before its entries. The root's concatenated tables are one.
    Table {
        /// Host physical address.
        address: u64,
        /// Bytes.
        size: u64,
    },
    /// A valid leaf.
    Leaf(Leaf),
    /// An invalid entry that is not zero.
    Invalid {
        /// First guest address that the entry covers.
        guest: u64,
        /// Bytes that it covers.
        size: u64,
        /// The entry.
        raw: u64,
    },
}

/// A valid leaf, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// First guest physical address.
    pub guest: u64,
    /// First host physical address.
    pub host: u64,
    /// Bytes.
    pub size: u64,
    /// Loads allowed.
    pub read: bool,
    /// Stores allowed.
    pub write: bool,
    /// Instruction fetches allowed, at whatever exception level.
    pub execute: bool,
    /// The access flag.
    pub accessed: bool,
    /// MemAttr: 15 is write-back, 0 to 3 are device memory.
    pub attribute: u8,
    /// SH.
    pub shareability: u8,
    /// The software bits: whose memory it is.
    pub owner: u8,
    /// Bits that belong to no field above.
    pub other: u64,
}

/// Why tables cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkError {
    /// VTCR_EL2 does not describe a walk that the processor can do.
    Vtcr(u64),
    /// A table does not lie wholly inside the bytes given.
    Outside {
        /// The table's host physical address.
        address: u64,
    },
    /// The root is not aligned to its size.
    Unaligned {
        /// The root's host physical address.
        address: u64,
    },
    /// A table entry has bits set that belong to no field.
    Reserved {
        /// Guest address that leads there.
        guest: u64,
        /// The entry.
        raw: u64,
    },
    /// A leaf stands where the processor accepts none, or its address has bits below its size.
    BadLeaf {
        /// Guest address that leads there.
        guest: u64,
        /// The entry.
        raw: u64,
    },
    /// The visitor stopped the walk.
    Stopped,
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vtcr(value) => write!(f, "VTCR_EL2 {value:#x} describes no walk"),
            Self::Outside { address } => write!(f, "table {address:#x} lies outside the tables"),
            Self::Unaligned { address } => write!(f, "the root {address:#x} is not aligned"),
            Self::Reserved { guest, raw } => {
                write!(f, "entry {raw:#018x} for guest address {guest:#x} has unknown bits")
            }
            Self::BadLeaf { guest, raw } => {
                write!(f, "entry {raw:#018x} for guest address {guest:#x} is no possible leaf")
            }
            Self::Stopped => write!(f, "stopped"),
        }
    }
}

impl core::error::Error for WalkError {}

/// Walks the tables whose root is at host physical address `root`, in ascending guest addresses.
///
/// `tables` are the bytes that lie at host physical address `base`.
///
/// # Errors
/// See [`WalkError`].
pub fn walk(
    tables: &[u8],
    base: u64,
    root: u64,
    vtcr: u64,
    visit: &mut dyn FnMut(Item) -> ControlFlow<()>,
) -> Result<(), WalkError> {
    // Everything but T0SZ, SL0 and PS has one value here: RES1, 4 KiB, the walk's cacheability.
    if vtcr & !0x7_00ff != 0x8000_3500 {
        return Err(WalkError::Vtcr(vtcr));
    }
    let input_bits = 64 - (vtcr & 63) as u32;
    let level = match vtcr >> 6 & 3 {
        2 => 0,
        1 => 1,
        _ => return Err(WalkError::Vtcr(vtcr)),
    };
    let top = 39 - 9 * level;
    // The root translates what is above `top`: one table's nine bits, or four more side by side.
    if input_bits > 48 || input_bits <= top || input_bits > top + 13 {
        return Err(WalkError::Vtcr(vtcr));
    }
    let entries = 1u64 << (input_bits - top);
    let size = (entries * 8).max(4096);
    if !root.is_multiple_of(size) {
        return Err(WalkError::Unaligned { address: root });
    }
    Walker { tables, base, visit }.table(root, size, entries, 0, level)
}

struct Walker<'a> {
    tables: &'a [u8],
    base: u64,
    visit: &'a mut dyn FnMut(Item) -> ControlFlow<()>,
}

impl Walker<'_> {
    fn table(
        &mut self,
        address: u64,
        size: u64,
        entries: u64,
        guest: u64,
        level: u32,
    ) -> Result<(), WalkError> {
        let start = address.checked_sub(self.base).ok_or(WalkError::Outside { address })?;
        let end = start.checked_add(size).ok_or(WalkError::Outside { address })?;
        if end > self.tables.len() as u64 {
            return Err(WalkError::Outside { address });
        }
        self.report(Item::Table { address, size })?;
        let span = 1u64 << (39 - 9 * level);
        for index in 0..entries {
            let at = (start + index * 8) as usize;
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&self.tables[at..at + 8]);
            self.entry(u64::from_le_bytes(bytes), guest + index * span, span, level)?;
        }
        Ok(())
    }

    fn entry(&mut self, raw: u64, guest: u64, span: u64, level: u32) -> Result<(), WalkError> {
        match (raw & 3, level) {
            (3, 3) => self.leaf(raw, guest, span),
            (3, _) => {
                if raw & !0x0000_ffff_ffff_f003 != 0 {
                    return Err(WalkError::Reserved { guest, raw });
                }
                self.table(raw & 0x0000_ffff_ffff_f000, 4096, 512, guest, level + 1)
            }
            (1, 1 | 2) => self.leaf(raw, guest, span),
            (1, _) => Err(WalkError::BadLeaf { guest, raw }),
            _ if raw != 0 => self.report(Item::Invalid { guest, size: span, raw }),
            _ => Ok(()),
        }
    }

    fn leaf(&mut self, raw: u64, guest: u64, size: u64) -> Result<(), WalkError> {
        let host = raw & 0x0000_ffff_ffff_f000;
        if !host.is_multiple_of(size) {
            return Err(WalkError::BadLeaf { guest, raw });
        }
        self.report(Item::Leaf(Leaf {
            guest,
            host,
            size,
            read: raw >> 6 & 1 != 0,
            write: raw >> 7 & 1 != 0,
            // Only XN = 10 forbids execution at both exception levels.
            execute: raw >> 53 & 3 != 2,
            accessed: raw >> 10 & 1 != 0,
            attribute: (raw >> 2 & 15) as u8,
            shareability: (raw >> 8 & 3) as u8,
            owner: (raw >> 55 & 15) as u8,
            other: raw & !(0x0000_ffff_ffff_f000 | 0x7ff | 3 << 53 | 15 << 55),
        }))
    }

    fn report(&mut self, item: Item) -> Result<(), WalkError> {
        match (self.visit)(item) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(WalkError::Stopped),
        }
    }
}
