// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The manifest against the key that this loader was built with.
//!
//! Nothing that the manifest says is followed before this, but for the place of the epitaph inside the
//! board's window: under a loader that is trusted it may be anybody's.
use core::mem::offset_of;

use anchorite_spec::trust::{UNSIGNED, message};
use anchorite_spec::{Manifest, Trust};
use ed25519_dalek::{Signature, VerifyingKey};

use crate::image::{DIGEST, manifest_digest, refuse};

/// [`Manifest::signature`]: its place in the manifest, and its size.
const SIGNATURE: (usize, usize) = (offset_of!(Manifest, signature), size_of::<Signature>());
const _: () = assert!(DIGEST.0 + DIGEST.1 <= SIGNATURE.0, "in ascending order");

/// Ends the boot unless the image is signed with the key, and is of a version that may be started.
#[inline(never)]
pub fn verify(manifest: &Manifest, trust: &Trust) {
    if manifest.signature == UNSIGNED {
        refuse(format_args!("the image is not signed; `anchorite sign` does that"));
    }
    let message = message(manifest_digest(manifest, &[DIGEST, SIGNATURE]));
    let signature = Signature::from_bytes(&manifest.signature);
    let right = VerifyingKey::from_bytes(&trust.public_key)
        .and_then(|key| key.verify_strict(&message, &signature));
    if right.is_err() {
        refuse(format_args!(
            "the signature is wrong: the image was changed, or signed with another key"
        ));
    }
    if manifest.image_version < trust.min_version {
        refuse(format_args!(
            "the image has version {}, this loader starts none before version {}; flash a newer one",
            manifest.image_version, trust.min_version
        ));
    }
}
