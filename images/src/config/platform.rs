// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What platforms fix, whatever a config says.
use anchorite_spec::Range;

/// Facts of a platform and of its earlier firmware.
#[derive(Clone, Copy, Debug)]
pub struct Platform {
    /// The exception vectors.
    pub vectors: Range,
    /// Where the earlier firmware puts the image.
    pub load_window: Range,
    /// Memory that the earlier firmware keeps.
    pub earlier: Range,
    /// Where the machine's interrupt sources may have their pages.
    pub esb_window: Range,
    /// Timebase ticks per second.
    pub timebase_hz: u64,
}

/// PowerNV: skiboot's payload on POWER9, chip 0.
pub const POWERNV: Platform = Platform {
    vectors: Range::new(0, 0x2000),
    load_window: Range::new(0x2000_0000, 0x0800_0000),
    earlier: Range::new(0x3000_0000, 0x0300_0000),
    esb_window: Range::new(0x0006_0100_0000_0000, 0x80_0000_0000),
    timebase_hz: 512_000_000,
};

/// Registers of chip 0 that would let a guest reach round its walls, with their owners.
pub const FORBIDDEN: [(&str, Range); 6] = [
    ("the interrupt sources of the whole machine", POWERNV.esb_window),
    ("the interrupt controller's event queues", Range::new(0x0006_0180_0000_0000, 0x10_0000_0000)),
    ("the interrupt controller's set-up registers", Range::new(0x0006_0302_0310_0000, 0x8_0000)),
    ("the hypervisor's interrupt pages", Range::new(0x0006_0302_0318_0000, 0x2_0000)),
    ("the chip's control registers (XSCOM)", Range::new(0x0006_03FC_0000_0000, 0x4_0000_0000)),
    ("the service interface (LPC)", Range::new(0x0006_0300_0000_0000, 0x1_0000_0000)),
];
