// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ed25519 keys in files, in the forms that `openssl genpkey -algorithm ed25519` and `openssl pkey
//! -pubout` write (PKCS#8 and SPKI, RFC 8410, PEM or DER), or as their 32 bytes; and what they sign.
use std::fmt;
use std::path::Path;

use anchorite_spec::manifest::IMAGE_OFFSET;
use anchorite_spec::trust::{UNSIGNED, message};
use anchorite_spec::{Manifest, Trust};
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zerocopy::IntoBytes;

use crate::exit::{self, Exit};
use crate::image::{digest, manifest_digest};

/// Why a file is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// It is in none of the forms.
    Unknown,
    /// It holds the private key, where the public one belongs.
    Private,
    /// It holds the public key, where the private one belongs.
    Public,
    /// It can only be read with a password.
    Encrypted,
    /// It is a key with which anybody can sign.
    Weak,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "is no Ed25519 key: neither PEM, DER, nor 32 bytes",
            Self::Private => "holds a private key, where the public one belongs",
            Self::Public => "holds a public key, where the private one belongs",
            Self::Encrypted => "is encrypted",
            Self::Weak => "holds a key for which anybody can make signatures",
        })
    }
}

impl KeyError {
    /// What to do.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::Private => "`openssl pkey -in KEY -pubout -out FILE` writes its public half",
            Self::Encrypted => "`openssl pkey -in KEY -out FILE` takes the password off",
            Self::Unknown | Self::Public | Self::Weak => {
                "`openssl genpkey -algorithm ed25519 -out key.pem` makes a key, `openssl pkey -in \
                 key.pem -pubout -out public.pem` its public half"
            }
        }
    }
}

fn pem<'a>(file: &'a [u8], label: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(file).ok()?;
    text.contains(&format!("-----BEGIN {label}-----")).then(|| text.trim())
}

/// The private key in a file.
///
/// # Errors
/// It is none.
pub fn private(file: &[u8]) -> Result<SigningKey, KeyError> {
    if let Ok(seed) = file.try_into() {
        return Ok(SigningKey::from_bytes(seed));
    }
    if pem(file, "ENCRYPTED PRIVATE KEY").is_some() {
        return Err(KeyError::Encrypted);
    }
    if pem(file, "PUBLIC KEY").is_some() || VerifyingKey::from_public_key_der(file).is_ok() {
        return Err(KeyError::Public);
    }
    let key = match pem(file, "PRIVATE KEY") {
        Some(text) => SigningKey::from_pkcs8_pem(text),
        None => SigningKey::from_pkcs8_der(file),
    };
    key.map_err(|_| KeyError::Unknown)
}

/// The public key in a file.
///
/// # Errors
/// It is none.
pub fn public(file: &[u8]) -> Result<VerifyingKey, KeyError> {
    if pem(file, "PRIVATE KEY").is_some() || SigningKey::from_pkcs8_der(file).is_ok() {
        return Err(KeyError::Private);
    }
    let key = match (file.try_into(), pem(file, "PUBLIC KEY")) {
        (Ok(bytes), _) => VerifyingKey::from_bytes(bytes).ok(),
        (_, Some(text)) => VerifyingKey::from_public_key_pem(text).ok(),
        _ => VerifyingKey::from_public_key_der(file).ok(),
    };
    match key {
        None => Err(KeyError::Unknown),
        Some(key) if key.is_weak() => Err(KeyError::Weak),
        Some(key) => Ok(key),
    }
}

/// The key in a file that the command line names.
///
/// # Errors
/// It cannot be read, or is none.
pub fn named<T>(path: &Path, parse: impl Fn(&[u8]) -> Result<T, KeyError>) -> anyhow::Result<T> {
    parse(&exit::read(path)?)
        .map_err(|error| Exit::refused(format!("{} {error}: {}", path.display(), error.help())))
}

/// What is signed of an image.
fn signed(manifest: &Manifest) -> [u8; 64] {
    let bare = Manifest { digest: [0; 32], signature: UNSIGNED, ..*manifest };
    message(digest(bare.as_bytes()))
}

/// An image's signature. Its manifest is complete but for this and its own digest.
fn sign(manifest: &Manifest, key: &SigningKey) -> [u8; 64] {
    key.sign(&signed(manifest)).to_bytes()
}

/// Puts a manifest into its image, signed if there is a key, and with its digest. It is complete but
/// for these two.
pub fn seal(image: &mut [u8], mut manifest: Manifest, key: Option<&SigningKey>) {
    if let Some(key) = key {
        manifest.signature = sign(&manifest, key);
    }
    manifest.digest = manifest_digest(&manifest);
    let at = IMAGE_OFFSET as usize;
    image[at..at + size_of::<Manifest>()].copy_from_slice(manifest.as_bytes());
}

/// What a loader makes of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none.
    Unsigned,
    /// There is one, and no key to check it with.
    Unchecked,
    /// It is not this image's, or not this key's.
    Wrong,
    /// It is right, and the image older than the loader starts.
    Old,
    /// It is right.
    Right,
}

impl Verdict {
    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsigned => "none",
            Self::Unchecked => "unchecked",
            Self::Wrong => "wrong",
            Self::Old => "too-old",
            Self::Right => "right",
        }
    }
}

/// Judges an image's signature as its loader does.
#[must_use]
pub fn judge(manifest: &Manifest, trust: &Trust) -> Verdict {
    if manifest.signature == UNSIGNED {
        return Verdict::Unsigned;
    }
    if !trust.is_required() {
        return Verdict::Unchecked;
    }
    let signature = Signature::from_bytes(&manifest.signature);
    let right = VerifyingKey::from_bytes(&trust.public_key)
        .and_then(|key| key.verify_strict(&signed(manifest), &signature));
    match right {
        Err(_) => Verdict::Wrong,
        Ok(()) if manifest.image_version < trust.min_version => Verdict::Old,
        Ok(()) => Verdict::Right,
    }
}

#[cfg(test)]
mod tests {
    use anchorite_spec::trust::VERIFY_REQUIRED;
    use anchorite_spec::{Manifest, Trust};
    use zerocopy::{FromZeros, IntoBytes};

    use super::{KeyError, Verdict, judge, private, public, sign};

    /// RFC 8410, section 10: a private key and its public half.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    /// The same in DER, after its PEM's own bytes.
    fn der(seed: &[u8], head: &[u8]) -> Vec<u8> {
        [head, seed].concat()
    }

    #[test]
    fn keys_are_read_in_every_form() {
        let key = private(PRIVATE.as_bytes()).unwrap();
        let half = public(PUBLIC.as_bytes()).unwrap();
        assert_eq!(key.verifying_key(), half);
        let pkcs8 =
            der(key.as_bytes(), b"\x30\x2e\x02\x01\0\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20");
        let spki = der(half.as_bytes(), b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\0");
        assert_eq!(private(&pkcs8).unwrap().verifying_key(), half);
        assert_eq!(private(key.as_bytes()).unwrap().verifying_key(), half);
        assert_eq!(public(&spki).unwrap(), half);
        assert_eq!(public(half.as_bytes()).unwrap(), half);
    }

    #[test]
    fn what_is_no_key_is_told() {
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII=\n";
        assert_eq!(private(encrypted.as_bytes()).unwrap_err(), KeyError::Encrypted);
        assert_eq!(private(PUBLIC.as_bytes()).unwrap_err(), KeyError::Public);
        assert_eq!(public(PRIVATE.as_bytes()).unwrap_err(), KeyError::Private);
        for bytes in [&b""[..], b"-----BEGIN PRIVATE KEY-----", &[7; 31], &[0xff; 100]] {
            assert_eq!(private(bytes).unwrap_err(), KeyError::Unknown);
            assert_eq!(
                public(bytes).unwrap_err(),
                if bytes.starts_with(b"-") { KeyError::Private } else { KeyError::Unknown }
            );
        }
        // The neutral element: x = 0, y = 1.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(public(&neutral).unwrap_err(), KeyError::Weak);
    }

    #[test]
    fn no_byte_of_a_signed_manifest_is_free() {
        let key = private(&[7; 32]).unwrap();
        let public_key = key.verifying_key().to_bytes();
        let trust = Trust { verify: VERIFY_REQUIRED, min_version: 3, public_key };
        let mut manifest = Manifest::new_zeroed();
        manifest.image_version = 3;
        assert_eq!(judge(&manifest, &trust), Verdict::Unsigned);
        manifest.signature = sign(&manifest, &key);
        assert_eq!(judge(&manifest, &trust), Verdict::Right);
        assert_eq!(judge(&manifest, &Trust::NONE), Verdict::Unchecked);
        let newer = Trust { min_version: 4, ..trust };
        assert_eq!(judge(&manifest, &newer), Verdict::Old);
        let digest = std::mem::offset_of!(Manifest, digest);
        for at in
            (0..size_of::<Manifest>()).step_by(7).filter(|at| !(digest..digest + 32).contains(at))
        {
            let mut changed = manifest;
            changed.as_mut_bytes()[at] ^= 0x40;
            assert_eq!(judge(&changed, &trust), Verdict::Wrong, "byte {at:#x}");
        }
        let other = private(&[8; 32]).unwrap();
        manifest.signature = sign(&manifest, &other);
        assert_eq!(judge(&manifest, &trust), Verdict::Wrong);
    }
}
