// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's RTAS entry: five instructions that turn a call into a hypercall.

/// The hypercall number that stands for RTAS; the firmware serves it, PAPR leaves it to vendors.
const H_RTAS: u32 = 0xF000;

/// `mr r4,r3` · `lis r3,0` · `ori r3,r3,H_RTAS` · `sc 1` · `blr`. Linux enters RTAS big-endian.
const STUB: [u32; 5] = [0x7C64_1B78, 0x3C60_0000, 0x6063_0000 | H_RTAS, 0x4400_0022, 0x4E80_0020];

/// What Linux sets aside for RTAS.
pub const MEMORY: u64 = 0x1000;

/// The stub's bytes.
#[must_use]
pub fn stub() -> Vec<u8> {
    STUB.iter().flat_map(|instruction| instruction.to_be_bytes()).collect()
}
