// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads a partition-scoped radix tree of POWER9 (Power ISA 3.0B, Book III, section 5.7.10).
use super::{Item, Visitor, WalkError, Walker};

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
    visit: Visitor<'_, Leaf>,
) -> Result<(), WalkError> {
    Walker { tables, base, visit }.table(root, 0, 13, 0)
}

impl Walker<'_, '_, Leaf> {
    /// Reads the table at `address`, which translates from `guest` on; `depth` counts from the root.
    fn table(&mut self, address: u64, guest: u64, bits: u32, depth: u32) -> Result<(), WalkError> {
        let size = 8u64 << bits;
        if !address.is_multiple_of(size) {
            return Err(WalkError::Unaligned { address });
        }
        let span_bits = [39, 30, 21, 21 - bits.min(20)][depth as usize];
        let guests = (0_u64..).map(|index| guest + (index << span_bits));
        for (entry, guest) in self.enter(address, size)?.iter().zip(guests) {
            self.entry(u64::from_be_bytes(*entry), guest, span_bits, depth)?;
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
}
