// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The initial file system: what no kernel could unpack is refused before a guest panics over it.
use std::io::{Read, sink};

use flate2::read::MultiGzDecoder;

use super::fault::Fault;
use super::inputs::Input;
use super::sniff;
use crate::config::diagnostic::Diagnostic;

/// What is mistaken for an initial file system, as [`sniff`] names it. Anything else may be a guest's
/// own format.
const NO_FILE_SYSTEMS: [&str; 8] = [
    "an ELF",
    "an Anchorite image",
    "an arm64 Image",
    "an x86 bzImage",
    "a U-Boot uImage",
    "a device tree or a FIT",
    "a Debian package or a library",
    "a script",
];

/// Judges an initial file system. What its format does not tell, such as a file system's image, is
/// the guest's business.
///
/// # Errors
/// It is something else, or was cut off.
pub fn check(input: &Input) -> Result<(), Fault> {
    let refuse = |label: String, help: &str| {
        let title = format!("{} cannot be the guest's initrd", input.name);
        Err(Diagnostic::new("initrd", title, input.span.clone(), label).help(help).into())
    };
    let again = "copy or download the file again";
    match sniff::format(&input.bytes) {
        Some("a cpio archive") if !ends(&input.bytes) => {
            refuse("it is cut off: the archive has no end".into(), again)
        }
        Some("a file packed with gzip") => match drain(MultiGzDecoder::new(&input.bytes[..])) {
            Ok(()) => Ok(()),
            Err(error) => refuse(format!("its gzip content is damaged: {error}"), again),
        },
        Some("a file packed with zstd") => {
            match zstd::Decoder::new(&input.bytes[..]).and_then(drain) {
                Ok(()) => Ok(()),
                Err(error) => refuse(format!("its zstd content is damaged: {error}"), again),
            }
        }
        Some(other) if NO_FILE_SYSTEMS.contains(&other) => refuse(
            format!("it is {other}"),
            "name a cpio archive (packed or not), a file system's image, or a recipe of \
             images/guests/",
        ),
        _ => Ok(()),
    }
}

/// Whether a cpio archive has the entry that ends it.
fn ends(bytes: &[u8]) -> bool {
    bytes.windows(10).rev().any(|window| window == b"TRAILER!!!")
}

fn drain(mut source: impl Read) -> std::io::Result<()> {
    std::io::copy(&mut source, &mut sink()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{Fault, Input, check};

    fn judged(bytes: Vec<u8>) -> Result<(), String> {
        check(&Input::unknown("i", bytes)).map_err(|fault| match fault {
            Fault::Input(mistake) => mistake.primary.text,
            Fault::Tool(error) => error.to_string(),
        })
    }

    #[test]
    fn archives_are_taken_whole_and_refused_cut() {
        let archive = [&b"070701"[..], &[b'0'; 300], b"TRAILER!!!", &[0; 90]].concat();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&archive).unwrap();
        let packed = [gzip.finish().unwrap(), zstd::encode_all(&archive[..], 3).unwrap()];
        for whole in packed.into_iter().chain([archive.clone()]) {
            assert_eq!(judged(whole.clone()), Ok(()));
            let words = judged(whole[..whole.len() - 95.min(whole.len() / 2)].to_vec());
            assert!(words.as_ref().is_err_and(|w| w.contains("cut") || w.contains("damaged")));
        }
    }

    #[test]
    fn what_is_something_else_is_named() {
        for (bytes, name) in [
            (&b"\x7fELF\x02\x01\x01"[..], "it is an ELF"),
            (b"#!/bin/sh\nexit 0\n", "it is a script"),
            (b"\xd0\x0d\xfe\xed\0\0\0\0", "it is a device tree or a FIT"),
        ] {
            assert_eq!(judged(bytes.to_vec()), Err(name.into()));
        }
        // A guest may have a format of its own.
        assert_eq!(judged(b"all: build\n".to_vec()), Ok(()));
        assert_eq!(judged(vec![0; 5000]), Ok(()));
    }
}
