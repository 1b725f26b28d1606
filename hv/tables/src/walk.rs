// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads a partition-scoped radix tree of POWER9 as the processor would, and reports all of it.
//!
//! This is the second opinion on [`crate::radix`]: it is written from the architecture's text
//! (Power ISA 3.0B, Book III, section 5.7.10), takes hostile bytes, and must never borrow a
//! constant or a function from the builder.
use core::fmt;
use core::ops::ControlFlow;

/// One thing found in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A table. It is reported before its entries, so that a caller can stop at a shared one.
    Table {
        /// Host real address.
        address: u64,
        /// Bytes.
        size: u64,
    },
    /// A valid leaf.
    Leaf(Leaf),
    /// A slot that does not translate but is not zero.
    Invalid {
        /// First guest real address that the slot covers.
        guest: u64,
        /// Bytes that the slot covers.
        size: u64,
        /// The slot's content.
        raw: u64,
    },
}

/// A valid leaf, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// First guest real address.
    pub guest: u64,
    /// First host real address.
    pub host: u64,
    /// Bytes.
    pub size: u64,
    /// Loads allowed.
    pub read: bool,
    /// Stores allowed.
    pub write: bool,
    /// Instruction fetches allowed.
    pub execute: bool,
    /// Reference and change bits both set.
    pub referenced_changed: bool,
    /// The attribute field: 0 normal, 1 strong order, 2 non-idempotent I/O, 3 tolerant I/O.
    pub attribute: u8,
    /// Bits that belong to no field above.
    pub other: u64,
}

/// Why a tree cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkError {
    /// A table does not lie wholly inside the bytes given.
    Outside {
        /// The table's host real address.
        address: u64,
    },
    /// A table is not aligned to its size.
    Unaligned {
        /// The table's host real address.
        address: u64,
    },
    /// A table has a size that the processor does not accept at its level.
    Shape {
        /// Guest real address that leads there.
        guest: u64,
        /// The size field found.
        bits: u8,
    },
    /// A table entry has bits set that belong to no field.
    Reserved {
        /// Guest real address that leads there.
        guest: u64,
        /// The entry.
        raw: u64,
    },
    /// A leaf stands where the processor accepts none, or its page number has bits below its size.
    BadLeaf {
        /// Guest real address that leads there.
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
            Self::Outside { address } => write!(f, "table {address:#x} lies outside the tables"),
            Self::Unaligned { address } => write!(f, "table {address:#x} is not aligned"),
            Self::Shape { guest, bits } => {
                write!(f, "the table for guest address {guest:#x} has {bits} index bits")
            }
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

/// Walks the tree whose root is at host real address `root`, in ascending guest addresses.
///
/// `tables` are the bytes that lie at host real address `base`.
///
/// # Errors
/// See [`WalkError`].
pub fn walk(
    tables: &[u8],
    base: u64,
    root: u64,
    visit: &mut dyn FnMut(Item) -> ControlFlow<()>,
) -> Result<(), WalkError> {
    let mut walker = Walker { tables, base, visit };
    walker.table(root, 0, 13, 0)
}

struct Walker<'a> {
    tables: &'a [u8],
    base: u64,
    visit: &'a mut dyn FnMut(Item) -> ControlFlow<()>,
}

impl Walker<'_> {
    /// Reads the table at `address`, which translates from `guest` on; `depth` counts from the root.
    fn table(&mut self, address: u64, guest: u64, bits: u32, depth: u32) -> Result<(), WalkError> {
        let size = 8u64 << bits;
        if !address.is_multiple_of(size) {
            return Err(WalkError::Unaligned { address });
        }
        let start = address.checked_sub(self.base).ok_or(WalkError::Outside { address })?;
        let end = start.checked_add(size).ok_or(WalkError::Outside { address })?;
        if end > self.tables.len() as u64 {
            return Err(WalkError::Outside { address });
        }
        self.report(Item::Table { address, size })?;
        let span_bits = [39, 30, 21, 21 - bits.min(20)][depth as usize];
        for index in 0..1u64 << bits {
            let at = (start + index * 8) as usize;
            let raw = self.word(at);
            self.entry(raw, guest + (index << span_bits), span_bits, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, raw: u64, guest: u64, span_bits: u32, depth: u32) -> Result<(), WalkError> {
        let size = 1u64 << span_bits;
        match raw >> 62 {
            0b10 if depth < 3 => {
                // Bits 2:3 and 56:58 of a directory entry are reserved.
                if raw & 0x3000_0000_0000_00e0 != 0 {
                    return Err(WalkError::Reserved { guest, raw });
                }
                let bits = (raw & 31) as u8;
                if !(bits == 9 || depth == 2 && bits == 5) {
                    return Err(WalkError::Shape { guest, bits });
                }
                self.table(raw & 0x0fff_ffff_ffff_ff00, guest, bits.into(), depth + 1)
            }
            0b11 if depth > 0 => self.leaf(raw, guest, size),
            0b10 | 0b11 => Err(WalkError::BadLeaf { guest, raw }),
            _ if raw != 0 => self.report(Item::Invalid { guest, size, raw }),
            _ => Ok(()),
        }
    }

    fn leaf(&mut self, raw: u64, guest: u64, size: u64) -> Result<(), WalkError> {
        let host = raw & 0x01ff_ffff_ffff_f000;
        if !host.is_multiple_of(size) {
            return Err(WalkError::BadLeaf { guest, raw });
        }
        self.report(Item::Leaf(Leaf {
            guest,
            host,
            size,
            read: raw & 4 != 0,
            write: raw & 2 != 0,
            execute: raw & 1 != 0,
            referenced_changed: raw & 0x180 == 0x180,
            attribute: (raw >> 4 & 3) as u8,
            other: raw & !(3 << 62 | 0x01ff_ffff_ffff_f000 | 0x1b7),
        }))
    }

    fn report(&mut self, item: Item) -> Result<(), WalkError> {
        match (self.visit)(item) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(WalkError::Stopped),
        }
    }

    fn word(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.tables[at..at + 8]);
        u64::from_be_bytes(bytes)
    }
}
