// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest real addresses that `board.toml` gives this guest.

/// First byte after the RAM at 0, from where on nothing is mapped.
pub const RAM_END: u64 = 0x800_0000;
/// The thread interrupt management area's OS page.
pub const TIMA: u64 = 0x6_0302_031a_0000;
/// The first source's trigger page; its management page follows.
pub const ESB: u64 = 0x6_0100_0000_0000;
/// RAM that this program leaves alone: a queue, 64 KiB, then areas for the firmware.
pub const SCRATCH: u64 = 0x400_0000;
