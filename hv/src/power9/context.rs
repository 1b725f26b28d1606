// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The contract between the entry/exit assembly and Rust, on one screen.
//!
//! One [`GuestContext`] per vCPU stands behind HSPRG0 for good. An exit stores what a Rust function
//! may clobber (r0–r13, LR, CTR, XER, CR, CFAR, PPR) and where the guest stopped; r14–r31 stay in the
//! machine's registers, which Rust preserves, and are stored only when the handler asks for
//! [`FULL_FRAME`]. Some hypercalls ([`super::light`]) store only what PAPR has them keep. All else
//! (SRR0/1, DAR, DSISR, SPRGs, FP, VMX, VSX, PMU, DEC, PIDR, LPIDR, LPCR) is the guest's for good and
//! never moves; only a machine check or a system reset overwrites SRR0/1.

/// What [`GuestContext::handler`] returns: the guest goes on.
pub const RESUME: u64 = 0;
/// What [`GuestContext::handler`] returns: store r14–r31 too, then call
/// [`GuestContext::slow_handler`], whatever it leaves in the context is what the guest gets.
pub const FULL_FRAME: u64 = 1;
/// What [`GuestContext::handler`] returns: the guest goes on with r14–r31 from the context, too.
pub const BEGIN: u64 = 2;

/// PPR of a core that starts: medium priority.
pub const PPR_MEDIUM: u64 = 3 << (63 - 13);

/// Added to [`GuestContext::vector`] by vectors that save to HSRR0/1.
pub const HSRR_FLAG: u64 = 2;

/// [`GuestContext::in_guest`] while the guest runs: so that one instruction finds whether a system
/// call comes from the guest and from outside problem state.
pub const IN_GUEST: u64 = super::regs::msr::PR;

/// The registers of a stopped vCPU, and what the entry code needs to reach Rust.
#[repr(C, align(128))]
pub struct GuestContext {
    /// r0–r31. r14–r31 are valid only after [`FULL_FRAME`] and with [`BEGIN`].
    pub gpr: [u64; 32],
    /// Where the guest goes on.
    pub nip: u64,
    /// Its machine state.
    pub msr: u64,
    /// Link register.
    pub lr: u64,
    /// Count register.
    pub ctr: u64,
    /// Fixed-point exception register.
    pub xer: u64,
    /// Condition register.
    pub cr: u64,
    /// Come-from address register.
    pub cfar: u64,
    /// Program priority register.
    pub ppr: u64,
    /// The vector of the exit, plus [`HSRR_FLAG`].
    pub vector: u64,
    /// [`IN_GUEST`] while the guest runs, else 0: tells a guest's exit from a fault of the firmware.
    pub in_guest: u64,
    /// Not 0 when a system reset hit the firmware: the guest gets it at its next entry.
    pub pending_reset: u64,
    /// The firmware's stack while it serves an exit.
    pub host_stack: u64,
    /// The stack on which it dies.
    pub fault_stack: u64,
    /// The firmware's table of contents (r2).
    pub host_toc: u64,
    /// The firmware's machine state.
    pub host_msr: u64,
    /// A [`super::light::Calls`]: hypercalls that are answered without a frame.
    pub calls: u64,
    /// The vCPU, for those.
    pub vcpu: u64,
    /// `extern "C" fn(*mut GuestContext) -> u64`: [`RESUME`] or [`FULL_FRAME`].
    pub handler: u64,
    /// `extern "C" fn(*mut GuestContext)`.
    pub slow_handler: u64,
    /// `extern "C" fn(*const FaultFrame, *mut GuestContext) -> !`.
    pub fault_handler: u64,
    /// If exits are timed: the timebase at the exit's vector.
    pub entered: u64,
    /// If exits are timed: the timebase when the guest last went on.
    pub left: u64,
    /// r11, r12, CR and CFAR of the interrupted code, until the vector knows whose they are.
    /// r13 waits in HSPRG1.
    pub scratch: [u64; 4],
    /// The firmware's own registers when it faulted.
    pub fault: FaultFrame,
}

/// The firmware's registers at an exception that it took itself.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FaultFrame {
    /// r0–r31.
    pub gpr: [u64; 32],
    /// SRR0 or HSRR0.
    pub pc: u64,
    /// SRR1 or HSRR1.
    pub msr: u64,
    /// Link register.
    pub lr: u64,
    /// The vector.
    pub vector: u64,
    /// DAR.
    pub dar: u64,
    /// DSISR.
    pub dsisr: u64,
}

const _: () = assert!(size_of::<GuestContext>() == 768);

impl GuestContext {
    /// A vCPU that has not started: all zeros, so that it takes no room in the image.
    pub const EMPTY: Self = Self {
        gpr: [0; 32],
        nip: 0,
        msr: 0,
        lr: 0,
        ctr: 0,
        xer: 0,
        cr: 0,
        cfar: 0,
        ppr: 0,
        vector: 0,
        in_guest: 0,
        pending_reset: 0,
        host_stack: 0,
        fault_stack: 0,
        host_toc: 0,
        host_msr: 0,
        calls: 0,
        vcpu: 0,
        handler: 0,
        slow_handler: 0,
        fault_handler: 0,
        entered: 0,
        left: 0,
        scratch: [0; 4],
        fault: FaultFrame { gpr: [0; 32], pc: 0, msr: 0, lr: 0, vector: 0, dar: 0, dsisr: 0 },
    };
}
