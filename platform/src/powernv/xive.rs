// SPDX-License-Identifier: Apache-2.0 OR MIT
//! XIVE without OPAL: chip 0's interrupt controller set up directly, with all its tables in the
//! firmware's own memory (register names are those of skiboot's xive.c).
//!
//! Tables are written in memory and not through the controller's caches: this is for QEMU, which has
//! none, and no real machine starts without OPAL.
use core::ptr;

use super::boot_info::OWN_PRIORITY;
use super::core::{load64, store64, sync};

/// The chip's control registers.
const XSCOM: u64 = 0x0006_03FC_0000_0000;
/// The controller's own, among them.
const CQ: u64 = 0x0501_3000;
/// Where the controller's windows are put: its registers, the thread management area, the pages of
/// queues, the pages of sources.
const IC: u64 = 0x0006_0302_0310_0000;
/// See [`IC`].
const TM: u64 = 0x0006_0302_0318_0000;
const PC: u64 = 0x0006_0180_0000_0000;
const VC: u64 = 0x0006_0100_0000_0000;
const PC_SIZE: u64 = 1 << 36;
const VC_SIZE: u64 = 1 << 39;

/// One table's size.
pub const TABLE: u64 = 0x1_0000;
/// How many tables there are: sources' targets, sources' states, queues, virtual processors.
pub const TABLES: u64 = 4;
/// Pages of sources and of the thread management area.
const PAGE: u64 = 0x1_0000;
/// Sources that have an entry in the table of targets. A source without one has no target, whatever
/// its state: only these have to begin off, 01 each.
const SOURCES: u64 = TABLE / 8;
/// Sources whose states, two bits each, stand in one doubleword.
const SOURCES_PER_STATE: u64 = 32;
/// The block of everything here: chip 0's.
const BLOCK: u64 = 0;

/// The thread management area's hypervisor page and the operating system's.
pub const TIMA: (u64, u64) = (TM + PAGE, TM + 2 * PAGE);

/// The queue by which those of one virtual processor escalate; guests have none of its priority.
const GATHER: u8 = 7;
/// In a queue's first word: what finds no thread is kept until there is one; escalation; whatever the
/// queue's own state; without notifying anybody.
const BACKLOG: u64 = bit(3);
const ESCALATE: u64 = bit(5);
const UNCONDITIONALLY: u64 = bit(6);
const SILENT: u64 = bit(7);
/// The window of pages is so many sets, queues' behind those of sources.
const SETS: u64 = 64;
const QUEUE_SETS_BEGIN: u64 = 48;

const fn bit(n: u32) -> u64 {
    1 << (63 - n)
}

/// The controller's tables.
#[derive(Clone, Copy)]
pub struct Tables(u64);

impl Tables {
    /// The tables at `base`, a multiple of 64 KiB.
    ///
    /// # Safety
    /// [`TABLES`] times [`TABLE`] bytes there must be memory that nobody else uses.
    #[must_use]
    pub const unsafe fn new(base: u64) -> Self {
        Self(base)
    }

    fn put64(self, table: u64, index: u64, value: u64) {
        let slot = (self.0 + table * TABLE + 8 * index % TABLE) as *mut u64;
        // SAFETY: inside the tables, which are this value's.
        unsafe { ptr::write_volatile(slot, value.to_be()) };
    }

    /// Two 32-bit words of a queue's descriptor.
    fn end_words(self, end: u64, pair: u64) -> u64 {
        let slot = (self.0 + 2 * TABLE + 32 * end % TABLE + 8 * pair) as *const u64;
        // SAFETY: as above.
        u64::from_be(unsafe { ptr::read_volatile(slot) })
    }

    /// Fills the tables, which are all zero, gives the controller its windows and tables, and enables
    /// the threads.
    pub fn set_up(self, threads: impl Iterator<Item = u32>) {
        for word in 0..SOURCES / SOURCES_PER_STATE {
            self.put64(1, word, 0x5555_5555_5555_5555);
        }
        sync();
        windows();
        domains();
        for (table, queues_too) in [(0, false), (1, false), (2, false), (3, true)] {
            let address = table << 48 | BLOCK << 32;
            // Exclusive, direct, 64 KiB.
            let descriptor = 2 << 62 | (self.0 + table * TABLE) | 4;
            ic(VC_VSD_ADDRESS, address);
            ic(VC_VSD_DATA, descriptor);
            if queues_too {
                ic(PC_VSD_ADDRESS, address);
                ic(PC_VSD_DATA, descriptor);
            }
        }
        for thread in threads {
            self.processor(own(thread));
            ic(PC_THREAD_EN_SET, bit(thread & 63));
        }
    }

    /// Makes a virtual processor exist.
    pub fn processor(self, vp: u64) {
        self.put64(3, 8 * vp, bit(0));
    }

    /// Sends a source's events to a virtual processor's queue of `priority`; 0xff masks.
    pub fn route(self, source: u32, vp: u64, priority: u8, event: u32) {
        let masked = if priority == 0xff { bit(32) } else { 0 };
        let end = end_of(vp, priority & 7);
        let entry = bit(0) | BLOCK << 56 | end << 32 | masked | u64::from(event & 0x7fff_ffff);
        self.put64(0, source.into(), entry);
        self.sync();
    }

    /// Gives a queue its memory, 2^`log2` bytes at `page`, or with `None` takes it away. With `escalate`
    /// an interrupt that finds its virtual processor on no thread goes on to [`Self::escalate`]'s queue.
    pub fn set_queue(self, vp: u64, priority: u8, page: Option<(u64, u32)>, escalate: bool) {
        let end = end_of(vp, priority);
        let word = |n: u64, value: u64| self.put64(2, 4 * end + n, value);
        let Some((page, log2)) = page else {
            word(0, 0);
            return self.sync();
        };
        // Words 6 and 7: whom to notify and how urgently. Then 4 and 5: by which queue to escalate. Then
        // 2 and 3: where. Then 0 and 1: valid, enqueue, always notify, size; generation 1 at offset 0.
        word(3, vp << 32 | u64::from(priority) << 16);
        let mut how = bit(0) | bit(1) | bit(2) | u64::from(log2 - 12) << 48 | 1 << 22;
        if escalate {
            how |= BACKLOG | ESCALATE | UNCONDITIONALLY;
            word(2, end_of(vp, GATHER) << 32);
        }
        word(1, page);
        word(0, how);
        self.sync();
    }

    /// Has interrupts for a virtual processor on no thread become events of another one's queue, through a
    /// queue of its own that has no memory and is let through by the page returned.
    #[must_use]
    pub fn escalate(self, vp: u64, to: u64, event: u32) -> u64 {
        let end = end_of(vp, GATHER);
        // Words 4 and 5: to which queue, as what. Then 0 and 1: valid, nothing notified; both states off.
        self.put64(2, 4 * end + 2, end_of(to, OWN_PRIORITY) << 32 | u64::from(event));
        self.put64(2, 4 * end, bit(0) | BACKLOG | ESCALATE | SILENT | bit(33) | bit(35));
        self.sync();
        VC + QUEUE_SETS_BEGIN * (VC_SIZE / SETS) + end * 2 * PAGE + PAGE
    }

    /// A queue's generation bit and next index.
    #[must_use]
    pub fn queue_state(self, vp: u64, priority: u8) -> (u32, u32) {
        let words = self.end_words(end_of(vp, priority), 0);
        ((words >> 22 & 1) as u32, (words & 0x003f_ffff) as u32)
    }

    /// Waits until events under way have reached their queues.
    pub fn sync(self) {
        /// The second register page: ports whose store waits for one of the controller's units.
        const SOURCES: u64 = PAGE + 0x800 + 8 * 0x80;
        sync();
        ic(SOURCES, 0);
    }
}

/// The virtual processor that is a thread itself.
#[must_use]
pub const fn own(thread: u32) -> u64 {
    0x80 | thread as u64 & 0x7f
}

/// Eight queues for each virtual processor.
const fn end_of(vp: u64, priority: u8) -> u64 {
    vp * 8 + priority as u64
}

/// A source's management page and its trigger page.
#[must_use]
pub const fn source_pages(source: u32) -> (u64, u64) {
    let trigger = VC + source as u64 * 2 * PAGE;
    (trigger + PAGE, trigger)
}

/// Registers in the controller's first register page.
const TABLE_ADDRESS: u64 = 0x0F0;
const TABLE_DATA: u64 = 0x0F8;
const PC_THREAD_EN_SET: u64 = 0x448;
const PC_VSD_ADDRESS: u64 = 0x488;
const PC_VSD_DATA: u64 = 0x490;
const VC_VSD_ADDRESS: u64 = 0x808;
const VC_VSD_DATA: u64 = 0x810;

/// Writes a register in the controller's window.
fn ic(register: u64, value: u64) {
    // SAFETY: `windows` has put the controller's registers there; the values are this module's.
    unsafe { store64(IC + register, value) };
}

/// Puts the controller's windows in their places.
fn windows() {
    let scom = |register: u64, value: u64| {
        // SAFETY: the controller's registers on chip 0, by the numbers of its documentation.
        unsafe { store64(XSCOM + ((CQ + register) << 3), value) };
    };
    let valid_64k = bit(0) | bit(1);
    scom(0x10, IC | valid_64k);
    scom(0x12, TM | valid_64k);
    scom(0x14, 0);
    scom(0x16, 0);
    scom(0x17, !(PC_SIZE - 1));
    scom(0x16, PC | bit(0));
    scom(0x18, 0);
    scom(0x19, !(VC_SIZE - 1));
    scom(0x18, VC | bit(0));
    // 64 KiB pages in both windows; the thread management area is this chip's.
    scom(0x20, bit(5) | bit(6) | bit(22));
    // SAFETY: reading back changes nothing.
    let _ = unsafe { load64(XSCOM + ((CQ + 0x10) << 3)) };
}

/// Says which part of the source window holds sources' pages, which queues', and that all virtual
/// processors are this block's.
fn domains() {
    const AUTO_INCREMENT: u64 = bit(0);
    ic(TABLE_ADDRESS, AUTO_INCREMENT | bit(15));
    for set in 0..QUEUE_SETS_BEGIN {
        ic(TABLE_DATA, 1 << 62 | BLOCK << 48 | set << 32);
    }
    for set in 0..SETS - QUEUE_SETS_BEGIN {
        ic(TABLE_DATA, 2 << 62 | BLOCK << 48 | set << 32);
    }
    ic(TABLE_ADDRESS, AUTO_INCREMENT | bit(14));
    for index in 0..16 {
        ic(TABLE_DATA, 1 << 63 | BLOCK << 48 | index << 32);
    }
}
