// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads stage 2 tables of Armv8-A (Arm ARM, D8; 4 KiB granule) under a given
//! VTCR_EL2.
use core::ops::ControlFlow;

use super::{Item, Visitor, WalkError, Walker};

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
    /// MemAttr: 15 is write-back, or 6 if HCR_EL2.FWB is set; 0 to 3 are device memory.
    pub attribute: u8,
    /// SH.
    pub shareability: u8,
    /// The software bits: whose memory it is.
    pub owner: u8,
    /// Bits that belong to no field above.
    pub other: u64,
}

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
    visit: Visitor<'_, Leaf>,
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
    let entries = 1 << (input_bits - top);
    if !root.is_multiple_of(table_size(entries)) {
        return Err(WalkError::Unaligned { address: root });
    }
    // What lies beyond PS is an address size fault, of tables as of leaves (D8.2).
    let limit = 1 << [32, 36, 40, 42, 44, 48, 48, 48][(vtcr >> 16 & 7) as usize];
    let mut beyond = false;
    let mut within = |item| {
        let last = match item {
            Item::Table { address, size } => address.saturating_add(size - 1),
            Item::Leaf(Leaf { host, size, .. }) => host.saturating_add(size - 1),
            Item::Invalid { .. } => 0,
        };
        beyond = last >= limit;
        if beyond { ControlFlow::Break(()) } else { visit(item) }
    };
    let walked = Walker { tables, base, visit: &mut within }.table(root, entries, 0, level);
    if beyond { Err(WalkError::Beyond { limit }) } else { walked }
}

/// A root with few entries fills a page all the same; concatenated tables fill several.
fn table_size(entries: usize) -> u64 {
    (entries as u64 * 8).max(4096)
}

impl Walker<'_, '_, Leaf> {
    fn table(
        &mut self,
        address: u64,
        entries: usize,
        guest: u64,
        level: u32,
    ) -> Result<(), WalkError> {
        let span = 1u64 << (39 - 9 * level);
        let guests = (0_u64..).map(|index| guest + index * span);
        let table = self.enter(address, table_size(entries))?;
        for (entry, guest) in table.iter().take(entries).zip(guests) {
            self.entry(u64::from_le_bytes(*entry), guest, span, level)?;
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
                self.table(raw & 0x0000_ffff_ffff_f000, 512, guest, level + 1)
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
            // Only XN = 10 forbids execution at both exception levels. The lower bit, which tells
            // them apart, is nobody's to set.
            execute: raw >> 53 & 3 != 2,
            accessed: raw >> 10 & 1 != 0,
            attribute: (raw >> 2 & 15) as u8,
            shareability: (raw >> 8 & 3) as u8,
            owner: (raw >> 55 & 15) as u8,
            other: raw & !(0x0000_ffff_ffff_f000 | 0x7ff | 1 << 54 | 15 << 55),
        }))
    }
}
