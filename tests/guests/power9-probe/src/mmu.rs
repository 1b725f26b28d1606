// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's own radix tree: what translation and problem state need.
#![expect(unsafe_code, reason = "fills tables")]

use crate::board::{RAM_END, TIMA};
use crate::hcall;

#[repr(C, align(65536))]
struct Root([u64; 8192]);
#[repr(C, align(4096))]
struct Table([u64; 512]);

static mut ROOT: Root = Root([0; 8192]);
static mut LOW: Table = Table([0; 512]);
static mut DEVICES: Table = Table([0; 512]);
static mut AGAIN: Table = Table([0; 512]);
static mut PROCESSES: Table = Table([0; 512]);

/// Valid, a leaf, R and C set, all accesses, also in problem state.
const LEAF: u64 = 0xc000_0000_0000_0187;
/// The same for devices: no execution, cache-inhibited.
const DEVICE: u64 = 0xc000_0000_0000_01a6;
/// A table of 2^9 entries.
const NEXT: u64 = 0x8000_0000_0000_0009;
/// A table entry for a 52-bit space with a root of 2^13 entries.
const TREE: u64 = 0x4000_0000_0000_00a0 | 13;
/// Register, radix, own tlbie.
pub const REGISTER: u64 = 0x18 | 4 | 1;

/// An effective address whose table lies in a hole.
pub const WALK_TO_HOLE: u64 = 1 << 39;
/// Effective addresses that map real addresses 0 to 1 GiB once more.
pub const ALIAS: u64 = 2 << 39;

/// Where the process table is.
pub fn process_table() -> u64 {
    &raw const PROCESSES as u64
}

/// Maps real addresses 0 to 2 GiB and the interrupt pages one to one, and tells the firmware.
/// Returns its code.
pub fn start() -> u64 {
    let tables = [
        (&raw mut LOW as u64, 0, LEAF),
        (&raw mut LOW as u64, 1, LEAF | 1 << 30),
        (&raw mut AGAIN as u64, 0, LEAF),
        (&raw mut DEVICES as u64, (TIMA >> 30) as usize & 511, DEVICE | TIMA & !0x3fff_ffff),
        (&raw mut ROOT as u64, 0, NEXT | &raw mut LOW as u64),
        (&raw mut ROOT as u64, 1, NEXT | RAM_END),
        (&raw mut ROOT as u64, 2, NEXT | &raw mut AGAIN as u64),
        (&raw mut ROOT as u64, (TIMA >> 39) as usize, NEXT | &raw mut DEVICES as u64),
        (process_table(), 0, TREE | &raw mut ROOT as u64),
    ];
    for (table, index, entry) in tables {
        // SAFETY: each index is inside its table; only the core reads them besides.
        unsafe { core::ptr::write_volatile((table as *mut u64).add(index), entry.to_be()) };
    }
    register()
}

/// Tells the firmware where the process table is.
pub fn register() -> u64 {
    hcall::hcall(hcall::PROC_TBL, &[REGISTER, process_table(), 0, 0])[0]
}
