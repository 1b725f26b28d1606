// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exceptions that the guest gets instead of what it asked for, as its own CPU would have taken
//! them (Arm ARM, D1.3 "Exception entry").
use super::board::Arm64;
use super::context::GuestContext;
use super::regs::{ESR_IL, SCTLR_DSSBS, SCTLR_SPAN, abort, pstate};

/// The guest's instruction does not exist.
pub fn undefined<M: Arm64>(machine: &mut M, ctx: &mut GuestContext) {
    synchronous(machine, ctx, ESR_IL, None);
}

/// Nothing answered the guest's access.
pub fn external_abort<M: Arm64>(machine: &mut M, ctx: &mut GuestContext, far: u64, fetch: bool) {
    let from_el1 = u64::from(ctx.pstate & (pstate::AARCH32 | pstate::MODE) != 0);
    let (class, write) = if fetch { (0x20, 0) } else { (0x24, ctx.esr & abort::WRITE) };
    let esr = (class + from_el1) << 26 | ESR_IL | write | abort::EXTERNAL;
    synchronous(machine, ctx, esr, Some(far));
}

fn synchronous<M: Arm64>(machine: &mut M, ctx: &mut GuestContext, esr: u64, far: Option<u64>) {
    let (vbar, sctlr) = machine.vectors();
    let offset = match ctx.pstate & (pstate::AARCH32 | pstate::MODE) {
        0b0101 => 0x200,
        0b0100 => 0,
        0b0000 => 0x400,
        _ => 0x600,
    };
    machine.set_exception(ctx.pc, ctx.pstate, esr, far);
    ctx.pc = vbar + offset;
    let mut next = ctx.pstate & pstate::KEPT | pstate::EL1H_MASKED | ctx.pstate & pstate::PAN;
    if sctlr & SCTLR_SPAN == 0 {
        next |= pstate::PAN;
    }
    if sctlr & SCTLR_DSSBS != 0 {
        next |= pstate::SSBS;
    }
    ctx.pstate = next;
}
