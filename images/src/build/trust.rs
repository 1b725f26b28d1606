// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The keys that a config names.
use std::path::Path;

use anchorite_spec::Trust;
use anchorite_spec::trust::VERIFY_REQUIRED;
use ed25519_dalek::{SigningKey, VerifyingKey};

use super::fault::Fault;
use crate::config::checked::{Config, KeyFiles, Placed};
use crate::config::diagnostic::Diagnostic;
use crate::keys::{self, KeyError};
use crate::read;

/// The keys.
pub struct Keys {
    /// The one that images are verified with.
    pub public: Option<VerifyingKey>,
    /// The one that this image is signed with.
    pub private: Option<SigningKey>,
}

impl Keys {
    /// What the loader is told.
    #[must_use]
    pub fn trust(&self, config: &Config) -> Trust {
        match &self.public {
            Some(key) if config.signing.required => Trust {
                verify: VERIFY_REQUIRED,
                min_version: config.signing.min_version,
                public_key: key.to_bytes(),
            },
            _ => Trust::NONE,
        }
    }
}

/// Reads the keys.
///
/// # Errors
/// A file that cannot be read or is no key, or two keys that are not a pair.
pub fn keys(files: &KeyFiles) -> Result<Keys, Fault> {
    let private = read(files.private.as_ref(), keys::private)?;
    let public = read(files.public.as_ref(), keys::public)?;
    let half = private.as_ref().map(SigningKey::verifying_key);
    if let (Some(public), Some(half), Some(file)) = (&public, &half, &files.public)
        && public != half
    {
        let mut diagnostic = Diagnostic::new(
            "key",
            "the image would be signed with another key than it is verified with",
            file.span.clone(),
            "verified with this",
        );
        if let Some(file) = &files.private {
            diagnostic = diagnostic.also(file.span.clone(), "signed with this");
        }
        let help = "leave `public_key` out: it is the private key's own half";
        return Err(diagnostic.help(help).into());
    }
    Ok(Keys { public: public.or(half), private })
}

fn read<T>(
    file: Option<&Placed<String>>,
    parse: impl Fn(&[u8]) -> Result<T, KeyError>,
) -> Result<Option<T>, Fault> {
    let Some(file) = file else { return Ok(None) };
    let name = &file.value;
    let refuse = |what: String, help: &str| {
        let title = format!("the key {name} {what}");
        Fault::from(Diagnostic::new("key", title, file.span.clone(), "named here").help(help))
    };
    let bytes = read::file(Path::new(name), read::KEY)
        .map_err(|error| refuse(format!("cannot be read: {error}"), KeyError::Unknown.help()))?;
    parse(&bytes).map(Some).map_err(|error| refuse(error.to_string(), error.help()))
}
