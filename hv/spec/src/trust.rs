// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whose images a loader starts, and what is signed.
//!
//! What a loader demands stands in its own header and not in the manifest: whoever replaces manifest
//! and parts under a loader that stays cannot change it.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where a [`Trust`] stands in the loader, from its first byte.
pub const LOADER_OFFSET: usize = 0x40;
/// [`Trust::verify`]: any image is started. Every other value demands a signature.
pub const VERIFY_NONE: u64 = 0;
/// [`Trust::verify`]: only images signed with [`Trust::public_key`], of [`Trust::min_version`] or later.
pub const VERIFY_REQUIRED: u64 = 1;
/// A signature that was never made.
pub const UNSIGNED: [u8; 64] = [0; 64];

/// What a signature is over begins with this, so that it can be taken for nothing else's.
const PURPOSE: [u8; 32] = *b"Anchorite image, its manifest v1";

/// What a loader demands of the image that it starts. The builder fills it in.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Trust {
    /// [`VERIFY_NONE`] or [`VERIFY_REQUIRED`].
    pub verify: u64,
    /// The least [`crate::Manifest::image_version`].
    pub min_version: u64,
    /// Ed25519 public key (RFC 8032).
    pub public_key: [u8; 32],
}

impl Trust {
    /// Any image will do.
    pub const NONE: Self = Self { verify: VERIFY_NONE, min_version: 0, public_key: [0; 32] };

    /// Whether a signature is demanded.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        self.verify != VERIFY_NONE
    }
}

/// The message that is signed: the purpose, then the SHA-256 of the manifest with its digest and its
/// signature zero. The manifest holds the digests of all else.
#[must_use]
pub fn message(manifest_digest: [u8; 32]) -> [u8; 64] {
    let mut message = [0; 64];
    message[..32].copy_from_slice(&PURPOSE);
    message[32..].copy_from_slice(&manifest_digest);
    message
}
