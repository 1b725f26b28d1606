// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts that the firmware raises in the guest, exactly as the core would: SRR0 and SRR1 from
//! where the guest stopped, the machine state that interrupts start with, the vector in guest real
//! memory (Power ISA 3.0B, Book III, 6.5).
use super::board::Power9;
use super::context::GuestContext;
use super::regs::{lpcr, msr, vector};

/// MSR bits that SRR1 takes from the interrupted state; the others carry the cause.
const SRR1_FROM_MSR: u64 = !(0x783f_0000_u64);

/// Where interrupts are that keep translation on.
const RELOCATED: u64 = 0xc000_0000_0000_4000;

fn deliver<M: Power9>(machine: &mut M, ctx: &mut GuestContext, at: u64, cause: u64) {
    let interrupted = ctx.msr & !msr::HV;
    machine.set_srr(ctx.nip, (interrupted & SRR1_FROM_MSR) | cause);
    let little = if machine.lpcr() & lpcr::ILE != 0 { msr::LE } else { 0 };
    // ME is kept: the firmware always runs the guest with it set.
    ctx.msr = msr::SF | msr::ME | little;
    ctx.nip = at;
    let translation = msr::IR | msr::DR;
    let never = matches!(at, vector::SYSTEM_RESET | vector::MACHINE_CHECK);
    let kept = machine.lpcr() & lpcr::AIL_3 == lpcr::AIL_3 && !never;
    if kept && interrupted & translation == translation {
        ctx.msr |= translation;
        ctx.nip |= RELOCATED;
    }
}

/// A program interrupt with one of [`super::regs::program`]'s causes.
pub fn program<M: Power9>(machine: &mut M, ctx: &mut GuestContext, cause: u64) {
    deliver(machine, ctx, vector::PROGRAM, cause);
}

/// A data storage interrupt.
pub fn data_storage<M: Power9>(machine: &mut M, ctx: &mut GuestContext, dar: u64, dsisr: u64) {
    machine.set_dar_dsisr(dar, dsisr);
    deliver(machine, ctx, vector::DATA_STORAGE, 0);
}

/// An instruction storage interrupt.
pub fn instruction_storage<M: Power9>(machine: &mut M, ctx: &mut GuestContext, cause: u64) {
    deliver(machine, ctx, vector::INSTRUCTION_STORAGE, cause);
}

/// SRR1 of a machine check caused by a load or store, POWER9 encoding: bit 42.
const SRR1_LOAD_STORE: u64 = 1 << (63 - 42);
/// SRR1 of a machine check caused by an instruction fetch: uncorrectable error, bits 43:45 = 1.
const SRR1_FETCH_UE: u64 = 1 << (63 - 45);
/// DSISR of a machine check: uncorrectable error on a load or store.
const DSISR_UE: u64 = 0x8000;

/// A machine check for a load or store that memory did not answer.
pub fn data_machine_check<M: Power9>(machine: &mut M, ctx: &mut GuestContext, address: u64) {
    machine.set_dar_dsisr(address, DSISR_UE);
    deliver(machine, ctx, vector::MACHINE_CHECK, SRR1_LOAD_STORE);
}

/// A machine check for an instruction fetch that memory did not answer.
pub fn fetch_machine_check<M: Power9>(machine: &mut M, ctx: &mut GuestContext) {
    deliver(machine, ctx, vector::MACHINE_CHECK, SRR1_FETCH_UE);
}

/// A machine check that the core raised and that belongs to the guest, handed on as it came.
pub fn forward_machine_check<M: Power9>(machine: &mut M, ctx: &mut GuestContext) {
    let cause = ctx.msr & !SRR1_FROM_MSR;
    deliver(machine, ctx, vector::MACHINE_CHECK, cause);
}

/// A system reset.
pub fn system_reset<M: Power9>(machine: &mut M, ctx: &mut GuestContext) {
    deliver(machine, ctx, vector::SYSTEM_RESET, 1 << (63 - 43));
}
