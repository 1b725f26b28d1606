// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long the boot takes, by phase. Nothing is printed while it is measured.
use core::cell::Cell;

use anchorite_spec::phases::{Phase, Phases};

use crate::arch;

struct Record(Cell<Phases>);

// SAFETY: the loader runs on one thread.
unsafe impl Sync for Record {}

static RECORD: Record = Record(Cell::new(Phases::EMPTY));

/// Begins the record.
pub fn started(at: u64) {
    RECORD.0.set(Phases { started: at, ..Phases::EMPTY });
}

/// Does something, and adds its time to a phase.
pub fn timed<R>(phase: Phase, work: impl FnOnce() -> R) -> R {
    let before = arch::ticks();
    let result = work();
    let mut record = RECORD.0.get();
    record.add(phase, arch::ticks().wrapping_sub(before));
    RECORD.0.set(record);
    result
}

/// The record so far.
pub fn record() -> Phases {
    RECORD.0.get()
}
