// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the guest's device tree asks of it.
#![expect(unsafe_code, reason = "reads the tree")]

/// The tree as it stands in memory.
pub fn bytes(tree: u64) -> &'static [u8] {
    // SAFETY: the firmware put the tree there, and nobody writes to it; its size stands in its second
    // word.
    unsafe {
        let size = u32::from_be(*((tree + 4) as *const u32));
        core::slice::from_raw_parts(tree as *const u8, size as usize)
    }
}

/// Whether this text is in it: in its command line, where else.
pub fn asked_for(tree: u64, text: &str) -> bool {
    bytes(tree).windows(text.len()).any(|window| window == text.as_bytes())
}
