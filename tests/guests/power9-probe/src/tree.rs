// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the guest's device tree asks of it.
use crate::calls::get_be32;

/// Whether the guest's tree has this text in it: in its command line, where else.
pub fn asked_for(tree: u64, text: &str) -> bool {
    let size = u64::from(get_be32(tree + 4));
    let byte = |at: u64| get_be32(at & !3).to_be_bytes()[(at & 3) as usize];
    let is_at = |at: u64| (at..).zip(text.bytes()).all(|(at, wanted)| byte(at) == wanted);
    (tree..tree + size - text.len() as u64).any(is_at)
}
