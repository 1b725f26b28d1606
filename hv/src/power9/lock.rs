// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Locks between vCPUs. None is held while the guest runs or while a vCPU waits, so whoever spins
//! here waits for a bounded piece of firmware, never for the guest.
#![cfg_attr(target_arch = "powerpc64", expect(unsafe_code, reason = "a hint to the core"))]

use spin::mutex::SpinMutex;
use spin::relax::RelaxStrategy;

/// Something that one vCPU at a time may use.
pub type Lock<T> = SpinMutex<T, Yield>;

/// What a thread does between two looks at a lock.
pub struct Yield;

impl RelaxStrategy for Yield {
    fn relax() {
        relax();
    }
}

/// Tells the core that this thread waits for another. An emulator that runs all threads in turn
/// takes it as the end of this one's turn.
pub fn relax() {
    // SAFETY: `yield` is a hint without any effect on registers or memory (Power ISA 3.0B, Book II,
    // 3.2, "or" with all operands r27).
    #[cfg(target_arch = "powerpc64")]
    unsafe {
        core::arch::asm!("or 27, 27, 27", options(nomem, nostack));
    }
    #[cfg(not(target_arch = "powerpc64"))]
    core::hint::spin_loop();
}
