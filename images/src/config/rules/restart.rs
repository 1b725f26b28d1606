// SPDX-License-Identifier: Apache-2.0 OR MIT
//! When the guest is restarted in place, and what that takes.
use anchorite_spec::manifest::WATCHDOG_RESTARTS;

use super::values::Word;
use super::{GuestDraft, Rules};
use crate::config::checked::{Placed, Restart};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{Field, RawGuest};

/// A guest that is restarted, and where the config says so.
pub(super) type RestartDraft = Placed<Restart>;

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
        let budget = raw.restart_budget.as_ref().map_or(Some(0), |written| {
            let count = u32::try_from(*written.get_ref()).ok().filter(|count| *count > 0);
            let (title, label, help) = match (count, &span) {
                (Some(count), Some(_)) => return Some(count),
                (None, _) => (
                    "`restart_budget` is a number from 1 on",
                    format!("this is {}", written.get_ref()),
                    "leave it out for no limit, or `on_reboot` and `on_panic` for no restart",
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
