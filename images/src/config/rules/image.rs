// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The image's version and who vouches for it, as far as the config alone says. The keys' files are
//! judged with the guest's.
use toml::Spanned;

use super::Rules;
use super::values::{Word, placed};
use crate::config::checked::{KeyFiles, Signing};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{Field, RawImage};
use crate::config::source::Span;

const RULE: &str = "signature";

impl Rules<'_> {
    pub(super) fn image(&mut self, raw: &RawImage, span: Span) -> Signing {
        let version = self.version("version", &raw.version);
        let min_version = self.version("min_version", &raw.min_version);
        let words = [Word::Works("none", false), Word::Works("required", true)];
        let verify = self.word("verify", &raw.verify, Some(false), &words);
        let keys = KeyFiles { public: placed(&raw.public_key), private: placed(&raw.sign_key) };
        match verify {
            Some(true) if keys.public.is_none() && keys.private.is_none() => {
                let span = raw.verify.as_ref().map_or(span.clone(), Spanned::span);
                let title = "an image that is verified needs a key";
                self.report(Diagnostic::new(RULE, title, span, "with what?").help(
                    "`openssl genpkey -algorithm ed25519 -out key.pem` makes one, `openssl pkey -in \
                     key.pem -pubout -out public.pem` its public half: write `public_key = \
                     \"./public.pem\"`, or to sign at each build `sign_key = \"./key.pem\"`",
                ));
            }
            Some(false) => self.useless(raw),
            _ => {}
        }
        if let (Some(version), Some(least), Some(floor)) = (version, min_version, &raw.min_version)
            && verify == Some(true)
            && version < least
        {
            let label = format!("it starts no version before {least}");
            let own = raw.version.as_ref().map_or(span, Spanned::span);
            self.report(
                Diagnostic::new(RULE, "the firmware would refuse this image", floor.span(), label)
                    .also(own, format!("the image's version is {version}"))
                    .help("raise `version`, or lower `min_version`"),
            );
        }
        Signing {
            version: version.unwrap_or(0),
            required: verify == Some(true),
            min_version: min_version.unwrap_or(0),
            keys,
        }
    }

    fn version(&mut self, key: &str, field: &Field<i64>) -> Option<u64> {
        let Some(written) = field else { return Some(0) };
        let version = u64::try_from(*written.get_ref());
        if version.is_err() {
            let title = format!("`{key}` is a number from 0 on");
            let label = format!("this is {}", written.get_ref());
            self.report(Diagnostic::new(RULE, title, written.span(), label));
        }
        version.ok()
    }

    /// What nothing would look at.
    fn useless(&mut self, raw: &RawImage) {
        let keys = [
            ("public_key", raw.public_key.as_ref().map(Spanned::span)),
            ("sign_key", raw.sign_key.as_ref().map(Spanned::span)),
            ("min_version", raw.min_version.as_ref().map(Spanned::span)),
        ];
        for (key, span) in keys.into_iter().filter_map(|(key, span)| Some((key, span?))) {
            let title = format!("`{key}` is only for images that are verified");
            self.report(
                Diagnostic::new(RULE, title, span, "nothing would look at it")
                    .help("add `verify = \"required\"`, or leave it out"),
            );
        }
    }
}
