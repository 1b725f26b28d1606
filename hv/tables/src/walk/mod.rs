// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Second opinions on the builders: readers of tables that walk them as the processor would, and
//! report all of them.
//!
//! They are written from the architectures' text, take hostile bytes, and must never borrow a
//! constant or a function from a builder. What they share with each other is here.
pub mod radix;
pub mod stage2;

use core::fmt;
use core::ops::ControlFlow;

/// One thing found in the tables; `L` is the architecture's leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<L> {
    /// A table, reported before its entries so that a caller can stop at a shared one. Concatenated
    /// tables are one.
    Table {
        /// Host address.
        address: u64,
        /// Bytes.
        size: u64,
    },
    /// A valid leaf.
    Leaf(L),
    /// An entry that does not translate but is not zero.
    Invalid {
        /// First guest address that the entry covers.
        guest: u64,
        /// Bytes that it covers.
        size: u64,
        /// The entry.
        raw: u64,
    },
}

impl<L> Item<L> {
    /// The same with another form of leaf.
    pub fn map<M>(self, leaf: impl FnOnce(L) -> M) -> Item<M> {
        match self {
            Self::Table { address, size } => Item::Table { address, size },
            Self::Leaf(found) => Item::Leaf(leaf(found)),
            Self::Invalid { guest, size, raw } => Item::Invalid { guest, size, raw },
        }
    }
}

/// Why tables cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkError {
    /// VTCR_EL2 does not describe a walk that the processor can do.
    Vtcr(u64),
    /// A table does not lie wholly inside the bytes given.
    Outside {
        /// The table's host address.
        address: u64,
    },
    /// A table is not aligned to its size.
    Unaligned {
        /// The table's host address.
        address: u64,
    },
    /// A table has a size that the processor does not accept at its level.
    Shape {
        /// Guest address that leads there.
        guest: u64,
        /// The size field found.
        bits: u8,
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
    /// A table or a leaf reaches beyond the host addresses that the walk may give out.
    Beyond {
        /// The first host address that is none.
        limit: u64,
    },
    /// The visitor stopped the walk.
    Stopped,
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vtcr(value) => write!(f, "VTCR_EL2 {value:#x} describes no walk"),
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
            Self::Beyond { limit } => {
                write!(f, "a table or a leaf reaches beyond host address {limit:#x}")
            }
            Self::Stopped => write!(f, "stopped"),
        }
    }
}

impl core::error::Error for WalkError {}

/// Who hears of each [`Item`].
pub type Visitor<'a, L> = &'a mut dyn FnMut(Item<L>) -> ControlFlow<()>;

/// The bytes of all tables, and who hears what is found in them.
struct Walker<'a, 'v, L> {
    tables: &'a [u8],
    base: u64,
    visit: Visitor<'v, L>,
}

impl<'a, L> Walker<'a, '_, L> {
    /// Reports a table and gives its entries' bytes.
    fn enter(&mut self, address: u64, size: u64) -> Result<&'a [[u8; 8]], WalkError> {
        let outside = WalkError::Outside { address };
        let start = address.checked_sub(self.base).ok_or(outside)?;
        let end = start.checked_add(size).ok_or(outside)?;
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let bytes = range.and_then(|(start, end)| self.tables.get(start..end)).ok_or(outside)?;
        self.report(Item::Table { address, size })?;
        Ok(bytes.as_chunks().0)
    }

    fn report(&mut self, item: Item<L>) -> Result<(), WalkError> {
        match (self.visit)(item) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(WalkError::Stopped),
        }
    }
}
