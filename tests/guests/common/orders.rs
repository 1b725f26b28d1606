// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an attack is ordered to do, in the guest's command line:
//! `attack seed=0x5eed calls=100000 wild=10000`. The same seed makes the same attack, as far as several
//! CPUs at once can.

/// An attack's size, over all CPUs.
#[derive(Clone, Copy)]
pub struct Orders {
    /// What its random numbers begin with.
    pub seed: u64,
    /// Calls of the firmware.
    pub calls: u64,
    /// Accesses, instructions and registers that are not the guest's, or are misused.
    pub wild: u64,
}

impl Orders {
    /// Those in the guest's tree, if it has any.
    pub fn read(tree: &[u8]) -> Option<Self> {
        let at = tree.windows(WORD.len()).position(|window| window == WORD)?;
        let line = tree[at + WORD.len()..].split(|byte| *byte == 0).next()?;
        let number = |key: &[u8]| {
            let at = line.windows(key.len()).position(|window| window == key)?;
            let text = line[at + key.len()..].split(|byte| *byte == b' ').next()?;
            let (text, base) = text.strip_prefix(b"0x").map_or((text, 10), |text| (text, 16));
            u64::from_str_radix(core::str::from_utf8(text).ok()?, base).ok()
        };
        Some(Self { seed: number(b"seed=")?, calls: number(b"calls=")?, wild: number(b"wild=")? })
    }
}

const WORD: &[u8] = b"attack ";
