// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long the firmware takes from its first instruction to the guest's, by phase; and a restart
//! from the guest's end to its next first instruction.
//!
//! The loader begins the record, the resident firmware closes it and keeps it in the ledger. Ticks
//! are those of [`crate::Ledger::timebase_hz`].
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What time is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All that is none of the others: the machine looked at, tables made, the resident firmware
    /// put in place, registers set, lines written to the console.
    SetUp = 0,
    /// SHA-256 over the manifest and the image.
    Digests = 1,
    /// The guest's parts unpacked or copied to its memory, and written back to where it sees them
    /// with its caches off.
    Unpacking = 2,
    /// Guest RAM, the unpacker's memory, what the resident firmware finds zero, and at the end the
    /// loader.
    Zeroing = 3,
    /// What only a debug boot writes to the console.
    Report = 4,
    /// The manifest's Ed25519 signature, if the loader demands one.
    Signature = 5,
}

/// How many there are.
pub const PHASES: usize = 6;

impl Phase {
    /// Every phase, in the order of their numbers.
    pub const ALL: [Self; PHASES] =
        [Self::SetUp, Self::Digests, Self::Unpacking, Self::Zeroing, Self::Report, Self::Signature];

    /// The name in `@boot` lines and in `anchorite stats`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SetUp => "set-up",
            Self::Digests => "digests",
            Self::Unpacking => "unpacking",
            Self::Zeroing => "zeroing",
            Self::Report => "report",
            Self::Signature => "signature",
        }
    }
}

/// Ticks by phase.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Phases {
    /// The counter at the firmware's first instruction; 0 while nothing has been recorded.
    pub started: u64,
    /// Ticks by [`Phase`] as a number. Set-up is known at the end only.
    pub ticks: [u64; PHASES],
}

impl Phases {
    /// Nothing recorded.
    pub const EMPTY: Self = Self { started: 0, ticks: [0; PHASES] };

    /// Adds to a phase.
    pub fn add(&mut self, phase: Phase, ticks: u64) {
        self.ticks[phase as usize] = self.ticks[phase as usize].wrapping_add(ticks);
    }

    /// Closes the record: what belongs to no other phase was set-up.
    pub fn close(&mut self, now: u64) {
        let named: u64 = self.ticks[1..].iter().fold(0, |sum, ticks| sum.wrapping_add(*ticks));
        self.ticks[Phase::SetUp as usize] = now.wrapping_sub(self.started).wrapping_sub(named);
    }

    /// Whether the record was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ticks[Phase::SetUp as usize] != 0
    }

    /// Ticks of each phase, in order.
    pub fn list(&self) -> impl Iterator<Item = (Phase, u64)> + '_ {
        Phase::ALL.into_iter().zip(self.ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, Phases};

    #[test]
    fn set_up_is_what_is_left() {
        let mut phases = Phases { started: 1000, ..Phases::EMPTY };
        phases.add(Phase::Digests, 30);
        phases.add(Phase::Digests, 20);
        phases.add(Phase::Zeroing, 7);
        assert!(!phases.is_closed());
        phases.close(1100);
        assert_eq!(phases.ticks, [43, 50, 0, 7, 0, 0]);
        assert!(phases.is_closed());
        assert_eq!(phases.list().last(), Some((Phase::Signature, 0)));
    }
}
