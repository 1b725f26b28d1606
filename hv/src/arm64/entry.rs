// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The entry/exit assembly, bound to the fields of [`GuestContext`] by name.
#![expect(unsafe_code, reason = "binds the assembly of entry.S")]

use core::mem::offset_of;

use anchorite_spec::ExitReason;
use anchorite_spec::ledger::Row;

use super::context::{FaultFrame, GuestContext, SecondaryStart};
use super::psci::{PSCI_1_1, code, function};

core::arch::global_asm!(
    ".set GC_GPR, {gpr}", ".set GC_PC, {pc}", ".set GC_ESR, {esr}",
    ".set GC_HOST_STACK, {host_stack}", ".set GC_FAULT_STACK, {fault_stack}",
    ".set GC_HANDLER, {handler}", ".set GC_SLOW_HANDLER, {slow_handler}",
    ".set GC_FAULT_HANDLER, {fault_handler}", ".set GC_FAULT, {fault}",
    ".set GC_ENTERED, {entered}", ".set GC_LEFT, {left}",
    ".set GC_ROW, {row}", ".set GC_CALLS_IN_FULL, {calls_in_full}",
    ".set PSCI, {psci}", ".set PSCI_VERSION, {psci_version}", ".set SMCCC, {smccc}",
    ".set NOT_SUPPORTED, {not_supported}",
    ".set COUNT_VERSION, {count_version}", ".set COUNT_UNKNOWN, {count_unknown}",
    ".set FF_SP, {sp}", ".set FF_PSTATE, {pstate}", ".set FF_FAR, {far}",
    ".set SS_MAIR, {mair}", ".set SS_TTBR, {ttbr}", ".set SS_STACK, {stack}", ".set SS_VCPU, {vcpu}",
    include_str!("entry.S"),
    gpr = const offset_of!(GuestContext, gpr),
    pc = const offset_of!(GuestContext, pc),
    esr = const offset_of!(GuestContext, esr),
    host_stack = const offset_of!(GuestContext, host_stack),
    fault_stack = const offset_of!(GuestContext, fault_stack),
    handler = const offset_of!(GuestContext, handler),
    slow_handler = const offset_of!(GuestContext, slow_handler),
    fault_handler = const offset_of!(GuestContext, fault_handler),
    fault = const offset_of!(GuestContext, fault),
    entered = const offset_of!(GuestContext, entered),
    left = const offset_of!(GuestContext, left),
    row = const offset_of!(GuestContext, row),
    calls_in_full = const offset_of!(GuestContext, calls_in_full),
    psci = const function::VERSION,
    psci_version = const PSCI_1_1,
    smccc = const function::SMCCC_VERSION,
    not_supported = const code::NOT_SUPPORTED,
    count_version = const count_of(ExitReason::PsciVersion),
    count_unknown = const count_of(ExitReason::SmcccUnknown),
    sp = const offset_of!(FaultFrame, sp),
    pstate = const offset_of!(FaultFrame, pstate),
    far = const offset_of!(FaultFrame, far),
    mair = const offset_of!(SecondaryStart, mair),
    ttbr = const offset_of!(SecondaryStart, ttbr),
    stack = const offset_of!(SecondaryStart, stack),
    vcpu = const offset_of!(SecondaryStart, vcpu),
);

/// Where a row of the ledger has a reason's count.
const fn count_of(reason: ExitReason) -> usize {
    offset_of!(Row, count) + reason.slot() * size_of::<u64>()
}

// All functions that are served at all are within 128 of PSCI's first, or within 64 Ki of SMCCC's.
const _: () = assert!(function::TRNG[1] < function::VERSION + 128);
const _: () = assert!(super::sdei::function::ALL[1] < function::VERSION + 128);
const _: () = assert!(function::WORKAROUND_1 < function::SMCCC_VERSION + 0x1_0000);

// `stp` and `ldp` move these together.
const _: () = assert!(offset_of!(GuestContext, pstate) == offset_of!(GuestContext, pc) + 8);
const _: () = assert!(offset_of!(GuestContext, vector) == offset_of!(GuestContext, esr) + 8);
const _: () = assert!(offset_of!(FaultFrame, pc) == offset_of!(FaultFrame, sp) + 8);
const _: () = assert!(offset_of!(FaultFrame, esr) == offset_of!(FaultFrame, pstate) + 8);
const _: () = assert!(offset_of!(FaultFrame, vector) == offset_of!(FaultFrame, far) + 8);
const _: () = assert!(offset_of!(SecondaryStart, tcr) == offset_of!(SecondaryStart, mair) + 8);
const _: () = assert!(offset_of!(SecondaryStart, sctlr) == offset_of!(SecondaryStart, ttbr) + 8);
const _: () = assert!(offset_of!(SecondaryStart, entry) == offset_of!(SecondaryStart, stack) + 8);

unsafe extern "C" {
    /// What VBAR_EL2 points at.
    pub safe static a64_vectors: u8;
    /// The same, if exits are timed ([`crate::core::timing`]): every exit takes the way of all, and the
    /// time is read on it.
    pub safe static a64_timed_vectors: u8;
    /// Where a secondary CPU starts: MMU off, x0 = its [`SecondaryStart`].
    pub safe static a64_secondary: u8;
    /// Enters the guest for the first time on this CPU.
    ///
    /// # Safety
    /// The context must be whole and TPIDR_EL2 point at it; all EL2 registers must be set.
    pub fn a64_enter(context: *mut GuestContext) -> !;
}
