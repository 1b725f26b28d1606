// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The XIVE thread interrupt management area, hypervisor page: the two rings that the firmware
//! touches (OPAL's xive header and Power ISA's XIVE architecture, "thread context").

use super::core::{load16, load32, load64, store8, store32, store64};

/// Ring QW1: the operating system's.
const QW1: u64 = 0x10;
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

/// A virtual processor's interrupt context off its thread: words 0 and 1 of the ring.
#[derive(Clone, Copy, Debug)]
pub struct Context(u64);

impl Context {
    /// Everything is masked.
    pub const SHUT: Self = Self(0xff00_0000);
    /// The most favoured interrupt that waits for a processor or a group (LSMFB), and the count of
    /// acknowledges: the thread's, not the context's.
    const OF_THREAD: u64 = 0xff_ff00_0000;

    /// Whether an interrupt is pending that its priority lets through.
    #[must_use]
    pub const fn is_interrupted(self) -> bool {
        let [_, cppr, _, _, _, _, _, pipr] = self.0.to_be_bytes();
        pipr < cppr
    }
}

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
    pub fn push_os(&self, cam: u32, context: Context) {
        // SAFETY: `new`'s caller vouched for the page; these are the words of a context push.
        unsafe {
            store64(self.0 + QW1, context.0 & !Context::OF_THREAD | Context::SHUT.0);
            store32(self.0 + QW1 + 8, cam | CAM_VALID);
        }
    }

    /// Takes the guest's virtual processor off the thread: what comes until it is pushed again does not
    /// find it.
    pub fn pull_os(&self) -> Context {
        // SAFETY: as above; the first load is the pull.
        unsafe {
            let _ = load32(self.0 + PULL_OS);
            Context(load64(self.0 + QW1))
        }
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
