// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest physical addresses that `board.toml` gives this guest, and the holes between them.

/// The RAM that the program runs in.
pub const RAM: u64 = 0x4000_0000;
/// First byte after it.
pub const RAM_END: u64 = RAM + 0x800_0000;
/// The second region: a block, then sixteen pages.
pub const ISLAND: u64 = 0x1_0000_0000;
/// Where its block ends.
pub const ISLAND_PAGES: u64 = ISLAND + 0x20_0000;
/// First byte after it, and of the third region.
pub const ANNEX: u64 = ISLAND + 0x21_0000;
/// First byte after that.
pub const ANNEX_END: u64 = ANNEX + 0x1_0000;

/// The interrupt distributor.
pub const DISTRIBUTOR: u64 = 0x800_0000;
/// First byte after it.
pub const DISTRIBUTOR_END: u64 = 0x801_0000;
/// The first CPU's control frame; its SGI frame follows, then the next CPU's.
pub const FRAMES: u64 = 0x80a_0000;
/// Bytes of a frame.
pub const FRAME: u64 = 0x1_0000;
/// First byte after the last CPU's frames.
pub const FRAMES_END: u64 = FRAMES + CPUS as u64 * 2 * FRAME;
/// The PL011.
pub const UART: u64 = 0x900_0000;
/// The PL031.
pub const RTC: u64 = 0x901_0000;
/// CPUs.
pub const CPUS: usize = 4;

/// Where the firmware, devices that move data, and memory of nobody live in host space: holes to a
/// guest.
pub const HOST_SECRETS: [u64; 16] = [
    0x5000_0000,    // the firmware
    0x5007_fff8,    // its last bytes
    0x8000_0000,    // the guest's own RAM, by its host address
    0x8800_0000,    // host RAM behind it
    0x808_0000,     // the interrupt translation service
    0x809_0040,     // its doorbell
    0x902_0000,     // QEMU's configuration interface
    0x903_0000,     // a GPIO block
    0x904_0000,     // a second UART
    0x905_0000,     // the IOMMU
    0xa00_0000,     // virtio
    0x1000_0000,    // PCI
    0x3eff_0000,    // its ports
    0x40_1000_0000, // its configuration space
    0,              // flash
    0x3fff_fff8,    // the last bytes below RAM
];

/// Scratch RAM, far from the program.
pub const SCRATCH: u64 = RAM + 0x400_0000;
