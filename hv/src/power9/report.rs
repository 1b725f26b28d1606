// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One line on the console for each of a guest's first mistakes: what, where, and what it got.
use core::fmt::Write;

use super::board::Power9;
use super::context::GuestContext;
use super::partition::Partition;
use crate::core::end::Text;
use crate::core::report::REPORTS;
pub use crate::core::report::line;

/// Counts a report about the exit being served; false once there were enough.
fn due<M>(p: &mut Partition<M>) -> bool {
    let reports = &mut p.reports[p.vcpu.reason.map_or(0, |reason| reason.slot())];
    *reports = reports.saturating_add(1);
    *reports <= REPORTS
}

/// Reports an access or an interrupt of the guest, the first few times.
pub fn guest_fault<M: Power9>(
    p: &mut Partition<M>,
    ctx: &GuestContext,
    what: &str,
    address: Option<u64>,
    answer: &str,
) {
    if !due(p) {
        return;
    }
    let mut text = Text::new();
    let _ = write!(text, "guest {what}");
    if let Some(address) = address {
        let name = p.reach.name_at(address);
        let _ = write!(text, " at guest real {address:#x} ({name})");
    }
    let _ = write!(text, ", pc {:#x}, msr {:#x}: {answer}", ctx.nip, ctx.msr);
    say(p, &text);
}

/// Reports an instruction that the core does not know.
pub fn illegal_instruction<M: Power9>(p: &mut Partition<M>, ctx: &GuestContext, heir: u32) {
    if !due(p) {
        return;
    }
    let mut text = Text::new();
    let _ = write!(text, "guest instruction {heir:#010x} is not known, pc {:#x}", ctx.nip);
    if heir == 0x60 {
        let _ = write!(text, " (little-endian code run big-endian)");
    }
    let _ = write!(text, ": program interrupt injected");
    say(p, &text);
}

/// Reports the use of a withheld facility.
pub fn facility<M: Power9>(p: &mut Partition<M>, ctx: &GuestContext, facility: u64) {
    if !due(p) {
        return;
    }
    let mut text = Text::new();
    let _ = write!(
        text,
        "guest used facility {facility} (HFSCR), which it does not have, pc {:#x}: program \
         interrupt injected",
        ctx.nip
    );
    say(p, &text);
}

fn say<M: Power9>(p: &mut Partition<M>, text: &Text) {
    let text = core::str::from_utf8(text.as_bytes()).unwrap_or("?");
    line(&mut p.machine, &text);
    if p.reports[p.vcpu.reason.map_or(0, |reason| reason.slot())] == REPORTS {
        line(&mut p.machine, &"further reports of this kind are only counted");
    }
}
