// SPDX-License-Identifier: Apache-2.0 OR MIT
//! arm64, from the loader's jump to the guest's first instruction.
//!
//! The loader has checked the machine and the image and filled guest memory. What is left is this
//! page: EL2's own translation over what stays, the loader wiped and out of reach, EL2's registers,
//! and the guest entered. Secondary CPUs come the same way when the guest asks for them. From then
//! on the firmware runs only when a vector brings it the guest's exit (`anchorite_hv::arm64`).
mod death;
mod restart;
mod state;
mod stop;
mod timed;

use core::arch::global_asm;
use core::sync::atomic::Ordering;

use anchorite_hv::arm64::context::{self, GuestContext, SecondaryStart};
use anchorite_hv::arm64::entry::{a64_enter, a64_timed_vectors, a64_vectors};
use anchorite_hv::arm64::features::Hidden;
use anchorite_hv::arm64::regs::pstate;
use anchorite_hv::arm64::vcpu::ON;
use anchorite_hv::arm64::{Shared, Vcpu, exits, gic};
use anchorite_hv::core::text::Text;
use anchorite_hv::core::{Action, report};
use anchorite_hv::mem::{GuestMemory, TableMemory};
pub use anchorite_platform::qemu_virt::BootInfo;
use anchorite_platform::qemu_virt::el2::{self, Guest};
use anchorite_platform::qemu_virt::machine::Gic;
use anchorite_platform::qemu_virt::{Uart, Virt, cpu, guard};
use anchorite_platform::{read_register, write_register};
use anchorite_spec::anchor::{ARM64_ADDRESS, Anchor};
use anchorite_spec::manifest::{
    DEBUG_FAULT_ASSERT, DEBUG_FAULT_NONE, DEBUG_FAULT_SERROR, PART_LOADER, VCPUS,
};
use anchorite_spec::{ExitReason, Manifest, Range};
use anchorite_tables::stage1::{MAIR, SCTLR, Stage1, Use};
use anchorite_tables::stage2::Stage2;
use state::{
    CONTEXTS, CPUS, EL2_TABLES, FAULT_STACKS, LAST_WORDS, SHARED, STACKS, STARTS, index_of,
};

use crate::own::LEDGER;
use crate::{known, phases, stopping, timing};

global_asm!(include_str!("start.S"), options(raw));
global_asm!(include_str!("../memory.S"), options(raw));

/// The guest's VMID.
const VMID: u8 = 1;
const PAGE: u64 = 4096;

/// Entered by the loader with its findings, on the first vCPU's stack.
#[unsafe(no_mangle)]
extern "C" fn body_main(info: &'static BootInfo) -> ! {
    // SAFETY: the loader put the manifest there and nothing writes it again.
    let manifest = unsafe { &*(info.manifest as *const Manifest) };
    known::found(info);
    // SAFETY: this runs once, before any other CPU, and nothing refers to the statics yet.
    unsafe { install_contexts(manifest) };
    // SAFETY: as above; the tables map all that this page uses.
    let ttbr = unsafe { translate(info, manifest) };
    publish(info.manifest, manifest);
    // SAFETY: the builder checked that guest RAM meets nothing of the firmware, and the loader that
    // the machine has it. No slice of it is ever made here: the firmware does not map it.
    let memory = unsafe { GuestMemory::new(manifest.mappings()) };
    // SAFETY: the tables are mapped above, and only read.
    let tables = unsafe { TableMemory::new(manifest.tables) };
    // SAFETY: as above, once.
    unsafe {
        let shared = SHARED.insert(Shared::new(manifest, memory, tables, &info.mpidr));
        seat_vcpus(manifest, shared, ttbr);
    }
    let before = cpu::counter();
    put_loader_away(info, manifest);
    // SAFETY: only this CPU runs.
    unsafe { phases::begin(info.phases, cpu::counter().wrapping_sub(before), manifest) };
    if manifest.arm64.guarded != 0 {
        // SAFETY: mapped above, and the guest has not begun.
        unsafe { guard::prepare(manifest.arm64.distributor) };
    }
    // SAFETY: taken once on each CPU, by itself.
    if let Some(vcpu) = unsafe { CPUS[0].as_mut() } {
        let mut text = Text::new();
        text.push(b"guest entered at ");
        text.f("%x", &[], &[manifest.guest_entry]);
        report::line(&mut vcpu.machine, text.as_bytes());
    }
    // SAFETY: the vCPU stands, and this is its CPU; nothing has been counted yet.
    unsafe {
        let ctx = ready(0, manifest.guest_entry, manifest.guest_tree);
        let write = |line: &[u8]| {
            Uart::new(manifest.arm64.uart).send(line);
        };
        phases::close(cpu::counter(), &write);
        a64_enter(ctx)
    }
}

/// Gives each vCPU its stacks and handlers, and this CPU the first of them.
unsafe fn install_contexts(manifest: &Manifest) {
    // SAFETY: the caller says that nothing refers to the contexts. The only stack in use is the one
    // that this has just begun on.
    unsafe {
        for (index, ctx) in (*CONTEXTS.get()).iter_mut().enumerate() {
            STACKS[index].guard();
            FAULT_STACKS[index].guard();
            ctx.host_stack = STACKS[index].top();
            ctx.fault_stack = FAULT_STACKS[index].top();
            ctx.handler = match manifest.debug_fault {
                DEBUG_FAULT_NONE if manifest.timing != 0 => timed::handle_exit as *const () as u64,
                DEBUG_FAULT_NONE => handle_exit as *const () as u64,
                DEBUG_FAULT_ASSERT => assert_fails as *const () as u64,
                DEBUG_FAULT_SERROR => serror_comes as *const () as u64,
                _ => exception_comes as *const () as u64,
            };
            ctx.slow_handler = match manifest.timing {
                0 => death::with_frame as *const () as u64,
                _ => timed::with_frame as *const () as u64,
            };
            ctx.fault_handler = death::firmware_fault as *const () as u64;
        }
        write_register!("tpidr_el2", CONTEXTS.get() as u64);
        write_register!("vbar_el2", vectors(manifest));
        cpu::barrier();
        cpu::accept_serror();
    }
}

/// What the CPUs have for vectors.
fn vectors(manifest: &Manifest) -> u64 {
    match manifest.timing {
        0 => &raw const a64_vectors as u64,
        _ => &raw const a64_timed_vectors as u64,
    }
}

/// EL2's own translation over what stays: the firmware's memory, the anchor, the UART and the
/// interrupt controller's frames that stores are made to; and, until it is wiped, the loader.
unsafe fn translate(info: &BootInfo, manifest: &Manifest) -> u64 {
    unsafe extern "C" {
        safe static body_data_start: u8;
    }
    let base = EL2_TABLES.get() as u64;
    // SAFETY: only this CPU runs, and it walks the loader's tables.
    let mut tables = Stage1::new(unsafe { &mut (*EL2_TABLES.get()).0 }, base);
    let firmware = manifest.firmware;
    let data = &raw const body_data_start as u64;
    let arm64 = &manifest.arm64;
    let frames = gic::FRAMES * u64::from(manifest.vcpus);
    let loader = loader(info, manifest);
    let mapped = [
        (firmware.base, data - firmware.base, Use::Code),
        (data, firmware.base + firmware.size - data, Use::Data),
        (ARM64_ADDRESS, PAGE, Use::Data),
        (arm64.uart, PAGE, Use::Device),
        (arm64.redistributor, frames, Use::Device),
        (arm64.distributor, gic::FRAME, Use::Device),
        (loader.base, loader.size, Use::Data),
    ]
    .into_iter()
    .try_for_each(|(start, size, purpose)| tables.map(start, size, purpose));
    assert!(mapped.is_ok(), "the firmware cannot map itself");
    // SAFETY: the tables map this code, its data and its stack.
    unsafe { el2::translate(base, &cpu::ids()) };
    base
}

/// Leaves the addresses that outside readers want at the fixed place.
fn publish(copy: u64, manifest: &Manifest) {
    let anchor = Anchor::new(ARM64_ADDRESS, copy, manifest.ledger, manifest.epitaph);
    // SAFETY: the builder gives this page to the firmware.
    unsafe { core::ptr::write_volatile(ARM64_ADDRESS as *mut Anchor, anchor) };
}

/// Puts every vCPU in its place, and says where its CPU is to begin.
unsafe fn seat_vcpus(manifest: &Manifest, shared: &'static Shared, ttbr: u64) {
    let starts = STARTS.get().cast::<SecondaryStart>();
    // SAFETY: the UART is the board's, mapped above; nothing refers to these statics yet, and each
    // vCPU gets a row and words of its own.
    unsafe {
        let ledger = LEDGER.get();
        (*ledger).open(manifest.vcpus, read_register!("cntfrq_el0"));
        for index in 0..shared.vcpus.min(VCPUS) {
            let frames = Gic {
                distributor: manifest.arm64.distributor,
                redistributor: manifest.arm64.redistributor + index as u64 * gic::FRAMES,
            };
            let machine = Virt::new(Uart::new(manifest.arm64.uart), starts, frames);
            let row = &raw mut (*ledger).row[index];
            let ctx = &mut (*CONTEXTS.get())[index];
            // The vectors count in it while no handler of this vCPU's runs.
            ctx.row = row as u64;
            let row = &mut *row;
            let full = manifest.debug_fault != DEBUG_FAULT_NONE || shared.has_more_calls();
            ctx.calls_in_full = full.into();
            CPUS[index].insert(Vcpu::new(
                index,
                machine,
                shared,
                row,
                &mut *LAST_WORDS[index].get(),
            ));
            if manifest.timing != 0 {
                timing::start(index, cpu::counter());
            }
            *starts.add(index) = SecondaryStart {
                mair: MAIR,
                tcr: el2::tcr(&cpu::ids()),
                ttbr,
                sctlr: SCTLR,
                stack: STACKS[index].top(),
                entry: secondary_main as *const () as u64,
                vcpu: index as u64,
            };
        }
        cpu::clean(starts as u64, size_of::<[SecondaryStart; VCPUS]>() as u64);
    }
}

/// The pages that the loader ran in.
fn loader(info: &BootInfo, manifest: &Manifest) -> Range {
    let size = manifest.part(PART_LOADER).map_or(0, |part| part.memory_size);
    Range::new(info.loader, size.next_multiple_of(PAGE))
}

/// The loader has done its work; unless the guest is restarted by it, what is left of it must not be
/// of use to anyone. Then all of the image is out of the firmware's own reach.
fn put_loader_away(info: &BootInfo, manifest: &Manifest) {
    let loader = loader(info, manifest);
    // SAFETY: the loader runs no more as long as these tables are used, and parts of an image have
    // their pages for themselves. Only this CPU runs, and nothing refers to the pages any more.
    unsafe {
        if info.refill.is_none() {
            core::ptr::write_bytes(loader.base as *mut u8, 0, loader.size as usize);
            cpu::clean(loader.base, loader.size);
        }
        let base = EL2_TABLES.get() as u64;
        Stage1::resume(&mut (*EL2_TABLES.get()).0, base).unmap(loader.base, loader.size);
    }
    el2::forget_translations();
}

/// A secondary CPU, on its stack, with EL2's own translation.
extern "C" fn secondary_main(index: u64) -> ! {
    let index = (index as usize).min(VCPUS - 1);
    // SAFETY: shared state stood before any CPU was asked to start; the context is this CPU's own.
    unsafe {
        let context = CONTEXTS.get().cast::<GuestContext>().add(index);
        write_register!("tpidr_el2", context as u64);
        write_register!("vbar_el2", &raw const a64_vectors as u64);
        cpu::barrier();
        cpu::accept_serror();
        if stopping::is_on() {
            stop::arrive(index);
        }
        let (mut entry, mut argument) = (0, 0);
        if let Some(shared) = SHARED.as_ref() {
            let seat = &shared.seats[index];
            argument = seat.argument.load(Ordering::Acquire);
            entry = seat.entry.load(Ordering::Relaxed);
            seat.state.store(ON, Ordering::Release);
        }
        a64_enter(ready(index, entry, argument))
    }
}

/// A guest's CPU is about to start: EL1, MMU and caches off, x0 given, everything else zero.
unsafe fn ready(index: usize, entry: u64, argument: u64) -> *mut GuestContext {
    let Some((_, manifest)) = known::image() else { panic!("a CPU before the first") };
    let ids = cpu::ids();
    let arm64 = &manifest.arm64;
    // The loader has found this size to be one that the CPU walks.
    let context = Stage2::new(arm64.ipa_bits, ids.pa_range() as u32);
    let Ok(context) = context else { panic!("the CPUs differ in their addresses") };
    let context = context.with_forced_write_back(arm64.forced_write_back != 0);
    let vttbr = context.vttbr(manifest.table_root, VMID);
    // SAFETY: the caller is this vCPU's CPU, and the tables stand.
    unsafe {
        let frames = arm64.redistributor + index as u64 * gic::FRAMES;
        let guard = (arm64.guarded != 0).then_some(frames);
        let hidden = Hidden(arm64.hidden as u32);
        let guest = Guest { vtcr: context.vtcr(), vttbr, hcr: context.hcr(), guard, hidden };
        el2::own(vectors(manifest), guest, &ids);
        if let Some(vcpu) = CPUS[index].as_mut() {
            if index == 0 {
                let hz = read_register!("cntfrq_el0");
                vcpu.shared.watchdog.begin(cpu::counter(), hz);
            }
            vcpu.watch();
        }
        let ctx = CONTEXTS.get().cast::<GuestContext>().add(index);
        (*ctx).gpr = [0; 31];
        (*ctx).gpr[0] = argument;
        (*ctx).pc = entry;
        (*ctx).pstate = pstate::EL1H_MASKED;
        if manifest.timing != 0 {
            (*ctx).left = cpu::counter();
        }
        ctx
    }
}

/// Every guest exit arrives here from the vectors.
extern "C" fn handle_exit(ctx: &mut GuestContext) -> u64 {
    let index = index_of(ctx);
    // SAFETY: a vCPU's exits do not nest, and it was put in place before its first entry.
    let Some(vcpu) = (unsafe { CPUS[index].as_mut() }) else {
        return context::FULL_FRAME;
    };
    if exits::quick(vcpu, ctx) {
        return context::RESUME;
    }
    if stopping::is_on() {
        vcpu.count(ExitReason::Stopped);
        stop::arrive(index);
    }
    if exits::needs_frame(ctx) {
        return context::FULL_FRAME;
    }
    match exits::serve(vcpu, ctx) {
        Action::Resume | Action::Begin => context::RESUME,
        Action::Explain => context::FULL_FRAME,
        Action::End(end) => {
            known::note_end(index, end);
            context::FULL_FRAME
        }
    }
}

/// The handler of an image built to show how an assert ends (`firmware.debug_fault`).
extern "C" fn assert_fails(ctx: &mut GuestContext) -> u64 {
    panic!("firmware.debug_fault: asserted at the guest's exit by vector {:#x}", ctx.vector);
}

/// The handler of an image built to show how an SError in the firmware ends: as the CPU does, it leaves
/// where it came in ELR_EL2, SPSR_EL2 and ESR_EL2, here with the syndrome of an error that was not
/// contained, and goes on at the vector.
extern "C" fn serror_comes(_: &mut GuestContext) -> u64 {
    const UNCONTAINABLE: u64 = 0x2f << 26 | 1 << 25 | 0x11;
    /// EL2 with its own stack pointer, everything masked.
    const EL2H: u64 = 0x3c9;
    /// From EL2 with its own stack pointer.
    const SERROR: u64 = 0x380;
    let vector = &raw const a64_vectors as u64 + SERROR;
    // SAFETY: an SError comes at any time, and the vector is ready for it. It does not come back.
    unsafe {
        core::arch::asm!(
            "adr {0}, .",
            "msr elr_el2, {0}",
            "msr spsr_el2, {1}",
            "msr esr_el2, {2}",
            "br {3}",
            in(reg) 0_u64, in(reg) EL2H, in(reg) UNCONTAINABLE, in(reg) vector, options(noreturn)
        )
    }
}

/// The handler of an image built to show how an exception in the firmware ends.
extern "C" fn exception_comes(_: &mut GuestContext) -> u64 {
    exception();
    context::RESUME
}

/// An exception in the firmware.
pub fn exception() {
    // SAFETY: the instruction is undefined; what follows is the firmware's own fault path.
    unsafe { core::arch::asm!("udf #0") };
}
