// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One line on the console for each of a guest's first mistakes: what, where, and what it got.
use core::fmt::Write;
use core::sync::atomic::Ordering;

use super::board::Power9;
use super::context::GuestContext;
use super::vcpu::Vcpu;
use crate::core::end::Text;
use crate::core::report::REPORTS;
pub use crate::core::report::line;

/// Counts a report about the exit being served: how many are still due with it, 0 once there were
/// enough.
fn due<M>(v: &Vcpu<M>) -> u32 {
    let reports = &v.shared.reports[v.reason.map_or(0, |reason| reason.slot())];
    let before = reports.fetch_add(1, Ordering::Relaxed);
    if before >= REPORTS {
        // Far from wrapping around.
        reports.store(REPORTS, Ordering::Relaxed);
    }
    REPORTS.saturating_sub(before)
}

/// Reports an access or an interrupt of the guest, the first few times.
pub fn guest_fault<M: Power9>(
    v: &mut Vcpu<M>,
    ctx: &GuestContext,
    what: &str,
    address: Option<u64>,
    answer: &str,
) {
    let due = due(v);
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
    let due = due(v);
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
    let due = due(v);
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

fn say<M: Power9>(v: &mut Vcpu<M>, text: &Text, due: u32) {
    let _whole_lines = v.shared.console.lock();
    let text = core::str::from_utf8(text.as_bytes()).unwrap_or("?");
    line(&mut v.machine, &text);
    if due == 1 {
        line(&mut v.machine, &"further reports of this kind are only counted");
    }
}
