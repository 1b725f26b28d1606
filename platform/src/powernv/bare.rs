// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine without OPAL: what its calls would do, done directly, under the same names.
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::core as cpu;
use super::lpc::{self, Chassis, Early, Uart};
use super::opal::{OpalError, OpalResult, code};
use super::xive::{self, Tables};
use anchorite_hv::power9::Lock;

/// Guest virtual processors begin here; smaller numbers are threads.
const FIRST_VP: u64 = 1 << 30;
/// Sources below are nobody's.
const FIRST_SOURCE: u32 = 0x10;

/// The machine's devices.
pub struct Bare {
    uart: Lock<Uart>,
    tables: AtomicU64,
    next_source: AtomicU32,
}

/// The words through which a thread that waits at the loader's gate is let in: its PIR, and where it
/// is to go. They lie below the first vector.
pub const GATE: [u64; 2] = [0x18, 0x20];

impl Bare {
    /// The devices, as the machine starts: no interrupt tables yet.
    ///
    /// # Safety
    /// There may be only one such value at a time.
    #[must_use]
    pub unsafe fn start() -> Self {
        // SAFETY: the caller's promise.
        Self::with(unsafe { Uart::start() }, 0)
    }

    /// The devices as an earlier value left them.
    ///
    /// # Safety
    /// As [`Self::start`], and the tables must be those that were set up.
    #[must_use]
    pub unsafe fn adopt(tables: u64, early: Early) -> Self {
        // SAFETY: the caller's promise.
        Self::with(unsafe { Uart::adopt(early) }, tables)
    }

    fn with(uart: Uart, tables: u64) -> Self {
        Self {
            uart: Lock::new(uart),
            tables: AtomicU64::new(tables),
            next_source: AtomicU32::new(FIRST_SOURCE),
        }
    }

    /// What was typed before the UART was looked at and nobody has read.
    pub fn early(&self) -> Early {
        self.uart.lock().early()
    }

    fn tables(&self) -> Tables {
        // SAFETY: `adopt` or `xive_set_up` was given them.
        unsafe { Tables::new(self.tables.load(Ordering::Relaxed)) }
    }

    /// Writes what the UART takes at once; returns how much.
    #[inline(always)]
    pub fn console_write(&self, bytes: &[u8]) -> usize {
        self.uart.lock().send(bytes)
    }

    /// Reads what it has received.
    pub fn console_read(&self, buffer: &mut [u8]) -> usize {
        self.uart.lock().receive(buffer)
    }

    /// Writes all of `bytes`; the firmware's own lines at the end come even if a lock is held.
    pub fn console_print(&self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let sent = (0..100_000)
                .filter_map(|_| self.uart.try_lock())
                .map(|mut uart| uart.send(rest))
                .find(|sent| *sent != 0);
            // What the UART does not take in all that time is lost.
            rest = rest.get(sent.unwrap_or(1)..).unwrap_or_default();
        }
    }

    /// Waits until everything written has left.
    pub fn console_flush(&self) {
        for _ in 0..100_000 {
            if self.uart.try_lock().is_some_and(|mut uart| uart.is_idle()) {
                break;
            }
        }
    }

    /// Nothing has to be polled.
    pub fn poll_events(&self) {}

    /// Switches the machine off.
    pub fn power_down(&self) {
        lpc::chassis_control(Chassis::PowerDown);
    }

    /// Resets it.
    pub fn reboot(&self) {
        lpc::chassis_control(Chassis::HardReset);
    }

    /// No device of an earlier firmware's interrupts.
    pub fn handle_interrupt(&self, _: u32) -> bool {
        false
    }

    /// Nothing here could recover.
    ///
    /// # Errors
    /// Always.
    pub fn handle_hmi(&self) -> OpalResult {
        Err(OpalError(code::UNSUPPORTED))
    }

    /// Lets a thread in that waits at the gate.
    ///
    /// # Safety
    /// As [`super::Opal::start_thread`], but `address` is entered little-endian.
    ///
    /// # Errors
    /// None.
    pub unsafe fn start_thread(&self, pir: u32, address: u64) -> OpalResult {
        let [who, at] = GATE.map(|word| word as *mut u64);
        // SAFETY: the words are the gate's; the caller vouches for the address. The last is a
        // hypervisor doorbell, `msgsnd r4`.
        unsafe {
            core::ptr::write_volatile(at, address);
            cpu::sync();
            core::ptr::write_volatile(who, pir.into());
            cpu::sync();
            core::arch::asm!(".long 0x7c00219c", in("r4") 5_u64 << 27 | u64::from(pir),
                             options(nostack));
        }
        Ok(())
    }

    /// Reads a port of the LPC bus.
    ///
    /// # Errors
    /// None.
    pub fn read_port(&self, port: u32) -> Result<u8, OpalError> {
        Ok(lpc::read_port(port as u16))
    }

    /// Writes one.
    ///
    /// # Errors
    /// None.
    pub fn write_port(&self, port: u32, value: u8) -> OpalResult {
        lpc::write_port(port as u16, value);
        Ok(())
    }

    /// Sets XIVE up with its tables at `tables`, where all is zero.
    ///
    /// # Safety
    /// As [`Tables::new`].
    pub unsafe fn xive_set_up(&self, tables: u64, threads: impl Iterator<Item = u32>) {
        self.tables.store(tables, Ordering::Relaxed);
        self.tables().set_up(threads);
    }

    /// 2^`order` virtual processors; returns the first.
    ///
    /// # Errors
    /// None.
    pub fn xive_virtual_processors(&self, order: u32, _: bool) -> Result<u64, OpalError> {
        (0..1 << order).for_each(|vp| self.tables().processor(vp));
        Ok(FIRST_VP)
    }

    /// Its name in a thread context.
    ///
    /// # Errors
    /// None.
    pub fn xive_cam(&self, vp: u64) -> Result<u32, OpalError> {
        Ok(number(vp) as u32)
    }

    /// Has interrupts for a virtual processor that is on no thread become events in a thread's own queue.
    ///
    /// # Errors
    /// None.
    pub fn xive_escalate(&self, vp: u64, thread: u32, event: u32) -> Result<u64, OpalError> {
        Ok(self.tables().escalate(number(vp), xive::own(thread), event))
    }

    /// A new source. Chip 0 alone has its controller set up.
    ///
    /// # Errors
    /// Another chip is asked for.
    pub fn xive_allocate_irq(&self, chip: Option<u32>) -> Result<u32, OpalError> {
        if chip.is_some_and(|chip| chip != 0) {
            return Err(OpalError(code::PARAMETER));
        }
        Ok(self.next_source.fetch_add(1, Ordering::Relaxed))
    }

    /// Its management page and trigger page.
    ///
    /// # Errors
    /// None.
    pub fn xive_irq_pages(&self, source: u32) -> Result<(u64, u64), OpalError> {
        Ok(xive::source_pages(source))
    }

    /// Routes a source.
    ///
    /// # Errors
    /// None.
    pub fn xive_route(&self, source: u32, vp: u64, priority: u8, event: u32) -> OpalResult {
        self.tables().route(source, number(vp), priority, event);
        Ok(())
    }

    /// Gives a queue its memory or takes it away.
    ///
    /// # Safety
    /// As [`super::Opal::xive_set_queue`].
    ///
    /// # Errors
    /// None.
    pub unsafe fn xive_set_queue(
        &self,
        vp: u64,
        priority: u8,
        page: Option<(u64, u32)>,
        escalate: bool,
    ) -> OpalResult {
        self.tables().set_queue(number(vp), priority, page, escalate);
        Ok(())
    }

    /// A queue's generation bit and next index.
    ///
    /// # Errors
    /// None.
    pub fn xive_queue_state(&self, vp: u64, priority: u8) -> Result<(u32, u32), OpalError> {
        Ok(self.tables().queue_state(number(vp), priority))
    }

    /// Waits for a source's events under way.
    ///
    /// # Errors
    /// None.
    pub fn xive_sync(&self, _: u32) -> OpalResult {
        self.tables().sync();
        Ok(())
    }
}

/// XIVE's number of a virtual processor: a guest's, or a thread's own.
const fn number(vp: u64) -> u64 {
    if vp >= FIRST_VP { vp - FIRST_VP } else { xive::own(vp as u32) }
}
