// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware's lines on the console, and names for guest addresses in them.
use core::fmt::Write;
use core::sync::atomic::{AtomicU32, Ordering};

use anchorite_spec::ledger::SLOTS;
use anchorite_spec::manifest::{MAPPINGS, Name};
use anchorite_spec::{ExitReason, Manifest, Range};

use super::Machine;
use super::end::Text;

/// How every line of the firmware begins.
pub const TAG: &str = "anchorite: ";
/// Reports of a guest's mistakes that are printed before they are only counted.
const REPORTS: u32 = 8;

/// Writes one tagged line; what the console refuses is dropped, a report must not wait.
pub fn line<M: Machine>(machine: &mut M, text: &dyn core::fmt::Display) {
    let mut line = Text::new();
    let _ = write!(line, "{TAG}{text}\r\n");
    for chunk in line.as_bytes().chunks(16) {
        if !machine.console_write(chunk) {
            return;
        }
    }
}

/// Reports of a guest's mistakes so far, by the exit's reason.
pub struct Reports([AtomicU32; SLOTS]);

impl Reports {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; SLOTS])
    }

    /// Counts a report about an exit: how many are still due with it, 0 once there were enough.
    pub fn due(&self, reason: Option<ExitReason>) -> u32 {
        let reports = &self.0[reason.map_or(0, ExitReason::slot)];
        let before = reports.fetch_add(1, Ordering::Relaxed);
        if before >= REPORTS {
            // Far from wrapping around.
            reports.store(REPORTS, Ordering::Relaxed);
        }
        REPORTS.saturating_sub(before)
    }

    /// Forgets them: each life of a guest has its own.
    pub fn begin_again(&self) {
        self.0.iter().for_each(|reports| reports.store(0, Ordering::Relaxed));
    }
}

impl Default for Reports {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes a report that [`Reports::due`] has said is due.
pub fn mistake<M: Machine>(machine: &mut M, text: &Text, due: u32) {
    let text = core::str::from_utf8(text.as_bytes()).unwrap_or("?");
    line(machine, &text);
    if due == 1 {
        line(machine, &"further reports of this kind are only counted");
    }
}

/// What a guest can reach, for reports.
pub struct Reach([Option<(Range, Name)>; MAPPINGS]);

impl Reach {
    /// What the manifest says.
    #[must_use]
    pub fn new(manifest: &Manifest) -> Self {
        let mut reach = [None; MAPPINGS];
        for (slot, mapping) in reach.iter_mut().zip(manifest.mappings()) {
            *slot = Some((Range::new(mapping.guest, mapping.size), mapping.name));
        }
        Self(reach)
    }

    /// The name of the region at a guest real address, as reports give it.
    #[must_use]
    pub fn name_at(&self, address: u64) -> &str {
        let place = Range::new(address, 1);
        let found = self.0.iter().flatten().find(|(range, _)| range.contains(place));
        found.map_or("nothing mapped there", |(_, name)| name.as_str())
    }
}
