// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interrupt controller (GICv3, IHI 0069) as far as the firmware handles it itself: an interrupt
//! that wakes a CPU, and everything back to where it is before a guest's first instruction.
use core::ptr;

use anchorite_hv::arm64::gic::{FRAME, FRAMES};

use super::{cpu, guard};
use crate::{read_register, write_register};

/// Looks at a register that is to change before that is given up.
pub(super) const PATIENCE: u32 = 1 << 20;

/// Distributor: control.
pub(super) const GICD_CTLR: u64 = 0x000;
/// Distributor: what there is.
pub(super) const GICD_TYPER: u64 = 0x004;
/// Redistributor: sleep.
pub(super) const GICR_WAKER: u64 = 0x014;
/// Both: groups, a bit each.
pub(super) const IGROUPR: u64 = 0x080;
/// Both: enables.
pub(super) const ISENABLER: u64 = 0x100;
const ICENABLER: u64 = 0x180;
/// Both: what is pending no longer.
pub(super) const ICPENDR: u64 = 0x280;
/// Both: what is active no longer.
pub(super) const ICACTIVER: u64 = 0x380;
/// Both: priorities, a byte each.
pub(super) const IPRIORITYR: u64 = 0x400;
const ICFGR: u64 = 0xc00;
const IGRPMODR: u64 = 0xd00;
const GICR_CTLR: u64 = 0x000;
const GICD_IROUTER: u64 = 0x6000;

/// GICD_CTLR: a store has yet to take effect.
pub(super) const PENDING: u32 = 1 << 31;
/// GICR_WAKER: the redistributor sleeps, and so does the CPU's interface.
const SLEEP: u32 = 1 << 1;
/// GICR_WAKER.ChildrenAsleep.
pub(super) const ASLEEP: u32 = 1 << 2;
/// GICD_CTLR with affinity routing and both groups.
const FORWARDS: u32 = 0x13;
/// The interrupt between CPUs that wakes one. Nobody takes it.
const WAKE: u32 = 15;

/// All frames of the interrupt controller.
#[derive(Clone, Copy)]
pub struct Frames {
    distributor: u64,
    redistributors: u64,
}

impl Frames {
    /// The distributor's, and from the first CPU's redistributor on all others.
    ///
    /// # Safety
    /// EL2 must map them.
    #[must_use]
    pub const unsafe fn new(distributor: u64, redistributors: u64) -> Self {
        Self { distributor, redistributors }
    }
}

/// A frame of the interrupt controller.
#[derive(Clone, Copy)]
pub(super) struct Frame(u64);

impl Frame {
    /// # Safety
    /// EL2 must map the frame at this address, or reach it with its MMU off.
    pub(super) const unsafe fn at(base: u64) -> Self {
        Self(base)
    }

    pub(super) fn load(self, register: u64) -> u32 {
        debug_assert!(register < FRAME);
        // SAFETY: `at`'s caller vouched for the frame, and the register is in it.
        unsafe { ptr::read_volatile((self.0 + register) as *const u32) }
    }

    pub(super) fn store(self, register: u64, value: u32) {
        debug_assert!(register < FRAME);
        // SAFETY: as above.
        unsafe { ptr::write_volatile((self.0 + register) as *mut u32, value) };
    }

    /// Waits for stores to the distributor to take effect.
    pub(super) fn settle(self) {
        let _ = (0..PATIENCE).any(|_| self.load(GICD_CTLR) & PENDING == 0);
    }
}

impl Frames {
    fn distributor(self) -> Frame {
        // SAFETY: `new`'s caller vouched for it.
        unsafe { Frame::at(self.distributor) }
    }

    /// A CPU's two frames: control, and its own interrupts.
    fn of(self, cpu: usize) -> (Frame, Frame) {
        let own = self.redistributors + cpu as u64 * FRAMES;
        // SAFETY: as above.
        unsafe { (Frame::at(own), Frame::at(own + FRAME)) }
    }

    /// Wakes a CPU that may sleep in the guest, with interrupts masked or not. What can keep it asleep
    /// is what no other CPU reaches: its priority mask, its group enable, an interrupt that it never
    /// ends.
    pub fn wake(self, cpu: usize, mpidr: u64) {
        let (control, local) = self.of(cpu);
        let distributor = self.distributor();
        distributor.store(GICD_CTLR, distributor.load(GICD_CTLR) | FORWARDS);
        control.store(GICR_WAKER, 0);
        local.store(IGROUPR, local.load(IGROUPR) | 1 << WAKE);
        let word = IPRIORITYR + u64::from(WAKE & !3);
        local.store(word, local.load(word) & !(0xff << (8 * (WAKE % 4))));
        local.store(ISENABLER, 1 << WAKE);
        distributor.settle();
        let field = |shift: u32| mpidr >> shift & 0xff;
        let (low, range) = (field(0) & 15, field(0) >> 4);
        guard::send_sgi(
            field(32) << 48
                | range << 44
                | field(16) << 32
                | u64::from(WAKE) << 24
                | field(8) << 16
                | 1 << low,
        );
    }

    /// Distributor and redistributors as they are after a reset: nothing is enabled, pending, active
    /// or routed. No CPU may use them.
    pub fn reset(self, cpus: usize) {
        let distributor = self.distributor();
        distributor.store(GICD_CTLR, 0);
        distributor.settle();
        let last = (u64::from(distributor.load(GICD_TYPER) & 31) + 1) * 32;
        for interrupt in (32..last.min(1020)).step_by(32) {
            quiet(distributor, interrupt);
            for routed in interrupt..(interrupt + 32).min(1020) {
                distributor.store(GICD_IROUTER + 8 * routed, 0);
                distributor.store(GICD_IROUTER + 8 * routed + 4, 0);
            }
        }
        for cpu in 0..cpus {
            let (control, local) = self.of(cpu);
            control.store(GICR_WAKER, 0);
            let _ = (0..PATIENCE).any(|_| control.load(GICR_WAKER) & ASLEEP == 0);
            control.store(GICR_CTLR, 0);
            quiet(local, 0);
            control.store(GICR_WAKER, SLEEP);
        }
        distributor.settle();
    }
}

/// Thirty-two interrupts from one on, in a frame that has their registers.
fn quiet(frame: Frame, first: u64) {
    let bits = first / 8;
    for register in [ICENABLER, ICPENDR, ICACTIVER] {
        frame.store(register + bits, u32::MAX);
    }
    frame.store(IGROUPR + bits, 0);
    frame.store(IGRPMODR + bits, 0);
    for at in (0..32).step_by(4) {
        frame.store(IPRIORITYR + first + at, 0);
    }
    for at in [0, 4] {
        frame.store(ICFGR + first / 4 + at, 0);
    }
}

/// This CPU's interface to the controller, as it is after a reset: nothing gets through, nothing is
/// being served.
///
/// # Safety
/// EL2's access to the interface must be on, and no interrupt of the firmware's own in use.
pub unsafe fn reset_interface() {
    let bits = (read_register!("S3_0_C12_C12_4") >> 8 & 7) + 1;
    // SAFETY: the caller's promise. Of the active priorities only those are touched that a CPU with
    // so many bits of priority has (ICC_CTLR_EL1.PRIbits).
    unsafe {
        write_register!("S3_0_C12_C12_6", 0);
        write_register!("S3_0_C12_C12_7", 0);
        write_register!("S3_0_C4_C6_0", 0);
        write_register!("S3_0_C12_C12_4", 0);
        write_register!("S3_0_C12_C8_4", 0);
        write_register!("S3_0_C12_C9_0", 0);
        // What a guarded guest has of it is virtual: ICH_VMCR_EL2, ICH_AP0R0_EL2, ICH_AP1R0_EL2.
        write_register!("S3_4_C12_C11_7", 0);
        write_register!("S3_4_C12_C8_0", 0);
        write_register!("S3_4_C12_C9_0", 0);
        if bits >= 6 {
            write_register!("S3_0_C12_C8_5", 0);
            write_register!("S3_0_C12_C9_1", 0);
        }
        if bits >= 7 {
            write_register!("S3_0_C12_C8_6", 0);
            write_register!("S3_0_C12_C8_7", 0);
            write_register!("S3_0_C12_C9_2", 0);
            write_register!("S3_0_C12_C9_3", 0);
        }
        cpu::barrier();
    }
}
