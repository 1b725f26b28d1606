// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A walk of one address through stage 2, for reports (Arm ARM, D8; 4 KiB granule). What the guest's
//! own tables say of an address the processor is asked: the firmware does not map guest memory.
use crate::core::fault::{Bits, Stop, Walk};

/// What a leaf's bits say.
pub const LEAF: [Bits; 6] = [
    (0x40, 0x40, "r"),
    (0x80, 0x80, "w"),
    (3 << 53, 0, "x"),
    (3 << 53, 2 << 53, "xn"),
    (0x30, 0, "device"),
    (1 << 10, 0, "no-access-flag"),
];

const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const LAST: u32 = 3;

/// Walks the tables at `root`, whose first level is `start`, for addresses of `bits` bits; `read` gives
/// an entry, if it is in the tables.
#[must_use]
pub fn stage2(
    root: u64,
    start: u32,
    bits: u32,
    address: u64,
    read: &dyn Fn(u64) -> Option<u64>,
) -> Walk {
    let mut walk = Walk::new(start);
    if address >> bits.min(63) != 0 {
        return walk.ends(Stop::Invalid);
    }
    // Concatenated root tables are one whose index has more bits.
    let mut mask = u64::MAX;
    let mut table = root;
    for level in start..=LAST {
        let shift = 39 - 9 * level;
        let at = table + 8 * (address >> shift & mask);
        let Some(entry) = read(at) else { return walk.ends(Stop::Outside(at)) };
        walk.met(entry);
        match (entry & 3, level) {
            (3, LAST) | (1, 1 | 2) => {
                let within = (1 << shift) - 1;
                return walk.ends(Stop::Leaf(entry & ADDRESS & !within | address & within));
            }
            (3, _) => (table, mask) = (entry & ADDRESS, 0x1ff),
            (1, _) => return walk.ends(Stop::Malformed),
            _ => return walk.ends(Stop::Invalid),
        }
    }
    walk.ends(Stop::Malformed)
}

/// What a fault status code says, as ESR_EL2 has it and PAR_EL1 one bit further up; and its level.
#[must_use]
pub const fn status(code: u64) -> (&'static str, u64) {
    match code & 0x3f {
        status @ 0x04..=0x07 => ("no translation", status & 3),
        status @ 0x08..=0x0b => ("no access flag", status & 3),
        status @ 0x0c..=0x0f => ("no permission", status & 3),
        status @ 0x00..=0x03 => ("address size", status & 3),
        status @ 0x14..=0x17 => ("external abort on the walk", status & 3),
        _ => ("other", 0),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_walk_shows_what_the_processor_reads() {
        let words: BTreeMap<u64, u64> = [
            (0x8000 + 8 * 0x201, 0xa003),
            (0xa000 + 8, 0x4060_07fd),
            (0xa000 + 16, 0xb003),
            (0xb000 + 24, 0x1234_57ff),
            (0x8000 + 16, 1 << 32 | 0x7fd),
        ]
        .into();
        let read =
            |at| (0x8000..0xc000).contains(&at).then(|| words.get(&at).copied().unwrap_or(0));
        // 40 bits from level 1: two root tables side by side.
        let walked = |address| stage2(0x8000, 1, 40, address, &read);
        let base = 0x201 << 30;
        let page = walked(base | 2 << 21 | 3 << 12 | 0x567);
        assert_eq!((page.stop, page.first, page.len), (Stop::Leaf(0x1234_5567), 1, 3));
        assert_eq!(walked(base | 1 << 21 | 0x12_3456).stop, Stop::Leaf(0x4072_3456));
        assert_eq!(walked(2 << 30 | 7).stop, Stop::Leaf(1 << 32 | 7));
        assert_eq!((walked(0).stop, walked(0).len), (Stop::Invalid, 1));
        assert_eq!((walked(1 << 40).stop, walked(1 << 40).len), (Stop::Invalid, 0));
        assert_eq!(stage2(0x4000, 1, 40, 0, &read).stop, Stop::Outside(0x4000));
    }

    #[test]
    fn any_tables_are_walked_to_an_end() {
        for seed in 0..100_000_u64 {
            let read = |at: u64| {
                let word = (at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
                (word & 0xf00 != 0).then_some(word | 1)
            };
            let address = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
            assert!(stage2(seed << 12, (seed & 1) as u32, 48, address, &read).len <= 4);
        }
    }

    #[test]
    fn a_failed_look_up_says_at_which_level() {
        assert_eq!(status(0x9200_0046), ("no translation", 2));
        assert_eq!(status((0xf << 1 | 1) >> 1), ("no permission", 3));
        assert_eq!(status(0x15), ("external abort on the walk", 1));
    }
}
