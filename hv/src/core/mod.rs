// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The portable core: what any board's exits share. No register and no board is named here.

pub mod calendar;
pub mod console_tail;
pub mod end;
pub mod fault;
pub mod fdt;
pub mod report;
pub mod restart;
pub mod text;
pub mod timing;
pub mod watchdog;

pub use calendar::DateTime;
pub use console_tail::ConsoleTail;
pub use end::Last;

use anchorite_spec::End;

/// What the core asks of the machine underneath.
///
/// Calls come from one vCPU at a time, with interrupts off, and may take as long as the machine's
/// own firmware takes; none waits for the guest.
pub trait Machine {
    /// Writes all of `bytes` to the console, or nothing: false when the device has no room.
    fn console_write(&mut self, bytes: &[u8]) -> bool;

    /// Writes text of the firmware's own. What the console does not take in bounded time is lost.
    fn console_print(&mut self, bytes: &[u8]) {
        let _ = bytes.chunks(16).all(|chunk| self.console_write(chunk));
    }

    /// Takes what the console has received, at most `buffer.len()` bytes; returns how many.
    fn console_read(&mut self, buffer: &mut [u8]) -> usize;

    /// The wall clock, or `None` when the machine has none.
    fn clock(&mut self) -> Option<DateTime>;

    /// Sets the wall clock; false when the machine refuses.
    fn set_clock(&mut self, now: DateTime) -> bool;

    /// A number from the machine's own random number generator.
    fn random(&mut self) -> Option<u64>;
}

/// What happens after an exit was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// The guest goes on.
    Resume,
    /// The same, once a fault of the guest's was explained with all its registers.
    Explain,
    /// The vCPU begins anew, with no register of before.
    Begin,
    /// The run is over.
    End(End),
}
