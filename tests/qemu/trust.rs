// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images that are verified: what their loaders start, and what they refuse and how they name it.
use std::path::Path;

use anchorite_spec::Manifest;
use anchorite_spec::manifest::{IMAGE_OFFSET, PART_KERNEL, PART_LOADER, part_name};
use anchorite_spec::trust::UNSIGNED;
use anchorite_tests::guest::{Ended, Guest};
use anchorite_tests::image::{Image, image_of};
use anchorite_tests::{Tests, anchorite, arm64_board, bare_board, board, root, succeed};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use zerocopy::IntoBytes;

pub const TESTS: Tests = &[
    ("trust::a_signed_image_starts_on_arm64", || starts(&arm64_board(), ARM64)),
    ("trust::a_signed_image_starts_on_power9", || starts(&bare_board(), BARE)),
    ("trust::others_are_refused_on_arm64", || others_are_refused(&arm64_board(), ARM64)),
    ("trust::others_are_refused_on_power9", || others_are_refused(&bare_board(), BARE)),
    ("trust::an_unsigned_image_is_refused_under_skiboot", refused_under_skiboot),
];

const ARM64: (&str, &str) = ("arm64-signed", "ttyAMA0");
const BARE: (&str, &str) = ("bare-signed", "hvc0");

/// An image of version 3, signed with a key; its loader starts version 2 and later.
fn signed(board: &Path, (name, console): (&str, &str)) -> Result<Image> {
    let off = format!("console={console} rdinit=/bin/busybox -- poweroff -f");
    let key = key();
    let key = key.to_str().context("no UTF-8 path")?;
    let mut arguments = vec!["--cmdline", &off, "--sign-key", key];
    for set in [
        "image.verify=required",
        "image.version=3",
        "image.min_version=2",
        "firmware.debug_boot=true",
    ] {
        arguments.extend(["--set", set]);
    }
    image_of(board, name, &arguments)
}

fn key() -> std::path::PathBuf {
    root().join("tests/reject/files/private.pem")
}

fn starts(board: &Path, named: (&str, &str)) -> Result<()> {
    let image = signed(board, named)?;
    let ended = Guest::start(&image.path, &[])?.end()?;
    ended.expect(0, "the guest powered off")?;
    ensure!(ended.boot_ticks("signature", None)? > 0, "the signature took no time");
    Ok(())
}

fn others_are_refused(board: &Path, named: (&str, &str)) -> Result<()> {
    let image = signed(board, named)?;
    let not_signed = |manifest: &mut Manifest| manifest.signature = UNSIGNED;
    refused(&image, &resealed(&image, not_signed), "the image is not signed")?;
    let newer = |manifest: &mut Manifest| manifest.image_version = 4;
    refused(&image, &resealed(&image, newer), "the signature is wrong")?;
    // Anybody can compute a digest.
    let (part, content) = image.part(PART_KERNEL)?;
    let mut content = content.to_vec();
    content[part.size as usize / 2] ^= 1;
    let mut changed = resealed(&image, |manifest| {
        let parts = manifest.parts.iter_mut();
        parts
            .filter(|part| part.kind == PART_KERNEL)
            .for_each(|part| part.digest = sha256(&content));
    });
    changed[part.offset as usize..][..content.len()].copy_from_slice(&content);
    refused(&image, &changed, "the signature is wrong")?;
    // Whoever does not is told what it is that was changed.
    for part in image.manifest.parts.iter().filter(|part| part.kind != 0) {
        let mut bytes = image.bytes.to_vec();
        bytes[(part.offset + part.size / 3) as usize] ^= 4;
        let ended = ended(&image, &bytes)?;
        ended.expect(14, part_name(part.kind))?;
        let by_board = ended.console.contains("@end status=image-refused");
        ensure!(by_board == (part.kind != PART_LOADER), "refused by the wrong side");
    }
    // An old release, signed as it was, under a loader that has learnt not to start it.
    let old = image.variant(&resealed(&image, |manifest| manifest.image_version = 1))?;
    succeed(anchorite().arg("sign").arg(&*old).arg("--key").arg(key()))?;
    let words = "the image has version 1, this loader starts none before version 2";
    refused(&image, &std::fs::read(&old)?, words)
}

fn refused_under_skiboot() -> Result<()> {
    let image = signed(&board(), ("skiboot-signed", "hvc0"))?;
    let not_signed = |manifest: &mut Manifest| manifest.signature = UNSIGNED;
    refused(&image, &resealed(&image, not_signed), "the image is not signed")
}

/// The board itself refuses it, in these words.
fn refused(image: &Image, bytes: &[u8], words: &str) -> Result<()> {
    let ended = ended(image, bytes)?;
    ended.expect(14, words)?;
    ensure!(ended.console.contains("@end status=image-refused code=14"), "{}", ended.console);
    Ok(())
}

fn ended(image: &Image, bytes: &[u8]) -> Result<Ended> {
    Guest::start(&image.variant(bytes)?, &[])?.end()
}

/// The image with another manifest, whose digest is right.
fn resealed(image: &Image, change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let mut manifest = image.manifest;
    change(&mut manifest);
    manifest.digest = [0; 32];
    manifest.digest = sha256(manifest.as_bytes());
    let mut bytes = image.bytes.to_vec();
    bytes[IMAGE_OFFSET as usize..][..size_of::<Manifest>()].copy_from_slice(manifest.as_bytes());
    bytes
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
