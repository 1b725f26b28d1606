// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The redistributors' control frames (GICv3, "GIC Architecture Specification" IHI 0069, 12.11).
//!
//! The guest reads them directly. Its stores come here, because two of the registers hold physical
//! addresses of tables that the interrupt controller reads and writes past stage 2.
use crate::mem::Hpa;

/// Bytes of one CPU's frames: control, then SGIs and PPIs.
pub const FRAMES: u64 = 0x2_0000;
/// Bytes of one frame.
pub const FRAME: u64 = 0x1_0000;

const CTLR: u64 = 0x00;
const STATUSR: u64 = 0x10;
const WAKER: u64 = 0x14;
/// CTLR: LPIs, whose tables the guest must not place.
const ENABLE_LPIS: u64 = 1;
/// WAKER: the bit that software sets.
const PROCESSOR_SLEEP: u64 = 2;

/// What becomes of a guest's store to a control frame: the store to make, or none.
#[must_use]
pub fn filter(address: Hpa, offset: u64, size: u32, value: u64) -> Option<(Hpa, u64)> {
    match (offset, size) {
        (CTLR, 4) => Some((address, value & !ENABLE_LPIS)),
        (STATUSR, 4) => Some((address, value)),
        (WAKER, 4) => Some((address, value & PROCESSOR_SLEEP)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::filter;
    use crate::mem::Hpa;

    #[test]
    fn no_table_gets_through() {
        let at = Hpa(0x80a_0000);
        assert_eq!(filter(at, 0x14, 4, 0xffff_fffd), Some((at, 0)));
        assert_eq!(filter(at, 0, 4, 0x0100_0001), Some((at, 0x0100_0000)));
        for (offset, size) in [(0x70, 8), (0x78, 8), (0x70, 4), (0x7c, 4), (0x14, 8), (0xffe8, 4)] {
            assert_eq!(filter(at, offset, size, u64::MAX), None, "{offset:#x}");
        }
    }
}
