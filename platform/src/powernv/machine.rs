// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hypervisor's machine: one POWER9 core over OPAL.
use core::ptr;

use anchorite_hv::core::calendar::CachedClock;
use anchorite_hv::core::{DateTime, Machine};
use anchorite_hv::mem::{Gpa, Hpa};
use anchorite_hv::power9::Power9;
use anchorite_hv::power9::board::{HardwareError, HviSource, Route, StorageFault};
use anchorite_hv::power9::interrupts::{MASKED, PAGE_SHIFT};
use anchorite_hv::power9::regs::lpcr;

use super::boot_info::BootInfo;
use super::core::{self as cpu, Scope, mfspr, mtspr, spr};
use super::opal::{Opal, OpalError, code};
use super::tima::Tima;

/// The guest's logical partition.
pub const LPID: u32 = 1;
/// The priority of the thread's own queue: the one that guests cannot use.
const OWN_PRIORITY: u8 = 7;
/// Entries of the thread's own queue: 4 KiB of 32-bit words.
const OWN_ENTRIES: u32 = 1024;
/// A decrementer value that does not run out: more than a year.
const LONG: u64 = 1 << 54;
/// Bytes that OPAL took only in part wait here.
const PENDING: usize = 64;

/// One POWER9 core over OPAL.
pub struct PowerNv {
    /// OPAL.
    pub opal: Opal,
    info: &'static BootInfo,
    tima: Tima,
    partition_entry: *mut [u64; 2],
    esb_guest: u64,
    lpcr: u64,
    clock: Option<CachedClock>,
    timebase_hz: u64,
    heartbeat_at: u64,
    own_index: u32,
    own_generation: u32,
    pending: [u8; PENDING],
    pending_len: usize,
}

impl PowerNv {
    /// The machine that `info` describes.
    ///
    /// # Safety
    /// `info` must be true, `partition_entry` the partition table's entry of [`LPID`], and no other
    /// value of this type may exist for this core.
    #[must_use]
    pub unsafe fn new(
        info: &'static BootInfo,
        partition_entry: *mut [u64; 2],
        esb_guest: u64,
        timebase_hz: u64,
    ) -> Self {
        let clock = DateTime::from_seconds(info.clock_seconds, 0)
            .filter(|_| info.clock_valid != 0)
            .map(|now| CachedClock::new(now, info.clock_ticks, timebase_hz));
        Self {
            // SAFETY: `info` names OPAL as the machine's tree did.
            opal: unsafe { Opal::new(info.opal_base, info.opal_entry) },
            info,
            // SAFETY: `info` names the page as the machine's tree did, and OPAL enabled the thread.
            tima: unsafe { Tima::new(info.tima_hv) },
            partition_entry,
            esb_guest,
            lpcr: lpcr::GUEST,
            clock,
            timebase_hz,
            heartbeat_at: u64::MAX,
            own_index: 0,
            own_generation: 1,
            pending: [0; PENDING],
            pending_len: 0,
        }
    }

    /// Puts the guest's virtual processor on the thread, and opens the thread's own ring.
    pub fn start_interrupts(&mut self) {
        self.tima.push_os(self.info.guest_cam);
        self.tima.open_own();
        self.arm_heartbeat();
    }

    fn arm_heartbeat(&mut self) {
        let ticks = match self.info.heartbeat_ticks {
            0 => LONG,
            ticks => ticks,
        };
        self.heartbeat_at = cpu::timebase().saturating_add(ticks);
        // SAFETY: the hypervisor decrementer only ever interrupts the guest or the idle state.
        unsafe { mtspr::<{ spr::HDEC }>(ticks) };
    }

    fn flush_pending(&mut self) -> bool {
        if self.pending_len > 0 {
            let taken = self.opal.console_write(&self.pending[..self.pending_len]);
            self.pending.copy_within(taken..self.pending_len, 0);
            self.pending_len -= taken;
        }
        self.pending_len == 0
    }

    /// Writes what OPAL took only in part, giving it a bounded number of chances.
    pub fn drain_console(&mut self) {
        for _ in 0..100_000 {
            if self.flush_pending() {
                break;
            }
            self.opal.poll_events();
        }
    }

    fn esb_page(&self, lisn: u32) -> u64 {
        self.info.esb[lisn as usize] + (1 << PAGE_SHIFT)
    }

    /// The next event of the thread's own queue: a big-endian word whose top bit is the generation.
    fn own_event(&mut self) -> Option<u32> {
        let slot = self.info.own_queue as *const u32;
        // SAFETY: the loader gave this memory to the queue alone; the index stays below its size.
        let word = u32::from_be(unsafe { ptr::read_volatile(slot.add(self.own_index as usize)) });
        if word >> 31 != self.own_generation {
            return None;
        }
        self.own_index += 1;
        if self.own_index == OWN_ENTRIES {
            self.own_index = 0;
            self.own_generation ^= 1;
        }
        Some(word & 0x7fff_ffff)
    }

    /// Tells OPAL of one of its interrupts and ends it.
    fn serve_opal(&mut self, number: u32) {
        let events = self.opal.handle_interrupt(number);
        let known = &self.info.opal_interrupt[..self.info.opal_interrupts as usize];
        if let Some(interrupt) = known.iter().find(|interrupt| interrupt.number == number) {
            // SAFETY: OPAL named this page as the source's; a load at its start is the
            // end-of-interrupt.
            let _ = unsafe { cpu::load64(interrupt.eoi_page) };
        }
        if events {
            self.opal.poll_events();
        }
    }
}

impl From<OpalError> for HardwareError {
    fn from(_: OpalError) -> Self {
        Self
    }
}

impl Machine for PowerNv {
    fn console_write(&mut self, bytes: &[u8]) -> bool {
        if !self.flush_pending() {
            return false;
        }
        let taken = self.opal.console_write(bytes);
        if taken == 0 && !bytes.is_empty() {
            return false;
        }
        let rest = &bytes[taken.min(bytes.len())..];
        let keep = rest.len().min(PENDING);
        self.pending[..keep].copy_from_slice(&rest[..keep]);
        self.pending_len = keep;
        true
    }

    fn console_read(&mut self, buffer: &mut [u8]) -> usize {
        self.opal.console_read(buffer)
    }

    fn clock(&mut self) -> Option<DateTime> {
        self.clock.and_then(|clock| clock.at(cpu::timebase()))
    }

    fn set_clock(&mut self, now: DateTime) -> bool {
        let bcd = |n: u32| u64::from(n / 10 % 10 * 16 + n % 10);
        let [century, year, month, day] =
            [now.year / 100, now.year, now.month, now.day].map(|n| bcd(n) as u8);
        let date = u32::from_be_bytes([century, year, month, day]);
        let time = bcd(now.hour) << 56 | bcd(now.minute) << 48 | bcd(now.second) << 40;
        // A clock chip behind a slow bus may want several tries; what matters to the guest is the
        // cached clock below.
        let mut result = Ok(());
        for _ in 0..16 {
            result = self.opal.set_clock(date, time);
            if !matches!(result, Err(OpalError(code::BUSY | code::BUSY_EVENT))) {
                break;
            }
            self.opal.poll_events();
        }
        if !matches!(result, Ok(()) | Err(OpalError(code::BUSY | code::BUSY_EVENT))) {
            return false;
        }
        self.clock = Some(CachedClock::new(now, cpu::timebase(), self.timebase_hz));
        true
    }

    fn random(&mut self) -> Option<u64> {
        cpu::darn()
    }
}

impl Power9 for PowerNv {
    fn set_srr(&mut self, srr0: u64, srr1: u64) {
        // SAFETY: the firmware itself neither takes nor returns from SRR interrupts.
        unsafe {
            mtspr::<{ spr::SRR0 }>(srr0);
            mtspr::<{ spr::SRR1 }>(srr1);
        }
    }

    fn set_dar_dsisr(&mut self, dar: u64, dsisr: u64) {
        // SAFETY: only the guest reads these.
        unsafe {
            mtspr::<{ spr::DAR }>(dar);
            mtspr::<{ spr::DSISR }>(dsisr);
        }
    }

    fn storage_fault(&self) -> StorageFault {
        StorageFault {
            hdar: mfspr::<{ spr::HDAR }>(),
            hdsisr: mfspr::<{ spr::HDSISR }>(),
            asdr: mfspr::<{ spr::ASDR }>(),
        }
    }

    fn heir(&self) -> u32 {
        mfspr::<{ spr::HEIR }>() as u32
    }

    fn hfscr(&self) -> u64 {
        mfspr::<{ spr::HFSCR }>()
    }

    fn update_lpcr(&mut self, clear: u64, set: u64) {
        self.lpcr = self.lpcr & !clear | set;
        // SAFETY: callers change only what concerns the guest: ILE and GTSE.
        unsafe { mtspr::<{ spr::LPCR }>(self.lpcr) };
    }

    fn lpcr(&self) -> u64 {
        self.lpcr
    }

    fn set_ciabr(&mut self, value: u64) {
        // SAFETY: hcall::set_ciabr refuses breakpoints in hypervisor state.
        unsafe { mtspr::<{ spr::CIABR }>(value) };
    }

    fn set_process_table(&mut self, entry: u64) {
        // SAFETY: `new`'s caller vouched for the entry; only the core's walker reads it.
        unsafe { ptr::write_volatile(&raw mut (*self.partition_entry)[1], entry.to_be()) };
        cpu::tlb_invalidate(LPID, None, Scope::All);
    }

    fn invalidate(&mut self, pid: Option<u32>, page_walk_cache: bool) {
        let scope = if page_walk_cache || pid.is_none() { Scope::All } else { Scope::Tlb };
        cpu::tlb_invalidate(LPID, pid, scope);
    }

    fn idle(&mut self) {
        // SAFETY: handlers run with EE = 0, and `self.lpcr` is what is in the register.
        unsafe { cpu::stop(self.lpcr, lpcr::HEIC) };
    }

    fn heartbeat(&mut self) -> bool {
        // The core may still hold an edge from before the first entry: that one is not due.
        let due = self.info.heartbeat_ticks != 0 && cpu::timebase() >= self.heartbeat_at;
        self.arm_heartbeat();
        if due {
            self.opal.poll_events();
        }
        due
    }

    fn virtualization_interrupt(&mut self) -> HviSource {
        if !self.tima.acknowledge_own() {
            return HviSource::Spurious;
        }
        // Two events may share one notification, and the second then finds the queue empty.
        while let Some(number) = self.own_event() {
            self.serve_opal(number);
        }
        self.tima.open_own();
        HviSource::Firmware
    }

    fn maintenance_interrupt(&mut self) -> Result<(), HardwareError> {
        Ok(self.opal.handle_hmi()?)
    }

    fn clear_doorbell(&mut self) {
        // SAFETY: msgclr of the hypervisor doorbell (type 5) only clears a pending message.
        // The word is `msgclr r4`, which the assembler only knows by another name.
        unsafe { core::arch::asm!(".long 0x7c0021dc", in("r4") 5_u64 << 27, options(nostack)) };
    }

    fn cpu_characteristics(&self) -> (u64, u64) {
        (self.info.characteristics[0], self.info.characteristics[1])
    }

    fn route_source(&mut self, lisn: u32, route: Route) -> Result<(), HardwareError> {
        debug_assert!(route.priority == MASKED || route.priority < OWN_PRIORITY);
        let number = self.info.irq[lisn as usize];
        Ok(self.opal.xive_route(number, self.info.guest_vp, route.priority, route.eisn)?)
    }

    fn sync_source(&mut self, lisn: u32) -> Result<(), HardwareError> {
        Ok(self.opal.xive_sync(self.info.irq[lisn as usize])?)
    }

    fn set_queue(
        &mut self,
        _server: u32,
        priority: u8,
        page: Option<(Hpa, u32)>,
    ) -> Result<(), HardwareError> {
        let page = page.map(|(hpa, log2)| (hpa.0, log2));
        // SAFETY: the page is guest RAM, found so by the handler; what the controller writes into it
        // is the guest's own affair.
        unsafe { Ok(self.opal.xive_set_queue(self.info.guest_vp, priority, page)?) }
    }

    fn queue_state(&mut self, _server: u32, priority: u8) -> Result<(u32, u32), HardwareError> {
        Ok(self.opal.xive_queue_state(self.info.guest_vp, priority)?)
    }

    fn esb_load(&mut self, lisn: u32, offset: u64) -> u64 {
        // SAFETY: the page is the guest source's own, which the guest can reach directly as well;
        // the caller keeps the offset inside it.
        unsafe { cpu::load64(self.esb_page(lisn) + offset) }
    }

    fn esb_store(&mut self, lisn: u32, offset: u64, value: u64) {
        // SAFETY: as in `esb_load`.
        unsafe { cpu::store64(self.esb_page(lisn) + offset, value) };
    }

    fn esb_trigger_page(&self, lisn: u32) -> Gpa {
        Gpa(self.esb_guest + (u64::from(lisn) << (PAGE_SHIFT + 1)))
    }
}
