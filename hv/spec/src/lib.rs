// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Plain data that the builder writes and the firmware reads, and the reverse.
//!
//! Everything here is `repr(C)`, little-endian (both boards' firmware runs little-endian) and free
//! of padding, so that a value is its bytes: in the image file, in the machine's RAM, and in a
//! memory dump read from outside. Nothing in this crate acts.
#![no_std]

pub mod anchor;
pub mod epitaph;
pub mod form;
pub mod guard;
pub mod ledger;
pub mod low;
pub mod manifest;
pub mod papr;
pub mod phases;
pub mod reason;
pub mod rtas;
pub mod timing;
pub mod trust;

pub use anchor::Anchor;
pub use epitaph::{End, Epitaph};
pub use form::Form;
pub use ledger::Ledger;
pub use manifest::Manifest;
pub use reason::ExitReason;
pub use trust::Trust;

/// A half-open range of bytes in some address space.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
pub struct Range {
    /// First byte.
    pub base: u64,
    /// Length in bytes; 0 means the range is absent.
    pub size: u64,
}

impl Range {
    /// A range from its first byte and its length.
    #[must_use]
    pub const fn new(base: u64, size: u64) -> Self {
        Self { base, size }
    }

    /// One past the last byte, or `None` when that does not fit 64 bits.
    #[must_use]
    pub const fn end(self) -> Option<u64> {
        self.base.checked_add(self.size)
    }

    /// Whether the range holds no byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.size == 0
    }

    /// Whether the two ranges share a byte. A range that runs past 2^64 ends there.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        if self.size == 0 || other.size == 0 {
            return false;
        }
        let last = self.base.saturating_add(self.size - 1);
        let other_last = other.base.saturating_add(other.size - 1);
        self.base <= other_last && other.base <= last
    }

    /// Whether every byte of `other` lies in `self`. The empty range lies in every range.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        if other.size == 0 {
            return true;
        }
        if self.size == 0 {
            return false;
        }
        let last = self.base.saturating_add(self.size - 1);
        let other_last = other.base.saturating_add(other.size - 1);
        self.base <= other.base && other_last <= last
    }
}

#[cfg(test)]
mod tests {
    use super::Range;

    #[test]
    fn overlap_is_about_shared_bytes() {
        let a = Range::new(0x1000, 0x1000);
        assert!(a.overlaps(Range::new(0x1fff, 1)));
        assert!(!a.overlaps(Range::new(0x2000, 1)));
        assert!(!a.overlaps(Range::new(0x1800, 0)));
        assert!(Range::new(u64::MAX, 1).overlaps(Range::new(u64::MAX - 4, 100)));
    }

    /// All pairs of ranges of a small space, at 0 and at the end of the address space, against sets.
    #[test]
    fn ranges_are_sets_of_bytes_in_every_small_space() {
        const SPACE: u64 = 9;
        for top in [0, u64::MAX - SPACE + 1] {
            let ranges = || (0..SPACE).flat_map(|at| (0..=SPACE - at).map(move |n| (at, n)));
            for ((a, n), (b, m)) in ranges().flat_map(|one| ranges().map(move |two| (one, two))) {
                let bits = |at: u64, size: u64| ((1_u64 << size) - 1) << at;
                let (first, second) = (bits(a, n), bits(b, m));
                let one = Range::new(top.wrapping_add(a), n);
                let two = Range::new(top.wrapping_add(b), m);
                let what = (top, a, n, b, m);
                assert_eq!(one.overlaps(two), first & second != 0, "{what:?}");
                assert_eq!(one.contains(two), second & !first == 0, "{what:?}");
                let end = u128::from(one.base) + u128::from(n);
                assert_eq!(one.end(), u64::try_from(end).ok(), "{what:?}");
            }
        }
    }

    #[test]
    fn containment_includes_the_edges() {
        let a = Range::new(0x1000, 0x1000);
        assert!(a.contains(a));
        assert!(a.contains(Range::new(0, 0)));
        assert!(!a.contains(Range::new(0xfff, 2)));
        assert!(!a.contains(Range::new(0x1fff, 2)));
    }
}
