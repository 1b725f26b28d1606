// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers whose writing takes the same instructions whatever they are.

/// Sixteen digits.
pub struct Hex([u8; 16]);

/// A number's.
pub fn hex(number: u64) -> Hex {
    let digit = |n: usize| b"0123456789abcdef"[(number >> (60 - 4 * n) & 15) as usize];
    Hex(core::array::from_fn(digit))
}

impl core::fmt::Display for Hex {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str(core::str::from_utf8(&self.0).unwrap_or("?"))
    }
}
