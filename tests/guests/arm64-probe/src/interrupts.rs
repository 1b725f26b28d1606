// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interrupt controller, as far as an interrupt is needed that stays pending, so that whoever
//! waits for one does not wait for ever.
#![expect(unsafe_code, reason = "device and system registers")]

use core::arch::asm;
use core::ptr;

use crate::board::{DISTRIBUTOR, FRAME, FRAMES};

/// GICD_CTLR and GICR_WAKER.
const CTLR: u64 = DISTRIBUTOR;
const WAKER: u64 = 0x14;
/// In the SGI frame: groups, enables, priorities.
const IGROUPR: u64 = FRAME + 0x80;
const ISENABLER: u64 = FRAME + 0x100;
const IPRIORITYR: u64 = FRAME + 0x400;
/// The virtual timer's.
const TIMER: u32 = 27;

/// Reads a register of 32 bits.
pub fn read(address: u64) -> u32 {
    // SAFETY: callers name registers of the guest's own devices.
    unsafe { ptr::read_volatile(address as *const u32) }
}

/// Writes one.
pub fn write(address: u64, value: u32) {
    // SAFETY: as above.
    unsafe { ptr::write_volatile(address as *mut u32, value) };
}

/// This CPU's control frame.
pub fn frame(cpu: usize) -> u64 {
    FRAMES + cpu as u64 * 2 * FRAME
}

/// Leaves the virtual timer's interrupt pending on this CPU. It stays masked in PSTATE.
pub fn keep_one_pending(cpu: usize) {
    let frame = frame(cpu);
    write(frame + WAKER, 0);
    // Affinity routing, groups 0 and 1.
    write(CTLR, 0x13);
    write(frame + IGROUPR, u32::MAX);
    write(frame + IPRIORITYR + u64::from(TIMER & !3), 0xa0a0_a0a0);
    write(frame + ISENABLER, 1 << TIMER);
    // SAFETY: the CPU interface and the timer are the guest's; interrupts are masked.
    unsafe {
        asm!("msr S3_0_C12_C12_5, {one}", "isb", // ICC_SRE_EL1
             "msr S3_0_C4_C6_0, {all}",          // ICC_PMR_EL1
             "msr S3_0_C12_C12_7, {one}",        // ICC_IGRPEN1_EL1
             "msr cntv_cval_el0, xzr", "msr cntv_ctl_el0, {one}", "isb",
             one = in(reg) 1_u64, all = in(reg) 0xff_u64, options(nostack));
    }
}

/// Whether an interrupt waits to be let in.
pub fn is_one_pending() -> bool {
    let isr: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {0}, isr_el1", out(reg) isr, options(nomem, nostack)) };
    isr & 0x80 != 0
}
