// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest real addresses that `board.toml` gives this guest, and the holes between them.

/// First byte after the RAM at 0.
pub const RAM_END: u64 = 0x800_0000;
/// The second region of RAM.
pub const ISLAND: u64 = 0x1_0000_0000;
/// First byte after it.
pub const ISLAND_END: u64 = ISLAND + 0x20_0000;
/// The thread interrupt management area's OS page.
pub const TIMA: u64 = 0x6_0302_031a_0000;
/// The first source's trigger page.
pub const ESB: u64 = 0x6_0100_0000_0000;
/// The most vCPUs of a guest: no server has this number.
pub const NO_SERVER: u64 = 4;
/// Sources.
pub const SOURCES: u64 = 16;
/// First byte after the last source's pages.
pub const ESB_END: u64 = ESB + SOURCES * 0x2_0000;
/// Where the firmware, its console's UART and its XIVE live in host space: holes to a guest.
pub const HOST_SECRETS: [u64; 6] = [
    0x4000_0000 + RAM_END, // host RAM behind the guest's
    0x3000_0000,           // the earlier firmware
    0x6_0300_0000_0000,    // the chip's control registers
    0x6_0300_d001_03f8,    // its UART
    0x6_0302_0318_0000,    // the thread management area's hardware page
    0x6_0302_0310_0000,    // the interrupt controller's own registers
];

/// Scratch RAM for queues, areas and buffers: 64 KiB aligned, far from the program.
pub const SCRATCH: u64 = 0x400_0000;
