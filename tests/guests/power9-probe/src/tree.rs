// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the guest's device tree asks of it.
use crate::calls::get_be32;
use crate::trap::load;

/// Whether the guest's tree has this text in it: in its command line, where else.
pub fn asked_for(tree: u64, text: &str) -> bool {
    let size = u64::from(get_be32(tree + 4));
    let is_at = |at: u64| {
        let byte = |n: u64| load(at + n, 1).r3 as u8;
        (0..).zip(text.bytes()).all(|(n, wanted)| byte(n) == wanted)
    };
    (tree..tree + size - text.len() as u64).any(is_at)
}
