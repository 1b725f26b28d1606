// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzz targets: whatever is handed in is answered, and nothing panics.
//!
//! A driver of its own, for the stable toolchain: it changes known inputs, and keeps those that are
//! answered in a way not seen before. `make fuzz` runs each target for a time, `make test` for some
//! rounds. The seed is printed; `ANCHORITE_FUZZ_SEED` repeats a run, and an input that panics is left
//! under `target/fuzz/`.
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
use crate::{container, fit, inspect, new};

/// No input grows beyond this.
const MOST: usize = 1 << 16;
/// As many inputs are kept at most.
const KEPT: usize = 4096;
/// What a target is run for in `make test`.
const ROUNDS: u64 = 400;

/// Steele, Lea, Flood: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }
}

/// Changes an input in one of the usual ways.
fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str], random: &mut Random) {
    const NUMBERS: [u64; 9] =
        [0, 1, 0x7f, 0x80, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 63, u64::MAX];
    let at = random.below(bytes.len() + 1);
    let span = at..(at + random.below(24)).min(bytes.len());
    match random.below(9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = random.next() as u8,
        2 => drop(bytes.drain(span)),
        3 => bytes.truncate(at),
        4 => {
            let copy = bytes[span].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        5 => {
            let number = NUMBERS[random.below(NUMBERS.len())].wrapping_add(random.next() % 3);
            let wide =
                if random.below(2) == 0 { number.to_be_bytes() } else { number.to_le_bytes() };
            let part = if random.below(2) == 0 { &wide[4..] } else { &wide[..] };
            let end = (at + part.len()).min(bytes.len());
            bytes.splice(at..end, part.iter().copied());
        }
        6 => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            let to = (from + random.below(200)).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        _ if words.is_empty() => bytes.insert(at, random.next() as u8),
        _ => drop(bytes.splice(span, words[random.below(words.len())].bytes())),
    }
    bytes.truncate(MOST);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &str, extension: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let wanted = |path: &&PathBuf| {
        let own = path.extension().and_then(|own| own.to_str()).unwrap_or_default();
        path.is_file() && (extension.is_empty() || own == extension)
    };
    paths.iter().filter(wanted).map(|path| std::fs::read(path).unwrap()).collect()
}

/// Runs a target on changed inputs: some rounds, or for as long as `ANCHORITE_FUZZ_SECONDS` says.
/// `answer` says in which way an input was answered.
fn drive(name: &str, mut corpus: Vec<Vec<u8>>, words: &[&str], answer: impl Fn(&[u8]) -> String) {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = variable("ANCHORITE_FUZZ_SECONDS");
    let clock =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    let seed = variable("ANCHORITE_FUZZ_SEED").unwrap_or_else(|| seconds.map_or(1, |_| clock()));
    println!("{name}: ANCHORITE_FUZZ_SEED={seed}, {} inputs", corpus.len());
    let mut random = Random(seed);
    let mut seen = HashSet::new();
    let start = Instant::now();
    let mut rounds = 0u64;
    let goes_on = |rounds| match seconds {
        Some(seconds) => start.elapsed() < Duration::from_secs(seconds),
        None => rounds < ROUNDS,
    };
    while goes_on(rounds) {
        let mut input = corpus[random.below(corpus.len())].clone();
        // The first rounds take the inputs as they are.
        if rounds as usize >= corpus.len() {
            (0..=random.below(6)).for_each(|_| change(&mut input, &corpus, words, &mut random));
        } else {
            input.clone_from(&corpus[rounds as usize]);
        }
        rounds += 1;
        match catch_unwind(AssertUnwindSafe(|| answer(&input))) {
            Ok(way) => {
                if seen.insert(way) && corpus.len() < KEPT {
                    corpus.push(input);
                }
            }
            Err(_) => {
                let folder = root().join("target/fuzz");
                std::fs::create_dir_all(&folder).unwrap();
                let file = folder.join(format!("{name}-{seed}-{rounds}"));
                std::fs::write(&file, &input).unwrap();
                panic!("{name}: round {rounds} of seed {seed} panicked on {}", file.display());
            }
        }
    }
    println!("{name}: {rounds} rounds, {} ways to answer", seen.len());
    assert!(seen.len() > 1, "every input is answered alike: the target is not reached");
}

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
