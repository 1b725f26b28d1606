// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's own translation: what unaligned and atomic accesses and EL0 need.
#![expect(unsafe_code, reason = "fills tables and sets system registers")]

use core::arch::asm;

use crate::board::{RAM_END, RTC};

#[repr(C, align(4096))]
struct Table([u64; 512]);

static mut ROOT: Table = Table([0; 512]);
static mut HIGH: Table = Table([0; 512]);
static mut SAME: Table = Table([0; 512]);
static mut FOR_EL0: Table = Table([0; 512]);
static mut EXECUTE_ONLY: Table = Table([0; 512]);

/// Where EL0 finds the first 512 GiB.
pub const USER: u64 = 1 << 39;
/// An address whose table lies in a hole.
pub const WALK_TO_HOLE: u64 = 2 << 39;
/// An address whose table lies in a device.
pub const WALK_TO_DEVICE: u64 = 3 << 39;
/// Where EL0 may execute the first 512 GiB, but neither read nor write.
pub const EXECUTED: u64 = 4 << 39;
/// An address of the upper half, whose root lies in a hole.
pub const HIGH_HALF: u64 = 0xffff_0000_0000_0000;

/// Valid, inner shareable, accessed, write-back.
const NORMAL: u64 = 0x701;
/// The same for devices.
const DEVICE: u64 = 0x705;
const TABLE: u64 = 3;
const EL0: u64 = 1 << 6;
const MAIR: u64 = 0x00ff;

/// SCTLR_EL1: RES1 bits, PAN left as it is, EL0 may use what can be given to it.
const OFF: u64 = 0x30d0_0800 | 1 << 23 | 1 << 26 | 1 << 15 | 1 << 14;
const ON: u64 = OFF | 1 | 1 << 2 | 1 << 12;

fn read_sctlr() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {0}, sctlr_el1", out(reg) value, options(nomem, nostack)) };
    value
}

/// Whether this CPU translates.
pub fn is_on() -> bool {
    read_sctlr() & 1 != 0
}

fn set_sctlr(value: u64) {
    // SAFETY: the tables map this program to itself, and both kinds of its accesses agree in QEMU.
    unsafe {
        asm!("dsb sy", "msr sctlr_el1, {0}", "isb", "tlbi vmalle1", "dsb sy", "isb", in(reg) value,
             options(nostack));
    }
}

/// Fills the tables; once, before the first CPU translates.
pub fn fill() {
    let put = |table: *mut Table, index: usize, entry: u64| {
        // SAFETY: each index is inside its table, and only CPUs that do not translate yet run.
        unsafe { core::ptr::write_volatile(table.cast::<u64>().add(index), entry) };
    };
    for index in 0..512 {
        let kind = if index == 0 { DEVICE } else { NORMAL };
        let block = (index as u64) << 30 | kind;
        put(&raw mut SAME, index, block);
        put(&raw mut FOR_EL0, index, block | EL0);
        put(&raw mut EXECUTE_ONLY, index, block);
    }
    put(&raw mut ROOT, 0, &raw const SAME as u64 | TABLE);
    put(&raw mut ROOT, 1, &raw const FOR_EL0 as u64 | TABLE);
    put(&raw mut ROOT, 2, RAM_END | TABLE);
    put(&raw mut ROOT, 3, RTC | TABLE);
    put(&raw mut ROOT, 4, &raw const EXECUTE_ONLY as u64 | TABLE);
    put(&raw mut HIGH, 0, RAM_END | TABLE);
    put(&raw mut HIGH, 1, RTC | TABLE);
}

/// ID_AA64MMFR0_EL1.PARange.
fn physical_range() -> u64 {
    let ids: u64;
    // SAFETY: reads an ID register.
    unsafe { asm!("mrs {0}, id_aa64mmfr0_el1", out(reg) ids, options(nomem, nostack)) };
    ids & 15
}

/// Bits of the processor's own addresses.
pub fn physical_bits() -> u32 {
    [32, 36, 40, 42, 44, 48, 52, 56][physical_range().min(7) as usize]
}

/// Sets this CPU's translation registers.
pub fn prepare() {
    // SAFETY: nothing is translated yet. Floating point and SIMD are on; SVE and SME are not.
    unsafe {
        // 48 bits and 4 KiB on both sides, write-back and inner shareable walks.
        let half = 16 | 1 << 8 | 1 << 10 | 3 << 12;
        let tcr = half | (half | 2 << 14) << 16 | physical_range().min(5) << 32;
        asm!("msr cpacr_el1, {0}", "msr mair_el1, {1}", "msr tcr_el1, {2}", "msr ttbr0_el1, {3}",
             "msr ttbr1_el1, {4}", "isb",
             in(reg) 3_u64 << 20, in(reg) MAIR, in(reg) tcr, in(reg) &raw const ROOT,
             in(reg) &raw const HIGH, options(nostack));
    }
    set_sctlr(OFF);
}

/// Sets the root of the upper half.
pub fn set_high_root(root: u64) {
    // SAFETY: this program has nothing there.
    unsafe {
        asm!("msr ttbr1_el1, {0}", "isb", "tlbi vmalle1", "dsb sy", "isb", in(reg) root,
             options(nostack));
    }
}

/// Translates on this CPU, or not.
pub fn turn(on: bool) {
    set_sctlr(if on { ON } else { OFF });
}

/// Does something without translation.
pub fn without<R>(body: impl FnOnce() -> R) -> R {
    let was = is_on();
    turn(false);
    let result = body();
    turn(was);
    result
}
