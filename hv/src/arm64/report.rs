// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One line on the console for each of a guest's first mistakes: what, where, and what it got.
use core::fmt::Write;
use core::sync::atomic::Ordering;

use super::board::Arm64;
use super::context::GuestContext;
use super::vcpu::Vcpu;
use crate::core::end::Text;
use crate::core::report::{REPORTS, line};

/// Reports a mistake of the guest, the first few times.
pub fn guest_fault<M: Arm64>(
    v: &mut Vcpu<M>,
    ctx: &GuestContext,
    what: &dyn core::fmt::Display,
    address: Option<u64>,
    answer: &str,
) {
    let reports = &v.shared.reports[v.reason.map_or(0, |reason| reason.slot())];
    let number = reports.fetch_add(1, Ordering::Relaxed);
    if number >= REPORTS {
        // Far from wrapping around.
        reports.store(REPORTS, Ordering::Relaxed);
        return;
    }
    let mut text = Text::new();
    let _ = write!(text, "guest {what}");
    if let Some(address) = address {
        let name = v.shared.reach.name_at(address);
        let _ = write!(text, " at guest physical {address:#x} ({name})");
    }
    let _ = write!(text, ", cpu {}, pc {:#x}, esr {:#x}: {answer}", v.index, ctx.pc, ctx.esr);
    let text = core::str::from_utf8(text.as_bytes()).unwrap_or("?");
    line(&mut v.machine, &text);
    if number + 1 == REPORTS {
        line(&mut v.machine, &"further reports of this kind are only counted");
    }
}
