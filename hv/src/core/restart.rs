// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that ends may begin again without a machine reset: from the image, which stays in memory as
//! it was loaded, by the loader, which then stays too.
use anchorite_spec::phases::Phases;
use anchorite_spec::{End, Manifest};

/// What the loader leaves behind for restarts: fills guest memory, and whatever tables have changed,
/// anew from the image at the address, with its times in the record. Ends the run if the image is not
/// what it was.
///
/// It needs the stack, and where there is one the translation, that the loader had at boot, and runs
/// alone.
pub type Refill = extern "C" fn(image: u64, manifest: &Manifest, phases: &mut Phases);

/// How a run ends that goes on no longer, or `None` if the guest is restarted for the `done + 1`-th
/// time.
#[must_use]
pub fn judge(manifest: &Manifest, end: End, done: u64) -> Option<End> {
    let restarts = match end {
        End::Rebooted => manifest.restart_on_reboot != 0,
        End::GuestPanic => manifest.restart_on_panic != 0,
        _ => false,
    };
    let budget = u64::from(manifest.restart_budget);
    match restarts {
        false => Some(end),
        true if budget != 0 && done >= budget => Some(End::RestartBudget),
        true => None,
    }
}

#[cfg(test)]
mod tests {
    use anchorite_spec::{End, Manifest};
    use zerocopy::FromZeros;

    use super::judge;

    #[test]
    fn only_what_the_config_names_restarts() {
        let mut manifest = Manifest::new_zeroed();
        for end in End::ALL {
            assert_eq!(judge(&manifest, end, 0), Some(end));
        }
        manifest.restart_on_reboot = 1;
        assert_eq!(judge(&manifest, End::Rebooted, u64::MAX), None);
        assert_eq!(judge(&manifest, End::GuestPanic, 0), Some(End::GuestPanic));
        manifest.restart_on_panic = 1;
        for end in End::ALL {
            let restarts = matches!(end, End::Rebooted | End::GuestPanic);
            assert_eq!(judge(&manifest, end, 7), (!restarts).then_some(end));
        }
    }

    #[test]
    fn a_budget_is_spent() {
        let mut manifest = Manifest::new_zeroed();
        (manifest.restart_on_panic, manifest.restart_budget) = (1, 2);
        let judged = [0, 1, 2, 3].map(|done| judge(&manifest, End::GuestPanic, done));
        let spent = Some(End::RestartBudget);
        assert_eq!(judged, [None, None, spent, spent]);
        assert_eq!(judge(&manifest, End::PoweredOff, 3), Some(End::PoweredOff));
    }
}
