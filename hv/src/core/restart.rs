// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that ends may begin again without a machine reset: from the image, which stays in memory as
//! it was loaded, by the loader, which then stays too.
use anchorite_spec::ledger::LAST_LIFE_BYTES;
use anchorite_spec::manifest::WATCHDOG_RESTARTS;
use anchorite_spec::phases::Phases;
use anchorite_spec::{End, Manifest};

/// What the loader leaves behind for restarts: fills guest memory, and whatever tables have changed,
/// anew from the image at the address, with its times in the record. Ends the run if the image is not
/// what it was. What is left of the guest's last life goes into its tree.
///
/// It needs the stack, and where there is one the translation, that the loader had at boot, and runs
/// alone.
pub type Refill = extern "C" fn(
    image: u64,
    manifest: &Manifest,
    phases: &mut Phases,
    last_life: &[u8; LAST_LIFE_BYTES],
);

/// Restarts so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// All of them.
    pub all: u64,
    /// Those of a guest that was silent.
    pub silent: u64,
}

/// How a run ends that goes on no longer, or `None` if the guest is restarted once more. `asked`: a
/// policy asks for it.
#[must_use]
pub fn judge(manifest: &Manifest, end: End, asked: bool, done: Done) -> Option<End> {
    let (restarts, budget) = match end {
        End::Rebooted => (manifest.restart_on_reboot != 0, 0),
        End::GuestPanic => (manifest.restart_on_panic != 0, 0),
        End::Silence => (manifest.watchdog_action == WATCHDOG_RESTARTS, manifest.watchdog_budget),
        End::PolicyStop => (asked, 0),
        _ => (false, 0),
    };
    let is_spent = |budget: u32, done: u64| budget != 0 && done >= budget.into();
    let spent = is_spent(manifest.restart_budget, done.all) || is_spent(budget, done.silent);
    match restarts {
        false => Some(end),
        true if spent => Some(End::RestartBudget),
        true => None,
    }
}

#[cfg(test)]
mod tests {
    use anchorite_spec::manifest::{WATCHDOG_POWERS_OFF, WATCHDOG_RESTARTS};
    use anchorite_spec::{End, Manifest};
    use zerocopy::FromZeros;

    use super::{Done, judge};

    const NONE: Done = Done { all: 0, silent: 0 };

    #[test]
    fn only_what_the_config_names_restarts() {
        let mut manifest = Manifest::new_zeroed();
        for end in End::ALL {
            assert_eq!(judge(&manifest, end, false, NONE), Some(end));
        }
        manifest.restart_on_reboot = 1;
        assert_eq!(judge(&manifest, End::Rebooted, false, Done { all: u64::MAX, silent: 0 }), None);
        assert_eq!(judge(&manifest, End::GuestPanic, false, NONE), Some(End::GuestPanic));
        manifest.restart_on_panic = 1;
        manifest.watchdog_action = WATCHDOG_POWERS_OFF;
        for end in End::ALL {
            let restarts = matches!(end, End::Rebooted | End::GuestPanic);
            let judged = judge(&manifest, end, false, Done { all: 7, silent: 7 });
            assert_eq!(judged, (!restarts).then_some(end));
        }
    }

    #[test]
    fn a_budget_is_spent() {
        let mut manifest = Manifest::new_zeroed();
        (manifest.restart_on_panic, manifest.restart_budget) = (1, 2);
        let done = |all| Done { all, silent: 0 };
        let judged = [0, 1, 2, 3].map(|all| judge(&manifest, End::GuestPanic, false, done(all)));
        let spent = Some(End::RestartBudget);
        assert_eq!(judged, [None, None, spent, spent]);
        assert_eq!(judge(&manifest, End::PoweredOff, false, done(3)), Some(End::PoweredOff));
        let by_policy = [0, 1, 2].map(|all| judge(&manifest, End::PolicyStop, true, done(all)));
        assert_eq!(by_policy, [None, None, spent]);
    }

    #[test]
    fn the_watchdog_has_a_budget_of_its_own_beside_that_of_all() {
        let mut manifest = Manifest::new_zeroed();
        manifest.watchdog_action = WATCHDOG_RESTARTS;
        let silence = |manifest: &Manifest, all, silent| {
            judge(manifest, End::Silence, false, Done { all, silent })
        };
        assert_eq!(silence(&manifest, u64::MAX, u64::MAX), None);
        (manifest.watchdog_budget, manifest.restart_on_reboot) = (2, 1);
        let spent = Some(End::RestartBudget);
        assert_eq!([1, 2].map(|silent| silence(&manifest, 9, silent)), [None, spent]);
        assert_eq!(judge(&manifest, End::Rebooted, false, Done { all: 9, silent: 2 }), None);
        manifest.restart_budget = 3;
        assert_eq!([2, 3].map(|all| silence(&manifest, all, 0)), [None, spent]);
    }
}
