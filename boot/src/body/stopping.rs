// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether vCPUs are being taken out of the guest, and what for. How they are pulled is the
//! architecture's.
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anchorite_spec::manifest::VCPUS;

/// What vCPUs are taken out for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The guest begins again.
    Restart,
    /// The run is over.
    End,
}

const NO: u32 = 0;
const FOR_RESTART: u32 = 1;
const FOR_GOOD: u32 = 2;

/// A restart can still become an end.
static STOP: AtomicU32 = AtomicU32::new(NO);
/// Which vCPUs have come out for good.
static HALTED: [AtomicBool; VCPUS] = [const { AtomicBool::new(false) }; VCPUS];

/// Whether they are.
#[inline]
pub fn is_on() -> bool {
    STOP.load(Ordering::Acquire) != NO
}

/// What for.
pub fn why() -> Option<Why> {
    match STOP.load(Ordering::SeqCst) {
        NO => None,
        FOR_RESTART => Some(Why::Restart),
        _ => Some(Why::End),
    }
}

/// The run is over: who comes out stays out.
pub fn for_good() {
    STOP.store(FOR_GOOD, Ordering::SeqCst);
}

/// The guest is to begin again; false if someone else has said so, or that the run is over.
pub fn for_restart() -> bool {
    STOP.compare_exchange(NO, FOR_RESTART, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

/// The restart is done and vCPUs may run; false if the run has ended meanwhile.
pub fn is_over() -> bool {
    STOP.compare_exchange(FOR_RESTART, NO, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

/// A vCPU has come out for good.
pub fn halted(index: usize) {
    HALTED[index].store(true, Ordering::Release);
}

/// Whether it has.
pub fn has_halted(index: usize) -> bool {
    HALTED[index].load(Ordering::Acquire)
}

/// Waits for something while vCPUs come out, until `late`; false if it does not come. What it does not
/// return from is an end of the run meanwhile: then `halt` is called.
pub fn wait_for(mut what: impl FnMut() -> bool, late: impl Fn() -> bool, halt: impl Fn()) -> bool {
    loop {
        if why() == Some(Why::End) {
            halt();
        }
        if what() {
            return true;
        }
        if late() {
            return false;
        }
    }
}
