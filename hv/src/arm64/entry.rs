// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The entry/exit assembly, bound to the fields of [`GuestContext`] by name.
#![expect(unsafe_code, reason = "binds the assembly of entry.S")]

use core::mem::offset_of;

use super::context::{FaultFrame, GuestContext, SecondaryStart};

core::arch::global_asm!(
    ".set GC_GPR, {gpr}", ".set GC_PC, {pc}", ".set GC_ESR, {esr}",
    ".set GC_HOST_STACK, {host_stack}", ".set GC_FAULT_STACK, {fault_stack}",
    ".set GC_HANDLER, {handler}", ".set GC_SLOW_HANDLER, {slow_handler}",
    ".set GC_FAULT_HANDLER, {fault_handler}", ".set GC_FAULT, {fault}",
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
    sp = const offset_of!(FaultFrame, sp),
    pstate = const offset_of!(FaultFrame, pstate),
    far = const offset_of!(FaultFrame, far),
    mair = const offset_of!(SecondaryStart, mair),
    ttbr = const offset_of!(SecondaryStart, ttbr),
    stack = const offset_of!(SecondaryStart, stack),
    vcpu = const offset_of!(SecondaryStart, vcpu),
);

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
    /// Where a secondary CPU starts: MMU off, x0 = its [`SecondaryStart`].
    pub safe static a64_secondary: u8;
    /// Enters the guest for the first time on this CPU.
    ///
    /// # Safety
    /// The context must be whole and TPIDR_EL2 point at it; all EL2 registers must be set.
    pub fn a64_enter(context: *mut GuestContext) -> !;
}
