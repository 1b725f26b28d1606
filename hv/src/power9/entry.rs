// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The entry/exit assembly, bound to the fields of [`GuestContext`] by name.
#![expect(unsafe_code, reason = "binds the assembly of entry.S")]

use core::mem::offset_of;

use super::context::{BEGIN, GuestContext, IN_GUEST};
use super::flush::branch;
use super::hcall::H_RTAS;
use super::light;

core::arch::global_asm!(
    ".set GC_GPR, {gpr}", ".set GC_NIP, {nip}", ".set GC_MSR, {msr}", ".set GC_LR, {lr}",
    ".set GC_CTR, {ctr}", ".set GC_XER, {xer}", ".set GC_CR, {cr}", ".set GC_CFAR, {cfar}",
    ".set GC_PPR, {ppr}", ".set GC_PENDING_RESET, {pending_reset}", ".set GC_VECTOR, {vector}", ".set GC_IN_GUEST, {in_guest}",
    ".set GC_HOST_STACK, {host_stack}", ".set GC_FAULT_STACK, {fault_stack}",
    ".set GC_HOST_TOC, {host_toc}", ".set GC_HOST_MSR, {host_msr}", ".set GC_HANDLER, {handler}",
    ".set GC_SLOW_HANDLER, {slow_handler}", ".set GC_FAULT_HANDLER, {fault_handler}",
    ".set GC_SCRATCH, {scratch}", ".set GC_FAULT, {fault}", ".set GC_CALLS, {calls}",
    ".set GC_ENTERED, {entered}", ".set GC_LEFT, {left}",
    ".set IN_GUEST, {inside}", ".set BEGIN, {begin}", ".set CALL_SLOTS, {slots}", ".set CALL_RTAS, {rtas}",
    include_str!("entry.S"),
    gpr = const offset_of!(GuestContext, gpr),
    nip = const offset_of!(GuestContext, nip),
    msr = const offset_of!(GuestContext, msr),
    lr = const offset_of!(GuestContext, lr),
    ctr = const offset_of!(GuestContext, ctr),
    xer = const offset_of!(GuestContext, xer),
    cr = const offset_of!(GuestContext, cr),
    cfar = const offset_of!(GuestContext, cfar),
    ppr = const offset_of!(GuestContext, ppr),
    pending_reset = const offset_of!(GuestContext, pending_reset),
    vector = const offset_of!(GuestContext, vector),
    in_guest = const offset_of!(GuestContext, in_guest),
    host_stack = const offset_of!(GuestContext, host_stack),
    fault_stack = const offset_of!(GuestContext, fault_stack),
    host_toc = const offset_of!(GuestContext, host_toc),
    host_msr = const offset_of!(GuestContext, host_msr),
    handler = const offset_of!(GuestContext, handler),
    slow_handler = const offset_of!(GuestContext, slow_handler),
    fault_handler = const offset_of!(GuestContext, fault_handler),
    scratch = const offset_of!(GuestContext, scratch),
    fault = const offset_of!(GuestContext, fault),
    calls = const offset_of!(GuestContext, calls),
    entered = const offset_of!(GuestContext, entered),
    left = const offset_of!(GuestContext, left),
    inside = const IN_GUEST,
    begin = const BEGIN,
    slots = const light::UNKNOWN,
    rtas = const H_RTAS,
);

unsafe extern "C" {
    /// First byte of the block that is copied to each of [`anchorite_spec::low::VECTORS`].
    pub safe static p9_vectors_start: u8;
    /// One past its last byte.
    pub safe static p9_vectors_end: u8;
    /// Where the block reads the time if exits are timed: what becomes a branch.
    safe static p9_call: u8;
    safe static p9_exit: u8;
    safe static p9_return: u8;
    safe static p9_timed_call: u8;
    safe static p9_timed_exit: u8;
    safe static p9_timed_return: u8;
    /// The first entry's code inside the block; run it in the copy.
    pub safe static p9_enter: u8;
    safe static p9_call_in: u8;
    safe static p9_call_out: u8;
    safe static p9_exit_in: u8;
    safe static p9_exit_out: u8;
}

/// Where a flush is called if one is wanted, from the block's first byte: on the ways from the guest,
/// then on those back to it.
#[must_use]
pub fn sites() -> [[u64; 2]; 2] {
    [
        [&raw const p9_call_in, &raw const p9_exit_in],
        [&raw const p9_call_out, &raw const p9_exit_out],
    ]
    .map(|way| way.map(|site| site as u64 - &raw const p9_vectors_start as u64))
}

/// What a copy of the block has to be changed in for exits to be timed ([`crate::core::timing`]): bytes
/// from its first, and the instruction that is to be there.
#[must_use]
pub fn timed() -> [(u64, u32); 3] {
    [
        (&raw const p9_call, &raw const p9_timed_call),
        (&raw const p9_exit, &raw const p9_timed_exit),
        (&raw const p9_return, &raw const p9_timed_return),
    ]
    .map(|(from, to)| {
        let at = from as u64 - &raw const p9_vectors_start as u64;
        (at, branch(from as u64, to as u64))
    })
}
