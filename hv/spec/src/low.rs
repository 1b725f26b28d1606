// SPDX-License-Identifier: Apache-2.0 OR MIT
//! POWER9: what the firmware keeps in real memory from 0 on, whatever the board config says.
//!
//! The core looks for vectors at 0, and at [`ALIAS`] + 0x4000 for those interrupts that keep
//! translation on (LPCR.AIL = 3). Of real memory the second kind reaches what the own tables map,
//! which is the last two of these, and nothing else.
use crate::Range;

/// All of it.
pub const MEMORY: Range = Range::new(0, 0x6000);
/// The two copies of the exception vectors.
pub const VECTORS: [u64; 2] = [0x100, 0x4100];
/// Code that is made at boot: what the vectors call to flush (`anchorite_hv::power9::flush`). Only
/// code that runs untranslated calls it.
pub const FLUSHES: Range = Range::new(0x2000, 0x1000);
/// The vCPUs' registers, which the vectors write.
pub const CONTEXTS: Range = Range::new(0x3000, 0x1000);
/// The pages of the second copy.
pub const RELOCATED: Range = Range::new(0x4000, 0x2000);
/// Where a real address is mapped, if it is. Without translation these bits are ignored, so that an
/// address with them names the same with it on and off.
pub const ALIAS: u64 = 0xc000_0000_0000_0000;
