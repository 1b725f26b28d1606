// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The resident firmware, from the loader's jump to the guest's first instruction.
//!
//! The loader has checked the machine and the image, filled guest memory and set up XIVE. What is
//! left is this page: take over the vectors, wipe the loader, bring every vCPU's core in, and on each
//! set the hypervisor registers and wait until its vCPU is started; the first one is at once. From
//! then on the firmware runs only when a vector brings it the guest's exit (`anchorite_hv::power9`).
mod death;
mod flush;
mod restart;
mod state;
mod stop;
mod timed;

use core::arch::{asm, global_asm};
use core::sync::atomic::Ordering;

use anchorite_hv::core::Action;
use anchorite_hv::core::text::Text;
use anchorite_hv::mem::{GuestMemory, TableMemory};
use anchorite_hv::power9::entry::{p9_enter, p9_vectors_end, p9_vectors_start};
use anchorite_hv::power9::lock::relax;
use anchorite_hv::power9::regs::{HFSCR_GUEST, lpcr, msr};
use anchorite_hv::power9::{GuestContext, Power9, Shared, Vcpu, context, exits, report};
pub use anchorite_platform::powernv::BootInfo;
use anchorite_platform::powernv::core::{self as cpu, mfspr, mtspr, spr};
use anchorite_platform::powernv::machine::LPID;
use anchorite_platform::powernv::{Board, PowerNv};
use anchorite_spec::anchor::{Anchor, POWER9_ADDRESS};
use anchorite_spec::low;
use anchorite_spec::manifest::{
    DEBUG_FAULT_ASSERT, DEBUG_FAULT_MACHINE_CHECK, DEBUG_FAULT_NONE, Manifest, PART_LOADER,
    PART_OWN_TABLES, PROCESS_TABLE_BYTES, VCPUS,
};
use anchorite_tables::radix;
use state::{
    ARRIVED, BOARD, CALLS, CONTEXTS, CPUS, FAULT_STACKS, LAST_WORDS, NEXT, NO_CALLS, Next,
    PARTITION_TABLE, SHARED, STACKS, index_of,
};

use crate::own::LEDGER;
use crate::{known, phases, stopping, timing};

global_asm!(
    include_str!("../../../../../platform/src/powernv/big_endian.S"),
    include_str!("start.S"),
    options(raw)
);
global_asm!(include_str!("../memory.S"), options(raw));

/// The firmware's own partition: the architecture's choice.
const OWN_LPID: u32 = 0;
/// The partition table has one page: 2^(12 + 0) bytes.
const PARTITION_TABLE_SIZE: u64 = 0;

/// Entered by the loader with its findings, little-endian, in hypervisor real mode.
extern "C" fn body_main(info: u64, toc: u64) -> ! {
    // SAFETY: the loader put its findings and the manifest there, and nothing writes them again.
    let (info, manifest) = unsafe {
        let info = &*(info as *const BootInfo);
        (info, &*(info.manifest as *const Manifest))
    };
    install_contexts(toc, manifest);
    // SAFETY: low memory is the operating system's once OPAL has handed over, and no interrupt can
    // come before the vectors are whole: EE is off.
    unsafe {
        low::VECTORS.into_iter().for_each(|to| install_vectors(to, manifest));
        flush::install(info, manifest);
    }
    publish(info.manifest, manifest);
    known::found(info);
    let process_table = fill_partition_table(manifest);
    // SAFETY: the builder checked that guest RAM meets nothing of the firmware, and the loader that
    // the machine has it. This is the only place that fills the cells, and it runs once; `info` is
    // the loader's, the entry is the partition table's.
    let board = unsafe {
        let memory = GuestMemory::new(manifest.mappings());
        let tables = TableMemory::new(manifest.tables);
        let board = Board::new(info, process_table, manifest.xive_esb_guest, manifest.timebase_hz);
        let board: &'static Board = BOARD.insert(board);
        seat_vcpus(manifest, board, SHARED.insert(Shared::new(manifest, memory, tables)));
        board
    };
    let own = board.own_vcpu();
    let vcpus = (manifest.vcpus as usize).min(VCPUS);
    let absent = |vcpu: &usize| Some(*vcpu) != own;
    // Without OPAL they wait in the loader until then.
    (1..vcpus).filter(absent).for_each(|vcpu| bring_in(board, vcpu));
    let before = cpu::timebase();
    wipe_loader(info, manifest);
    // SAFETY: only the first vCPU's core uses the record, and that is here or not in yet.
    unsafe { phases::begin(info.phases, cpu::timebase().wrapping_sub(before), manifest) };
    (0..1).filter(absent).for_each(|vcpu| bring_in(board, vcpu));
    match own {
        Some(vcpu) => run(vcpu),
        // None of the guest's CPUs is this one.
        None => board.below.return_thread(),
    }
    panic!("nobody takes a thread back");
}

/// Gives each vCPU its stacks and handlers.
fn install_contexts(toc: u64, manifest: &Manifest) {
    // SAFETY: the page is the firmware's, and nothing else refers to it yet; the stacks are statics.
    let contexts = unsafe {
        CONTEXTS.write([GuestContext::EMPTY; VCPUS]);
        &mut *CONTEXTS
    };
    for (index, ctx) in contexts.iter_mut().enumerate() {
        // SAFETY: nobody is on them yet.
        unsafe {
            STACKS[index].guard();
            FAULT_STACKS[index].guard();
        }
        ctx.host_stack = STACKS[index].top();
        ctx.fault_stack = FAULT_STACKS[index].top();
        ctx.host_toc = toc;
        ctx.host_msr = msr::HOST;
        ctx.handler = match manifest.debug_fault {
            DEBUG_FAULT_NONE if manifest.timing != 0 => timed::handle_exit as *const () as u64,
            DEBUG_FAULT_NONE => handle_exit as *const () as u64,
            DEBUG_FAULT_ASSERT => assert_fails as *const () as u64,
            DEBUG_FAULT_MACHINE_CHECK => machine_check_comes as *const () as u64,
            _ => exception_comes as *const () as u64,
        };
        ctx.calls = match manifest.debug_fault {
            DEBUG_FAULT_NONE => &raw const CALLS as u64,
            _ => NO_CALLS.get() as u64,
        };
        ctx.slow_handler = match manifest.timing {
            0 => death::with_frame as *const () as u64,
            _ => timed::with_frame as *const () as u64,
        };
        ctx.fault_handler = death::firmware_fault as *const () as u64;
    }
}

/// Puts every vCPU in its place.
///
/// # Safety
/// Nothing refers to the vCPUs or to the ledger yet.
unsafe fn seat_vcpus(manifest: &Manifest, board: &'static Board, shared: &'static Shared) {
    // SAFETY: the caller's promise; each vCPU gets a row and words of its own.
    unsafe {
        let ledger = LEDGER.get();
        (*ledger).open(manifest.vcpus, manifest.timebase_hz);
        for (index, place) in CPUS.iter().enumerate().take(shared.vcpus) {
            let row = &mut *(&raw mut (*ledger).row[index]);
            let vcpu = place.insert(Vcpu::new(
                index,
                PowerNv::new(board, index),
                shared,
                row,
                &mut *LAST_WORDS[index].get(),
            ));
            (*CONTEXTS)[index].vcpu = &raw mut *vcpu as u64;
            if manifest.timing != 0 {
                timing::start(index, cpu::timebase());
            }
        }
    }
}

/// Has a vCPU's core enter the firmware, and waits until it has.
fn bring_in(board: &Board, vcpu: usize) {
    unsafe extern "C" {
        safe static body_thread: u8;
        safe static body_start: u8;
    }
    /// Far more than OPAL needs, in ticks: a second or more on any machine.
    const PATIENCE: u64 = 1 << 30;
    let thread = board.thread(vcpu);
    let entry = [&raw const body_thread as u64, &raw const body_start as u64];
    // SAFETY: only this thread is in the firmware besides those that have taken theirs; the stack is
    // the vCPU's, and the code is for this.
    let started = unsafe {
        *NEXT.get() = Next { stack: STACKS[vcpu].first(), function: thread_main };
        cpu::sync();
        board.below.start_thread(thread, entry)
    };
    let since = cpu::timebase();
    while started.is_ok() && !ARRIVED[vcpu].load(Ordering::Acquire) {
        if cpu::timebase() - since > PATIENCE {
            break;
        }
        relax();
    }
    if !ARRIVED[vcpu].load(Ordering::Acquire) {
        death::lacks_core(thread);
    }
}

/// A thread that has been let in, on its vCPU's stack.
extern "C" fn thread_main(_: u64, _: u64) -> ! {
    // SAFETY: the board stood before any thread was started.
    match unsafe { BOARD.as_ref() }.and_then(Board::own_vcpu) {
        Some(vcpu) => run(vcpu),
        None => panic!("a thread came that nobody asked for"),
    }
}

/// A vCPU's core, from here to the guest's first instruction on it.
fn run(index: usize) -> ! {
    // SAFETY: the context and the vCPU are this core's alone from here on; all that they refer to
    // stood before.
    unsafe {
        own_core(CONTEXTS.cast::<GuestContext>().wrapping_add(index));
        let Some(vcpu) = CPUS[index].as_mut() else { panic!("no vCPU {index}") };
        vcpu.machine.clear_doorbell();
        vcpu.machine.start_interrupts();
        ARRIVED[index].store(true, Ordering::Release);
        if let (0, Some((_, manifest)), Some(board)) = (index, known::image(), BOARD.as_ref()) {
            let mut text = Text::new();
            text.push(b"guest entered at ");
            text.f("%x", &[], &[manifest.guest_entry]);
            report::line(&mut vcpu.machine, text.as_bytes());
            board.drain_console();
            vcpu.shared.watchdog.begin(cpu::timebase(), manifest.timebase_hz);
            phases::close(cpu::timebase(), &|line| board.below.console_print(line));
        }
    }
    enter(index)
}

/// Waits until the vCPU is started, which the first one is at once, and enters the guest on its core.
extern "C" fn enter(index: usize) -> ! {
    let offset = &raw const p9_enter as u64 - &raw const p9_vectors_start as u64;
    let context = CONTEXTS.cast::<GuestContext>().wrapping_add(index);
    // SAFETY: as in `run`. The copied assembly never returns.
    unsafe {
        let Some(vcpu) = CPUS[index].as_mut() else { panic!("no vCPU {index}") };
        vcpu.await_start(&mut *context);
        stop::arrive(index, &mut *context);
        let enter = low::VECTORS[0] + offset;
        asm!("mtctr {0}", "bctr", in(reg) enter, in("r3") context, options(noreturn));
    }
}

/// Copies the vectors to where the core looks for them.
unsafe fn install_vectors(to: u64, manifest: &Manifest) {
    let source = &raw const p9_vectors_start;
    let len = &raw const p9_vectors_end as usize - source as usize;
    // SAFETY: the caller vouches for the destination; the source is the block between two symbols.
    unsafe {
        cpu::copy(source as u64, to, len as u64);
        if manifest.timing != 0 {
            timed::install(to);
        }
        cpu::flush_code(to);
    }
}

/// Leaves the addresses that outside readers want at the fixed place below the vectors.
fn publish(copy: u64, manifest: &Manifest) {
    let anchor = Anchor::new(POWER9_ADDRESS, copy, manifest.ledger, manifest.epitaph);
    // SAFETY: real 0x40 to 0x70 lie below the first vector and belong to the firmware.
    unsafe { core::ptr::write_volatile(POWER9_ADDRESS as *mut Anchor, anchor) };
}

/// HID0: `attn` stops the core for a service processor.
const HID0_ATTN: u64 = 1 << (63 - 3);
/// HID0: hypervisor interrupts are little-endian (HILE), translation is radix. OPAL has set both.
const HID0_OURS: u64 = 1 << (63 - 4) | 1 << (63 - 8);

/// The second doubleword of a partition's entry, without its process table: processes translate by
/// radix trees.
const NO_PROCESS_TABLE: u64 = 1 << 63;

/// Writes the partition table: entry 0, by which the vectors' second copy translates, and the
/// guest's. Returns the part that the guest changes.
fn fill_partition_table(manifest: &Manifest) -> &'static core::sync::atomic::AtomicU64 {
    let fill = |lpid: u32, root, processes: u64| {
        let [tree, process_table] = &PARTITION_TABLE.0[lpid as usize];
        tree.store(radix::partition_entry(root).to_be(), Ordering::Relaxed);
        process_table.store((NO_PROCESS_TABLE | processes).to_be(), Ordering::Relaxed);
        process_table
    };
    let Some(own) = manifest.part(PART_OWN_TABLES) else { panic!("no tables for the vectors") };
    fill(OWN_LPID, own.dest, own.dest + own.size - PROCESS_TABLE_BYTES);
    fill(LPID, manifest.table_root, 0)
}

/// Puts the vCPU's context where the vectors look for it, and sets every hypervisor register of this
/// core that a guest depends on, whatever it held before. What stays as OPAL left it is OPAL's own:
/// HMEER, the rest of HID0.
///
/// # Safety
/// `context` is this core's, with its stacks and handlers; EE is off.
unsafe fn own_core(context: *mut GuestContext) {
    let table = &raw const PARTITION_TABLE as u64;
    assert_eq!(mfspr::<{ spr::HRMOR }>(), 0, "real addresses are taken as they are");
    // SAFETY: the table is whole. The registers change nothing for the firmware, which runs in real
    // mode with EE off.
    unsafe {
        mtspr::<{ spr::HSPRG0 }>(context as u64 | low::ALIAS);
        cpu::sync();
        mtspr::<{ spr::PTCR }>(table | PARTITION_TABLE_SIZE);
        mtspr::<{ spr::LPIDR }>(u64::from(LPID));
        mtspr::<{ spr::PIDR }>(0);
        mtspr::<{ spr::LPCR }>(lpcr::GUEST);
        mtspr::<{ spr::HFSCR }>(HFSCR_GUEST);
        mtspr::<{ spr::PCR }>(0);
        mtspr::<{ spr::AMOR }>(u64::MAX);
        mtspr::<{ spr::DAWRX0 }>(0);
        mtspr::<{ spr::DPDES }>(0);
        mtspr::<{ spr::PSSCR }>(0);
        cpu::sync();
        mtspr::<{ spr::HID0 }>(mfspr::<{ spr::HID0 }>() & !HID0_ATTN | HID0_OURS);
        mtspr::<{ spr::HMER }>(0);
        // Machine checks from now on come to the vectors instead of stopping the machine.
        asm!("mfmsr {0}", "ori {0}, {0}, 0x1000", "mtmsrd {0}", out(reg) _, options(nostack));
        cpu::tlb_forget([OWN_LPID, LPID]);
    }
}

/// The loader has done its work; unless the guest is restarted by it, what is left of it must not be
/// of use to anyone.
fn wipe_loader(info: &BootInfo, manifest: &Manifest) {
    if let Some(part) = manifest.part(PART_LOADER).filter(|_| info.refill.is_none()) {
        let start = (info.image + part.offset) as *mut u8;
        // SAFETY: the loader runs no more, and the range is its part of the image.
        unsafe { core::ptr::write_bytes(start, 0, part.memory_size as usize) };
    }
}

/// Every guest exit arrives here from the vectors.
extern "C" fn handle_exit(ctx: &mut GuestContext) -> u64 {
    let index = index_of(ctx);
    // SAFETY: a vCPU's exits do not nest, and it was put in place before its first entry.
    let Some(vcpu) = (unsafe { CPUS[index].as_mut() }) else {
        return context::FULL_FRAME;
    };
    match exits::serve(vcpu, ctx) {
        Action::Resume if !stopping::is_on() => context::RESUME,
        Action::Begin if !stopping::is_on() => context::BEGIN,
        Action::Resume | Action::Begin | Action::Explain => context::FULL_FRAME,
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

/// The handler of an image built to show how a machine check in the firmware ends: as the core does,
/// it leaves where it came in SRR0 and SRR1, here with the bits of a memory that did not answer a load,
/// and goes on at the vector.
extern "C" fn machine_check_comes(_: &mut GuestContext) -> u64 {
    const DATA_SIDE: u64 = 1 << (63 - 42);
    const LOAD: u64 = 0x8000;
    // SAFETY: interrupts of this kind come at any time, and the vector is ready for them. It does not
    // come back.
    unsafe {
        asm!(
            "bl 2f",
            "2: mflr {0}",
            "mtspr 26, {0}",
            "mfmsr {0}",
            "or {0}, {0}, {1}",
            "mtspr 27, {0}",
            "mtspr 18, {2}",
            "ba 0x200",
            in(reg) 0_u64, in(reg) DATA_SIDE, in(reg) LOAD, options(noreturn)
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
    // SAFETY: the word is no instruction; what follows is the firmware's own fault path.
    unsafe { asm!(".long 0") };
}
