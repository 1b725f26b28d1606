// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The exit ledger: how often each vCPU left the guest, by reason.
//!
//! Each vCPU writes only its own row, with plain 64-bit stores, so a reader outside sees every
//! counter whole. A vCPU's exits are the sum of its row.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ExitReason;
use crate::phases::Phases;

/// First bytes of a [`Ledger`].
pub const MAGIC: [u8; 8] = *b"LEDGER\0\x06";
/// Counters in a row; [`ExitReason`] uses the first of them.
pub const SLOTS: usize = 96;
/// Rows.
pub const CPUS: usize = 4;
/// Bytes of [`Ledger::last_life`].
pub const LAST_LIFE_BYTES: usize = 256;

const _: () = assert!(ExitReason::ALL.len() <= SLOTS);

/// One vCPU's counters, indexed by [`ExitReason`] as a number.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Row {
    /// Exits by reason.
    pub count: [u64; SLOTS],
}

/// The whole ledger.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Ledger {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// Rows in use: the number of vCPUs.
    pub cpus: u32,
    /// Bytes from one row to the next.
    pub row_bytes: u32,
    /// Timebase (POWER9) or counter (arm64) ticks per second.
    pub timebase_hz: u64,
    /// How long the boot took.
    pub phases: Phases,
    /// Restarts of the guest in place. The rows count on over them.
    pub restarts: u64,
    /// How long the last of them took.
    pub restart: Phases,
    /// How the guest's last life ended, as the next one finds it in its tree: `key=value` pairs with a
    /// blank between them, the last of them `words` to the end, and zeros behind; in the first life
    /// nothing but zeros.
    pub last_life: [u8; LAST_LIFE_BYTES],
    /// Host real address of [`crate::timing::Timing`], or 0 if no time is taken.
    pub timing: u64,
    /// The rows.
    pub row: [Row; CPUS],
}

impl Ledger {
    /// The place of a ledger: zeros only, which take no room in the image.
    pub const EMPTY: Self = Self {
        magic: [0; 8],
        cpus: 0,
        row_bytes: 0,
        timebase_hz: 0,
        phases: Phases::EMPTY,
        restarts: 0,
        restart: Phases::EMPTY,
        last_life: [0; LAST_LIFE_BYTES],
        timing: 0,
        row: [Row { count: [0; SLOTS] }; CPUS],
    };

    /// Makes it a ledger, of so many vCPUs and with so many ticks per second.
    pub const fn open(&mut self, cpus: u32, timebase_hz: u64) {
        self.magic = MAGIC;
        self.cpus = cpus;
        self.row_bytes = size_of::<Row>() as u32;
        self.timebase_hz = timebase_hz;
    }

    /// A ledger in which nothing has been counted.
    #[must_use]
    pub const fn new(cpus: u32, timebase_hz: u64) -> Self {
        let mut ledger = Self::EMPTY;
        ledger.open(cpus, timebase_hz);
        ledger
    }

    /// All exits of all vCPUs.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.row.iter().flat_map(|row| row.count.iter()).sum()
    }
}
