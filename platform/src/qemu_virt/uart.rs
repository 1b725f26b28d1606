// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The PL011, as far as the firmware writes to it (Arm DDI 0183). It is the guest's while it runs:
//! the firmware changes nothing but what it sends.
use core::ptr;

const DATA: u64 = 0x00;
const FLAGS: u64 = 0x18;
const LINE: u64 = 0x2c;
const CONTROL: u64 = 0x30;
const MASK: u64 = 0x38;
const CLEAR: u64 = 0x44;
const DMA: u64 = 0x48;
/// FLAGS: the transmit FIFO, or what stands for it, is empty.
const EMPTY: u32 = 1 << 7;
/// FLAGS: something is being sent.
const BUSY: u32 = 1 << 3;
/// LINE: FIFOs on.
const FIFO: u32 = 1 << 4;
/// LINE: 8 bits, FIFOs on.
const EIGHT_BITS: u32 = 3 << 5 | FIFO;
/// Bytes of the smallest FIFO that there is.
const FIFO_BYTES: usize = 16;
/// CLEAR: every interrupt.
const EVERY: u32 = 0x7ff;
/// CONTROL: enabled, sending and receiving.
const ENABLED: u32 = 1 | 1 << 8 | 1 << 9;
/// Looks at a busy line before a byte is given up.
const PATIENCE: u32 = 1 << 20;

/// One PL011.
#[derive(Clone, Copy)]
pub struct Uart(u64);

impl Uart {
    /// The device at a host physical address.
    ///
    /// # Safety
    /// A PL011 must be there, mapped to itself as device memory or with the MMU off.
    #[must_use]
    pub const unsafe fn new(base: u64) -> Self {
        Self(base)
    }

    /// Makes sure that it sends: earlier firmware may have left it off.
    pub fn enable(self) {
        self.write(LINE, EIGHT_BITS);
        self.write(CONTROL, ENABLED);
    }

    /// The same for one that a guest has used: without interrupts, its FIFOs empty.
    pub fn reset(self) {
        self.flush();
        self.write(CONTROL, 0);
        self.write(LINE, 0);
        self.write(MASK, 0);
        self.write(CLEAR, EVERY);
        self.write(DMA, 0);
        self.enable();
    }

    /// Sends bytes; false when the line stood still and the rest was dropped.
    pub fn send(self, bytes: &[u8]) -> bool {
        // An empty FIFO takes this many without a look at each.
        let burst = if self.read(LINE) & FIFO != 0 { FIFO_BYTES } else { 1 };
        bytes.chunks(burst).all(|chunk| {
            let ready = (0..PATIENCE).any(|_| self.read(FLAGS) & EMPTY != 0);
            if ready {
                chunk.iter().for_each(|byte| self.write(DATA, u32::from(*byte)));
            }
            ready
        })
    }

    /// Waits until all has been sent.
    pub fn flush(self) {
        let _ = (0..PATIENCE).any(|_| self.read(FLAGS) & BUSY == 0);
    }

    fn read(self, offset: u64) -> u32 {
        // SAFETY: a register of the device that `new`'s caller vouched for.
        unsafe { ptr::read_volatile((self.0 + offset) as *const u32) }
    }

    fn write(self, offset: u64, value: u32) {
        // SAFETY: as above.
        unsafe { ptr::write_volatile((self.0 + offset) as *mut u32, value) };
    }
}
