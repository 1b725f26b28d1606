// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls into OPAL (skiboot's doc/opal-api). Arguments in memory are big-endian at real addresses,
//! which is what Rust's addresses are here: translation is off.

use super::boot_info::OWN_PRIORITY;

core::arch::global_asm!(include_str!("big_endian.S"), include_str!("opal.S"));

unsafe extern "C" {
    fn opal_enter(args: *const [u64; 9], base: u64, entry: u64) -> i64;
}

/// Return codes that callers tell apart.
pub mod code {
    /// Done.
    pub const SUCCESS: i64 = 0;
    /// A parameter names nothing.
    pub const PARAMETER: i64 = -1;
    /// Try again later.
    pub const BUSY: i64 = -2;
    /// Part was done.
    pub const PARTIAL: i64 = -3;
    /// Not offered.
    pub const UNSUPPORTED: i64 = -7;
    /// Try again after OPAL_POLL_EVENTS.
    pub const BUSY_EVENT: i64 = -12;
}

/// Call numbers.
mod token {
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
    /// (chip, space, port, be32 *data, size)
    pub const LPC_READ: u64 = 67;
    /// (chip, space, port, data, size)
    pub const LPC_WRITE: u64 = 68;
    /// (flags)
    pub const REINIT_CPUS: u64 = 70;
    /// (server, address)
    pub const START_CPU: u64 = 41;
    /// ()
    pub const RETURN_CPU: u64 = 69;
    /// (terminal)
    pub const CONSOLE_FLUSH: u64 = 117;
    /// (mode)
    pub const XIVE_RESET: u64 = 128;
    /// (source, be64 *flags, be64 *eoi page, be64 *trigger page, be32 *shift, be32 *chip)
    pub const XIVE_GET_IRQ_INFO: u64 = 129;
    /// (source, vp, priority, logical source)
    pub const XIVE_SET_IRQ_CONFIG: u64 = 131;
    /// (vp, priority, be64 *page, be64 *size, be64 *eoi page, be32 *escalation, be64 *flags)
    pub const XIVE_GET_QUEUE_INFO: u64 = 132;
    /// (vp, priority, page, log2 size, flags)
    pub const XIVE_SET_QUEUE_INFO: u64 = 133;
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

/// The LPC bus's I/O space.
const LPC_IO: u64 = 1;

/// OPAL's address: nothing but the two words that its tree node names.
#[derive(Clone, Copy, Debug)]
pub struct Opal {
    base: u64,
    entry: u64,
}

/// What OPAL answered instead of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpalError(pub i64);

/// Success, or OPAL's code.
pub type OpalResult = Result<(), OpalError>;

/// Negative codes are errors; others are success or a number.
const fn judge(result: i64) -> Result<u64, OpalError> {
    if result < 0 { Err(OpalError(result)) } else { Ok(result as u64) }
}

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
    /// # Safety
    /// Memory that an argument names must be the caller's to give, for as long as OPAL or the
    /// hardware that it programs uses it.
    #[inline(never)] // it has two dozen callers, and none is in a hurry
    unsafe fn call(&self, token: u64, args: &[u64]) -> i64 {
        let mut words = [0; 9];
        words[0] = token;
        words[1..=args.len()].copy_from_slice(args);
        // SAFETY: `new`'s caller vouched for the entry and the machine's state, this one's for the
        // arguments; the assembly keeps the ABI's registers.
        unsafe { opal_enter(&words, self.base, self.entry) }
    }

    /// A call whose arguments are numbers, flags and names of things, never addresses.
    fn call_plain(&self, token: u64, args: &[u64]) -> OpalResult {
        // SAFETY: no memory is named.
        judge(unsafe { self.call(token, args) }).map(|_| ())
    }

    /// A call that fills `N` values; what OPAL writes is big-endian.
    fn call_out<const N: usize>(&self, token: u64, args: &[u64]) -> Result<[u64; N], OpalError> {
        let out = [const { core::cell::Cell::new(0_u64) }; N];
        let mut words = [0; 8];
        words[..args.len()].copy_from_slice(args);
        for (word, cell) in words[args.len()..].iter_mut().zip(&out) {
            *word = cell.as_ptr() as u64;
        }
        // SAFETY: the addresses are those of `out`, whose cells take what OPAL writes: each at most
        // 8 bytes.
        judge(unsafe { self.call(token, &words[..args.len() + N]) })?;
        Ok(out.map(|cell| u64::from_be(cell.get())))
    }

    /// Writes to the console; returns how many bytes OPAL took.
    pub fn console_write(&self, bytes: &[u8]) -> usize {
        let len = core::cell::Cell::new((bytes.len() as u64).to_be());
        let args = [0, len.as_ptr() as u64, bytes.as_ptr() as u64];
        // SAFETY: OPAL reads the slice and writes the length, during the call.
        match unsafe { self.call(token::CONSOLE_WRITE, &args) } {
            code::SUCCESS | code::PARTIAL => u64::from_be(len.get()) as usize,
            _ => 0,
        }
    }

    /// Reads what the console has received; returns how many bytes.
    pub fn console_read(&self, buffer: &mut [u8]) -> usize {
        let len = core::cell::Cell::new((buffer.len() as u64).to_be());
        let args = [0, len.as_ptr() as u64, buffer.as_mut_ptr() as u64];
        // SAFETY: OPAL writes the length and at most that much of the slice, during the call.
        match unsafe { self.call(token::CONSOLE_READ, &args) } {
            code::SUCCESS => (u64::from_be(len.get()) as usize).min(buffer.len()),
            _ => 0,
        }
    }

    /// Writes all of `bytes`, giving OPAL a bounded number of chances to drain its buffer. For the
    /// firmware's own lines before the guest runs and after it has ended.
    #[inline(never)]
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
            match self.call_plain(token::CONSOLE_FLUSH, &[0]) {
                Err(OpalError(code::BUSY | code::PARTIAL)) => {}
                _ => break,
            }
        }
    }

    /// Lets OPAL do its periodic work.
    pub fn poll_events(&self) {
        let _: Result<[u64; 1], _> = self.call_out(token::POLL_EVENTS, &[]);
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
            match self.call_plain(token, &[0]) {
                Ok(()) | Err(OpalError(code::BUSY | code::BUSY_EVENT)) => self.poll_events(),
                Err(_) => break,
            }
        }
    }

    /// Makes hypervisor interrupts little-endian and the core's tables radix, on all threads.
    ///
    /// # Errors
    /// OPAL's code.
    pub fn reinit_little_endian_radix(&self) -> OpalResult {
        const HILE_LE: u64 = 2;
        const RADIX: u64 = 8;
        self.call_plain(token::REINIT_CPUS, &[HILE_LE | RADIX])
    }

    /// Has another thread enter `address` big-endian in hypervisor real mode, its PIR in r3.
    ///
    /// # Safety
    /// The code there must be fit to be entered so, on a stack that nobody else uses.
    ///
    /// # Errors
    /// OPAL's code.
    pub unsafe fn start_thread(&self, pir: u32, address: u64) -> OpalResult {
        // SAFETY: the caller vouches for the code.
        judge(unsafe { self.call(token::START_CPU, &[pir.into(), address]) }).map(|_| ())
    }

    /// Gives the calling thread back to OPAL. Returns only if OPAL refuses.
    pub fn return_thread(&self) {
        let _ = self.call_plain(token::RETURN_CPU, &[]);
    }

    /// The clock: date and time as binary-coded decimals, or OPAL's code while it is busy.
    ///
    /// # Errors
    /// OPAL's code.
    pub fn clock(&self) -> Result<(u32, u64), OpalError> {
        let [date, time] = self.call_out(token::RTC_READ, &[])?;
        Ok(((date >> 32) as u32, time))
    }

    /// Sets the clock; in the same form.
    ///
    /// # Errors
    /// OPAL's code.
    pub fn set_clock(&self, date: u32, time: u64) -> OpalResult {
        self.call_plain(token::RTC_WRITE, &[date.into(), time])
    }

    /// Reads one byte from an I/O port of chip 0's LPC bus.
    ///
    /// # Errors
    /// OPAL's code.
    pub fn read_port(&self, port: u32) -> Result<u8, OpalError> {
        let out = core::cell::Cell::new(0_u32);
        let args = [0, LPC_IO, port.into(), out.as_ptr() as u64, 1];
        // SAFETY: OPAL writes the value, during the call.
        judge(unsafe { self.call(token::LPC_READ, &args) })?;
        Ok(u32::from_be(out.get()) as u8)
    }

    /// Writes one byte to an I/O port of chip 0's LPC bus.
    ///
    /// # Errors
    /// OPAL's code.
    pub fn write_port(&self, port: u32, value: u8) -> OpalResult {
        self.call_plain(token::LPC_WRITE, &[0, LPC_IO, port.into(), value.into(), 1])
    }

    /// Tells OPAL of one of its own interrupts; whether it has events to be polled for.
    pub fn handle_interrupt(&self, number: u32) -> bool {
        let events = self.call_out(token::HANDLE_INTERRUPT, &[number.into()]);
        events.is_ok_and(|[events]| events != 0)
    }

    /// Has OPAL handle a hypervisor maintenance interrupt.
    ///
    /// # Errors
    /// OPAL's code: it is not recovered.
    pub fn handle_hmi(&self) -> OpalResult {
        self.call_out::<1>(token::HANDLE_HMI2, &[]).map(|_| ())
    }

    /// Resets XIVE and gives its native interface to the caller.
    ///
    /// # Errors
    /// OPAL's code, for this and all below.
    pub fn xive_exploit(&self) -> OpalResult {
        const EXPLOITATION: u64 = 1;
        self.call_plain(token::XIVE_RESET, &[EXPLOITATION])
    }

    /// Allocates and enables 2^`order` virtual processors; returns the first. With `escalate` all
    /// queues of each escalate by one.
    ///
    /// # Errors
    /// As above.
    pub fn xive_virtual_processors(&self, order: u32, escalate: bool) -> Result<u64, OpalError> {
        // SAFETY: no memory is named.
        let first = judge(unsafe { self.call(token::XIVE_ALLOCATE_VP_BLOCK, &[order.into()]) })?;
        for vp in first..first + (1 << order) {
            self.xive_enable(vp, escalate)?;
        }
        Ok(first)
    }

    /// Has interrupts for a virtual processor that is on no thread, and that escalates, become events of
    /// this number in a thread's own queue; the management page by which they are let through.
    ///
    /// # Errors
    /// As above.
    pub fn xive_escalate(&self, vp: u64, thread: u32, event: u32) -> Result<u64, OpalError> {
        let [_, _, _, escalation, _] = self.call_out(token::XIVE_GET_QUEUE_INFO, &[vp, 0])?;
        let escalation = (escalation >> 32) as u32;
        self.xive_route(escalation, thread.into(), OWN_PRIORITY, event)?;
        Ok(self.xive_irq_pages(escalation)?.0)
    }

    fn xive_enable(&self, vp: u64, escalate: bool) -> OpalResult {
        const ENABLED: u64 = 1;
        const SINGLE_ESCALATION: u64 = 2;
        let flags = if escalate { ENABLED | SINGLE_ESCALATION } else { ENABLED };
        self.call_plain(token::XIVE_SET_VP_INFO, &[vp, flags, 0])
    }

    /// A virtual processor's name in a thread context.
    ///
    /// # Errors
    /// As above.
    pub fn xive_cam(&self, vp: u64) -> Result<u32, OpalError> {
        let [_, cam, _, _] = self.call_out(token::XIVE_GET_VP_INFO, &[vp])?;
        Ok(cam as u32)
    }

    /// Allocates an interrupt source, on this chip or on any.
    ///
    /// # Errors
    /// As above.
    pub fn xive_allocate_irq(&self, chip: Option<u32>) -> Result<u32, OpalError> {
        const ANY_CHIP: u32 = u32::MAX;
        let chip = chip.unwrap_or(ANY_CHIP).into();
        // SAFETY: no memory is named.
        let number = judge(unsafe { self.call(token::XIVE_ALLOCATE_IRQ, &[chip]) })?;
        Ok(number as u32)
    }

    /// Host real addresses of a source's management page and trigger page.
    ///
    /// # Errors
    /// As above.
    pub fn xive_irq_pages(&self, number: u32) -> Result<(u64, u64), OpalError> {
        let [_, eoi, trigger, _, _] = self.call_out(token::XIVE_GET_IRQ_INFO, &[number.into()])?;
        Ok((eoi, trigger))
    }

    /// Routes a source to a virtual processor's queue of `priority`, as `event`; priority 0xff masks.
    ///
    /// # Errors
    /// As above.
    pub fn xive_route(&self, number: u32, vp: u64, priority: u8, event: u32) -> OpalResult {
        let args = [number.into(), vp, priority.into(), event.into()];
        self.call_plain(token::XIVE_SET_IRQ_CONFIG, &args)
    }

    /// Gives a queue its memory, 2^`log2` bytes at `page`, or with `None` takes it away.
    ///
    /// # Safety
    /// From now on the interrupt controller writes there: the memory must be nobody else's.
    ///
    /// # Errors
    /// As above.
    pub unsafe fn xive_set_queue(
        &self,
        vp: u64,
        priority: u8,
        page: Option<(u64, u32)>,
        escalate: bool,
    ) -> OpalResult {
        const ENABLED: u64 = 1;
        const ALWAYS_NOTIFY: u64 = 2;
        const ESCALATE: u64 = 4;
        let escalates = if escalate { ESCALATE } else { 0 };
        let (address, log2, flags) = match page {
            Some((address, log2)) => (address, log2, ENABLED | ALWAYS_NOTIFY | escalates),
            None => (0, 0, 0),
        };
        let args = [vp, priority.into(), address, log2.into(), flags];
        // SAFETY: the caller vouches for the page.
        judge(unsafe { self.call(token::XIVE_SET_QUEUE_INFO, &args) })?;
        match page {
            // OPAL has forgotten by which queue this one escalates.
            None if escalate => self.xive_enable(vp, true),
            _ => Ok(()),
        }
    }

    /// A queue's generation bit and next index.
    ///
    /// # Errors
    /// As above.
    pub fn xive_queue_state(&self, vp: u64, priority: u8) -> Result<(u32, u32), OpalError> {
        let [generation, index] =
            self.call_out(token::XIVE_GET_QUEUE_STATE, &[vp, priority.into()])?;
        Ok(((generation >> 32) as u32, (index >> 32) as u32))
    }

    /// Waits until a source's events under way have reached their queue.
    ///
    /// # Errors
    /// As above.
    pub fn xive_sync(&self, number: u32) -> OpalResult {
        const SOURCE: u64 = 1;
        self.call_plain(token::XIVE_SYNC, &[SOURCE, number.into()])
    }
}
