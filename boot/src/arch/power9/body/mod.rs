// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The resident firmware, from the loader's jump to the guest's first instruction.
//!
//! The loader has checked the machine and the image, filled guest memory and set up XIVE. What is
//! left is this page: take over the vectors and the core's hypervisor registers, wipe the loader,
//! say that the guest is entered, and enter it. From then on the firmware runs only when a vector
//! brings it the guest's exit (`anchorite_hv::power9`).
mod death;
mod state;

use core::arch::{asm, global_asm};

use anchorite_hv::mem::GuestMemory;
use anchorite_hv::power9::entry::{p9_enter, p9_vectors_end, p9_vectors_start};
use anchorite_hv::power9::regs::{HFSCR_GUEST, lpcr, msr};
use anchorite_hv::power9::{Partition, Power9, context, exits, report};
use anchorite_platform::powernv::core::{self as cpu, Scope, mfspr, mtspr, spr};
use anchorite_platform::powernv::machine::LPID;
use anchorite_platform::powernv::{BootInfo, PowerNv};
use anchorite_spec::anchor::{Anchor, POWER9_ADDRESS};
use anchorite_spec::manifest::{DEBUG_FAULT_ASSERT, DEBUG_FAULT_NONE, Manifest, PART_LOADER};
use state::{CONTEXT, FAULT_STACK, PARTITION, PARTITION_TABLE, STACK, fault_entry};

use crate::own::LEDGER;

global_asm!(include_str!("start.S"), options(raw));

/// The vectors' copy: real 0x100 upwards.
const VECTORS: u64 = 0x100;
/// The partition table has one page: 2^(12 + 0) bytes.
const PARTITION_TABLE_SIZE: u64 = 0;

/// Entered by the loader with its findings, little-endian, in hypervisor real mode, on a stack at
/// the top of [`STACK`].
#[unsafe(no_mangle)]
extern "C" fn body_main(info: &'static BootInfo, toc: u64) -> ! {
    // SAFETY: the loader put the manifest there and nothing writes it again.
    let manifest = unsafe { &*(info.manifest as *const Manifest) };
    install_context(toc, manifest);
    // SAFETY: real 0x100 to 0x2000 are the operating system's once OPAL has handed over, and no
    // interrupt can come before the vectors are whole: EE is off.
    unsafe { install_vectors() };
    publish(info.manifest, manifest);
    // SAFETY: called once, with EE off; the root is the one that the builder made.
    let partition_entry = unsafe { own_core(manifest.table_root) };
    // SAFETY: `info` is the loader's, the entry is this core's, and this is the only machine.
    let machine = unsafe {
        PowerNv::new(info, partition_entry, manifest.xive_esb_guest, manifest.timebase_hz)
    };
    // SAFETY: the builder checked that guest RAM meets nothing of the firmware, and the loader that
    // the machine has it.
    let memory = unsafe { GuestMemory::new(manifest.mappings()) };
    // SAFETY: this is the only place that takes the ledger and the partition out of their cells,
    // and it runs once.
    let partition = unsafe {
        let ledger = &mut *LEDGER.get();
        (*PARTITION.get()).insert(Partition::new(machine, memory, ledger, manifest))
    };
    wipe_loader(info, manifest);
    if manifest.guest_little_endian != 0 {
        // By way of the machine, which writes its own copy of LPCR back after each idle wait.
        partition.machine.update_lpcr(0, lpcr::ILE);
    }
    partition.machine.start_interrupts();
    report::line(
        &mut partition.machine,
        &format_args!("guest entered at {:#x}", manifest.guest_entry),
    );
    enter(manifest)
}

/// Puts the vCPU's context behind HSPRG0, where the vectors look for it.
fn install_context(toc: u64, manifest: &Manifest) {
    // SAFETY: nothing else refers to the context yet; the stacks are statics.
    unsafe {
        let ctx = &mut *CONTEXT.get();
        *ctx = context::GuestContext::EMPTY;
        ctx.host_stack = STACK.top();
        ctx.fault_stack = FAULT_STACK.top();
        ctx.host_toc = toc;
        ctx.handler = match manifest.debug_fault {
            DEBUG_FAULT_NONE => handle_exit as *const () as u64,
            DEBUG_FAULT_ASSERT => assert_fails as *const () as u64,
            _ => exception_comes as *const () as u64,
        };
        ctx.slow_handler = death::end_with_frame as *const () as u64;
        ctx.fault_handler = fault_entry as *const () as u64;
        mtspr::<{ spr::HSPRG0 }>(CONTEXT.get() as u64);
    }
}

/// Copies the vectors to where the core looks for them.
unsafe fn install_vectors() {
    let source = &raw const p9_vectors_start;
    let len = &raw const p9_vectors_end as usize - source as usize;
    // SAFETY: the caller vouches for the destination; the source is the block between two symbols.
    unsafe {
        core::ptr::copy_nonoverlapping(source, VECTORS as *mut u8, len);
        cpu::flush_code(VECTORS, len as u64);
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

/// Sets every hypervisor register that a guest depends on, whatever it held before, and the
/// partition table. What stays as OPAL left it is OPAL's own: HMEER, the rest of HID0. Returns the guest's entry in it.
unsafe fn own_core(root: u64) -> *mut [u64; 2] {
    let table = PARTITION_TABLE.get().cast::<[u64; 2]>();
    assert_eq!(mfspr::<{ spr::HRMOR }>(), 0, "real addresses are taken as they are");
    // SAFETY: the table is the firmware's own, and PTCR does not point at it yet. The registers
    // change nothing for the firmware, which runs in real mode with EE off.
    unsafe {
        let entry = table.add(LPID as usize);
        (*entry)[0] = anchorite_tables::radix::partition_entry(root).to_be();
        (*entry)[1] = (1_u64 << 63).to_be();
        cpu::sync();
        mtspr::<{ spr::PTCR }>(table as u64 | PARTITION_TABLE_SIZE);
        mtspr::<{ spr::LPIDR }>(u64::from(LPID));
        mtspr::<{ spr::PIDR }>(0);
        mtspr::<{ spr::LPCR }>(lpcr::GUEST);
        mtspr::<{ spr::HFSCR }>(HFSCR_GUEST);
        mtspr::<{ spr::PCR }>(0);
        mtspr::<{ spr::AMOR }>(u64::MAX);
        mtspr::<{ spr::CIABR }>(0);
        mtspr::<{ spr::DAWRX0 }>(0);
        mtspr::<{ spr::DPDES }>(0);
        mtspr::<{ spr::PSSCR }>(0);
        cpu::sync();
        mtspr::<{ spr::HID0 }>(mfspr::<{ spr::HID0 }>() & !HID0_ATTN);
        mtspr::<{ spr::HMER }>(0);
        // The guest sets its own decrementer before it enables interrupts; until then, far away.
        mtspr::<{ spr::DEC }>(1 << 54);
        // Machine checks from now on come to the vectors instead of stopping the machine.
        asm!("mfmsr {0}", "ori {0}, {0}, 0x1000", "mtmsrd {0}", out(reg) _, options(nostack));
        cpu::tlb_invalidate(LPID, None, Scope::All);
        entry
    }
}

/// The loader has done its work; what is left of it must not be of use to anyone.
fn wipe_loader(info: &BootInfo, manifest: &Manifest) {
    if let Some(part) = manifest.part(PART_LOADER) {
        let start = (info.image + part.offset) as *mut u8;
        // SAFETY: the loader runs no more, and the range is its part of the image.
        unsafe { core::ptr::write_bytes(start, 0, part.memory_size as usize) };
    }
}

/// Linux's entry contract: r3 the tree, r5 = 0 for "no Open Firmware", big-endian real mode.
fn enter(manifest: &Manifest) -> ! {
    let offset = &raw const p9_enter as u64 - &raw const p9_vectors_start as u64;
    // SAFETY: the context is whole, the partition is in place, and the copied assembly never
    // returns.
    unsafe {
        let ctx = &mut *CONTEXT.get();
        ctx.gpr[3] = manifest.guest_tree;
        ctx.nip = manifest.guest_entry;
        ctx.msr = msr::SF | msr::ME;
        if manifest.guest_little_endian != 0 {
            ctx.msr |= msr::LE;
        }
        asm!("mtctr {0}", "bctr", in(reg) VECTORS + offset, in("r3") CONTEXT.get(),
             options(noreturn));
    }
}

/// Every guest exit arrives here from the vectors.
extern "C" fn handle_exit(ctx: &mut context::GuestContext) -> u64 {
    // SAFETY: exits of the one vCPU do not nest, and the partition was put in place before the
    // first entry.
    let Some(partition) = (unsafe { (*PARTITION.get()).as_mut() }) else {
        return context::FULL_FRAME;
    };
    match exits::serve(partition, ctx) {
        anchorite_hv::core::Action::Resume => context::RESUME,
        anchorite_hv::core::Action::End(end) => {
            state::note_end(end);
            context::FULL_FRAME
        }
    }
}

/// The handler of an image built to show how an assert ends (`firmware.debug_fault`).
extern "C" fn assert_fails(ctx: &mut context::GuestContext) -> u64 {
    panic!("firmware.debug_fault: asserted at the guest's exit by vector {:#x}", ctx.vector);
}

/// The handler of an image built to show how an exception in the firmware ends.
extern "C" fn exception_comes(_: &mut context::GuestContext) -> u64 {
    // SAFETY: the word is no instruction; what follows is the firmware's own fault path.
    unsafe { asm!(".long 0") };
    context::RESUME
}
