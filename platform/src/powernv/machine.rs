// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hypervisor's machine: POWER9 cores, over OPAL or bare.
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use anchorite_hv::core::calendar::CachedClock;
use anchorite_hv::core::{DateTime, Machine};
use anchorite_hv::mem::{Gpa, Hpa};
use anchorite_hv::power9::board::{HardwareError, HviSource, Route, StorageFault};
use anchorite_hv::power9::escalation::{EventState, Thread};
use anchorite_hv::power9::interrupts::{MASKED, PAGE_SHIFT};
use anchorite_hv::power9::regs::lpcr;
use anchorite_hv::power9::regs::pvr::Errata;
use anchorite_hv::power9::{Lock, Power9};

use super::boot_info::{BootInfo, Core, ESCALATION_EVENT, KICK_EVENT, OWN_PRIORITY};
use super::core::{self as cpu, Scope, mfspr, mtspr, spr};
use super::opal::{Opal, OpalError, code};
use super::tima::{Context, Tima};
use super::{Bare, Below};

/// The guest's logical partition.
pub const LPID: u32 = 1;
/// Entries of the thread's own queue: 4 KiB of 32-bit words.
const OWN_ENTRIES: u32 = 1024;
/// A decrementer value that does not run out: more than a year.
const LONG: u64 = 1 << 54;
/// Bytes that OPAL took only in part wait here.
struct Pending {
    bytes: [u8; 64],
    len: usize,
}

impl Pending {
    #[inline(always)]
    fn flush(&mut self, below: &Below) -> bool {
        self.len == 0 || self.flush_rest(below)
    }

    /// Keeps what was not taken; true.
    #[cold]
    fn keep(&mut self, rest: &[u8]) -> bool {
        let keep = rest.len().min(self.bytes.len());
        self.bytes[..keep].copy_from_slice(&rest[..keep]);
        self.len = keep;
        true
    }

    #[cold]
    fn flush_rest(&mut self, below: &Below) -> bool {
        let taken = below.console_write(&self.bytes[..self.len]).min(self.len);
        self.bytes.copy_within(taken..self.len, 0);
        self.len -= taken;
        self.len == 0
    }
}

/// What the machine's cores share.
pub struct Board {
    /// OPAL or the bare machine; several threads may use it at a time.
    pub below: Below,
    info: &'static BootInfo,
    process_table: &'static AtomicU64,
    esb_guest: u64,
    timebase_hz: u64,
    clock: Lock<Option<CachedClock>>,
    pending: Lock<Pending>,
}

impl Board {
    /// The machine that `info` describes.
    ///
    /// # Safety
    /// `info` must be true, `process_table` the second doubleword of the partition table's entry of
    /// [`LPID`], and no other value of this type may exist.
    #[must_use]
    pub unsafe fn new(
        info: &'static BootInfo,
        process_table: &'static AtomicU64,
        esb_guest: u64,
        timebase_hz: u64,
    ) -> Self {
        let clock = DateTime::from_seconds(info.clock_seconds, 0)
            .filter(|_| info.clock_valid != 0)
            .map(|now| CachedClock::new(now, info.clock_ticks, timebase_hz));
        Self {
            // SAFETY: `info` names OPAL as the machine's tree did; without it the loader, which is
            // gone, had the devices before, and it names the tables.
            below: unsafe {
                match info.opal_entry {
                    0 => Below::Bare(Bare::adopt(info.xive_tables, info.typed)),
                    entry => Below::Opal(Opal::new(info.opal_base, entry)),
                }
            },
            info,
            process_table,
            esb_guest,
            timebase_hz,
            clock: Lock::new(clock),
            pending: Lock::new(Pending { bytes: [0; 64], len: 0 }),
        }
    }

    /// The vCPU whose core this thread is.
    #[must_use]
    pub fn own_vcpu(&self) -> Option<usize> {
        let pir = mfspr::<{ spr::PIR }>();
        self.info.core.iter().position(|core| u64::from(core.pir) == pir && core.own_queue != 0)
    }

    /// The thread of a vCPU's core.
    #[must_use]
    pub fn thread(&self, vcpu: usize) -> u32 {
        self.info.core[vcpu].pir
    }

    /// Writes what OPAL took only in part, giving it a bounded number of chances.
    pub fn drain_console(&self) {
        // Whoever holds it may be the one that dies here.
        let Some(mut pending) = self.pending.try_lock() else { return };
        for _ in 0..100_000 {
            if pending.flush(&self.below) {
                break;
            }
            self.below.poll_events();
        }
    }

    /// Interrupts a vCPU's core.
    pub fn kick(&self, vcpu: usize) {
        // SAFETY: OPAL named the page as the trigger page of a source that the loader allocated for
        // this; any store there is the interrupt.
        unsafe { cpu::store64(self.info.core[vcpu].kick_trigger, 0) };
    }
}

/// One vCPU's POWER9 core over OPAL.
pub struct PowerNv {
    board: &'static Board,
    vcpu: usize,
    tima: Tima,
    lpcr: u64,
    /// Of the core, or of another one of the same processor.
    errata: Errata,
    heartbeat_at: u64,
    /// When the guest is to be interrupted besides.
    timer_at: u64,
    /// Whether the hypervisor decrementer ends a wait; not while it holds an interrupt that only an
    /// exit of the guest can take.
    timer_wakes: bool,
    own_index: u32,
    own_generation: u32,
    /// The vCPU's interrupt context while it is off its thread.
    pulled: Context,
    escalation_under_way: bool,
}

impl PowerNv {
    /// A vCPU's core.
    ///
    /// # Safety
    /// No other value of this type may exist for it, and it alone may use this one.
    #[must_use]
    pub unsafe fn new(board: &'static Board, vcpu: usize) -> Self {
        Self {
            board,
            vcpu,
            // SAFETY: `info` names the page as the machine's tree did, and OPAL enabled the thread.
            tima: unsafe { Tima::new(board.info.tima_hv) },
            lpcr: lpcr::GUEST,
            errata: cpu::errata(),
            heartbeat_at: u64::MAX,
            timer_at: u64::MAX,
            timer_wakes: true,
            own_index: 0,
            own_generation: 1,
            pulled: Context::SHUT,
            escalation_under_way: false,
        }
    }

    /// Puts the vCPU's virtual processor on the thread, and opens the thread's own ring.
    pub fn start_interrupts(&mut self) {
        self.push();
        self.tima.push_own();
        self.tima.open_own();
        self.arm_heartbeat();
    }

    fn core(&self) -> &'static Core {
        &self.board.info.core[self.vcpu]
    }

    /// Between two heartbeats of OPAL's. One core is enough for them: the first vCPU's.
    fn heartbeat_ticks(&self) -> Option<u64> {
        Some(self.board.info.heartbeat_ticks).filter(|ticks| *ticks != 0 && self.vcpu == 0)
    }

    fn arm_heartbeat(&mut self) {
        let ticks = self.heartbeat_ticks().unwrap_or(LONG);
        self.heartbeat_at = cpu::timebase().saturating_add(ticks);
        self.arm();
    }

    /// Sets the hypervisor decrementer to what comes first.
    fn arm(&mut self) {
        let ticks = self.heartbeat_at.min(self.timer_at).saturating_sub(cpu::timebase());
        // SAFETY: the hypervisor decrementer only ever interrupts the guest or the idle state.
        unsafe { mtspr::<{ spr::HDEC }>(ticks.min(LONG)) };
    }

    fn virtual_processor(&self, server: u32) -> u64 {
        self.board.info.guest_vp + u64::from(server)
    }

    fn esb_page(&self, lisn: u32) -> u64 {
        self.board.info.esb[lisn as usize] + (1 << PAGE_SHIFT)
    }

    /// Serves what stands in the thread's own queue, which was acknowledged, and opens its ring again.
    fn own_events(&mut self) -> HviSource {
        let mut source = None;
        while let Some(number) = self.take_own_event() {
            let one = match number {
                KICK_EVENT => {
                    // SAFETY: OPAL named this page as the source's; a load at its start is the
                    // end-of-interrupt. A kick from now on is another one.
                    let _ = unsafe { cpu::load64(self.core().kick_manage) };
                    HviSource::Kick
                }
                ESCALATION_EVENT => {
                    // It is not ended, but armed anew by the next sleep.
                    self.escalation_under_way = false;
                    HviSource::Spurious
                }
                _ => {
                    self.serve_opal(number);
                    HviSource::Firmware
                }
            };
            source = Some(source.map_or(one, |others: HviSource| others.min(one)));
        }
        self.tima.open_own();
        // Two of OPAL's may share one notification, and the second then finds the queue empty.
        source.unwrap_or(HviSource::Firmware)
    }

    /// The next event of the thread's own queue, left there: a big-endian word whose top bit is the
    /// generation.
    fn own_event(&self) -> Option<u32> {
        let slot = self.core().own_queue as *const u32;
        // SAFETY: the loader gave this memory to the queue alone; the index stays below its size.
        let word = u32::from_be(unsafe { ptr::read_volatile(slot.add(self.own_index as usize)) });
        (word >> 31 == self.own_generation).then_some(word & 0x7fff_ffff)
    }

    /// Takes the next event out of the thread's own queue.
    fn take_own_event(&mut self) -> Option<u32> {
        let event = self.own_event()?;
        self.own_index += 1;
        if self.own_index == OWN_ENTRIES {
            self.own_index = 0;
            self.own_generation ^= 1;
        }
        Some(event)
    }

    /// Tells OPAL of one of its interrupts and ends it.
    fn serve_opal(&mut self, number: u32) {
        let info = self.board.info;
        let events = self.board.below.handle_interrupt(number);
        let known = &info.opal_interrupt[..info.opal_interrupts as usize];
        if let Some(interrupt) = known.iter().find(|interrupt| interrupt.number == number) {
            // SAFETY: OPAL named this page as the source's; a load at its start is the
            // end-of-interrupt.
            let _ = unsafe { cpu::load64(interrupt.eoi_page) };
        }
        if events {
            self.board.below.poll_events();
        }
    }
}

impl From<OpalError> for HardwareError {
    fn from(_: OpalError) -> Self {
        Self
    }
}

impl Machine for PowerNv {
    #[inline(always)]
    fn console_write(&mut self, bytes: &[u8]) -> bool {
        let below = &self.board.below;
        let mut pending = self.board.pending.lock();
        if !pending.flush(below) {
            return false;
        }
        let taken = below.console_write(bytes);
        if taken == bytes.len() {
            return true;
        }
        taken != 0 && pending.keep(&bytes[taken.min(bytes.len())..])
    }

    fn console_print(&mut self, bytes: &[u8]) {
        let below = &self.board.below;
        if self.board.pending.lock().flush(below) {
            below.console_print(bytes);
        }
    }

    fn console_read(&mut self, buffer: &mut [u8]) -> usize {
        self.board.below.console_read(buffer)
    }

    fn clock(&mut self) -> Option<DateTime> {
        self.board.clock.lock().and_then(|clock| clock.at(cpu::timebase()))
    }

    fn set_clock(&mut self, now: DateTime) -> bool {
        let bcd = |n: u32| u64::from(n / 10 % 10 * 16 + n % 10);
        let [century, year, month, day] =
            [now.year / 100, now.year, now.month, now.day].map(|n| bcd(n) as u8);
        let date = u32::from_be_bytes([century, year, month, day]);
        let time = bcd(now.hour) << 56 | bcd(now.minute) << 48 | bcd(now.second) << 40;
        let mut clock = self.board.clock.lock();
        // A clock chip behind a slow bus may want several tries; what matters to the guest is the
        // cached clock below.
        let mut result = Ok(());
        for _ in 0..16 {
            result = self.board.below.set_clock(date, time);
            if !matches!(result, Err(OpalError(code::BUSY | code::BUSY_EVENT))) {
                break;
            }
            self.board.below.poll_events();
        }
        if !matches!(result, Ok(()) | Err(OpalError(code::BUSY | code::BUSY_EVENT))) {
            return false;
        }
        *clock = Some(CachedClock::new(now, cpu::timebase(), self.board.timebase_hz));
        true
    }

    fn random(&mut self) -> Option<u64> {
        cpu::darn()
    }
}

impl Thread for PowerNv {
    fn escalates(&self) -> bool {
        self.core().escalation != 0
    }

    fn under_way(&mut self) -> &mut bool {
        &mut self.escalation_under_way
    }

    fn set_escalation(&mut self, state: EventState) -> bool {
        /// The upper one of an event state buffer's two bits.
        const P: u64 = 2;
        // SAFETY: the loader found the page to be the escalation's management page; such a load sets the
        // state, and brings what it was.
        unsafe { cpu::load64(self.core().escalation + state as u64) & P != 0 }
    }

    fn pull(&mut self) -> bool {
        self.pulled = self.tima.pull_os();
        self.pulled.is_interrupted()
    }

    fn push(&mut self) {
        self.tima.push_os(self.core().guest_cam, self.pulled);
    }

    #[inline(always)]
    fn idle(&mut self) {
        // SAFETY: handlers run with EE = 0. A kick is left to take the guest out.
        unsafe { cpu::stop() };
    }

    fn serve_own_queue(&mut self) {
        if self.virtualization_interrupt() < HviSource::Spurious {
            // What was to take the guest out has been taken note of here.
            self.kick(self.vcpu);
        }
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

    fn dar_dsisr(&self) -> (u64, u64) {
        (mfspr::<{ spr::DAR }>(), mfspr::<{ spr::DSISR }>())
    }

    fn storage_fault(&self) -> StorageFault {
        StorageFault {
            hdar: mfspr::<{ spr::HDAR }>(),
            hdsisr: mfspr::<{ spr::HDSISR }>(),
            asdr: mfspr::<{ spr::ASDR }>(),
        }
    }

    fn arm_storage_fault(&mut self) {
        if self.errata.hdsisr {
            cpu::arm_storage_fault();
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

    fn can_relocate(&self) -> bool {
        !self.errata.prefetch
    }

    fn set_ciabr(&mut self, value: u64) {
        // SAFETY: hcall::set_ciabr refuses breakpoints in hypervisor state.
        unsafe { mtspr::<{ spr::CIABR }>(value) };
    }

    fn set_process_table(&mut self, entry: u64) {
        self.board.process_table.store(entry.to_be(), Ordering::Relaxed);
        cpu::tlb_invalidate(LPID, None, Scope::All);
    }

    fn process(&self) -> (u64, u64) {
        let entry = u64::from_be(self.board.process_table.load(Ordering::Relaxed));
        (entry, mfspr::<{ spr::PIDR }>())
    }

    fn invalidate(&mut self, pid: Option<u32>, page_walk_cache: bool) {
        let scope = if page_walk_cache || pid.is_none() { Scope::All } else { Scope::Tlb };
        cpu::tlb_invalidate(LPID, pid, scope);
    }

    fn park(&mut self) {
        let timer = self.timer_wakes && self.heartbeat_ticks().is_some();
        let timer = if timer { lpcr::PECE_DECREMENTER } else { 0 };
        let until = cpu::timebase().wrapping_add(mfspr::<{ spr::DEC }>());
        // SAFETY: only the guest and the idle state notice the decrementer, which is put back below;
        // handlers run with EE = 0, and `self.lpcr` is what is in the register. With HEIC the guest's
        // interrupts wake nobody.
        let notified = unsafe {
            mtspr::<{ spr::DEC }>(LONG);
            mtspr::<{ spr::LPCR }>(self.lpcr & !lpcr::PECE | timer | lpcr::HEIC);
            // Nobody here is concerned with what else ends the sleep, such as a hypervisor decrementer
            // that expired before a guest was there to take it: in QEMU that ends each.
            let notified = loop {
                cpu::stop();
                let notified = self.tima.acknowledge_own();
                if notified || timer != 0 || cpu::timebase() >= self.heartbeat_at {
                    break notified;
                }
            };
            mtspr::<{ spr::LPCR }>(self.lpcr);
            mtspr::<{ spr::DEC }>(until.wrapping_sub(cpu::timebase()));
            notified
        };
        let source = if notified { self.own_events() } else { HviSource::Spurious };
        if cpu::timebase() >= self.heartbeat_at {
            self.heartbeat();
        } else if source == HviSource::Spurious {
            // The timer's interrupt stays pending, in QEMU even when the timer is set anew.
            self.timer_wakes = false;
        }
    }

    fn kick(&mut self, vcpu: usize) {
        self.board.kick(vcpu);
    }

    fn forget_guest(&mut self) {
        // SAFETY: only the guest notices any of these.
        unsafe {
            mtspr::<{ spr::DEC }>(LONG);
            mtspr::<{ spr::CIABR }>(0);
        }
        self.tima.shut_os();
    }

    fn clear_registers(&mut self) {
        cpu::clear_guest_registers();
    }

    fn renew_interrupts(&mut self) {
        self.pull();
        self.pulled = Context::SHUT;
        self.push();
        self.tima.shut_os();
    }

    fn timebase(&self) -> u64 {
        cpu::timebase()
    }

    fn decrementer_at(&self) -> u64 {
        cpu::timebase().wrapping_add(mfspr::<{ spr::DEC }>())
    }

    fn set_timer(&mut self, at: u64) {
        self.timer_at = at;
        self.arm();
    }

    fn purr(&self) -> u64 {
        mfspr::<{ spr::PURR }>()
    }

    fn heartbeat(&mut self) -> bool {
        let now = cpu::timebase();
        if now >= self.timer_at {
            self.timer_at = u64::MAX;
        }
        // The core may still hold an edge from before the first entry: that one is not due.
        let due = self.heartbeat_ticks().is_some() && now >= self.heartbeat_at;
        if due {
            self.arm_heartbeat();
        } else {
            self.arm();
        }
        self.timer_wakes = true;
        if due {
            self.board.below.poll_events();
        }
        due
    }

    fn virtualization_interrupt(&mut self) -> HviSource {
        match self.tima.acknowledge_own() {
            true => self.own_events(),
            false => HviSource::Spurious,
        }
    }

    fn maintenance_interrupt(&mut self) -> Result<(), HardwareError> {
        Ok(self.board.below.handle_hmi()?)
    }

    fn clear_doorbell(&mut self) {
        // SAFETY: msgclr of the hypervisor doorbell (type 5) only clears a pending message.
        // The word is `msgclr r4`, which the assembler only knows by another name.
        unsafe { core::arch::asm!(".long 0x7c0021dc", in("r4") 5_u64 << 27, options(nostack)) };
    }

    fn cpu_characteristics(&self) -> (u64, u64) {
        (self.board.info.characteristics[0], self.board.info.characteristics[1])
    }

    fn route_source(&mut self, lisn: u32, route: Route) -> Result<(), HardwareError> {
        debug_assert!(route.priority == MASKED || route.priority < OWN_PRIORITY);
        let info = self.board.info;
        let vp = self.virtual_processor(route.server);
        let number = info.irq[lisn as usize];
        Ok(self.board.below.xive_route(number, vp, route.priority, route.eisn)?)
    }

    fn sync_source(&mut self, lisn: u32) -> Result<(), HardwareError> {
        Ok(self.board.below.xive_sync(self.board.info.irq[lisn as usize])?)
    }

    fn set_queue(
        &mut self,
        server: u32,
        priority: u8,
        page: Option<(Hpa, u32)>,
    ) -> Result<(), HardwareError> {
        let page = page.map(|(hpa, log2)| (hpa.0, log2));
        // SAFETY: the page is guest RAM, found so by the handler; what the controller writes into it
        // is the guest's own affair.
        unsafe {
            let vp = self.virtual_processor(server);
            Ok(self.board.below.xive_set_queue(vp, priority, page, self.escalates())?)
        }
    }

    fn queue_state(&mut self, server: u32, priority: u8) -> Result<(u32, u32), HardwareError> {
        Ok(self.board.below.xive_queue_state(self.virtual_processor(server), priority)?)
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
        Gpa(self.board.esb_guest + (u64::from(lisn) << (PAGE_SHIFT + 1)))
    }
}
