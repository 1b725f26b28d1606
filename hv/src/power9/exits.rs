// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every vector has an answer: the guest goes on, gets the architecture's own interrupt, or the
//! run ends with a code. None spins.
use core::sync::atomic::Ordering;

use anchorite_spec::{End, ExitReason};

use super::board::{HviSource, Power9};
use super::context::{GuestContext, HSRR_FLAG};
use super::nmi::Cause;
use super::regs::{msr, program, storage, vector};
use super::vcpu::Vcpu;
use super::{hcall, inject, nmi, report, watchdog};
use crate::core::Action;
use crate::core::fault::{Access, Class, Cure, NOWHERE, Told};

/// Serves one exit. Whatever the guest did to its machine state, it goes on outside hypervisor
/// state and with machine checks enabled.
pub fn serve<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    let at = ctx.nip;
    let action = answer(v, ctx);
    v.trail.push(v.reason, at);
    v.follow_mode();
    v.follow_watchdog();
    if ctx.pending_reset != 0 {
        late_reset(v, ctx);
    }
    if v.seat().reset.load(Ordering::Relaxed) {
        signalled_reset(v, ctx);
    }
    ctx.msr = ctx.msr & !msr::HV | msr::ME;
    action
}

/// Hands over a system reset that hit the firmware while the guest was stopped.
#[cold]
fn late_reset<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) {
    ctx.pending_reset = 0;
    system_reset(v, ctx);
}

/// Hands over a system reset that another vCPU asked for. What brought this vCPU here was counted.
#[cold]
fn signalled_reset<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) {
    v.seat().reset.store(false, Ordering::SeqCst);
    nmi::system_reset(v, ctx);
}

fn system_reset<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) {
    v.count(ExitReason::SystemReset);
    report::event(v, ctx, Access::SystemReset, "handed to the guest");
    nmi::system_reset(v, ctx);
}

/// A system reset came between an exit and its frame: where the guest was is lost, and the registers
/// that vectors use hold the firmware's values. The guest is told by MSR.RI.
#[cold]
fn forget_interrupted(ctx: &mut GuestContext) {
    ctx.msr &= !(msr::HV | msr::RI);
    ctx.gpr[11..=13].fill(0);
}

/// System calls are the only frequent reason and are asked for first.
fn answer<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    let number = ctx.vector & !HSRR_FLAG;
    if number == vector::SYSTEM_CALL {
        return hcall::serve(v, ctx);
    }
    if ctx.msr & msr::HV != 0 && number == vector::SYSTEM_RESET {
        // [`late_reset`] hands it over.
        forget_interrupted(ctx);
        return Action::Resume;
    }
    if ctx.msr & msr::HV != 0 {
        // An interrupt that nothing masks hit the firmware between the guest and its own frame.
        v.count(ExitReason::FirmwareFault);
        return Action::End(End::FirmwareFault);
    }
    match number {
        vector::HDEC => {
            let due = v.machine.heartbeat();
            v.count(match due {
                true => ExitReason::OpalHeartbeat,
                false if v.timer != watchdog::NEVER => ExitReason::Watchdog,
                false => ExitReason::Hdec,
            });
            return watchdog::serve(v);
        }
        vector::HVI => match v.machine.virtualization_interrupt() {
            HviSource::Firmware => v.count(ExitReason::OpalEvent),
            HviSource::Kick => v.count(ExitReason::Kick),
            HviSource::Spurious => v.count(ExitReason::HviSpurious),
        },
        vector::HDSI => return data_storage(v, ctx),
        vector::HISI => return instruction_storage(v, ctx),
        vector::HEA => return illegal_instruction(v, ctx),
        vector::HFAC_UNAVAILABLE => return facility_unavailable(v, ctx),
        vector::HV_DOORBELL => {
            v.count(ExitReason::HvDoorbell);
            v.machine.clear_doorbell();
        }
        vector::HMI => return maintenance(v, ctx),
        vector::MACHINE_CHECK => return machine_check(v, ctx),
        vector::SYSTEM_RESET => system_reset(v, ctx),
        vector::SOFT_PATCH => {
            v.count(ExitReason::SoftPatch);
            report::event(v, ctx, Access::SoftPatch, "illegal instruction");
            inject::program(&mut v.machine, ctx, program::ILLEGAL);
        }
        _ => {
            // Every other vector is the guest's own as long as LPCR is what the firmware set.
            v.count(ExitReason::FirmwareFault);
            return Action::End(End::FirmwareFault);
        }
    }
    Action::Resume
}

/// A machine check that the core raised while the guest ran.
fn machine_check<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    v.count(ExitReason::MachineCheck);
    report::event(v, ctx, Access::MachineCheck, "handed to the guest");
    // The cause may be a cached translation, and the guest may not forget all of them.
    v.machine.invalidate(None, true);
    let (dar, dsisr) = v.machine.dar_dsisr();
    let cause = Cause::of_core(ctx.msr, ctx.nip, dar, dsisr);
    inject::forward_machine_check(&mut v.machine, ctx);
    nmi::machine_check(v, ctx, cause)
}

/// HDSI: ASDR has the page of the guest real address, HDAR the effective address. One without a cause
/// says nothing true of either: the access comes again, with its cause.
fn data_storage<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    let fault = v.machine.storage_fault();
    if fault.hdsisr == storage::CANARY {
        v.count(ExitReason::HdsiRetried);
        return Action::Resume;
    }
    v.count(ExitReason::Hdsi);
    let access = if fault.hdsisr & storage::STORE != 0 { Access::Store } else { Access::Load };
    let action = refused(v, ctx, access, fault.hdsisr, fault.hdar, fault.asdr);
    // A run that ends here names this cause in its last words.
    if !matches!(action, Action::End(_)) {
        v.machine.arm_storage_fault();
    }
    action
}

/// An access that the second-stage tables have refused: `address` was the effective address.
fn refused<M: Power9>(
    v: &mut Vcpu<M>,
    ctx: &mut GuestContext,
    access: Access,
    cause: u64,
    address: u64,
    asdr: u64,
) -> Action {
    let fetch = access == Access::Fetch;
    let walk = cause & storage::TABLE_WALK != 0;
    // The guest's own tables are where they are, whatever they would have translated.
    let guest = guest_real(asdr, if walk { 0 } else { address });
    let (class, cure) = match v.shared.reach.is_mapped(guest) {
        true => (Class::Permission, Cure::NoCode),
        false => (Class::Hole, Cure::Region),
    };
    let access = if walk { Access::Walk } else { access };
    let told = Told { class, access, cure, cause, address, guest };
    let answer = if walk { "page fault" } else { "machine check injected" };
    if let Some(action) = report::fault(v, ctx, &told, answer) {
        return action;
    }
    let action = match (walk, fetch) {
        // The guest's own tables point at nothing: its page fault, as it would be on bare metal.
        (true, true) => {
            inject::instruction_storage(&mut v.machine, ctx, cause);
            Action::Resume
        }
        (true, false) => {
            inject::data_storage(&mut v.machine, ctx, address, cause & 0xffff_ffff);
            Action::Resume
        }
        (false, true) => {
            inject::fetch_machine_check(&mut v.machine, ctx);
            nmi::machine_check(v, ctx, Cause::fetch(address, guest))
        }
        (false, false) => {
            inject::data_machine_check(&mut v.machine, ctx, address);
            nmi::machine_check(v, ctx, Cause::data(address, guest))
        }
    };
    report::answered(v, action)
}

/// The guest real address: its page from ASDR, the rest from the effective address.
const fn guest_real(asdr: u64, effective: u64) -> u64 {
    (asdr & 0x0fff_ffff_ffff_f000) | (effective & 0xfff)
}

/// HISI: the cause is in HSRR1, ASDR as above, the effective address is the program counter.
fn instruction_storage<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    v.count(ExitReason::Hisi);
    let fault = v.machine.storage_fault();
    refused(v, ctx, Access::Fetch, ctx.msr & storage::INSTRUCTION_CAUSES, ctx.nip, fault.asdr)
}

/// HEA: an instruction that the core does not know.
fn illegal_instruction<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    /// `nop`, read in the wrong byte order.
    const SWAPPED_NOP: u64 = 0x60;
    v.count(ExitReason::Hea);
    if ctx.msr & msr::PR != 0 {
        inject::program(&mut v.machine, ctx, program::ILLEGAL);
        return Action::Resume;
    }
    let heir = v.machine.heir().into();
    let cure = match v.shared.little_endian {
        _ if heir != SWAPPED_NOP && ctx.nip != v.shared.entry => Cure::Unknown,
        true => Cure::BigEndian,
        false => Cure::LittleEndian,
    };
    refuse(v, ctx, Class::Instruction, Access::Instruction, cure, heir)
}

/// A facility that HFSCR withholds: to the guest it does not exist.
fn facility_unavailable<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    v.count(ExitReason::HFacUnavailable);
    let facility = v.machine.hfscr() >> 56;
    refuse(v, ctx, Class::Register, Access::Register, Cure::Withheld, facility)
}

/// An instruction that is refused, whatever it works on.
fn refuse<M: Power9>(
    v: &mut Vcpu<M>,
    ctx: &mut GuestContext,
    class: Class,
    access: Access,
    cure: Cure,
    cause: u64,
) -> Action {
    let told = Told { class, access, cure, cause, address: 0, guest: NOWHERE };
    if let Some(action) = report::fault(v, ctx, &told, "program interrupt injected") {
        return action;
    }
    inject::program(&mut v.machine, ctx, program::ILLEGAL);
    report::answered(v, Action::Resume)
}

fn maintenance<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    v.count(ExitReason::Hmi);
    if v.machine.maintenance_interrupt().is_ok() {
        return Action::Resume;
    }
    report::event(v, ctx, Access::Maintenance, "not recovered");
    v.last_words.push(b"a hypervisor maintenance interrupt was not recovered");
    Action::End(End::FirmwareFault)
}

#[cfg(test)]
mod tests {
    use super::super::board::StorageFault;
    use super::super::fake::{Fake, context, served, total, vcpu};
    use super::super::regs::lpcr;
    use super::*;

    fn serve_one(v: &mut Vcpu<Fake>, number: u64, msr: u64) -> (Action, GuestContext) {
        let mut ctx = context(number | HSRR_FLAG);
        ctx.msr |= msr;
        let action = served(v, &mut ctx);
        (action, ctx)
    }

    fn count(v: &Vcpu<Fake>, reason: ExitReason) -> u64 {
        v.row.count[reason.slot()]
    }

    #[test]
    fn a_load_from_nothing_is_a_machine_check_in_the_guest() {
        let mut v = vcpu();
        v.machine.lpcr |= lpcr::ILE;
        let hdar = 0xc000_0000_dead_b238;
        let asdr = 0xf000_0000_8000_b000;
        v.machine.fault = StorageFault { hdar, hdsisr: storage::NO_TRANSLATION, asdr };
        let (action, ctx) = serve_one(&mut v, vector::HDSI, msr::EE | msr::DR | msr::LE);
        assert_eq!(action, Action::Resume);
        assert_eq!((ctx.nip, ctx.msr), (0x200, msr::SF | msr::ME | msr::LE));
        assert_eq!(v.machine.dar_dsisr, (hdar, 0x8000));
        assert_eq!(v.machine.srr.0, 0x4000);
        assert_eq!(v.machine.srr.1 & msr::RI, msr::RI, "recoverable as it was");
        assert_eq!(v.machine.srr.1 & 0x783f_0000, 1 << 21);
        assert_eq!(count(&v, ExitReason::Hdsi), 1);
        let report = String::from_utf8(v.machine.output).expect("text");
        assert!(
            report.contains("guest load at guest real 0x8000b238 (nothing mapped there)"),
            "{report}"
        );
    }

    #[test]
    fn what_is_injected_goes_where_the_core_would_have_sent_it() {
        let on = msr::IR | msr::DR;
        let high = 0xc000_0000_0000_4000;
        for (number, ail, state, nip) in [
            (vector::HEA, true, on, high + 0x700),
            (vector::HEA, true, msr::IR, 0x700),
            (vector::HEA, false, on, 0x700),
            // These two always come in real mode.
            (vector::HDSI, true, on, 0x200),
            (vector::SYSTEM_RESET, true, on, 0x100),
        ] {
            let mut v = vcpu();
            v.machine.lpcr = lpcr::GUEST;
            if ail {
                v.change_mode(0, lpcr::AIL_3);
            }
            let (_, ctx) = serve_one(&mut v, number, state);
            assert_eq!((ctx.nip, ctx.msr & on), (nip, if nip > high { on } else { 0 }));
            assert_eq!(v.machine.srr.1 & on, state);
        }
    }

    #[test]
    fn an_access_without_a_cause_is_tried_again() {
        let mut v = vcpu();
        v.machine.fault =
            StorageFault { hdar: 0x1234, hdsisr: storage::NO_TRANSLATION, asdr: 0x8000_0000 };
        assert_eq!(serve_one(&mut v, vector::HDSI, 0).1.nip, 0x200);
        assert_eq!(v.machine.armed, 1, "for the next one");
        v.machine.fault.hdsisr = storage::CANARY;
        let (action, ctx) = serve_one(&mut v, vector::HDSI, 0);
        assert_eq!((action, ctx.nip), (Action::Resume, 0x4000), "the same instruction");
        assert_eq!((count(&v, ExitReason::HdsiRetried), count(&v, ExitReason::Hdsi)), (1, 1));
        assert_eq!((total(&v), v.machine.dar_dsisr.0), (2, 0x1234), "one machine check");
    }

    #[test]
    fn fault_registers_are_read_by_the_exits_that_define_them() {
        for (number, read) in [
            (vector::HDSI, &["HDAR, HDSISR, ASDR"][..]),
            (vector::HISI, &["HDAR, HDSISR, ASDR"]),
            (vector::HEA, &["HEIR"]),
            (vector::HFAC_UNAVAILABLE, &["HFSCR"]),
            (vector::SOFT_PATCH, &[]),
            (vector::HDEC, &[]),
            (vector::HVI, &[]),
            (vector::SYSTEM_CALL, &[]),
        ] {
            let mut v = vcpu();
            let _ = serve_one(&mut v, number, 0);
            assert_eq!(*v.machine.read.borrow(), read, "{number:#x}");
        }
    }

    #[test]
    fn the_guests_own_broken_tables_are_its_page_fault() {
        let mut v = vcpu();
        let hdsisr = storage::NO_TRANSLATION | storage::TABLE_WALK;
        v.machine.fault = StorageFault { hdar: 0x1234, hdsisr, asdr: 0x8000_0000 };
        let (_, ctx) = serve_one(&mut v, vector::HDSI, 0);
        assert_eq!((ctx.nip, v.machine.dar_dsisr), (0x300, (0x1234, hdsisr)));
        let (_, ctx) = serve_one(&mut v, vector::HISI, hdsisr);
        assert_eq!(ctx.nip, 0x400);
        assert_eq!(v.machine.srr.1 & 0x4000_0000, 0x4000_0000);
        let (_, ctx) = serve_one(&mut v, vector::HISI, storage::NO_TRANSLATION);
        assert_eq!((ctx.nip, v.machine.srr.1 & 0x783f_0000), (0x200, 1 << 18));
    }

    #[test]
    fn unknown_instructions_and_withheld_facilities_are_illegal() {
        for (number, reason) in [
            (vector::HEA, ExitReason::Hea),
            (vector::HFAC_UNAVAILABLE, ExitReason::HFacUnavailable),
            (vector::SOFT_PATCH, ExitReason::SoftPatch),
        ] {
            let mut v = vcpu();
            let (action, ctx) = serve_one(&mut v, number, msr::PR);
            assert_eq!((action, ctx.nip), (Action::Resume, 0x700));
            assert_eq!(v.machine.srr, (0x4000, msr::SF | msr::ME | msr::RI | msr::PR | 0x8_0000));
            assert_eq!((count(&v, reason), total(&v)), (1, 1));
        }
    }

    #[test]
    fn the_firmwares_own_interrupts_leave_the_guest_as_it_was() {
        for (number, due, hvi, reason) in [
            (vector::HDEC, true, false, ExitReason::OpalHeartbeat),
            (vector::HDEC, false, false, ExitReason::Hdec),
            (vector::HVI, false, true, ExitReason::OpalEvent),
            (vector::HVI, false, false, ExitReason::HviSpurious),
            (vector::HV_DOORBELL, false, false, ExitReason::HvDoorbell),
            (vector::HMI, false, false, ExitReason::Hmi),
        ] {
            let mut v = vcpu();
            (v.machine.heartbeat_due, v.machine.hvi) = (due, hvi);
            let (action, ctx) = serve_one(&mut v, number, msr::EE);
            assert_eq!((action, ctx.nip), (Action::Resume, 0x4000), "{number:#x}");
            assert_eq!((count(&v, reason), total(&v)), (1, 1), "{number:#x}");
        }
    }

    #[test]
    fn the_guest_never_goes_on_in_hypervisor_state_or_without_machine_checks() {
        let mut v = vcpu();
        let mut ctx = context(vector::SYSTEM_CALL);
        ctx.msr = msr::SF | msr::HV;
        let _ = serve(&mut v, &mut ctx);
        assert_eq!(ctx.msr, msr::SF | msr::ME);
    }

    #[test]
    fn a_reset_that_hit_the_firmware_reaches_the_guest() {
        let mut v = vcpu();
        v.machine.heartbeat_due = true;
        let mut ctx = context(vector::HDEC | HSRR_FLAG);
        ctx.pending_reset = vector::SYSTEM_RESET;
        let _ = serve(&mut v, &mut ctx);
        assert_eq!((ctx.nip, v.machine.srr.0, ctx.pending_reset), (0x100, 0x4000, 0));
        assert_eq!(count(&v, ExitReason::SystemReset), 1);
        assert_eq!(total(&v), 2);
    }

    #[test]
    fn a_reset_between_an_exit_and_its_frame_is_told_as_unrecoverable() {
        let mut v = vcpu();
        let mut ctx = context(vector::SYSTEM_RESET);
        (ctx.msr, ctx.pending_reset) = (msr::SF | msr::HV | msr::ME | msr::RI, 0x100);
        ctx.gpr[11..=13].fill(0x10_0000);
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        assert_eq!((ctx.nip, ctx.msr & msr::HV, v.machine.srr.1 & msr::RI), (0x100, 0, 0));
        assert_eq!((&ctx.gpr[11..=13], total(&v)), (&[0; 3][..], 1));
    }

    #[test]
    fn what_cannot_be_answered_ends_with_a_code() {
        let mut v = vcpu();
        v.machine.hmi_fails = true;
        assert_eq!(serve_one(&mut v, vector::HMI, 0).0, Action::End(End::FirmwareFault));
        for number in [0x300, 0x500, 0x900, 0xf40, 0x1800] {
            assert_eq!(serve_one(&mut v, number, 0).0, Action::End(End::FirmwareFault));
        }
        let hit_firmware = serve_one(&mut v, vector::MACHINE_CHECK, msr::HV).0;
        assert_eq!(hit_firmware, Action::End(End::FirmwareFault));
    }

    #[test]
    fn reports_are_few_and_the_rest_is_counted() {
        let mut v = vcpu();
        for _ in 0..100 {
            let _ = serve_one(&mut v, vector::HDSI, 0);
        }
        let text = String::from_utf8(v.machine.output).expect("text");
        assert_eq!(text.matches("anchorite: guest load").count(), 8, "{text}");
        assert_eq!(text.matches("@fault class=hole").count(), 8, "{text}");
        let counted: Vec<_> = text.lines().filter(|line| line.contains(" so far ")).collect();
        let counts = [16, 32, 64].map(|n| format!("anchorite: {n} faults so far of class hole"));
        assert_eq!(counted, counts);
        assert_eq!(v.row.count[ExitReason::Hdsi.slot()], 100);
    }
}
