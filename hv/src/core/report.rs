// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware's lines on the console, and names for guest addresses in them.
use core::fmt::Write;

use anchorite_spec::manifest::{MAPPINGS, Name};
use anchorite_spec::{Manifest, Range};

use super::Machine;
use super::end::Text;

/// How every line of the firmware begins.
pub const TAG: &str = "anchorite: ";
/// Reports of a guest's mistakes that are printed before they are only counted.
pub const REPORTS: u32 = 8;

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
