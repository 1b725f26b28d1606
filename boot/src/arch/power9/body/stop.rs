// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How vCPUs are taken out of the guest, whatever they do there and however they are masked: by the
//! interrupt on their core's own XIVE ring, which nothing that a guest can set keeps away. It ends a
//! sleep as well; who waits for H_PROD alone is told by a flag. At the end of its exit a vCPU finds
//! that it is to stay out, or for a restart to wait for its start, as a CPU does that the guest has
//! stopped.
use anchorite_hv::power9::lock::relax;
use anchorite_hv::power9::{GuestContext, Power9, Shared};
use anchorite_platform::powernv::Board;
use anchorite_platform::powernv::core::{sync, timebase};
use core::sync::atomic::Ordering;

use super::state::{CPUS, SHARED};
use crate::stopping::{self, Why};

/// How long the others are waited for when the run ends, in ticks: two seconds on a machine of this
/// kind. One that does not come is stuck in the firmware itself.
const LAST_PATIENCE: u64 = 1 << 30;

/// What all vCPUs share, once it stands.
pub fn shared() -> Option<&'static Shared> {
    // SAFETY: set once at boot, and never held mutably.
    unsafe { SHARED.as_ref() }
}

/// Has all vCPUs but the calling one come to the end of the exit that they are in or about to make.
/// Those that are stopped stay.
pub fn pull(index: usize, board: &Board, shared: &Shared) {
    for other in (0..shared.vcpus).filter(|other| *other != index) {
        shared.seats[other].pulled.store(true, Ordering::SeqCst);
        board.kick(other);
    }
}

/// Takes all other vCPUs out of the guest for good, so that neither console nor ledger move any more.
pub fn for_good(index: usize, board: &Board) {
    stopping::for_good();
    let Some(shared) = shared() else { return };
    pull(index, board, shared);
    let since = timebase();
    while timebase() - since < LAST_PATIENCE {
        // Who holds the lock is on its way to its halt, unless it is the one that dies here.
        if let Some(states) = shared.states.try_lock() {
            let quiet = |other: usize| {
                other == index || states[other].is_stopped() || stopping::has_halted(other)
            };
            if (0..shared.vcpus).all(quiet) {
                return;
            }
        }
        relax();
    }
}

/// A vCPU at the end of its exit: returns when it may go on in the guest. For a restart it has waited
/// for its start then, and its context is that of a CPU that starts.
pub fn arrive(index: usize, ctx: &mut GuestContext) {
    while let Some(why) = stopping::why() {
        // SAFETY: the vCPU is this core's, whose handlers are done.
        match unsafe { CPUS[index].as_mut() } {
            Some(vcpu) if why == Why::Restart => {
                // Its interrupts that are under way have reached the interrupt controller.
                sync();
                vcpu.leave();
                vcpu.await_start(ctx);
            }
            _ => halt(index),
        }
    }
}

/// Nothing more happens on this core.
pub fn halt(index: usize) -> ! {
    stopping::halted(index);
    loop {
        // SAFETY: the vCPU is this core's, which will not serve another exit.
        match unsafe { CPUS[index].as_mut() } {
            Some(vcpu) => vcpu.machine.park(),
            None => relax(),
        }
    }
}
