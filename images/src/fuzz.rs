// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzz targets: whatever is handed in is answered, and nothing panics.
//!
//! `anchorite_fuzz` runs them.
use anchorite_fuzz::{drive, files, root};
use anchorite_spec::manifest::{
    self, ARCH_ARM64, ARCH_POWER9, IMAGE_OFFSET, PART_LOADER, PART_TABLES,
};
use anchorite_spec::trust::VERIFY_REQUIRED;
use anchorite_spec::{Manifest, Trust};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::build::judge_files;
use crate::config::overrides::Override;
use crate::config::{judge, units};
use crate::image::ImageFile;
use crate::keys::{self, Verdict};
use crate::{container, fit, inspect, new, stats};

/// What configs are made of.
const WORDS: [&str; 36] = [
    "[board]\n",
    "[[ram]]\n",
    "[firmware]\n",
    "[guest]\n",
    "[guest.xive]\n",
    "[guest.stage2]\n",
    "[[guest.vcpu]]\n",
    "[[guest.memory]]\n",
    "[[guest.device]]\n",
    "name = ",
    "arch = ",
    "\"arm64\"",
    "\"power9\"",
    "cpu = ",
    "base = ",
    "size = ",
    "host = ",
    "guest = ",
    "irq = ",
    "mmio = { ",
    " }",
    "dma = \"trusted\"\n",
    "model = \"virtio-mmio\"\n",
    "its = \"trusted\"\n",
    "load = ",
    "format = \"raw\"\n",
    "\"0xffff_ffff_ffff_ffff\"",
    "\"64KiB\"",
    "\"1TiB\"",
    "\"0\"",
    "-1",
    "9223372036854775807",
    "\n",
    "\"",
    "sources = ",
    "forward_calls = [0x8400_0050]\n",
];

/// The rules that a text breaks, for a config; every message is also printed.
fn config_answer(text: String, sets: Vec<Override>) -> String {
    match judge("fuzz.toml", text, sets) {
        Ok(loaded) => format!("{:?}", loaded.config.platform.boot),
        Err(refusal) => {
            assert!(!refusal.diagnostics.is_empty());
            assert!(!refusal.render(false).is_empty() && refusal.to_json().is_object());
            let mut rules: Vec<_> = refusal.diagnostics.iter().map(|found| found.rule).collect();
            rules.dedup();
            rules.join(" ")
        }
    }
}

#[test]
fn config() {
    let corpus = [files("board-configs", "toml"), files("tests/reject", "toml")].concat();
    drive("config", corpus, &WORDS, |bytes| {
        config_answer(String::from_utf8_lossy(bytes).into_owned(), Vec::new())
    });
}

#[test]
fn overrides() {
    let sets =
        ["guest.memory.0.size=2GiB", "ram.1={base=\"4GiB\",size=\"1GiB\"}", "guest.vcpu=[{cpu=0}]"];
    let boards = files("board-configs", "toml");
    let corpus = sets.iter().map(|set| set.as_bytes().to_vec()).collect();
    drive("overrides", corpus, &WORDS, |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let Ok(set) = Override::from_set(&text) else { return "no override".into() };
        config_answer(String::from_utf8_lossy(&boards[0]).into_owned(), vec![set])
    });
}

#[test]
fn tree() {
    drive("tree", new::samples(), &[], |bytes| match new::config("fuzz", bytes) {
        Ok(text) => {
            let judged = judge("fuzz.toml", text, Vec::new());
            format!("{}", judged.is_ok_and(|loaded| loaded.config.guest.memory.len() > 1))
        }
        // Numbers out of the tree are no other way.
        Err(error) => error.to_string().chars().filter(|c| !c.is_ascii_digit()).collect(),
    });
}

#[test]
fn guest_files() {
    let boards = ["qemu-powernv9", "qemu-arm64-virt"].map(|board| {
        let text = std::fs::read(root().join(format!("board-configs/{board}.toml"))).unwrap();
        judge("fuzz.toml", String::from_utf8(text).unwrap(), Vec::new()).unwrap().config
    });
    drive("guest_files", files("tests/reject/files", ""), &[], |bytes| {
        let ways = boards.iter().map(|config| judge_files(bytes, config).join("/"));
        let ways = ways.collect::<Vec<_>>().join(" ");
        ways.chars().filter(|c| !c.is_ascii_digit()).collect()
    });
}

#[test]
fn image() {
    let images = [ARCH_POWER9, ARCH_ARM64].map(|arch| {
        let mut manifest = Manifest::new_zeroed();
        (manifest.magic, manifest.version) = (manifest::MAGIC, manifest::VERSION);
        (manifest.size, manifest.arch) = (size_of::<Manifest>() as u32, arch);
        for (part, kind) in manifest.parts.iter_mut().zip([PART_LOADER, PART_TABLES]) {
            (part.kind, part.offset, part.size) = (kind, 0x7000, 0x1000);
        }
        let mut image = vec![0; 0x8000];
        image[0x1000..0x1000 + size_of::<Manifest>()].copy_from_slice(manifest.as_bytes());
        image
    });
    let mut corpus = vec![container::wrap(&images[0]), fit::wrap("b", "m", &images[1], 0)];
    corpus.extend(images);
    drive("image", corpus, &[], |bytes| {
        let verified = ImageFile::read(bytes).and_then(|image| image.verify());
        let walls = inspect::not_proved(bytes).map(|walls| walls.len());
        format!("{:?} {walls:?}", verified.map_err(|error| error.to_string()))
            .chars()
            .filter(|c| !c.is_ascii_digit())
            .collect()
    });
}

/// A file that is taken for a key, for both halves; and for a public key and a signature.
#[test]
fn keys() {
    let mut corpus =
        [files("tests/reject/files", "pem"), files("tests/reject/files", "key")].concat();
    corpus.push([[7; 32], [8; 32], [9; 32]].concat());
    drive("keys", corpus, &["-----BEGIN ", "PUBLIC KEY-----\n", "PRIVATE KEY-----\n"], |bytes| {
        let (private, public) = (keys::private(bytes), keys::public(bytes));
        let mut manifest = Manifest::new_zeroed();
        let mut trust = Trust { verify: VERIFY_REQUIRED, ..Trust::NONE };
        if let Ok(key) = &private {
            let at = IMAGE_OFFSET as usize;
            let mut image = vec![0; at + size_of::<Manifest>()];
            keys::seal(&mut image, manifest, Some(key));
            manifest = Manifest::read_from_bytes(&image[at..]).unwrap();
            trust.public_key = key.verifying_key().to_bytes();
            assert_eq!(keys::judge(&manifest, &trust), Verdict::Right);
        }
        if let Some((public, rest)) = bytes.split_first_chunk()
            && let Some((signature, _)) = rest.split_first_chunk()
        {
            (trust.public_key, manifest.signature) = (*public, *signature);
        }
        let verdict = keys::judge(&manifest, &trust);
        format!("{:?} {:?} {verdict:?}", private.map(drop), public.map(drop))
    });
}

#[test]
fn sizes() {
    let corpus =
        ["64KiB", "0x1_0000", "1.5GiB", "-4"].map(|text| text.as_bytes().to_vec()).to_vec();
    drive("sizes", corpus, &["KiB", "TiB", "0x", "_"], |bytes| {
        let parsed = units::parse_size(&String::from_utf8_lossy(bytes));
        parsed.map_or_else(|error| error.to_string(), |size| size.leading_zeros().to_string())
    });
}

/// Whatever a file holds that is said to be a machine's memory.
#[test]
fn dump() {
    let letters = |text: String| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    drive("dump", stats::tests::samples(), &[], |bytes| match stats::tests::told(bytes) {
        Ok(told) => letters(told.chars().take(200).collect()),
        Err(error) => letters(error.to_string()),
    });
}
