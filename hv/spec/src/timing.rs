// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long exits take (`firmware.timing`): records that one vCPU writes and anyone reads.
//!
//! Each record is a row of 64-bit words that only grow: a sequence number first, a check at the end.
//! The number is odd while the vCPU writes, and another one afterwards, by which a CPU of the same
//! machine that reads in order tells a torn copy. Who can only ask for bytes, such as a debugger, does
//! not know in what order they are copied: to him the [`check`] says whether the words belong together.
//! All zeros is a record in which nothing has been written.
//!
//! Times are ticks of [`crate::Ledger::timebase_hz`].
use core::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ledger::{CPUS, SLOTS};

/// What a vCPU's time goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The guest's instructions, and the few of the vectors before and after the clock is read.
    Guest = 0,
    /// From the exit's vector to its handler.
    Entry = 1,
    /// The handler.
    Handler = 2,
    /// From the handler back to the guest.
    Exit = 3,
    /// Asleep because the guest asks for it: H_CEDE, H_JOIN, CPU_SUSPEND.
    Asleep = 4,
    /// Not in use: before it is started, after it has stopped, while the guest is restarted.
    Away = 5,
}

/// How many there are.
pub const PHASES: usize = 6;

impl Phase {
    /// Every phase, in the order of their numbers.
    pub const ALL: [Self; PHASES] =
        [Self::Guest, Self::Entry, Self::Handler, Self::Exit, Self::Asleep, Self::Away];

    /// The name in `anchorite stats` and in `@spent` lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Entry => "entry",
            Self::Handler => "handler",
            Self::Exit => "exit",
            Self::Asleep => "asleep",
            Self::Away => "away",
        }
    }
}

/// Classes of a histogram. The first holds times of 0, the n-th those from 2^(n-1) to below 2^n, the
/// last all that are longer.
pub const CLASSES: usize = 32;

/// The class of a time.
#[must_use]
pub const fn class(ticks: u64) -> usize {
    let bits = (u64::BITS - ticks.leading_zeros()) as usize;
    if bits < CLASSES { bits } else { CLASSES - 1 }
}

/// The shortest time of a class.
#[must_use]
pub const fn class_from(class: usize) -> u64 {
    if class == 0 { 0 } else { 1 << (class - 1) }
}

/// What a vCPU's time went to, from `started` to its last exit's vector.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Spent {
    /// Odd while the record is written.
    pub sequence: u64,
    /// When it began; 0 if it has not.
    pub started: u64,
    /// How far it is accounted for.
    pub until: u64,
    /// Ticks by [`Phase`] as a number. Their sum is `until - started`.
    pub ticks: [u64; PHASES],
    /// [`check`] of the others.
    pub check: u64,
}

/// A vCPU's exits for one reason, after which it went on: how long they kept the guest, from its last
/// instruction to its next.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Exits {
    /// Odd while the record is written.
    pub sequence: u64,
    /// How many.
    pub count: u64,
    /// All together.
    pub total: u64,
    /// The longest.
    pub longest: u64,
    /// What the shortest lacks of 2^64 - 1, which only grows.
    pub shortest: u64,
    /// How many of each [`class`].
    pub histogram: [u64; CLASSES],
    /// [`check`] of the others.
    pub check: u64,
}

impl Exits {
    /// The shortest.
    #[must_use]
    pub const fn least(&self) -> u64 {
        !self.shortest
    }
}

/// A vCPU's records.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Times {
    /// Its time.
    pub spent: Spent,
    /// Its exits by [`crate::ExitReason`] as a number.
    pub exits: [Exits; SLOTS],
}

/// All of it, at [`crate::Ledger::timing`].
pub type Timing = [Times; CPUS];

/// Words of a record.
pub const SPENT_WORDS: usize = size_of::<Spent>() / 8;
/// Words of a record.
pub const EXITS_WORDS: usize = size_of::<Exits>() / 8;

/// Where [`Spent`] has its words.
pub mod spent {
    use super::{Spent, offset_of};

    /// See [`Spent::started`].
    pub const STARTED: usize = offset_of!(Spent, started) / 8;
    /// See [`Spent::until`].
    pub const UNTIL: usize = offset_of!(Spent, until) / 8;
    /// See [`Spent::ticks`]: the first.
    pub const TICKS: usize = offset_of!(Spent, ticks) / 8;
}

/// Where [`Exits`] has its words.
pub mod exits {
    use super::{Exits, offset_of};

    /// See [`Exits::count`].
    pub const COUNT: usize = offset_of!(Exits, count) / 8;
    /// See [`Exits::total`].
    pub const TOTAL: usize = offset_of!(Exits, total) / 8;
    /// See [`Exits::longest`].
    pub const LONGEST: usize = offset_of!(Exits, longest) / 8;
    /// See [`Exits::shortest`].
    pub const SHORTEST: usize = offset_of!(Exits, shortest) / 8;
    /// See [`Exits::histogram`]: the first.
    pub const HISTOGRAM: usize = offset_of!(Exits, histogram) / 8;
}

/// What a word's growth by one adds to the check: an odd number for each place, such that no mixture
/// of older and newer words that could come about adds up (the finalizer of `SplitMix64`).
const fn weight(place: usize) -> u64 {
    let mut z = (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31 | 1
}

/// The weights of all places.
pub static WEIGHTS: [u64; EXITS_WORDS] = {
    let mut weights = [0; EXITS_WORDS];
    let mut place = 0;
    while place < EXITS_WORDS {
        weights[place] = weight(place);
        place += 1;
    }
    weights
};

/// The check of a record: all its words but the first and the last, each with its [`weight`].
#[must_use]
pub fn check(record: &[u64]) -> u64 {
    let last = record.len().saturating_sub(1);
    let words = record.iter().zip(WEIGHTS).take(last).skip(1);
    words.fold(0, |sum, (word, weight)| sum.wrapping_add(word.wrapping_mul(weight)))
}

/// Whether a copy of a record, of which nothing is known but its words, is not torn.
#[must_use]
pub fn is_whole(record: &[u64]) -> bool {
    match record {
        [sequence, .., last] => sequence.is_multiple_of(2) && *last == check(record),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{CLASSES, EXITS_WORDS, Phase, check, class, class_from, is_whole};

    #[test]
    fn every_time_has_its_class() {
        assert_eq!([0, 1, 2, 3, 4, 7, 8].map(class), [0, 1, 2, 2, 3, 3, 4]);
        for bits in 0..64 {
            let first = 1_u64 << bits;
            let expected = (bits as usize + 1).min(CLASSES - 1);
            assert_eq!((class(first), class(first + (first - 1))), (expected, expected));
        }
        assert_eq!(class(u64::MAX), CLASSES - 1);
        for n in 0..CLASSES {
            assert_eq!(class(class_from(n)), n);
            assert!(n == 0 || class(class_from(n) - 1) == n - 1);
        }
    }

    #[test]
    fn phases_are_numbered_in_order() {
        assert!(Phase::ALL.iter().enumerate().all(|(n, phase)| n == *phase as usize));
    }

    /// One exit's changes, of which any mixture with the words before is torn.
    #[test]
    fn a_mixture_of_two_states_is_not_whole() {
        let mut before = [0; EXITS_WORDS];
        assert!(is_whole(&before));
        (before[1], before[2], before[3], before[7]) = (3, 90, 40, 3);
        before[EXITS_WORDS - 1] = check(&before);
        let mut after = before;
        (after[0], after[1], after[2], after[4], after[8]) = (2, 4, 100, 1 << 60, 1);
        after[EXITS_WORDS - 1] = check(&after);
        assert!(is_whole(&before) && is_whole(&after));
        // The sequence number says nothing here: its two values are even.
        let changed = [1, 2, 4, 8, EXITS_WORDS - 1];
        for mixture in 1..(1 << changed.len()) - 1 {
            let mut torn = before;
            for (bit, place) in changed.into_iter().enumerate() {
                if mixture >> bit & 1 != 0 {
                    torn[place] = after[place];
                }
            }
            assert!(!is_whole(&torn), "{mixture:#b}");
        }
        after[0] += 1;
        assert!(!is_whole(&after), "it is being written");
        assert!(!is_whole(&[]) && !is_whole(&[0]));
    }
}
