// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware's watchdog: times, actions, and what it takes.
use anchorite_spec::manifest::{WATCHDOG_POWERS_OFF, WATCHDOG_RESTARTS, WATCHDOG_STOPS};
use toml::Spanned;

use super::values::Word;
use super::{GuestDraft, Rules};
use crate::config::checked::{Placed, Watchdog};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{RawConfig, RawWatchdog};

/// A watchdog, and where the config has it.
pub(super) type WatchdogDraft = Placed<Watchdog>;

/// A day.
const LONGEST: u32 = 86_400;

impl Rules<'_> {
    pub(super) fn watchdog(&mut self, raw: &Spanned<RawWatchdog>) -> Option<WatchdogDraft> {
        let (span, raw) = (raw.span(), raw.get_ref());
        let seconds = raw.timeout.as_ref().and_then(|written| {
            let seconds = u32::try_from(*written.get_ref()).ok();
            let seconds = seconds.filter(|seconds| (1..=LONGEST).contains(seconds));
            if seconds.is_none() {
                let title = format!("`timeout` is a number of seconds from 1 to {LONGEST}");
                let label = format!("this is {}", written.get_ref());
                let help = "a guest is silent while its kernel starts: leave it time for that";
                self.report(Diagnostic::new("watchdog", title, written.span(), label).help(help));
            }
            seconds
        });
        let actions = [
            Word::Works("restart", WATCHDOG_RESTARTS),
            Word::Works("stop", WATCHDOG_STOPS),
            Word::Works("power-off", WATCHDOG_POWERS_OFF),
        ];
        let action = self.word("action", &raw.action, None, &actions);
        let signs = [Word::Works("timer", true), Word::Works("ping", false)];
        let looks = self.word("progress", &raw.progress, Some(true), &signs);
        let budget = raw.budget.as_ref().map_or(Some(0), |written| {
            let count = u32::try_from(*written.get_ref()).ok().filter(|count| *count > 0);
            let (title, label, help) = match (count, action) {
                (Some(count), Some(WATCHDOG_RESTARTS) | None) => return Some(count),
                (None, _) => (
                    "the watchdog's `budget` is a number from 1 on",
                    format!("this is {}", written.get_ref()),
                    "leave it out for no limit, or write another `action` for no restart",
                ),
                (Some(_), Some(_)) => (
                    "the watchdog's `budget` is only for `action = \"restart\"`",
                    "nothing would be counted".to_owned(),
                    "write \"restart\", or leave `budget` out",
                ),
            };
            self.report(Diagnostic::new("watchdog", title, written.span(), label).help(help));
            None
        });
        let (seconds, action, looks, budget) = (seconds?, action?, looks?, budget?);
        Some(Placed { value: Watchdog { seconds, action, budget, looks }, span })
    }

    /// On arm64 the firmware has a timer of its own only where interrupts are guarded.
    pub(super) fn watchdog_guard(&mut self, raw: &RawConfig, guest: Option<&GuestDraft>) {
        let Some(watchdog) = self.watchdog.clone() else { return };
        if self.platform.arm.is_none() || guest.is_none_or(|guest| guest.guarded) {
            return;
        }
        let written = raw.guest.as_ref().and_then(|guest| guest.get_ref().interrupts.as_ref());
        let title = "a watchdog on arm64 needs guarded interrupts";
        let label = "with direct ones no timer of the firmware's interrupts the guest";
        let help = "write `interrupts = \"guarded\"` under [guest], or leave `watchdog` out";
        let mut mistake = Diagnostic::new("watchdog", title, watchdog.span, label);
        if let Some(written) = written {
            mistake = mistake.also(written.span(), "direct");
        }
        self.report(mistake.help(help));
    }
}
