// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The contract between the entry/exit assembly and Rust, on one screen.
//!
//! One [`GuestContext`] per vCPU stands behind TPIDR_EL2 for good. An exit stores what a Rust
//! function may clobber (x0–x18, x30) and where the guest stopped; x19–x29 stay in the machine's
//! registers, which Rust preserves, and go through memory only when the handler asks for
//! [`FULL_FRAME`]. Calls whose answer is the same at all times get it from four registers, without
//! any of that. SP_EL2 is the top of the CPU's stack whenever the guest runs. All else (EL1
//! system registers, SP_EL0, TPIDRs, FP, SVE, timers) is the guest's for good and never moves.

/// What [`GuestContext::handler`] returns: the guest goes on.
pub const RESUME: u64 = 0;
/// What [`GuestContext::handler`] returns: store x19–x29 too, call [`GuestContext::slow_handler`],
/// and load them again.
pub const FULL_FRAME: u64 = 1;

/// The registers of a stopped vCPU, and what the entry code needs to reach Rust.
#[repr(C, align(128))]
pub struct GuestContext {
    /// x0–x30. x19–x29 are valid only after [`FULL_FRAME`].
    pub gpr: [u64; 31],
    /// Where the guest goes on: ELR_EL2.
    pub pc: u64,
    /// Its processor state: SPSR_EL2.
    pub pstate: u64,
    /// Why it stopped: ESR_EL2.
    pub esr: u64,
    /// The vector's offset.
    pub vector: u64,
    /// The top of the stack that serves exits.
    pub host_stack: u64,
    /// The stack on which the firmware dies.
    pub fault_stack: u64,
    /// `extern "C" fn(*mut GuestContext) -> u64`: [`RESUME`] or [`FULL_FRAME`].
    pub handler: u64,
    /// `extern "C" fn(*mut GuestContext)`.
    pub slow_handler: u64,
    /// `extern "C" fn(*const FaultFrame) -> !`.
    pub fault_handler: u64,
    /// The vCPU's row of the ledger, for calls that the vectors answer themselves.
    pub row: u64,
    /// Not zero if they answer none.
    pub calls_in_full: u64,
    /// If exits are timed: the counter at the exit's vector.
    pub entered: u64,
    /// If exits are timed: the counter when the guest last went on.
    pub left: u64,
    /// The firmware's own registers when it faulted.
    pub fault: FaultFrame,
}

/// The firmware's registers at an exception that it took itself.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FaultFrame {
    /// x0–x30.
    pub gpr: [u64; 31],
    /// The stack pointer.
    pub sp: u64,
    /// ELR_EL2.
    pub pc: u64,
    /// SPSR_EL2.
    pub pstate: u64,
    /// ESR_EL2.
    pub esr: u64,
    /// FAR_EL2.
    pub far: u64,
    /// The vector's offset.
    pub vector: u64,
}

/// What a secondary CPU needs before it can use caches; one cache line, cleaned to memory.
#[repr(C, align(64))]
#[derive(Clone, Copy, Default)]
pub struct SecondaryStart {
    /// MAIR_EL2.
    pub mair: u64,
    /// TCR_EL2.
    pub tcr: u64,
    /// TTBR0_EL2.
    pub ttbr: u64,
    /// SCTLR_EL2.
    pub sctlr: u64,
    /// Its stack.
    pub stack: u64,
    /// `extern "C" fn(vcpu: u64) -> !`.
    pub entry: u64,
    /// The argument.
    pub vcpu: u64,
}

const _: () = assert!(size_of::<GuestContext>() == 768);
const _: () = assert!(size_of::<SecondaryStart>() == 64);

impl GuestContext {
    /// A vCPU that has not started.
    pub const EMPTY: Self = Self {
        gpr: [0; 31],
        pc: 0,
        pstate: 0,
        esr: 0,
        vector: 0,
        host_stack: 0,
        fault_stack: 0,
        handler: 0,
        slow_handler: 0,
        fault_handler: 0,
        row: 0,
        calls_in_full: 0,
        entered: 0,
        left: 0,
        fault: FaultFrame { gpr: [0; 31], sp: 0, pc: 0, pstate: 0, esr: 0, far: 0, vector: 0 },
    };

    /// A register as an instruction names it: 31 is zero.
    #[must_use]
    pub fn register(&self, number: u64) -> u64 {
        self.gpr.get(number as usize).copied().unwrap_or(0)
    }

    /// Sets a register; 31 takes nothing.
    pub fn set_register(&mut self, number: u64, value: u64) {
        if let Some(register) = self.gpr.get_mut(number as usize) {
            *register = value;
        }
    }
}
