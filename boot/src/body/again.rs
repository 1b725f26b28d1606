// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that begins again in place: why, how often, and how long it takes.
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anchorite_hv::core::end::Last;
use anchorite_hv::core::restart::{Done, judge};
use anchorite_hv::core::text::{Text, Written};
use anchorite_spec::ledger::LAST_LIFE_BYTES;
use anchorite_spec::phases::Phases;
use anchorite_spec::{End, Manifest};

use crate::own::LEDGER;

/// Seconds that vCPUs are given to come out of the guest for a restart. Who has not come by then
/// cannot be woken.
pub const PATIENCE: u64 = 20;

/// Why the guest is restarted: an [`End`] as a number.
static WHY: AtomicU32 = AtomicU32::new(0);
/// Restarts of a guest that was silent.
static SILENT: AtomicU64 = AtomicU64::new(0);
/// The counter when it was asked for.
static SINCE: AtomicU64 = AtomicU64::new(0);

/// How the run ends, or `None` if the guest begins again instead. `asked`: a policy asks for it.
pub fn ends(manifest: &Manifest, end: End, asked: bool) -> Option<End> {
    // SAFETY: a word that nobody writes before who restarts the guest has stopped all others.
    let all = unsafe { (*LEDGER.get()).restarts };
    judge(manifest, end, asked, Done { all, silent: SILENT.load(Ordering::Relaxed) })
}

/// A restart begins, with the counter at `since`: notes how this life ended, for the next one.
///
/// # Safety
/// Nothing else uses the ledger's record of the last life.
pub unsafe fn begins(why: End, since: u64, last: &Last, words: &[u8]) {
    if why == End::Silence {
        SILENT.fetch_add(1, Ordering::Relaxed);
    }
    WHY.store(why as u32, Ordering::Relaxed);
    SINCE.store(since, Ordering::Relaxed);
    let mut told = Written::new();
    // SAFETY: as in `ends`, and the caller's promise.
    unsafe {
        told.f(
            "after=%s restarts=%d cpu=%d pc=0x%h state=0x%h words=",
            &[why.name()],
            &[(*LEDGER.get()).restarts + 1, last.cpu.into(), last.pc, last.msr],
        );
        // The words may be the guest's.
        for byte in words {
            told.push(&[if matches!(byte, b' '..=b'~') { *byte } else { b'?' }]);
        }
        (&raw mut (*LEDGER.get()).last_life).write(told.into_bytes());
    }
}

/// How the last life ended.
///
/// # Safety
/// No restart begins.
pub unsafe fn last_life() -> &'static [u8; LAST_LIFE_BYTES] {
    // SAFETY: the caller's promise: only `begins` writes it.
    unsafe { &*(&raw const (*LEDGER.get()).last_life) }
}

/// The record of how long it takes, as it begins.
pub fn record() -> Phases {
    Phases { started: SINCE.load(Ordering::Relaxed), ..Phases::EMPTY }
}

/// Counts the restart and says so with `write`.
///
/// # Safety
/// Nothing else uses the ledger.
pub unsafe fn count(write: &dyn Fn(&[u8])) {
    // SAFETY: the caller's promise.
    let restarts = unsafe {
        let ledger = &mut *LEDGER.get();
        ledger.restarts += 1;
        ledger.restarts
    };
    let after = End::from_u32(WHY.load(Ordering::Relaxed)).map_or("?", End::name);
    let mut line = Text::new();
    line.f("\n@restart count=%d after=%s\n", &[after], &[restarts]);
    write(line.as_bytes());
}

/// Closes the record, as the last thing before the guest is entered.
///
/// # Safety
/// As for [`count`].
pub unsafe fn close(mut phases: Phases, now: u64) {
    phases.close(now);
    // SAFETY: the caller's promise.
    unsafe { (*LEDGER.get()).restart = phases };
}
