// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Walks of one address for reports: of the guest's own tables, which may say anything, and of the
//! second-stage ones (Power ISA 3.0B, Book III, 5.7.6, 5.7.10). Each reads at most five doublewords,
//! of memory that the tables' owner has, and nothing else.
use crate::core::fault::{Bits, Stop, Walk};
use crate::mem::{Gpa, GuestMemory, Hpa, TableMemory};

/// What a leaf's bits say.
pub const LEAF: [Bits; 8] = [
    (4, 4, "r"),
    (2, 2, "w"),
    (1, 1, "x"),
    (8, 8, "priv"),
    (0x30, 0x10, "sao"),
    (0x20, 0x20, "io"),
    (0x100, 0, "no-R"),
    (0x80, 0, "no-C"),
];

const VALID: u64 = 1 << 63;
const LEAF_ENTRY: u64 = 1 << 62;
/// Base of the next table, and bits of its index.
const NEXT: u64 = 0x0fff_ffff_ffff_ff00;
const NEXT_BITS: u64 = 0x1f;
const RPN: u64 = 0x01ff_ffff_ffff_f000;
const LEVELS: usize = 4;
/// The smallest page.
const PAGE_BITS: u32 = 12;

/// Whose tables are walked.
pub enum Tables<'a> {
    /// The guest's own, in its RAM.
    Guest(&'a GuestMemory),
    /// The second-stage ones.
    Second(&'a TableMemory),
    /// Made up.
    #[cfg(test)]
    Test(&'a dyn Fn(u64) -> Option<u64>),
}

impl Tables<'_> {
    /// A doubleword, if it is memory of the tables' owner.
    fn read(&self, at: u64) -> Option<u64> {
        match self {
            Self::Guest(memory) => Some(memory.view(Gpa(at), 8).ok()?.read_be64(0)),
            Self::Second(tables) => tables.read(Hpa(at)).map(u64::from_be_bytes),
            #[cfg(test)]
            Self::Test(read) => read(at),
        }
    }
}

/// Walks the tree that a partition's or process's first doubleword names, which counts as an entry.
#[must_use]
#[inline(never)]
pub fn tree(mut walk: Walk, root: u64, address: u64, tables: &Tables<'_>) -> Walk {
    /// The tree's size beyond 31 bits, of which some stand apart.
    const SIZE: u64 = 31;
    let space = (SIZE + (root >> 61 & 3) * 8 + (root >> 5 & 7)) as u32;
    let (mut table, mut bits, mut left) = (root & NEXT, root & NEXT_BITS, space);
    if space < 64 && address >> space != 0 {
        return walk.ends(Stop::Invalid);
    }
    for _ in 0..LEVELS {
        let Some(below) = left.checked_sub(bits as u32).filter(|n| bits != 0 && *n >= PAGE_BITS)
        else {
            return walk.ends(Stop::Malformed);
        };
        left = below;
        let index = address >> left & ((1 << bits) - 1);
        let at = table + 8 * index;
        let Some(entry) = tables.read(at) else { return walk.ends(Stop::Outside(at)) };
        walk.met(entry);
        if entry & VALID == 0 {
            return walk.ends(Stop::Invalid);
        }
        if entry & LEAF_ENTRY != 0 {
            let within = (1 << left) - 1;
            return walk.ends(Stop::Leaf(entry & RPN & !within | address & within));
        }
        (table, bits) = (entry & NEXT, entry & NEXT_BITS);
    }
    walk.ends(Stop::Malformed)
}

/// Walks the tree of the process that an effective address belongs to: the present one, or the guest's
/// kernel. `process_table` is the second doubleword of the guest's partition-table entry.
#[must_use]
pub fn process(process_table: u64, pid: u64, address: u64, tables: &Tables<'_>) -> Walk {
    const TABLE: u64 = 0x0fff_ffff_ffff_f000;
    /// Bytes of an entry.
    const ENTRY: u64 = 16;
    let walk = Walk::new(0);
    let pid = match address >> 62 {
        0 => pid,
        3 => 0,
        _ => return walk.ends(Stop::Invalid),
    };
    // The table has 2^(12 + this) bytes.
    let size = 1_u64 << (PAGE_BITS as u64 + (process_table & NEXT_BITS)).min(36);
    let Some(offset) = pid.checked_mul(ENTRY).filter(|offset| *offset < size) else {
        return walk.ends(Stop::Invalid);
    };
    let at = (process_table & TABLE) + offset;
    let Some(root) = tables.read(at) else { return walk.ends(Stop::Outside(at)) };
    let mut walk = walk;
    walk.met(root);
    tree(walk, root, address << 2 >> 2, tables)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use super::*;

    /// A tree for 52 bits whose root has 2^13 entries.
    const TREE: u64 = 0x4000_0000_0000_00a0 | 13;

    fn memory(words: &[(u64, u64)]) -> impl Fn(u64) -> Option<u64> {
        let words: BTreeMap<u64, u64> = words.iter().copied().collect();
        // A MiB of RAM: the words, and zeros.
        move |at| (at < 0x10_0000).then(|| words.get(&at).copied().unwrap_or(0))
    }

    #[test]
    fn a_walk_shows_what_the_processor_reads() {
        let next = |table: u64| 0x8000_0000_0000_0009 | table;
        let leaf = 0xc000_0000_0000_0187 | 0x1234_5000;
        let words = [
            (0x1000 + 16 * 5, TREE | 0x1_0000),
            (0x1_0000 + 8, next(0x2000)),
            (0x2000 + 16, next(0x3000)),
            (0x3000 + 24, next(0x4000)),
            (0x4000 + 32, leaf),
            (0x2000 + 24, 0xc000_0000_4000_0183),
            (0x2000 + 32, next(0x20_0000)),
            (0x2000 + 40, 0x8000_0000_0000_2000),
        ];
        let read = memory(&words);
        let walked = |address| process(0x1000, 5, address, &Tables::Test(&read));
        let address = 1 << 39 | 2 << 30 | 3 << 21 | 4 << 12 | 0x678;
        let walk = walked(address);
        assert_eq!(walk.stop, Stop::Leaf(0x1234_5678));
        assert_eq!(walk.entries, [TREE | 0x1_0000, next(0x2000), next(0x3000), next(0x4000), leaf]);
        let gib = walked(1 << 39 | 3 << 30 | 0x123_4567);
        assert_eq!((gib.stop, gib.len), (Stop::Leaf(0x4123_4567), 3));
        assert_eq!(walked(1 << 39 | 4 << 30).stop, Stop::Outside(0x20_0000));
        assert_eq!(walked(1 << 39 | 5 << 30).stop, Stop::Malformed);
        assert_eq!((walked(0).stop, walked(0).len), (Stop::Invalid, 2));
        assert_eq!(walked(1 << 60).stop, Stop::Invalid, "beyond the tree");
        assert_eq!(walked(1 << 62).stop, Stop::Invalid, "no quadrant");
        // The kernel's quadrant is process 0's, which has none here.
        assert_eq!(walked(3 << 62).stop, Stop::Malformed);
        assert_eq!(process(0x20_0000, 0, 0, &Tables::Test(&read)).stop, Stop::Outside(0x20_0000));
        assert_eq!(
            process(0x1000, 256, 0, &Tables::Test(&read)).stop,
            Stop::Invalid,
            "behind the table"
        );
    }

    #[test]
    fn hostile_tables_are_walked_to_an_end() {
        // Whatever an entry says, also that it leads to itself.
        let mut random = 1_u64;
        for _ in 0..200_000 {
            let mut next = || {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random
            };
            let (seed, keep, reads) = (next(), next(), Cell::new(0));
            let read = |at: u64| {
                reads.set(reads.get() + 1);
                let word = (at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let entry = VALID | word & if seed & 1 == 0 { u64::MAX } else { keep };
                (word & 0xf00 != 0).then_some(entry & if seed & 2 == 0 { !0 } else { !LEAF_ENTRY })
            };
            let walk = process(next(), next() & 0xffff, next(), &Tables::Test(&read));
            assert!(reads.get() <= 5 && walk.len <= 5);
            let walk = tree(Walk::new(1), next(), next(), &Tables::Test(&read));
            assert!(walk.len <= 4);
        }
    }
}
