// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The XIVE thread interrupt management area, hypervisor page: the two rings that the firmware
//! touches (OPAL's xive header and Power ISA's XIVE architecture, "thread context").

use super::core::{load16, load32, store8, store32, store64};

/// Ring QW1: the operating system's. Word 0/1 of a context that has everything masked.
const QW1: u64 = 0x10;
const OS_RESET: u64 = 0xff00_0000;
/// The operating system's ring carries a virtual processor.
pub const CAM_VALID: u32 = 0x8000_0000;
/// Its current processor priority.
const QW1_CPPR: u64 = 0x11;
/// Ring QW3: the thread's own; its current processor priority.
const QW3_CPPR: u64 = 0x31;
/// Whether events for the thread itself find it there.
const QW3_VALID: u64 = 0x38;
const VALID: u8 = 0x80;
/// Pull of the operating system's ring.
const PULL_OS: u64 = 0x818;
/// Acknowledge on the hypervisor's rings.
const ACK_HV: u64 = 0x830;
/// Which ring an acknowledge came from, upper two bits; 0 is none.
const ACK_RING: u16 = 0xc000;

/// The calling thread's hypervisor page.
#[derive(Clone, Copy, Debug)]
pub struct Tima(u64);

impl Tima {
    /// The page at `address`.
    ///
    /// # Safety
    /// It must be the machine's TIMA hypervisor page, with the thread enabled.
    #[must_use]
    pub const unsafe fn new(address: u64) -> Self {
        Self(address)
    }

    /// Pushes the guest's virtual processor: from now on its interrupts reach it by themselves.
    pub fn push_os(&self, cam: u32) {
        // SAFETY: `new`'s caller vouched for the page; these are the words of a context push.
        unsafe {
            store64(self.0 + QW1, OS_RESET);
            store32(self.0 + QW1 + 8, cam | CAM_VALID);
        }
    }

    /// Takes the guest's virtual processor off the thread: what was pending for it there is forgotten,
    /// and what comes until it is pushed again does not find it.
    pub fn pull_os(&self) {
        // SAFETY: as above; the load is the pull.
        let _ = unsafe { load32(self.0 + PULL_OS) };
    }

    /// Accepts no interrupt for the guest until it raises its priority again.
    pub fn shut_os(&self) {
        // SAFETY: as above.
        unsafe { store8(self.0 + QW1_CPPR, 0) };
    }

    /// Puts the thread itself on its ring. OPAL, where there is one, has done so.
    pub fn push_own(&self) {
        // SAFETY: as above.
        unsafe { store8(self.0 + QW3_VALID, VALID) };
    }

    /// Accepts interrupts of every priority on the thread's own ring.
    pub fn open_own(&self) {
        // SAFETY: as above.
        unsafe { store8(self.0 + QW3_CPPR, 0xff) };
    }

    /// Acknowledges the most favoured interrupt of the thread's own ring; false if there is none.
    #[must_use]
    pub fn acknowledge_own(&self) -> bool {
        // SAFETY: as above; the load is the acknowledge.
        unsafe { load16(self.0 + ACK_HV) & ACK_RING != 0 }
    }
}
