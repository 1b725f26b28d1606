// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers that look random and repeat.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// Begins.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// What a call might be given: small, one bit, an address around an edge, or noise.
    pub fn argument(&mut self, edges: &[u64]) -> u64 {
        let small = self.below(33);
        match self.below(8) {
            0..=2 => small,
            3 => 1 << self.below(64),
            4 => self.one_of(edges).wrapping_sub(small),
            5 | 6 => self.one_of(edges).wrapping_add(small * 0x80),
            _ => self.next() >> self.below(64),
        }
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}
