// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Guarded interrupts: EL2's physical timer on each CPU, as the only interrupt of Group 0, taken at
//! EL2 as an FIQ whatever the guest masks (GICv3, IHI 0069, 4.6 "Interrupt grouping"; HCR_EL2.FMO).
//!
//! With FMO set the guest's PMR, CTLR and Group 0 registers become virtual and its SGIs trap; the
//! physical ones are set here and stay. Group 1 is acknowledged and ended by the guest as before.
use core::arch::asm;

use anchorite_hv::arm64::gic::{CTLR_KEPT, EL2_TIMER, FRAME, LOW_PRIORITY};
use anchorite_hv::arm64::regs::HCR_FMO;

use super::cpu;
use super::gic::{
    ASLEEP, Frame, GICD_CTLR, GICD_TYPER, GICR_WAKER, ICACTIVER, ICPENDR, IGROUPR, IPRIORITYR,
    ISENABLER, PATIENCE,
};
use crate::{read_register, write_register};

/// How often a second the timer rings.
const RATE: u64 = 10;
/// Priorities of four guest interrupts.
const LOW_PRIORITIES: u32 = u32::from_ne_bytes([LOW_PRIORITY; 4]);

const ICFGR1: u64 = 0xc04;

/// GICD_CTLR.DS: one security state.
const ONE_STATE: u32 = 1 << 6;

/// Whether Group 0 can be EL2's: with EL3 in between it is not.
///
/// # Safety
/// The distributor must be there.
#[must_use]
pub unsafe fn has_group_0(distributor: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe { Frame::at(distributor) }.load(GICD_CTLR) & ONE_STATE != 0
}

/// The distributor before the first guest: every shared interrupt is in Group 1, less urgent than
/// EL2's timer.
///
/// # Safety
/// EL2 must map the distributor, and no CPU use it.
pub unsafe fn prepare(distributor: u64) {
    // SAFETY: the caller's promise.
    let distributor = unsafe { Frame::at(distributor) };
    let last = (u64::from(distributor.load(GICD_TYPER) & 31) + 1) * 32;
    for interrupt in (32..last.min(1020)).step_by(4) {
        if interrupt % 32 == 0 {
            distributor.store(IGROUPR + interrupt / 8, u32::MAX);
        }
        distributor.store(IPRIORITYR + interrupt, LOW_PRIORITIES);
    }
    distributor.store(GICD_CTLR, CTLR_KEPT as u32);
    distributor.settle();
}

/// This CPU's private interrupts and its timer, before a guest's first instruction on it.
///
/// # Safety
/// EL2 must map this CPU's redistributor frames; HCR_EL2.FMO must be set for the guest.
pub unsafe fn start(redistributor: u64) {
    const TIMER: u32 = 1 << EL2_TIMER;
    // SAFETY: the caller's promise, which is for both frames.
    let (control, local) = unsafe { (Frame::at(redistributor), Frame::at(redistributor + FRAME)) };
    control.store(GICR_WAKER, 0);
    let _ = (0..PATIENCE).any(|_| control.load(GICR_WAKER) & ASLEEP == 0);
    local.store(IGROUPR, !TIMER);
    let timer = u64::from(EL2_TIMER);
    for interrupt in (0..32).step_by(4) {
        let at = IPRIORITYR + interrupt;
        let mut priorities = local.load(at) | LOW_PRIORITIES;
        if interrupt == timer & !3 {
            priorities &= !(0xff << (8 * (timer % 4)));
        }
        local.store(at, priorities);
    }
    local.store(ICFGR1, local.load(ICFGR1) & !(3 << (2 * (EL2_TIMER - 16))));
    local.store(ICPENDR, TIMER);
    local.store(ICACTIVER, TIMER);
    local.store(ISENABLER, TIMER);
    // SAFETY: the CPU interface's physical registers that a guest under FMO does not see: nothing
    // masked, priority drop and deactivation in one, every priority level of its own.
    unsafe {
        cpu::barrier();
        write_register!("S3_0_C12_C12_4", 0);
        write_register!("S3_0_C4_C6_0", 0xff);
        write_register!("S3_0_C12_C8_3", 0);
    }
    keep_time(true);
}

/// The same for a guest that has run without a guard; false if Group 0 cannot be had.
///
/// # Safety
/// As for [`start`] and [`has_group_0`].
pub unsafe fn take(distributor: u64, redistributor: u64) -> bool {
    // SAFETY: the caller's promise.
    if !unsafe { has_group_0(distributor) } {
        return false;
    }
    // SAFETY: the caller's promise.
    let distributor = unsafe { Frame::at(distributor) };
    let control = distributor.load(GICD_CTLR);
    distributor.store(GICD_CTLR, control | CTLR_KEPT as u32);
    let hcr = read_register!("hcr_el2") | HCR_FMO;
    // SAFETY: FMO only adds to what comes to EL2; the frames are the caller's promise.
    unsafe {
        write_register!("hcr_el2", hcr);
        start(redistributor);
    }
    true
}

/// Undoes [`take`], as far as a guest that sets its interrupt controller up anew notices.
pub fn give_back() {
    keep_time(false);
    let hcr = read_register!("hcr_el2") & !HCR_FMO;
    // SAFETY: nothing of EL2's interrupts any more.
    unsafe {
        write_register!("hcr_el2", hcr);
        cpu::barrier();
    }
}

/// Lets the timer ring, from one period on; or stops it.
pub fn keep_time(on: bool) {
    let first = read_register!("cntpct_el0") + read_register!("cntfrq_el0") / RATE;
    // SAFETY: EL2's own timer and its interrupt group.
    unsafe {
        if on {
            write_register!("cnthp_cval_el2", first);
        }
        write_register!("cnthp_ctl_el2", u64::from(on));
        write_register!("S3_0_C12_C12_6", u64::from(on));
        cpu::barrier();
    }
}

/// Takes the interrupt that brought an FIQ; true if it was the timer.
pub fn serve() -> bool {
    /// From here on there was none.
    const SPECIAL: u64 = 1020;
    let interrupt: u64;
    // SAFETY: acknowledges Group 0 (ICC_IAR0_EL1), which is EL2's alone.
    unsafe { asm!("mrs {0}, S3_0_C12_C8_0", "dsb sy", out(reg) interrupt, options(nostack)) };
    let timer = interrupt == u64::from(EL2_TIMER);
    if timer {
        let (now, period) = (read_register!("cntpct_el0"), read_register!("cntfrq_el0") / RATE);
        let next = read_register!("cnthp_cval_el2") + period;
        // SAFETY: EL2's own timer. It falls silent before its interrupt ends.
        unsafe {
            write_register!("cnthp_cval_el2", if next > now { next } else { now + period });
            asm!("isb", options(nostack));
        }
    }
    if interrupt < SPECIAL {
        // SAFETY: ends what was acknowledged above (ICC_EOIR0_EL1).
        unsafe { write_register!("S3_0_C12_C8_1", interrupt) };
    }
    timer
}

/// ICC_SGI1R_EL1.
pub fn send_sgi(value: u64) {
    // SAFETY: interrupts CPUs with an interrupt of Group 1, which is the guest's. What it wrote to
    // memory before is visible first.
    unsafe {
        asm!("dsb ishst", options(nostack));
        write_register!("S3_0_C12_C11_5", value);
        asm!("isb", options(nostack));
    }
}
