// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine made of plain fields, on which the handlers are tested.
use std::cell::RefCell;
use std::collections::VecDeque;

use anchorite_spec::Ledger;
use zerocopy::FromZeros;

use super::board::{HardwareError, HviSource, Power9, Route, StorageFault};
use super::context::GuestContext;
use super::escalation::{EventState, Thread};
use super::regs::{lpcr, msr};
use super::vcpu::{Shared, State, Vcpu};
use crate::core::{Action, DateTime, Machine};
use crate::mem::tests::memory_at;
use crate::mem::{Gpa, Hpa, TableMemory};

/// A queue's memory and its size as a power of two.
type Page = Option<(Hpa, u32)>;

/// What the fake saw and what it answers.
#[derive(Default)]
pub struct Fake {
    pub output: Vec<u8>,
    pub input: VecDeque<u8>,
    pub console_full: bool,
    pub now: Option<DateTime>,
    pub random: Option<u64>,
    pub srr: (u64, u64),
    pub dar_dsisr: (u64, u64),
    pub fault: StorageFault,
    /// How often HDSISR was made to say nothing.
    pub armed: u32,
    /// Fault registers that were read.
    pub read: RefCell<Vec<&'static str>>,
    pub heir: u32,
    pub hfscr: u64,
    pub lpcr: u64,
    pub ciabr: u64,
    pub cannot_relocate: bool,
    pub process_table: u64,
    pub pid: u64,
    pub invalidated: Vec<(Option<u32>, bool)>,
    pub idled: u32,
    /// How long it sleeps each time.
    pub nap: u64,
    /// What was done to take the vCPU off its thread, and to put it back.
    pub off_thread: Vec<&'static str>,
    pub under_way: bool,
    pub parked: u32,
    pub kicked: Vec<usize>,
    pub forgot: u32,
    pub cleared: u32,
    pub renewed: u32,
    /// What another vCPU does while this one waits.
    pub meanwhile: Option<Box<dyn FnMut()>>,
    pub heartbeat_due: bool,
    pub ticks: u64,
    pub timer: u64,
    pub decrementer_at: u64,
    pub hvi: bool,
    pub hmi_fails: bool,
    pub routes: Vec<(u32, Route)>,
    pub queues: Vec<(u32, u8, Page)>,
    pub synced: Vec<u32>,
    pub hardware_fails: bool,
    pub esb: Vec<(u32, u64, Option<u64>)>,
}

impl Fake {
    fn outcome(&self) -> Result<(), HardwareError> {
        if self.hardware_fails { Err(HardwareError) } else { Ok(()) }
    }

    fn wait(&mut self) {
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile();
        }
    }
}

impl Machine for Fake {
    fn console_write(&mut self, bytes: &[u8]) -> bool {
        if !self.console_full {
            self.output.extend_from_slice(bytes);
        }
        !self.console_full
    }

    fn console_read(&mut self, buffer: &mut [u8]) -> usize {
        let len = buffer.len().min(self.input.len());
        buffer[..len].iter_mut().zip(self.input.drain(..len)).for_each(|(to, from)| *to = from);
        len
    }

    fn clock(&mut self) -> Option<DateTime> {
        self.now
    }

    fn set_clock(&mut self, now: DateTime) -> bool {
        self.now = Some(now);
        true
    }

    fn random(&mut self) -> Option<u64> {
        self.random
    }
}

impl Thread for Fake {
    fn escalates(&self) -> bool {
        true
    }

    fn under_way(&mut self) -> &mut bool {
        &mut self.under_way
    }

    fn set_escalation(&mut self, _: EventState) -> bool {
        false
    }

    fn pull(&mut self) -> bool {
        self.off_thread.push("pulled");
        false
    }

    fn push(&mut self) {
        self.off_thread.push("pushed");
    }

    fn idle(&mut self) {
        self.idled += 1;
        self.ticks += self.nap;
        self.wait();
    }

    fn serve_own_queue(&mut self) {}
}

impl Power9 for Fake {
    fn set_srr(&mut self, srr0: u64, srr1: u64) {
        self.srr = (srr0, srr1);
    }

    fn set_dar_dsisr(&mut self, dar: u64, dsisr: u64) {
        self.dar_dsisr = (dar, dsisr);
    }

    fn dar_dsisr(&self) -> (u64, u64) {
        self.dar_dsisr
    }

    fn storage_fault(&self) -> StorageFault {
        self.read.borrow_mut().push("HDAR, HDSISR, ASDR");
        self.fault
    }

    fn arm_storage_fault(&mut self) {
        self.armed += 1;
    }

    fn heir(&self) -> u32 {
        self.read.borrow_mut().push("HEIR");
        self.heir
    }

    fn hfscr(&self) -> u64 {
        self.read.borrow_mut().push("HFSCR");
        self.hfscr
    }

    fn update_lpcr(&mut self, clear: u64, set: u64) {
        self.lpcr = self.lpcr & !clear | set;
    }

    fn lpcr(&self) -> u64 {
        self.lpcr
    }

    fn can_relocate(&self) -> bool {
        !self.cannot_relocate
    }
    fn set_ciabr(&mut self, value: u64) {
        self.ciabr = value;
    }

    fn set_process_table(&mut self, entry: u64) {
        self.process_table = entry;
    }

    fn process(&self) -> (u64, u64) {
        (self.process_table, self.pid)
    }

    fn invalidate(&mut self, pid: Option<u32>, page_walk_cache: bool) {
        self.invalidated.push((pid, page_walk_cache));
    }

    fn park(&mut self) {
        self.parked += 1;
        assert!(self.parked < 1000, "nobody will ever wake this vCPU");
        self.wait();
    }

    fn kick(&mut self, vcpu: usize) {
        self.kicked.push(vcpu);
    }

    fn forget_guest(&mut self) {
        self.forgot += 1;
    }

    fn clear_registers(&mut self) {
        self.cleared += 1;
    }

    fn renew_interrupts(&mut self) {
        self.renewed += 1;
    }

    fn timebase(&self) -> u64 {
        self.ticks
    }

    fn decrementer_at(&self) -> u64 {
        self.decrementer_at
    }

    fn set_timer(&mut self, at: u64) {
        self.timer = at;
    }

    fn purr(&self) -> u64 {
        self.ticks
    }

    fn heartbeat(&mut self) -> bool {
        self.heartbeat_due
    }

    fn virtualization_interrupt(&mut self) -> HviSource {
        if self.hvi { HviSource::Firmware } else { HviSource::Spurious }
    }

    fn maintenance_interrupt(&mut self) -> Result<(), HardwareError> {
        if self.hmi_fails { Err(HardwareError) } else { Ok(()) }
    }

    fn clear_doorbell(&mut self) {}

    fn cpu_characteristics(&self) -> (u64, u64) {
        (0x11, 0x22)
    }

    fn route_source(&mut self, lisn: u32, route: Route) -> Result<(), HardwareError> {
        self.outcome()?;
        self.routes.push((lisn, route));
        Ok(())
    }

    fn sync_source(&mut self, lisn: u32) -> Result<(), HardwareError> {
        self.outcome()?;
        self.synced.push(lisn);
        Ok(())
    }

    fn set_queue(
        &mut self,
        server: u32,
        priority: u8,
        page: Option<(Hpa, u32)>,
    ) -> Result<(), HardwareError> {
        self.outcome()?;
        self.queues.push((server, priority, page));
        Ok(())
    }

    fn queue_state(&mut self, _: u32, _: u8) -> Result<(u32, u32), HardwareError> {
        self.outcome().map(|()| (1, 5))
    }

    fn esb_load(&mut self, lisn: u32, offset: u64) -> u64 {
        self.esb.push((lisn, offset, None));
        3
    }

    fn esb_store(&mut self, lisn: u32, offset: u64, value: u64) {
        self.esb.push((lisn, offset, Some(value)));
    }

    fn esb_trigger_page(&self, lisn: u32) -> Gpa {
        Gpa(0x6_0100_0000_0000 + u64::from(lisn) * 0x2_0000)
    }
}

/// Where the fake guest's RAM begins, and how much it has.
pub const RAM: (u64, u64) = (0x10_0000, 0x4_0000);

/// The fake machine's timebase.
pub const TICKS_PER_MS: u64 = 512_000;

/// Where RTAS is in it: its last page.
pub const RTAS: u64 = RAM.0 + RAM.1 - 0x1000;

/// The only vCPU, which runs, of a guest with 256 KiB of RAM at 1 MiB, four sources, and the fake
/// machine.
pub fn vcpu() -> Vcpu<Fake> {
    vcpu_of(1)
}

/// The first vCPU of that many, of which only it runs.
pub fn vcpu_of(vcpus: u32) -> Vcpu<Fake> {
    let layout = std::alloc::Layout::from_size_align(RAM.1 as usize, 0x1_0000).expect("a layout");
    #[expect(unsafe_code, reason = "64 KiB aligned memory for the fake guest")]
    // SAFETY: the layout has a size; the memory is zeroed, and leaked for the test.
    let ram =
        unsafe { std::slice::from_raw_parts_mut(std::alloc::alloc_zeroed(layout), layout.size()) };
    let mut manifest = anchorite_spec::Manifest::new_zeroed();
    manifest.xive_sources = 4;
    (manifest.vcpus, manifest.cores) = (vcpus, 4);
    manifest.timebase_hz = 1000 * TICKS_PER_MS;
    manifest.parts[0].kind = anchorite_spec::manifest::PART_RTAS;
    (manifest.parts[0].dest, manifest.parts[0].memory_size) = (RTAS, 0x1000);
    let shared =
        Box::leak(Box::new(Shared::new(&manifest, memory_at(RAM.0, ram), TableMemory::NONE)));
    shared.states.lock()[0] = State::Running;
    let row = Box::leak(Box::new(Ledger::EMPTY.row[0]));
    Vcpu::new(
        0,
        Fake { lpcr: lpcr::GUEST, ..Fake::default() },
        shared,
        row,
        Box::leak(Box::default()),
    )
}

/// Gives back what [`vcpu_of`] has leaked.
#[expect(unsafe_code, reason = "takes leaked memory back")]
pub fn free(v: Vcpu<Fake>) {
    let shared = std::ptr::from_ref(v.shared).cast_mut();
    let row = std::ptr::from_mut(&mut *v.row);
    let last_words = std::ptr::from_mut(&mut *v.last_words);
    let ram = v.shared.memory.translate(Gpa(RAM.0), RAM.1).expect("RAM").0 as *mut u8;
    let layout = std::alloc::Layout::from_size_align(RAM.1 as usize, 0x1_0000).expect("a layout");
    drop(v);
    // SAFETY: all four come from `vcpu_of`, and the vCPU that held them is gone.
    unsafe {
        drop(Box::from_raw(shared));
        drop(Box::from_raw(row));
        drop(Box::from_raw(last_words));
        std::alloc::dealloc(ram, layout);
    }
}

/// A vCPU in supervisor state about to leave by `vector`.
pub fn context(vector: u64) -> GuestContext {
    GuestContext { vector, nip: 0x4000, msr: msr::SF | msr::ME | msr::RI, ..GuestContext::EMPTY }
}

/// Serves an exit as the firmware does: a fault that was answered is explained.
pub fn served(v: &mut Vcpu<Fake>, ctx: &mut GuestContext) -> Action {
    let action = super::exits::serve(v, ctx);
    let _ = super::report::explain(v, ctx);
    if action == Action::Explain { Action::Resume } else { action }
}

/// A vCPU that has just executed `sc 1` with these r3, r4, ….
pub fn hcall(args: &[u64]) -> GuestContext {
    let mut ctx = context(super::regs::vector::SYSTEM_CALL);
    ctx.gpr[3..3 + args.len()].copy_from_slice(args);
    ctx
}

/// Serves a hypercall after which the guest goes on: r3 to r7 then.
pub fn call(v: &mut Vcpu<Fake>, args: &[u64]) -> [u64; 5] {
    let mut ctx = hcall(args);
    assert_eq!(super::hcall::serve(v, &mut ctx), Action::Resume);
    [3, 4, 5, 6, 7].map(|n| ctx.gpr[n])
}

/// The same: its return code.
pub fn code(v: &mut Vcpu<Fake>, args: &[u64]) -> i64 {
    call(v, args)[0] as i64
}

/// All exits that were counted.
pub fn total(v: &Vcpu<Fake>) -> u64 {
    v.row.count.iter().sum()
}
