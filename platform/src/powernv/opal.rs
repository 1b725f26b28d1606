// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls into OPAL (skiboot's doc/opal-api). Arguments in memory are big-endian at real addresses,
//! which is what Rust's addresses are here: translation is off.

core::arch::global_asm!(include_str!("opal.S"));

unsafe extern "C" {
    fn opal_enter(args: *const [u64; 9], base: u64, entry: u64) -> i64;
}

/// Return codes that callers tell apart.
pub mod code {
    /// Done.
    pub const SUCCESS: i64 = 0;
    /// Try again later.
    pub const BUSY: i64 = -2;
    /// Part was done.
    pub const PARTIAL: i64 = -3;
    /// Try again after OPAL_POLL_EVENTS.
    pub const BUSY_EVENT: i64 = -12;
    /// A page of memory is wanted for XIVE structures.
    pub const XIVE_PROVISIONING: i64 = -31;
}

/// Call numbers.
pub mod token {
    /// (terminal, be64 *length, buffer)
    pub const CONSOLE_WRITE: u64 = 1;
    /// (terminal, be64 *length, buffer)
    pub const CONSOLE_READ: u64 = 2;
    /// (be32 *date, be64 *time)
    pub const RTC_READ: u64 = 3;
    /// (date, time)
    pub const RTC_WRITE: u64 = 4;
    /// (0)
    pub const CEC_POWER_DOWN: u64 = 5;
    /// ()
    pub const CEC_REBOOT: u64 = 6;
    /// (source, be64 *events)
    pub const HANDLE_INTERRUPT: u64 = 9;
    /// (be64 *events)
    pub const POLL_EVENTS: u64 = 10;
    /// (flags)
    pub const REINIT_CPUS: u64 = 70;
    /// (terminal)
    pub const CONSOLE_FLUSH: u64 = 117;
    /// (mode)
    pub const XIVE_RESET: u64 = 128;
    /// (source, be64 *flags, be64 *eoi page, be64 *trigger page, be32 *shift, be32 *chip)
    pub const XIVE_GET_IRQ_INFO: u64 = 129;
    /// (source, vp, priority, logical source)
    pub const XIVE_SET_IRQ_CONFIG: u64 = 131;
    /// (vp, priority, page, log2 size, flags)
    pub const XIVE_SET_QUEUE_INFO: u64 = 133;
    /// (chip, page)
    pub const XIVE_DONATE_PAGE: u64 = 134;
    /// (order)
    pub const XIVE_ALLOCATE_VP_BLOCK: u64 = 135;
    /// (vp, be64 *flags, be64 *cam, be64 *report, be32 *chip)
    pub const XIVE_GET_VP_INFO: u64 = 137;
    /// (vp, flags, report)
    pub const XIVE_SET_VP_INFO: u64 = 138;
    /// (chip)
    pub const XIVE_ALLOCATE_IRQ: u64 = 139;
    /// (type, id)
    pub const XIVE_SYNC: u64 = 141;
    /// (vp, priority, be32 *generation, be32 *index)
    pub const XIVE_GET_QUEUE_STATE: u64 = 143;
    /// (be64 *flags)
    pub const HANDLE_HMI2: u64 = 166;
}

/// OPAL's address: nothing but the two words that its tree node names.
#[derive(Clone, Copy, Debug)]
pub struct Opal {
    base: u64,
    entry: u64,
}

/// A value that OPAL writes: big-endian in memory, 8-byte aligned, and possibly less than 8 bytes.
pub type Out64 = core::cell::Cell<u64>;

impl Opal {
    /// OPAL at the addresses of its tree node.
    ///
    /// # Safety
    /// The addresses must be what the machine's firmware handed over, HRMOR must be 0, translation
    /// and external interrupts must be off at every later [`Self::call`], and no two calls may
    /// overlap on one thread.
    #[must_use]
    pub const unsafe fn new(base: u64, entry: u64) -> Self {
        Self { base, entry }
    }

    /// One call: `args` beyond those given are 0.
    ///
    /// The memory that an argument names must be valid for what OPAL does with it; all wrappers in
    /// this crate and the loader pass the addresses of live locals or statics.
    pub fn call(&self, token: u64, args: &[u64]) -> i64 {
        let mut words = [0; 9];
        words[0] = token;
        words[1..=args.len()].copy_from_slice(args);
        // SAFETY: `new`'s caller vouched for the entry and the machine's state; the assembly keeps
        // the ABI's registers.
        unsafe { opal_enter(&words, self.base, self.entry) }
    }

    /// Writes to the console; returns how many bytes OPAL took.
    pub fn console_write(&self, bytes: &[u8]) -> usize {
        let len = Out64::new((bytes.len() as u64).to_be());
        match self.call(token::CONSOLE_WRITE, &[0, len.as_ptr() as u64, bytes.as_ptr() as u64]) {
            code::SUCCESS | code::PARTIAL => u64::from_be(len.get()) as usize,
            _ => 0,
        }
    }

    /// Reads what the console has received; returns how many bytes.
    pub fn console_read(&self, buffer: &mut [u8]) -> usize {
        let len = Out64::new((buffer.len() as u64).to_be());
        match self.call(token::CONSOLE_READ, &[0, len.as_ptr() as u64, buffer.as_mut_ptr() as u64])
        {
            code::SUCCESS => (u64::from_be(len.get()) as usize).min(buffer.len()),
            _ => 0,
        }
    }

    /// Writes all of `bytes`, giving OPAL a bounded number of chances to drain its buffer. For the
    /// firmware's own lines before the guest runs and after it has ended.
    pub fn console_print(&self, bytes: &[u8]) {
        let mut rest = bytes;
        for _ in 0..100_000 {
            if rest.is_empty() {
                break;
            }
            let taken = self.console_write(rest);
            rest = &rest[taken.min(rest.len())..];
            if taken == 0 {
                self.poll_events();
            }
        }
    }

    /// Waits, boundedly, until the console's buffer is on the wire.
    pub fn console_flush(&self) {
        for _ in 0..100_000 {
            match self.call(token::CONSOLE_FLUSH, &[0]) {
                code::BUSY | code::PARTIAL => {}
                _ => break,
            }
        }
    }

    /// Lets OPAL do its periodic work.
    pub fn poll_events(&self) {
        let events = Out64::new(0);
        self.call(token::POLL_EVENTS, &[events.as_ptr() as u64]);
    }

    /// Powers the machine off. Returns only if OPAL refuses.
    pub fn power_down(&self) {
        self.retry(token::CEC_POWER_DOWN);
    }

    /// Resets the machine. Returns only if OPAL refuses.
    pub fn reboot(&self) {
        self.retry(token::CEC_REBOOT);
    }

    fn retry(&self, token: u64) {
        for _ in 0..100_000 {
            match self.call(token, &[0]) {
                code::BUSY | code::BUSY_EVENT | code::SUCCESS => self.poll_events(),
                _ => break,
            }
        }
    }
}
