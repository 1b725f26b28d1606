// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The boot's times: kept where outsiders read them, and said in a debug boot.
use core::sync::atomic::{AtomicBool, Ordering};

use anchorite_hv::core::text::Text;
use anchorite_spec::Manifest;
use anchorite_spec::phases::{Phase, Phases};

use crate::own::LEDGER;

/// Whether this is a debug boot.
static SAY: AtomicBool = AtomicBool::new(false);

/// Takes the loader's record over, with what it took to wipe the loader.
///
/// # Safety
/// Nothing else uses the ledger's record.
pub unsafe fn begin(mut phases: Phases, wiping: u64, manifest: &Manifest) {
    SAY.store(manifest.debug_boot != 0, Ordering::Relaxed);
    phases.add(Phase::Zeroing, wiping);
    // SAFETY: the caller's promise.
    unsafe { (*LEDGER.get()).phases = phases };
}

/// Closes the record, as the last thing before the guest is entered, and says it in a debug boot.
///
/// # Safety
/// As for [`begin`].
pub unsafe fn close(now: u64, write: &dyn Fn(&[u8])) {
    // SAFETY: the caller's promise.
    let (phases, hz) = unsafe {
        (*LEDGER.get()).phases.close(now);
        ((*LEDGER.get()).phases, (*LEDGER.get()).timebase_hz)
    };
    if !SAY.load(Ordering::Relaxed) {
        return;
    }
    for (phase, ticks) in phases.list() {
        let mut line = Text::new();
        line.f("@boot phase=%s ticks=%d hz=%d\n", &[phase.name()], &[ticks, hz]);
        write(line.as_bytes());
    }
}
