// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One line on the console for each of a guest's first mistakes: what, where, and what it got.
use core::fmt::Write;

use super::board::Power9;
use super::context::GuestContext;
use super::vcpu::Vcpu;
use crate::core::end::Text;
pub use crate::core::report::line;
use crate::core::report::mistake;

/// Reports an access or an interrupt of the guest, the first few times.
pub fn guest_fault<M: Power9>(
    v: &mut Vcpu<M>,
    ctx: &GuestContext,
    what: &str,
    address: Option<u64>,
    answer: &str,
) {
    let due = v.shared.reports.due(v.reason);
    if due == 0 {
        return;
    }
    let mut text = Text::new();
    let _ = write!(text, "guest {what}");
    if let Some(address) = address {
        let name = v.shared.reach.name_at(address);
        let _ = write!(text, " at guest real {address:#x} ({name})");
    }
    let _ = write!(text, ", cpu {}, pc {:#x}, msr {:#x}: {answer}", v.index, ctx.nip, ctx.msr);
    say(v, &text, due);
}

/// Reports an instruction that the core does not know.
pub fn illegal_instruction<M: Power9>(v: &mut Vcpu<M>, ctx: &GuestContext, heir: u32) {
    let due = v.shared.reports.due(v.reason);
    if due == 0 {
        return;
    }
    let mut text = Text::new();
    let _ = write!(
        text,
        "guest instruction {heir:#010x} is not known, cpu {}, pc {:#x}",
        v.index, ctx.nip
    );
    if heir == 0x60 {
        let _ = write!(text, " (little-endian code run big-endian)");
    }
    let _ = write!(text, ": program interrupt injected");
    say(v, &text, due);
}

/// Reports the use of a withheld facility.
pub fn facility<M: Power9>(v: &mut Vcpu<M>, ctx: &GuestContext, facility: u64) {
    let due = v.shared.reports.due(v.reason);
    if due == 0 {
        return;
    }
    let mut text = Text::new();
    let _ = write!(
        text,
        "guest used facility {facility} (HFSCR), which it does not have, cpu {}, pc {:#x}: \
         program interrupt injected",
        v.index, ctx.nip
    );
    say(v, &text, due);
}

/// One line of the firmware's about its guest.
pub fn notice<M: Power9>(v: &mut Vcpu<M>, text: &Text) {
    say(v, text, 0);
}

fn say<M: Power9>(v: &mut Vcpu<M>, text: &Text, due: u32) {
    let _whole_lines = v.shared.console.lock();
    mistake(&mut v.machine, text, due);
}
