// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every vector and every exception class has an answer: the guest goes on, gets the architecture's
//! own exception, or the run ends with a code. None spins.
use anchorite_spec::{End, ExitReason};

use super::board::Arm64;
use super::context::GuestContext;
use super::regs::{abort, class, pstate};
use super::vcpu::Vcpu;
use super::{gic, inject, psci, report};
use crate::core::Action;

/// Vectors of synchronous exceptions from the guest: AArch64, AArch32 user programs.
const SYNCHRONOUS: [u64; 2] = [0x400, 0x600];

/// Whether serving this exit touches registers that only a full frame holds.
#[must_use]
pub fn needs_frame(ctx: &GuestContext) -> bool {
    let register = match ctx.esr >> 26 {
        class::DATA if ctx.esr & abort::ISV != 0 => ctx.esr >> 16 & 31,
        class::SYSTEM => ctx.esr >> 5 & 31,
        _ => return false,
    };
    (19..=29).contains(&register)
}

/// Serves one exit.
pub fn serve<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    if !SYNCHRONOUS.contains(&ctx.vector) {
        // Interrupts and SErrors go to EL1 as long as HCR_EL2 is what the firmware set.
        v.count(ExitReason::AsyncToEl2);
        report::guest_fault(v, ctx, &"interrupt or SError at EL2", None, "the run ends");
        v.last_words.push(b"an interrupt or SError of the guest reached EL2");
        return Action::End(End::FirmwareFault);
    }
    match ctx.esr >> 26 {
        class::HVC => psci::serve(v, ctx),
        class::SMC => {
            // A trapped SMC is not behind us yet.
            ctx.pc += 4;
            if ctx.esr & 0xffff != 0 {
                v.count(ExitReason::SmcccUnknown);
                ctx.gpr[0] = psci::code::NOT_SUPPORTED as u64;
                return Action::Resume;
            }
            psci::serve(v, ctx)
        }
        class::DATA => data_abort(v, ctx),
        class::FETCH => fetch_abort(v, ctx),
        class::SYSTEM => system_register(v, ctx),
        other => {
            v.count(ExitReason::UndefinedTrap);
            let what = format_args!("exception of class {other:#x}");
            report::guest_fault(v, ctx, &what, None, "undefined instruction");
            inject::undefined(&mut v.machine, ctx);
            Action::Resume
        }
    }
}

/// The guest physical address of an abort; `None` when the guest changed its tables meanwhile and
/// the access is to be tried again.
fn address<M: Arm64>(v: &mut Vcpu<M>, ctx: &GuestContext, write: bool) -> Option<u64> {
    /// Permission faults, of any level.
    const PERMISSION: u64 = 0b0011;
    let fault = v.machine.fault();
    let page = if ctx.esr & abort::TABLE_WALK != 0 {
        return Some((fault.hpfar >> 4) << 12);
    } else if (ctx.esr & abort::STATUS) >> 2 == PERMISSION {
        // HPFAR_EL2 does not have to hold anything then.
        let user = ctx.pstate & (pstate::MODE | pstate::AARCH32) == 0;
        v.machine.translate(fault.far, write, user)?
    } else {
        (fault.hpfar >> 4) << 12
    };
    Some(page | fault.far & 0xfff)
}

fn data_abort<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    let write = ctx.esr & abort::WRITE != 0;
    let Some(address) = address(v, ctx, write) else {
        v.count(ExitReason::DataAbort);
        return Action::Resume;
    };
    let frames = v.shared.redistributors;
    let in_frames = frames.contains(anchorite_spec::Range::new(address, 1));
    if write && in_frames && ctx.esr & (abort::ISV | abort::TABLE_WALK) == abort::ISV {
        return redistributor(v, ctx, address);
    }
    v.count(ExitReason::DataAbort);
    let what = match (ctx.esr & abort::TABLE_WALK != 0, write) {
        (true, _) => "walk of its own tables",
        (_, true) => "store",
        _ => "load",
    };
    report::guest_fault(v, ctx, &what, Some(address), "external abort injected");
    let far = v.machine.fault().far;
    inject::external_abort(&mut v.machine, ctx, far, false);
    Action::Resume
}

/// A store to a redistributor's control frame.
fn redistributor<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext, address: u64) -> Action {
    v.count(ExitReason::GicrWrite);
    let size = 1 << (ctx.esr >> 22 & 3);
    let value = ctx.register(ctx.esr >> 16 & 31);
    let value = if size == 8 { value } else { value & ((1 << (8 * size)) - 1) };
    let offset = (address - v.shared.redistributors.base) % gic::FRAMES;
    let host = v.shared.redistributor(address);
    if let Some((place, value)) = gic::filter(host, offset, size, value) {
        v.machine.device_write(place, size, value);
    }
    ctx.pc += 4;
    Action::Resume
}

fn fetch_abort<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    v.count(ExitReason::InstructionAbort);
    let Some(address) = address(v, ctx, false) else { return Action::Resume };
    let (vbar, _) = v.machine.vectors();
    if ctx.pc.wrapping_sub(vbar) < 0x800 {
        // Whatever it were given now would only bring it here again.
        report::guest_fault(v, ctx, &"vectors", Some(address), "the run ends");
        v.last_words.push(b"the guest's exception vectors are not in its memory");
        return Action::End(End::GuestPanic);
    }
    report::guest_fault(v, ctx, &"instruction fetch", Some(address), "external abort injected");
    let far = v.machine.fault().far;
    inject::external_abort(&mut v.machine, ctx, far, true);
    Action::Resume
}

/// Registers that are trapped: ACTLR_EL1 reads as zero, the others do not exist.
fn system_register<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    /// The ISS of ACTLR_EL1 without register and direction.
    const ACTLR: u64 = 3 << 20 | 1 << 17 | 1 << 10;
    v.count(ExitReason::SystemRegister);
    let iss = ctx.esr & 0x1ff_ffff;
    if iss & !(31 << 5 | 1) == ACTLR {
        if iss & 1 != 0 {
            ctx.set_register(iss >> 5 & 31, 0);
        }
        ctx.pc += 4;
        return Action::Resume;
    }
    let field = |shift: u32, bits: u64| iss >> shift & bits;
    let what = format_args!(
        "access to system register S{}_{}_C{}_C{}_{}",
        field(20, 3),
        field(14, 7),
        field(10, 15),
        field(1, 15),
        field(17, 7)
    );
    report::guest_fault(v, ctx, &what, None, "undefined instruction");
    inject::undefined(&mut v.machine, ctx);
    Action::Resume
}

#[cfg(test)]
mod tests {
    use super::super::board::Fault;
    use super::super::fake::{context, vcpu};
    use super::super::regs::pstate;
    use super::*;

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

    #[test]
    fn tables_that_changed_meanwhile_are_tried_again() {
        let mut v = vcpu();
        let mut ctx = context(0x9381_004f);
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        assert_eq!((ctx.pc, v.machine.exception), (0x4000, None));
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
