// SPDX-License-Identifier: Apache-2.0 OR MIT
//! When the guest is restarted in place, and what that takes.
use anchorite_hv::core::fault::Class;
use anchorite_spec::manifest::{
    FAULT_CLASSES, ON_FAULT, ON_FAULT_INJECT, ON_FAULT_RESTART, WATCHDOG_RESTARTS,
};
use toml::Spanned;

use super::values::Word;
use super::{GuestDraft, Rules};
use crate::config::checked::{Placed, Restart};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{Field, RawGuest, RawOnFault};

/// A guest that is restarted, and where the config says so.
pub(super) type RestartDraft = Placed<Restart>;

/// The keys of `guest.on_fault`.
fn fields(raw: &RawOnFault) -> [(Class, &Field<String>); Class::ALL.len()] {
    [
        (Class::Hole, &raw.hole),
        (Class::Permission, &raw.permission),
        (Class::Instruction, &raw.instruction),
        (Class::Register, &raw.register),
    ]
}

impl Rules<'_> {
    /// `None` for a guest whose first end is the last.
    pub(super) fn restart(&mut self, raw: &RawGuest) -> Option<RestartDraft> {
        let on_reboot = self.end_or_restart("on_reboot", &raw.on_reboot);
        let on_panic = self.end_or_restart("on_panic", &raw.on_panic);
        let asked = [(on_reboot, &raw.on_reboot), (on_panic, &raw.on_panic)];
        let asked = asked.into_iter().find(|(restart, _)| *restart);
        let span = asked.and_then(|(_, field)| Some(field.as_ref()?.span()));
        let silence = self.watchdog.as_ref();
        let silence = silence.filter(|watchdog| watchdog.value.action == WATCHDOG_RESTARTS);
        let span = span.or_else(|| silence.map(|watchdog| watchdog.span.clone()));
        let by_fault = raw.on_fault.iter().flat_map(|table| fields(table.get_ref()));
        let by_fault = by_fault.flat_map(|(_, field)| field);
        let restarts =
            |word: &&Spanned<String>| word.get_ref() == ON_FAULT[ON_FAULT_RESTART as usize];
        let span = span.or_else(|| Some(by_fault.into_iter().find(restarts)?.span()));
        let budget = raw.restart_budget.as_ref().map_or(Some(0), |written| {
            let count = u32::try_from(*written.get_ref()).ok().filter(|count| *count > 0);
            let (title, label, help) = match (count, &span) {
                (Some(count), Some(_)) => return Some(count),
                (None, _) => (
                    "`restart_budget` is a number from 1 on",
                    format!("this is {}", written.get_ref()),
                    "leave it out for no limit; for no restart leave out what asks for one",
                ),
                (_, None) => (
                    "`restart_budget` is only for a guest that is restarted",
                    "nothing would be counted".to_owned(),
                    "add `on_reboot = \"restart\"` or `on_panic = \"restart\"`, or leave it out",
                ),
            };
            self.report(Diagnostic::new("restart", title, written.span(), label).help(help));
            None
        });
        let budget = budget.unwrap_or_default();
        Some(Placed { value: Restart { on_reboot, on_panic, budget }, span: span? })
    }

    /// What becomes of the guest by the class of a fault.
    pub(super) fn on_fault(&mut self, raw: &RawGuest) -> [u8; FAULT_CLASSES] {
        let mut policies = [ON_FAULT_INJECT; FAULT_CLASSES];
        let words: [Word<u8>; ON_FAULT.len()] =
            std::array::from_fn(|number| Word::Works(ON_FAULT[number], number as u8));
        for (class, field) in raw.on_fault.iter().flat_map(|table| fields(table.get_ref())) {
            let policy = self.word(class.name(), field, Some(ON_FAULT_INJECT), &words);
            policies[class as usize] = policy.unwrap_or(ON_FAULT_INJECT);
        }
        policies
    }

    fn end_or_restart(&mut self, key: &str, field: &Field<String>) -> bool {
        let words = [Word::Works("end", false), Word::Works("restart", true)];
        self.word(key, field, Some(false), &words).unwrap_or(false)
    }

    /// A device that moves data goes on doing so until it is told to stop, which the firmware does not
    /// know how to.
    pub(super) fn restart_masters(&mut self, guest: Option<&GuestDraft>) {
        let Some((guest, restart)) = guest.and_then(|guest| Some((guest, guest.restart.as_ref()?)))
        else {
            return;
        };
        let devices = guest.devices.iter().filter(|device| device.value.dma_trusted);
        let devices =
            devices.map(|device| (format!("device `{}`", device.value.name), &device.span));
        let its = guest.its.iter().map(|span| ("the ITS".to_owned(), span));
        for (master, span) in devices.chain(its) {
            let title = format!("a guest that is restarted cannot have {master}");
            self.report(
                Diagnostic::new("restart", title, restart.span.clone(), "the firmware restarts it")
                    .also(span.clone(), "moves data by itself, also in between")
                    .help(
                        "it would go on writing to the memory of the new guest: leave it out, or have no \
                         \"restart\" in the config",
                    ),
            );
        }
    }
}
