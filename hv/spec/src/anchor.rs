// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The one fixed place from which a running machine's memory can be read without its image.
//!
//! On POWER9 it stands at real address [`POWER9_ADDRESS`], in the gap below the first exception
//! vector; on arm64 machines whose RAM begins at 1 GiB at [`ARM64_ADDRESS`]. It leads to the manifest, the ledger and the epitaph.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where the anchor stands on POWER9: below the system reset vector at 0x100.
pub const POWER9_ADDRESS: u64 = 0x40;
/// Where the anchor stands on arm64 machines with RAM from 1 GiB on: in the last 64 KiB below the
/// first address at which kernels are loaded.
pub const ARM64_ADDRESS: u64 = 0x401F_0000;
/// Every place where there may be an anchor.
pub const ADDRESSES: [u64; 2] = [POWER9_ADDRESS, ARM64_ADDRESS];
/// First bytes of an [`Anchor`].
pub const MAGIC: [u8; 8] = *b"ANCHOR\0\x01";

/// Addresses of what outsiders read. All are host real addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Anchor {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// The address of this structure itself, so that a raw dump of unknown origin can be placed.
    pub own_address: u64,
    /// The firmware's copy of the [`crate::Manifest`].
    pub manifest: u64,
    /// The [`crate::Ledger`].
    pub ledger: u64,
    /// The [`crate::Epitaph`].
    pub epitaph: u64,
    /// All the fields above, as 64-bit words, added with wrap-around.
    pub sum: u64,
}

impl Anchor {
    /// An anchor with its sum filled in.
    #[must_use]
    pub fn new(own_address: u64, manifest: u64, ledger: u64, epitaph: u64) -> Self {
        let mut anchor = Self { magic: MAGIC, own_address, manifest, ledger, epitaph, sum: 0 };
        anchor.sum = anchor.expected_sum();
        anchor
    }

    /// Whether the magic and the sum are right.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.magic == MAGIC && self.sum == self.expected_sum()
    }

    fn expected_sum(&self) -> u64 {
        u64::from_le_bytes(self.magic)
            .wrapping_add(self.own_address)
            .wrapping_add(self.manifest)
            .wrapping_add(self.ledger)
            .wrapping_add(self.epitaph)
    }
}
