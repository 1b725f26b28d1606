// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine made of plain fields, on which the handlers are tested.
use anchorite_spec::Manifest;
use anchorite_spec::ledger::Row;
use anchorite_spec::manifest::WATCHDOG_RESTARTS;
use zerocopy::FromZeros;

use super::board::{Arm64, Fault, PAR_FAILED};
use super::context::GuestContext;
use super::vcpu::{Shared, Vcpu};
use crate::core::{Action, DateTime, Machine};
use crate::mem::tests::memory_at;
use crate::mem::{Hpa, TableMemory};

/// Where the guest's RAM begins.
pub const RAM: u64 = 0x4000_0000;

/// What the fake saw and what it answers.
#[derive(Default)]
pub struct Fake {
    pub output: Vec<u8>,
    pub fault: Fault,
    pub translated: Option<u64>,
    pub vbar: u64,
    pub sctlr: u64,
    pub exception: Option<(u64, u64, u64, Option<u64>)>,
    pub calls: Vec<[u64; 4]>,
    pub answer: u64,
    pub started: Vec<(usize, u64)>,
    pub start_result: i64,
    pub writes: Vec<(u64, u32, u64)>,
    pub waits: u32,
    pub timer_rings: bool,
    pub timer: Vec<bool>,
    pub sgis: Vec<u64>,
    pub counter: u64,
    pub timers: u64,
    pub traps_sleep: bool,
}

impl Machine for Fake {
    fn console_write(&mut self, bytes: &[u8]) -> bool {
        self.output.extend_from_slice(bytes);
        true
    }
    fn console_read(&mut self, _: &mut [u8]) -> usize {
        0
    }
    fn clock(&mut self) -> Option<DateTime> {
        None
    }
    fn set_clock(&mut self, _: DateTime) -> bool {
        false
    }
    fn random(&mut self) -> Option<u64> {
        None
    }
}

impl Arm64 for Fake {
    fn fault(&self) -> Fault {
        self.fault
    }
    fn look_up(&mut self, _: u64, _: bool, _: bool) -> u64 {
        self.translated.unwrap_or(0x0c << 1 | PAR_FAILED)
    }
    fn guest_registers(&self) -> [(&'static str, u64); 7] {
        let (vbar, sctlr) = self.vectors();
        let zero = ["sp_el0", "sp_el1", "tcr", "ttbr0", "ttbr1"].map(|name| (name, 0));
        let [sp_el0, sp_el1, tcr, ttbr0, ttbr1] = zero;
        [sp_el0, sp_el1, ("sctlr", sctlr), tcr, ttbr0, ttbr1, ("vbar", vbar)]
    }
    fn id_register(&self, crm: u32, op2: u32) -> u64 {
        // All fields at 1, the lowest at which register it is.
        0x1111_1111_1111_1000 | u64::from(crm << 4 | op2)
    }
    fn vectors(&self) -> (u64, u64) {
        (self.vbar, self.sctlr)
    }
    fn set_exception(&mut self, elr: u64, spsr: u64, esr: u64, far: Option<u64>) {
        self.exception = Some((elr, spsr, esr, far));
    }
    fn firmware_call(&mut self, args: [u64; 4]) -> u64 {
        self.calls.push(args);
        self.answer
    }
    fn forward_call(&mut self, registers: &mut [u64; 18]) {
        self.calls.push([registers[0], registers[1], registers[2], registers[17]]);
        registers.fill(self.answer);
    }
    fn start_cpu(&mut self, vcpu: usize, mpidr: u64) -> i64 {
        self.started.push((vcpu, mpidr));
        self.start_result
    }
    fn serve_fiq(&mut self) -> bool {
        self.timer_rings
    }
    fn guard(&mut self) -> bool {
        true
    }
    fn unguard(&mut self) {
        self.timer.push(false);
    }
    fn keep_time(&mut self, on: bool) {
        self.timer.push(on);
    }
    fn counter(&self) -> u64 {
        self.counter
    }
    fn timers(&self) -> u64 {
        self.timers
    }
    fn trap_sleep(&mut self, on: bool) {
        self.traps_sleep = on;
    }
    fn send_sgi(&mut self, value: u64) {
        self.sgis.push(value);
    }
    fn device_write(&mut self, address: Hpa, size: u32, value: u64) {
        self.writes.push((address.0, size, value));
    }
    fn wait_for_interrupt(&mut self) {
        self.waits += 1;
    }
}

/// The first of two vCPUs, with a page of RAM at [`RAM`] and redistributors where `virt` has them.
pub fn vcpu() -> Vcpu<Fake> {
    vcpu_of(false)
}

/// The same, with guarded interrupts or without.
pub fn vcpu_of(guarded: bool) -> Vcpu<Fake> {
    vcpu_with(guarded, |_| {})
}

/// The same, guarded, with a watchdog that restarts it after so many seconds.
pub fn watched(seconds: u32, looks: bool) -> Vcpu<Fake> {
    vcpu_with(true, |manifest| {
        manifest.watchdog_seconds = seconds;
        manifest.watchdog_action = WATCHDOG_RESTARTS;
        manifest.watchdog_looks = looks.into();
    })
}

fn vcpu_with(guarded: bool, more: impl FnOnce(&mut Manifest)) -> Vcpu<Fake> {
    let mut manifest = Manifest::new_zeroed();
    more(&mut manifest);
    manifest.vcpus = 2;
    manifest.arm64.redistributor = 0x80a_0000;
    manifest.arm64.redistributor_guest = 0x80a_0000;
    manifest.arm64.distributor = 0x800_0000;
    manifest.arm64.guarded = guarded.into();
    manifest.arm64.hidden = 1;
    manifest.arm64.forward[..2].copy_from_slice(&[0x8000_0002, 0xc400_0053]);
    let memory = memory_at(RAM, Box::leak(vec![0; 0x1000].into_boxed_slice()));
    let shared = Box::leak(Box::new(Shared::new(
        &manifest,
        memory,
        TableMemory::NONE,
        &[0x8000_0000, 1, 2, 3],
    )));
    let row = Box::leak(Box::new(Row::new_zeroed()));
    Vcpu::new(
        0,
        Fake { vbar: 0xffff_8000_0001_0800, ..Fake::default() },
        shared,
        row,
        Box::leak(Box::default()),
    )
}

/// Gives back what making a vCPU has leaked.
#[expect(unsafe_code, reason = "takes leaked memory back")]
pub fn free(v: Vcpu<Fake>) {
    let shared = std::ptr::from_ref(v.shared).cast_mut();
    let row = std::ptr::from_mut(&mut *v.row);
    let last_words = std::ptr::from_mut(&mut *v.last_words);
    let ram = v.shared.memory.translate(crate::mem::Gpa(RAM), 0x1000).expect("RAM").0;
    drop(v);
    // SAFETY: all four come from `vcpu_with`, and the vCPU that held them is gone.
    unsafe {
        drop(Box::from_raw(shared));
        drop(Box::from_raw(row));
        drop(Box::from_raw(last_words));
        drop(Box::from_raw(ram as *mut [u8; 0x1000]));
    }
}

/// A guest that stopped at EL1 with this syndrome.
pub fn context(esr: u64) -> GuestContext {
    let mut ctx = GuestContext::EMPTY;
    (ctx.pc, ctx.pstate, ctx.esr, ctx.vector) = (0x4000, 0x6000_0005, esr, 0x400);
    ctx
}

/// Serves an exit as the firmware does: a fault that was answered is explained.
pub fn served(v: &mut Vcpu<Fake>, ctx: &mut GuestContext) -> Action {
    let action = super::exits::serve(v, ctx);
    assert!(matches!(action, Action::End(_)) || v.fault.is_some() == (action == Action::Explain));
    let _ = super::report::explain(v, ctx);
    if action == Action::Explain { Action::Resume } else { action }
}
