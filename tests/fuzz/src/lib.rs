// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What fuzz targets are run by: whatever is handed in is answered, and nothing panics.
//!
//! A driver of its own, for the stable toolchain: it changes known inputs, and keeps those that are
//! answered in a way not seen before. `make fuzz` runs each target for a time, `make test` for some
//! rounds. The seed is printed; `ANCHORITE_FUZZ_SEED` repeats a run, and an input that panics is left
//! under `target/fuzz/`.
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// The tree's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The contents of the files in a folder of the tree, those with an extension or, without one, all.
///
/// # Panics
/// They cannot be read.
#[must_use]
pub fn files(folder: &str, extension: &str) -> Vec<Vec<u8>> {
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
///
/// # Panics
/// One panics, or all are answered alike.
pub fn drive(
    name: &str,
    mut corpus: Vec<Vec<u8>>,
    words: &[&str],
    answer: impl Fn(&[u8]) -> String,
) {
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
