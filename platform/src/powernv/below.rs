// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is underneath: OPAL, or the bare machine. Both answer to the same names.
use super::bare::Bare;
use super::opal::{Opal, OpalError, OpalResult, code};

/// OPAL or the bare machine.
pub enum Below {
    /// OPAL.
    Opal(Opal),
    /// Nothing but devices.
    Bare(Bare),
}

macro_rules! both {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        impl Below {
            $($(#[$meta])* pub fn $name(&self, $($arg: $type),*) $(-> $result)? {
                match self {
                    Self::Opal(opal) => opal.$name($($arg),*),
                    Self::Bare(bare) => bare.$name($($arg),*),
                }
            })*
        }
    };
}

both! {
    /// Writes to the console; returns how many bytes were taken.
    #[inline(always)]
    fn console_write(bytes: &[u8]) -> usize;
    /// Reads what the console has received; returns how many bytes.
    fn console_read(buffer: &mut [u8]) -> usize;
    /// Writes all of `bytes`, waiting a bounded time for room.
    fn console_print(bytes: &[u8]);
    /// Waits, boundedly, until the console's output is on the wire.
    fn console_flush();
    /// Lets what is underneath do its periodic work.
    fn poll_events();
    /// Powers the machine off. Returns only if that is refused.
    fn power_down();
    /// Resets the machine. Returns only if that is refused.
    fn reboot();
    /// Serves an interrupt of the earlier firmware's own; whether there are events to be polled for.
    fn handle_interrupt(number: u32) -> bool;
    /// Handles a hypervisor maintenance interrupt; an error if it is not recovered.
    fn handle_hmi() -> OpalResult;
    /// Reads one byte from an I/O port of chip 0's LPC bus.
    fn read_port(port: u32) -> Result<u8, OpalError>;
    /// Writes one.
    fn write_port(port: u32, value: u8) -> OpalResult;
    /// Allocates and enables 2^`order` virtual processors; returns the first. With `escalate` all
    /// queues of each escalate by one.
    fn xive_virtual_processors(order: u32, escalate: bool) -> Result<u64, OpalError>;
    /// A virtual processor's name in a thread context.
    fn xive_cam(vp: u64) -> Result<u32, OpalError>;
    /// Has interrupts for a virtual processor that is on no thread, and that escalates, become events of
    /// this number in a thread's own queue; the management page by which they are let through.
    fn xive_escalate(vp: u64, thread: u32, event: u32) -> Result<u64, OpalError>;
    /// Allocates an interrupt source, on this chip or on any.
    fn xive_allocate_irq(chip: Option<u32>) -> Result<u32, OpalError>;
    /// A source's management page and trigger page.
    fn xive_irq_pages(number: u32) -> Result<(u64, u64), OpalError>;
    /// Routes a source to a virtual processor's queue of `priority`, as `event`; priority 0xff masks.
    fn xive_route(number: u32, vp: u64, priority: u8, event: u32) -> OpalResult;
    /// A queue's generation bit and next index.
    fn xive_queue_state(vp: u64, priority: u8) -> Result<(u32, u32), OpalError>;
    /// Waits until a source's events under way have reached their queue.
    fn xive_sync(number: u32) -> OpalResult;
}

impl Below {
    /// Has another thread enter: with OPAL `entry[0]` big-endian, without it `entry[1]`
    /// little-endian; its PIR in r3.
    ///
    /// # Safety
    /// As [`Opal::start_thread`].
    ///
    /// # Errors
    /// OPAL's code.
    pub unsafe fn start_thread(&self, pir: u32, entry: [u64; 2]) -> OpalResult {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Opal(opal) => opal.start_thread(pir, entry[0]),
                Self::Bare(bare) => bare.start_thread(pir, entry[1]),
            }
        }
    }

    /// Gives the calling thread back. Returns only if there is nobody to take it.
    pub fn return_thread(&self) {
        if let Self::Opal(opal) = self {
            opal.return_thread();
        }
    }

    /// Gives a queue its memory, 2^`log2` bytes at `page`, or with `None` takes it away. With `escalate`
    /// it is one of a virtual processor that [`Self::xive_escalate`] was called for.
    ///
    /// # Safety
    /// As [`Opal::xive_set_queue`].
    ///
    /// # Errors
    /// OPAL's code.
    pub unsafe fn xive_set_queue(
        &self,
        vp: u64,
        priority: u8,
        page: Option<(u64, u32)>,
        escalate: bool,
    ) -> OpalResult {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Opal(opal) => opal.xive_set_queue(vp, priority, page, escalate),
                Self::Bare(bare) => bare.xive_set_queue(vp, priority, page, escalate),
            }
        }
    }

    /// Sets the clock, date and time as binary-coded decimals.
    ///
    /// # Errors
    /// OPAL's code, or that the chip keeps its time as it is.
    pub fn set_clock(&self, date: u32, time: u64) -> OpalResult {
        match self {
            Self::Opal(opal) => opal.set_clock(date, time),
            Self::Bare(_) => self.set_pc_clock(date, time),
        }
    }

    /// The PC clock, MC146818. In OPAL's form.
    #[must_use]
    pub fn pc_clock(&self) -> Option<(u32, u64)> {
        const UPDATING: u8 = 0x80;
        let read = |register| {
            self.write_port(pc::INDEX, register).ok()?;
            self.read_port(pc::DATA).ok()
        };
        let packed = |registers: &[u8]| {
            let next = |all, &register| Some(all << 8 | u64::from(read(register)?));
            registers.iter().try_fold(0, next)
        };
        if read(pc::STATUS_B)? & (pc::BINARY | pc::HOURS_24) != pc::HOURS_24 {
            return None;
        }
        // Two equal readings outside an update: nothing was carried in between.
        let mut before = None;
        for _ in 0..100_000 {
            if read(pc::STATUS_A)? & UPDATING == 0 {
                let date = packed(&pc::DATE)?;
                let time = packed(&pc::TIME)? << 40;
                let now = (date as u32, time);
                if before.replace(now) == Some(now) {
                    return Some(now);
                }
            }
        }
        None
    }

    fn set_pc_clock(&self, date: u32, time: u64) -> OpalResult {
        let write = |register, value| {
            self.write_port(pc::INDEX, register)?;
            self.write_port(pc::DATA, value)
        };
        self.write_port(pc::INDEX, pc::STATUS_B)?;
        let status = self.read_port(pc::DATA)?;
        if status & (pc::BINARY | pc::HOURS_24) != pc::HOURS_24 {
            return Err(OpalError(code::UNSUPPORTED));
        }
        write(pc::STATUS_B, status | pc::SET)?;
        for (register, value) in pc::DATE.into_iter().zip(date.to_be_bytes()) {
            write(register, value)?;
        }
        for (register, value) in pc::TIME.into_iter().zip(time.to_be_bytes()) {
            write(register, value)?;
        }
        write(pc::STATUS_B, status & !pc::SET)
    }
}

/// The PC clock's ports and registers.
mod pc {
    pub const INDEX: u32 = 0x70;
    pub const DATA: u32 = 0x71;
    pub const STATUS_A: u8 = 0xa;
    pub const STATUS_B: u8 = 0xb;
    /// In status B: no updates meanwhile; binary numbers instead of decimals; a 24-hour clock.
    pub const SET: u8 = 0x80;
    pub const BINARY: u8 = 4;
    pub const HOURS_24: u8 = 2;
    /// Century, year, month, day.
    pub const DATE: [u8; 4] = [0x32, 9, 8, 7];
    /// Hour, minute, second.
    pub const TIME: [u8; 3] = [4, 2, 0];
}
