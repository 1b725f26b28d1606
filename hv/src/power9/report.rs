// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reports of the guest's faults ([`crate::core::fault`]), and one line for each of its first other
//! events: what, where, and what it got.
use anchorite_tables::radix;

use super::board::Power9;
use super::context::GuestContext;
use super::light::LEAN;
use super::regs::{msr, storage};
use super::vcpu::{Shared, Vcpu};
use super::walk::{self, Tables};
use crate::core::Action;
use crate::core::fault::{
    Access, Class, Cure, Fault, NOWHERE, Policy, Scene, Told, Walk, head, put_walk, registers, rest,
};
pub use crate::core::report::line;
use crate::core::report::{Share, TAG, counted};
use crate::core::text::{Out, Page, Text};

/// Reports a fault, the first few times of its class. What the config has become of the guest, or
/// `None` if it is to get the architecture's own fault.
#[cold]
#[inline(never)]
pub fn fault<M: Power9>(
    v: &mut Vcpu<M>,
    ctx: &GuestContext,
    told: &Told,
    answer: &'static str,
) -> Option<Action> {
    let (reason, pc, state, first) = (v.reason?, ctx.nip, ctx.msr, ctx.gpr[3]);
    let mut fault = Fault { told: *told, number: 0, reason, answer, pc, state, first };
    let of_program = told.guest == NOWHERE && state & msr::PR != 0;
    let (share, end) = v.shared.reports.judge(&mut fault, of_program);
    if share == Share::Nothing {
        return None;
    }
    let mut line = Text::new();
    let page = line.out();
    match share {
        Share::Full => {
            head(page, &fault, &v.shared.reach, "real", v.index, ("msr", state));
            v.fault = Some(fault);
        }
        _ => counted(page, &fault),
    }
    let text = line.as_bytes();
    say(v, text);
    v.last_words.push(if end.is_some() { text } else { &[] });
    end.map(Action::End)
}

/// A fault was answered: it is explained once all registers have been stored.
pub const fn answered<M>(v: &Vcpu<M>, action: Action) -> Action {
    match action {
        Action::Resume if v.fault.is_some() => Action::Explain,
        action => action,
    }
}

/// Writes the screen of a fault that was answered, if there is one, with all registers in the context.
/// Whether the config has the guest begin again for it.
#[cold]
#[inline(never)]
pub fn explain<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> bool {
    let Some(fault) = v.fault.take() else { return false };
    let Vcpu { index, machine, shared, row, trail, .. } = v;
    let now = core::mem::replace(&mut ctx.gpr[3], fault.first);
    let others =
        [("lr", ctx.lr), ("ctr", ctx.ctr), ("cr", ctx.cr), ("xer", ctx.xer), ("cfar", ctx.cfar)];
    let scene = Scene {
        cpu: *index,
        letter: "r",
        gpr: &ctx.gpr,
        others: &others,
        reach: &shared.reach,
        trail,
        row,
        lean: &LEAN,
    };
    let mut page = Page::new();
    let page = page.out();
    registers(page, &fault, &scene);
    if fault.told.guest != NOWHERE {
        walks(page, shared, &fault, machine.process());
    }
    rest(page, &fault, &scene);
    ctx.gpr[3] = now;
    let _whole_lines = shared.console.lock();
    machine.console_print(page.take());
    shared.reports.policy(fault.told.class) == Policy::Restart
}

/// Both walks of the faulting address.
fn walks(page: &mut Out, shared: &Shared, fault: &Fault, (processes, pid): (u64, u64)) {
    let Told { address, guest, cause, .. } = fault.told;
    let translated = if fault.told.access == Access::Fetch { msr::IR } else { msr::DR };
    let walk = if fault.state & translated == 0 {
        Walk::new(0)
    } else {
        walk::process(processes, pid, address, &Tables::Guest(&shared.memory))
    };
    page.f("stage 1, pid %d, %x:", &[], &[pid, address]);
    put_walk(page, &walk, &walk::LEAF);
    let root = radix::partition_entry(shared.root);
    let walk = walk::tree(Walk::new(1), root, guest, &Tables::Second(&shared.tables));
    let why = if cause & (storage::PROTECTION | storage::NO_EXECUTION) != 0 {
        "not allowed"
    } else {
        "no translation"
    };
    page.f("stage 2, %x, %s:", &[why], &[guest]);
    put_walk(page, &walk, &walk::LEAF);
}

/// Reports another event, the first few times.
pub fn event<M: Power9>(v: &mut Vcpu<M>, ctx: &GuestContext, access: Access, answer: &'static str) {
    let (class, cure) = (Class::Event, Cure::Withheld);
    let told = Told { class, access, cure, cause: ctx.vector, address: 0, guest: NOWHERE };
    // Nothing becomes of the guest by it, and nothing is to be explained.
    let _ = fault(v, ctx, &told, answer);
    v.fault = None;
}

/// One line of the firmware's about its guest.
pub fn notice<M: Power9>(v: &mut Vcpu<M>, text: &Text) {
    let _whole_lines = v.shared.console.lock();
    line(&mut v.machine, text.as_bytes());
}

#[inline(never)]
fn say<M: Power9>(v: &mut Vcpu<M>, text: &[u8]) {
    let _whole_lines = v.shared.console.lock();
    v.machine.console_print(TAG.as_bytes());
    v.machine.console_print(text);
}
