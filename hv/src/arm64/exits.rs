// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every vector and every exception class has an answer: the guest goes on, gets the architecture's
//! own exception, or the run ends with a code. None spins.
use anchorite_spec::{End, ExitReason};

use super::board::Arm64;
use super::context::GuestContext;
use super::regs::{ESR_IL, ICC_ASGI1R, ICC_SGI0R, ICC_SGI1R, abort, class, pstate};
use super::vcpu::{GicPlace, Vcpu};
use super::{gic, inject, psci, report, sdei, watchdog};
use crate::core::Action;
use crate::core::fault::{Access, Class, Cure, NOWHERE, Told};

/// What kind of exception a vector is for, whether from AArch64 or from AArch32 user programs.
const KIND: u64 = 0x180;
const SYNCHRONOUS: u64 = 0x000;
const FIQ: u64 = 0x100;
/// The register that a system instruction names, in its ISS.
const REGISTER: u64 = 31 << 5;

/// Serves what a guarded guest leaves for all the time, in few instructions; false for anything else.
#[inline]
pub fn quick<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> bool {
    /// ESR_EL2 of a store to ICC_SGI1R_EL1.
    const SEND: u64 = class::SYSTEM << 26 | ESR_IL | ICC_SGI1R;
    if !v.guarded {
        return false;
    }
    match ctx.vector & KIND {
        FIQ => {
            let timer = v.machine.serve_fiq();
            v.count(if timer { ExitReason::El2Timer } else { ExitReason::FiqSpurious });
            let watched = v.shared.watchdog.is_on();
            !timer || !watched && (v.masks == 0 || !sdei::is_stuck(v, ctx))
        }
        SYNCHRONOUS if ctx.esr & !REGISTER == SEND && !needs_frame(ctx) => {
            send_sgi(v, ctx);
            true
        }
        _ => false,
    }
}

/// A store to ICC_SGI1R_EL1, made in the guest's stead.
#[inline]
fn send_sgi<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) {
    v.count(ExitReason::GicSgi);
    v.machine.send_sgi(ctx.register(ctx.esr >> 5 & 31));
    ctx.pc += 4;
}

/// Whether serving this exit touches registers that only a full frame holds.
#[must_use]
pub fn needs_frame(ctx: &GuestContext) -> bool {
    if ctx.vector & KIND != SYNCHRONOUS {
        return false;
    }
    let register = match ctx.esr >> 26 {
        class::DATA if ctx.esr & abort::ISV != 0 => ctx.esr >> 16 & 31,
        class::SYSTEM => ctx.esr >> 5 & 31,
        _ => return false,
    };
    (19..=29).contains(&register)
}

/// Serves one exit that [`quick`] has left.
pub fn serve<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    let at = ctx.pc;
    let action = answer(v, ctx);
    v.trail.push(v.reason, at);
    action
}

fn answer<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    if ctx.vector & KIND == FIQ && v.guarded {
        if !v.shared.watchdog.is_on() || v.masks != 0 && sdei::is_stuck(v, ctx) {
            v.last_words.push(b"it stopped its CPUs and went no further");
            return Action::End(End::GuestPanic);
        }
        return watchdog::look(v);
    }
    if ctx.vector & KIND != SYNCHRONOUS {
        // Other interrupts and SErrors go to EL1 as long as HCR_EL2 is what the firmware set.
        v.count(ExitReason::AsyncToEl2);
        report::event(v, ctx, Access::Asynchronous, "the run ends");
        v.last_words.push(b"an interrupt or SError of the guest reached EL2");
        return Action::End(End::FirmwareFault);
    }
    match ctx.esr >> 26 {
        class::HVC => call(v, ctx),
        class::SMC => {
            // A trapped SMC is not behind us yet.
            ctx.pc += 4;
            call(v, ctx)
        }
        class::DATA => data_abort(v, ctx),
        class::FETCH => fetch_abort(v, ctx),
        class::SYSTEM => system_register(v, ctx),
        class::WAIT if v.shared.watchdog.is_on() => watchdog::sleeps(v),
        _ => {
            v.count(ExitReason::UndefinedTrap);
            refused(v, ctx, Class::Instruction, Access::Instruction)
        }
    }
}

/// An instruction that does not exist for the guest.
fn refused<M: Arm64>(
    v: &mut Vcpu<M>,
    ctx: &mut GuestContext,
    class: Class,
    access: Access,
) -> Action {
    let cure = if v.shared.hidden.is_why(ctx.esr) { Cure::HideNothing } else { Cure::Withheld };
    let cause = ctx.esr;
    let told = Told { class, access, cure, cause, address: 0, guest: NOWHERE };
    if let Some(action) = report::fault(v, ctx, &told, "undefined instruction") {
        return action;
    }
    inject::undefined(&mut v.machine, ctx);
    report::answered(v)
}

/// A call: SMCCC's have no immediate.
fn call<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    if ctx.esr & 0xffff == 0 {
        return psci::serve(v, ctx);
    }
    v.count(ExitReason::SmcccUnknown);
    let (class, access, cure) = (Class::Instruction, Access::Call, Cure::Withheld);
    let told = Told { class, access, cure, cause: ctx.esr, address: 0, guest: NOWHERE };
    if let Some(action) = report::fault(v, ctx, &told, "not supported") {
        return action;
    }
    ctx.gpr[0] = psci::code::NOT_SUPPORTED as u64;
    report::answered(v)
}

/// The guest physical address of an abort; `None` when the guest's own tables do not lead there.
fn address<M: Arm64>(v: &mut Vcpu<M>, ctx: &GuestContext, write: bool) -> Option<u64> {
    /// Permission faults, of any level.
    const PERMISSION: u64 = 0b0011;
    let fault = v.machine.fault();
    let page = if ctx.esr & abort::TABLE_WALK != 0 {
        return Some((fault.hpfar >> 4) << 12);
    } else if (ctx.esr & abort::STATUS) >> 2 == PERMISSION {
        // HPFAR_EL2 does not have to hold anything then. What EL0 may execute it need not be able to
        // read, but EL1 is.
        let fetch = ctx.esr >> 26 == class::FETCH;
        let user = ctx.pstate & (pstate::MODE | pstate::AARCH32) == 0 && !fetch;
        v.machine.translate(fault.far, write, user)?
    } else {
        (fault.hpfar >> 4) << 12
    };
    v.retries = 0;
    Some(page | fault.far & 0xfff)
}

/// An abort whose access the guest's own tables do not allow: another of its CPUs has changed them
/// meanwhile, and the access is tried again. Not for ever: there may be rights that looking the
/// address up knows nothing of.
fn gone<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext, fetch: bool) -> Action {
    const RETRIES: u32 = 16;
    v.retries += 1;
    if v.retries <= RETRIES {
        return Action::Resume;
    }
    v.retries = 0;
    let access = if fetch { Access::Fetch } else { Access::Load };
    let (class, cure) = (Class::Permission, Cure::OwnTables);
    let (cause, address, guest) = (ctx.esr, v.machine.fault().far, NOWHERE);
    refuse(v, ctx, &Told { class, access, cure, cause, address, guest })
}

/// An access that the guest does not get: an external abort.
fn refuse<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext, told: &Told) -> Action {
    if let Some(action) = report::fault(v, ctx, told, "external abort injected") {
        return action;
    }
    let fetch = ctx.esr >> 26 == class::FETCH;
    inject::external_abort(&mut v.machine, ctx, told.address, fetch);
    report::answered(v)
}

/// An access that stage 2 has refused.
#[cold]
#[inline(never)]
fn access_to<M: Arm64>(v: &Vcpu<M>, ctx: &GuestContext, access: Access, guest: u64) -> Told {
    let frame = v.shared.gic(guest).map(|place| place.frame);
    let (class, cure) = match (v.shared.reach.is_mapped(guest), access, frame) {
        (false, ..) => (Class::Hole, Cure::Region),
        (_, Access::Fetch, _) => (Class::Permission, Cure::NoCode),
        (_, _, Some(gic::Frame::Distributor)) => (Class::Permission, Cure::DirectInterrupts),
        _ => (Class::Permission, Cure::Filtered),
    };
    Told { class, access, cure, cause: ctx.esr, address: v.machine.fault().far, guest }
}

fn data_abort<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    let write = ctx.esr & abort::WRITE != 0;
    let Some(address) = address(v, ctx, write) else {
        v.count(ExitReason::DataAbort);
        return gone(v, ctx, false);
    };
    if write
        && ctx.esr & (abort::ISV | abort::TABLE_WALK) == abort::ISV
        && let Some(place) = v.shared.gic(address)
    {
        return gic_store(v, ctx, place);
    }
    v.count(ExitReason::DataAbort);
    let access = match (ctx.esr & abort::TABLE_WALK != 0, write) {
        (true, _) => Access::Walk,
        (_, true) => Access::Store,
        _ => Access::Load,
    };
    let told = access_to(v, ctx, access, address);
    refuse(v, ctx, &told)
}

/// A store to the interrupt controller.
fn gic_store<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext, place: GicPlace) -> Action {
    let GicPlace { frame, offset, host } = place;
    v.count(match frame {
        gic::Frame::Distributor => ExitReason::GicdWrite,
        gic::Frame::Control | gic::Frame::Local => ExitReason::GicrWrite,
    });
    let size = 1 << (ctx.esr >> 22 & 3);
    let value = ctx.register(ctx.esr >> 16 & 31);
    let value = if size == 8 { value } else { value & ((1 << (8 * size)) - 1) };
    let mode = gic::Mode { guarded: v.guarded, lpis: v.shared.lpis };
    if let Some(value) = gic::filter(frame, mode, offset, size, value) {
        v.machine.device_write(host, size, value);
    }
    ctx.pc += 4;
    Action::Resume
}

fn fetch_abort<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    v.count(ExitReason::InstructionAbort);
    let address = address(v, ctx, false);
    let (vbar, _) = v.machine.vectors();
    let access = if ctx.esr & abort::TABLE_WALK != 0 { Access::Walk } else { Access::Fetch };
    let told = match address {
        Some(address) => access_to(v, ctx, access, address),
        None => {
            let (class, cure, address) = (Class::Permission, Cure::OwnTables, ctx.pc);
            Told { class, access, cure, cause: ctx.esr, address, guest: NOWHERE }
        }
    };
    if ctx.pc.wrapping_sub(vbar) < 0x800 && (address.is_some() || v.retries > 0) {
        // Whatever it were given now would only bring it here again.
        if let Some(action) = report::fault(v, ctx, &told, "the run ends: vectors") {
            return action;
        }
        v.last_words.push(b"the guest's exception vectors are not in its memory");
        return Action::End(End::GuestPanic);
    }
    match address {
        None => gone(v, ctx, true),
        Some(_) => refuse(v, ctx, &told),
    }
}

/// Registers that are trapped: interrupts between CPUs are sent on, ACTLR_EL1 reads as zero, ID
/// registers tell nothing of what the config hides, the others do not exist.
fn system_register<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    /// The ISS of ACTLR_EL1 without register and direction.
    const ACTLR: u64 = 3 << 20 | 1 << 17 | 1 << 10;
    /// Op0, Op1, CRn and the direction in an ISS, and what they are for ID registers.
    const ID_SPACE: u64 = 3 << 20 | 7 << 14 | 15 << 10 | 1;
    const ID_READ: u64 = 3 << 20 | 1;
    let iss = ctx.esr & 0x1ff_ffff;
    if v.guarded {
        match iss & !REGISTER {
            ICC_SGI1R => {
                send_sgi(v, ctx);
                return Action::Resume;
            }
            // For Group 0 and for another security state: the guest has neither.
            ICC_ASGI1R | ICC_SGI0R => {
                v.count(ExitReason::GicSgi);
                ctx.pc += 4;
                return Action::Resume;
            }
            _ => {}
        }
    }
    v.count(ExitReason::SystemRegister);
    if iss & !(REGISTER | 1) == ACTLR {
        if iss & 1 != 0 {
            ctx.set_register(iss >> 5 & 31, 0);
        }
        ctx.pc += 4;
        return Action::Resume;
    }
    let field = |shift: u32, bits: u64| iss >> shift & bits;
    if iss & ID_SPACE == ID_READ && field(1, 15) < 8 {
        let (crm, op2) = (field(1, 15) as u32, field(17, 7) as u32);
        let value = v.machine.id_register(crm, op2);
        ctx.set_register(field(5, 31), v.shared.hidden.view(crm, op2, value));
        ctx.pc += 4;
        return Action::Resume;
    }
    refused(v, ctx, Class::Register, Access::Register)
}

#[cfg(test)]
mod tests {
    use super::super::board::Fault;
    use super::super::fake::{context, served, vcpu, vcpu_of};
    use super::super::regs::pstate;
    use super::*;

    /// As the firmware does it.
    fn serve(v: &mut Vcpu<super::super::fake::Fake>, ctx: &mut GuestContext) -> Action {
        if quick(v, ctx) {
            return Action::Resume;
        }
        served(v, ctx)
    }

    fn count(v: &Vcpu<super::super::fake::Fake>, reason: ExitReason) -> u64 {
        v.row.count[reason.slot()]
    }

    #[test]
    fn a_load_from_a_hole_is_an_external_abort() {
        let mut v = vcpu();
        v.machine.fault = Fault { far: 0xffff_0000_1234_5678, hpfar: 0x20_0000 };
        let mut ctx = context(0x93c0_8007);
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        let esr = 0x9600_0010;
        let expected = (0x4000, 0x6000_0005, esr, Some(0xffff_0000_1234_5678));
        assert_eq!(v.machine.exception, Some(expected));
        assert_eq!(ctx.pc, v.machine.vbar + 0x200);
        assert_eq!(ctx.pstate, 0x6000_03c5 | pstate::PAN);
        assert_eq!(count(&v, ExitReason::DataAbort), 1);
        let report = String::from_utf8(v.machine.output).expect("text");
        assert!(
            report.contains("guest load at guest physical 0x20000678 (nothing mapped"),
            "{report}"
        );
    }

    #[test]
    fn a_user_programs_abort_is_told_as_such() {
        let mut v = vcpu();
        let mut ctx = context(0x9200_0047);
        ctx.pstate = 0;
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        assert_eq!(v.machine.exception.map(|e| e.2), Some(0x9200_0050));
        assert_eq!(ctx.pc, v.machine.vbar + 0x400);
    }

    #[test]
    fn control_frames_take_what_is_harmless() {
        // str w1 to WAKER, str x1 to PENDBASER of the second CPU: permission faults.
        for (offset, esr, written) in
            [(0x14, 0x9381_004f, Some((0x80a_0014, 4, 2))), (0x2_0078, 0x93c1_804f, None)]
        {
            let mut v = vcpu();
            v.machine.fault.far = 0xffff_8000_8000_0000 | offset & 0xfff;
            v.machine.translated = Some(0x80a_0000 + (offset & !0xfff));
            let mut ctx = context(esr);
            ctx.gpr[1] = 0xffff_ffff_ffff_fffe;
            assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
            assert_eq!(v.machine.writes.first().copied(), written);
            assert_eq!((ctx.pc, count(&v, ExitReason::GicrWrite)), (0x4004, 1));
        }
    }

    /// A word stored to a guest physical address that may be read only.
    fn store(v: &mut Vcpu<super::super::fake::Fake>, address: u64, value: u64) -> GuestContext {
        v.machine.fault.far = 0xffff_8000_8000_0000 | address & 0xfff;
        v.machine.translated = Some(address & !0xfff);
        let mut ctx = context(0x9381_004f);
        ctx.gpr[1] = value;
        assert_eq!(serve(v, &mut ctx), Action::Resume);
        ctx
    }

    #[test]
    fn guarded_frames_keep_the_timer() {
        let mut v = vcpu_of(true);
        // ICENABLER0 of the second CPU, GICD_CTLR, an enable of the first shared interrupts.
        for (address, value, stored) in
            [(0x80d_0180, 0xffff_ffff, 0xfbff_ffff), (0x800_0000, 0, 0x51), (0x800_0104, 2, 2)]
        {
            let ctx = store(&mut v, address, value);
            assert_eq!((ctx.pc, v.machine.writes.pop()), (0x4004, Some((address, 4, stored))));
        }
        store(&mut v, 0x80b_0080, 0);
        assert!(v.machine.writes.is_empty(), "IGROUPR0 stays");
        assert_eq!((count(&v, ExitReason::GicdWrite), count(&v, ExitReason::GicrWrite)), (2, 2));
        // Pairs, atomics and the like name no register.
        let mut ctx = context(0x9200_004f);
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        assert_eq!(v.machine.exception.map(|e| e.2), Some(0x9600_0050));
    }

    #[test]
    fn guarded_interrupts_are_sent_and_counted() {
        let mut v = vcpu_of(true);
        for (iss, sent) in [(0x3a_3016_u64, Some(7)), (0x3c_3016, None), (0x3e_3016, None)] {
            let mut ctx = context(0x62 << 24 | iss | 3 << 5);
            ctx.gpr[3] = 7;
            assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
            assert_eq!((ctx.pc, v.machine.sgis.pop()), (0x4004, sent));
        }
        assert_eq!(count(&v, ExitReason::GicSgi), 3);
        for (vector, rings, reason) in
            [(0x500, true, ExitReason::El2Timer), (0x700, false, ExitReason::FiqSpurious)]
        {
            let mut ctx = context(0);
            (ctx.vector, v.machine.timer_rings) = (vector, rings);
            assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
            assert_eq!((ctx.pc, count(&v, reason)), (0x4000, 1));
        }
        // Without a guard there are none of these.
        let mut v = vcpu();
        assert_eq!(serve(&mut v, &mut context(0x62 << 24 | 0x3a_3016)), Action::Resume);
        assert_eq!(count(&v, ExitReason::SystemRegister), 1);
        assert_eq!(v.machine.exception.map(|e| e.2), Some(0x0200_0000));
    }

    #[test]
    fn tables_that_changed_meanwhile_are_tried_again() {
        let mut v = vcpu();
        let mut ctx = context(0x9381_004f);
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        assert_eq!((ctx.pc, v.machine.exception), (0x4000, None));
        // But an access that is never allowed does not come here for ever.
        for esr in [0x9381_004f, 0x8200_000f] {
            let mut ctx = context(esr);
            v.machine.exception = None;
            for _ in 0..100 {
                assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
                if v.machine.exception.is_some() {
                    break;
                }
            }
            assert_eq!(v.machine.exception.map(|e| e.2 & 0x3f), Some(0x10));
        }
    }

    #[test]
    fn an_immediate_makes_it_another_call() {
        for (class, pc) in [(0x16, 0x4000), (0x17, 0x4004)] {
            let mut v = vcpu();
            let mut ctx = context(class << 26 | 1);
            ctx.gpr[0] = 0x8400_0008;
            assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
            assert_eq!((ctx.gpr[0], ctx.pc), (u64::MAX, pc));
        }
    }

    #[test]
    fn vectors_outside_memory_end_the_run() {
        let mut v = vcpu();
        let mut ctx = context(0x8200_0005);
        ctx.pc = v.machine.vbar + 0x200;
        assert_eq!(serve(&mut v, &mut ctx), Action::End(End::GuestPanic));
        ctx.pc = 0x4000;
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        assert_eq!(v.machine.exception.map(|e| e.2), Some(0x8600_0010));
    }

    #[test]
    fn every_class_and_every_vector_is_answered() {
        for class in 0..64 {
            let mut v = vcpu();
            let _ = serve(&mut v, &mut context(class << 26));
            assert_eq!(v.row.count.iter().sum::<u64>(), 1, "{class:#x}");
        }
        let mut v = vcpu();
        let mut ctx = context(0);
        ctx.vector = 0x480;
        assert_eq!(serve(&mut v, &mut ctx), Action::End(End::FirmwareFault));
    }

    #[test]
    fn id_registers_tell_nothing_of_what_is_hidden() {
        let mut v = vcpu();
        // ID_AA64ISAR1_EL1 into x3: all fields are 1, and the lowest says which register it is.
        let read = 0x18 << 26 | 3 << 20 | 1 << 17 | 3 << 5 | 6 << 1 | 1;
        let mut ctx = context(read);
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        assert_eq!((ctx.gpr[3], ctx.pc), (0x1111_1111_0011_1061 & !0xff0 | 1, 0x4004));
        // A store to one, and a register behind the block.
        for esr in [read & !1, read & !(6 << 1) | 8 << 1] {
            let mut ctx = context(esr);
            v.machine.exception = None;
            assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
            assert_eq!(v.machine.exception.map(|e| e.2), Some(0x0200_0000));
        }
    }

    #[test]
    fn actlr_is_zero_and_other_registers_do_not_exist() {
        let mut v = vcpu();
        let mut ctx = context(0x18 << 26 | 3 << 20 | 1 << 17 | 1 << 10 | 3 << 5 | 1);
        ctx.gpr[3] = 7;
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        assert_eq!((ctx.gpr[3], ctx.pc, v.machine.exception), (0, 0x4004, None));
        ctx.esr = 0x18 << 26 | 3 << 20 | 3 << 14 | 15 << 10;
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        assert_eq!(v.machine.exception.map(|e| e.2), Some(0x0200_0000));
    }
}
