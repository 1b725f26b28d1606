// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reports of the guest's faults ([`crate::core::fault`]), and one line for each of its first other
//! events: what, where, and what it got.
use anchorite_spec::ExitReason;

use super::board::{Arm64, PAR_FAILED, PAR_PAGE};
use super::context::GuestContext;
use super::regs::pstate;
use super::vcpu::{Shared, Vcpu};
use super::walk;
use crate::core::Action;
use crate::core::fault::{
    Access, Class, Cure, Fault, NOWHERE, Policy, Scene, Told, head, put_walk, registers, rest,
};
use crate::core::report::{Share, TAG, counted};
use crate::core::text::{Out, Page, Text};
use crate::mem::Hpa;

/// What an exception that the firmware took itself was, by its vector and ESR_EL2.
#[must_use]
pub const fn own_fault(vector: u64, esr: u64) -> &'static str {
    /// What the vectors of either stack are for.
    const KIND: u64 = 0x180;
    match (vector & KIND, esr >> 26) {
        (0x080, _) => "an interrupt",
        (0x100, _) => "an FIQ",
        // ESR_EL2.DFSC and IDS: what the syndrome says of its kind is up to the processor.
        (0x180, _) if esr & 1 << 24 != 0 => "SError of the processor's own kind",
        (0x180, _) if esr & 0x3f == 0x11 => match esr >> 10 & 7 {
            0 => "SError, uncontainable",
            1 => "SError, unrecoverable",
            2 => "SError, restartable",
            3 => "SError, recoverable",
            6 => "SError, corrected",
            _ => "SError",
        },
        (0x180, _) => "SError, unclassified",
        (_, 0x00) => "an undefined instruction",
        (_, 0x0e) => "an illegal state",
        (_, 0x18) => "a system register that is trapped",
        (_, 0x21) => "an instruction abort",
        (_, 0x22) => "a misaligned program counter",
        (_, 0x25) => "a data abort",
        (_, 0x26) => "a misaligned stack pointer",
        (_, 0x3c) => "a breakpoint instruction",
        _ => "of another class",
    }
}

/// Reports a fault, the first few times of its class. What the config has become of the guest, or
/// `None` if it is to get the architecture's own fault, or `answer`.
#[cold]
#[inline(never)]
pub fn fault<M: Arm64>(
    v: &mut Vcpu<M>,
    ctx: &GuestContext,
    told: &Told,
    answer: &'static str,
) -> Option<Action> {
    let (reason, pc, state, first) = (v.reason?, ctx.pc, ctx.pstate, ctx.gpr[0]);
    let mut fault = Fault { told: *told, number: 0, reason, answer, pc, state, first };
    let of_program = told.guest == NOWHERE && from_el0(state);
    let (share, end) = v.shared.reports.judge(&mut fault, of_program);
    if share == Share::Nothing {
        return None;
    }
    let mut line = Text::new();
    let page = line.out();
    match share {
        Share::Full => {
            head(page, &fault, &v.shared.reach, "physical", v.index, ("esr", told.cause));
            v.fault = Some(fault);
        }
        _ => counted(page, &fault),
    }
    let text = line.as_bytes();
    say(v, text);
    v.last_words.push(if end.is_some() { text } else { &[] });
    end.map(Action::End)
}

#[inline(never)]
fn say<M: Arm64>(v: &mut Vcpu<M>, text: &[u8]) {
    let _whole_lines = v.shared.reporting.lock();
    v.machine.console_print(TAG.as_bytes());
    v.machine.console_print(text);
}

/// Whether a program was interrupted, rather than its kernel.
const fn from_el0(state: u64) -> bool {
    state & pstate::AARCH32 != 0 || state & pstate::MODE == 0
}

/// A fault was answered: it is explained once all registers have been stored.
pub const fn answered<M>(v: &Vcpu<M>) -> Action {
    if v.fault.is_some() { Action::Explain } else { Action::Resume }
}

/// Calls and interrupts that are answered without a frame.
const LEAN: [ExitReason; 5] = [
    ExitReason::PsciVersion,
    ExitReason::SmcccUnknown,
    ExitReason::GicSgi,
    ExitReason::El2Timer,
    ExitReason::FiqSpurious,
];

/// Writes the screen of a fault that was answered, if there is one, with all registers in the context.
/// Whether the config has the guest begin again for it.
#[cold]
#[inline(never)]
pub fn explain<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> bool {
    let Some(fault) = v.fault.take() else { return false };
    let Vcpu { index, machine, shared, row, trail, .. } = v;
    let Told { access, address, class, guest, .. } = fault.told;
    let now = core::mem::replace(&mut ctx.gpr[0], fault.first);
    let scene = Scene {
        cpu: *index,
        letter: "x",
        gpr: &ctx.gpr,
        others: &machine.guest_registers(),
        reach: &shared.reach,
        trail,
        row,
        lean: &LEAN,
    };
    let mut page = Page::new();
    let page = page.out();
    registers(page, &fault, &scene);
    if guest != NOWHERE {
        let user = from_el0(fault.state) && access != Access::Fetch;
        let par = machine.look_up(address, access == Access::Store, user);
        walks(page, shared, &fault.told, par);
    }
    rest(page, &fault, &scene);
    ctx.gpr[0] = now;
    let _whole_reports = shared.reporting.lock();
    machine.console_print(page.take());
    shared.reports.policy(class) == Policy::Restart
}

/// What both stages say of the faulting address: of the guest's own the processor was asked.
fn walks(page: &mut Out, shared: &Shared, told: &Told, par: u64) {
    /// PAR_EL1 of a look-up that failed: stage 2 did not let it go on.
    const BY_STAGE_2: u64 = 1 << 9;
    let Told { address, guest, cause, .. } = *told;
    if par & PAR_FAILED == 0 {
        page.f("stage 1, %x: -> %x\n", &[], &[address, par & PAR_PAGE | address & 0xfff]);
    } else {
        let (why, level) = walk::status(par >> 1);
        let whose = if par & BY_STAGE_2 != 0 { ", by stage 2" } else { "" };
        page.f("stage 1, %x: %s at L%d%s\n", &[why, whose], &[address, level]);
    }
    let (root, start, bits) = shared.root;
    let entry = |at| shared.tables.read(Hpa(at)).map(u64::from_le_bytes);
    let walk = walk::stage2(root, start, bits, guest, &entry);
    let (why, level) = walk::status(cause);
    page.f("stage 2, %x, %s at L%d:", &[why], &[guest, level]);
    put_walk(page, &walk, &walk::LEAF);
}

/// Reports another event, the first few times.
pub fn event<M: Arm64>(v: &mut Vcpu<M>, ctx: &GuestContext, access: Access, answer: &'static str) {
    let (class, cure) = (Class::Event, Cure::Withheld);
    let told = Told { class, access, cure, cause: ctx.esr, address: 0, guest: NOWHERE };
    // Nothing becomes of the guest by it, and nothing is to be explained.
    let _ = fault(v, ctx, &told, answer);
    v.fault = None;
}

#[cfg(test)]
mod tests {
    use super::own_fault;

    #[test]
    fn the_firmwares_own_exceptions_have_names() {
        for (vector, esr, name) in [
            (0x200, 0x9600_0004, "a data abort"),
            (0x200, 0x8600_0004, "an instruction abort"),
            (0x000, 0x0200_0000, "an undefined instruction"),
            (0x280, 0, "an interrupt"),
            (0x300, 0, "an FIQ"),
            (0x380, 0xbe00_0011, "SError, uncontainable"),
            (0x380, 0xbe00_0c11, "SError, recoverable"),
            (0x180, 0xbf00_0000, "SError of the processor's own kind"),
            (0x380, 0xbe00_0000, "SError, unclassified"),
        ] {
            assert_eq!(own_fault(vector, esr), name, "{vector:#x} {esr:#x}");
        }
    }
}
