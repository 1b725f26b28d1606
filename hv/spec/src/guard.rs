// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What stands at the far end of every stack of the firmware's from the boot on. A stack that was too
//! short would have written over it; who reads the machine's memory from outside sees that.

/// Each word of it.
pub const WORD: u64 = 0x5afe_57ac_6e4d_0fff;
/// How many there are.
pub const WORDS: usize = 8;
