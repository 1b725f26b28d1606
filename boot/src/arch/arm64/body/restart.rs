// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest begins again without a machine reset.
//!
//! Whoever ends it takes all vCPUs out ([`super::stop`]); the others' CPUs go off, as they are at the
//! first entry. The first vCPU's CPU, which comes for it if it was off, waits until it is alone, goes
//! over to the loader's stack and translation and has it fill guest memory and the tables from the
//! image. Then it sets back what the guest has changed besides, and enters it as at first.
use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use anchorite_hv::arm64::Vcpu;
use anchorite_hv::arm64::entry::a64_enter;
use anchorite_hv::core::end::Last;
use anchorite_platform::qemu_virt::{BootInfo, Uart, cpu, el2, guard};
use anchorite_spec::phases::Phases;
use anchorite_spec::{End, Manifest};

use super::state::{CPUS, EL2_TABLES};
use super::{death, ready, stop};
use crate::known::image;
use crate::{again, stopping};

/// The first vCPU's CPU has come.
static CONDUCTED: AtomicBool = AtomicBool::new(false);

/// Restarts the guest, on the CPU of the vCPU that has ended it.
pub fn begin(index: usize, why: End, last: &Last, words: &[u8]) -> ! {
    let (Some((_, manifest)), Some(shared)) = (image(), stop::shared()) else {
        panic!("a restart before the first start")
    };
    let since = cpu::counter();
    if stop::for_restart(index, manifest, shared) {
        // SAFETY: of those that would end this life only this one comes here.
        unsafe { again::begins(why, since, last, words) };
        let come = || {
            // SAFETY: the vCPU is this CPU's, whose handler has ended.
            if let Some(vcpu) = unsafe { CPUS[index].as_mut() } {
                vcpu.recall_first();
            }
            CONDUCTED.load(Ordering::Acquire)
        };
        if index != 0 && !stop::wait_for(index, come) {
            death::give_restart_up(index, b"its first CPU sleeps and cannot be woken");
        }
    }
    stop::arrive(index)
}

/// The first vCPU's CPU: waits for the others to be off, and goes over to the loader's stack.
pub fn conduct() -> ! {
    CONDUCTED.store(true, Ordering::Release);
    let (Some((_, manifest)), Some(shared)) = (image(), stop::shared()) else {
        panic!("a restart before the first start")
    };
    // SAFETY: the vCPU is this CPU's, whose handler has ended.
    let off = |other| unsafe { CPUS[0].as_mut() }.is_none_or(|vcpu| vcpu.is_off(other));
    let all_off = || (1..shared.vcpus).all(off);
    // One that was found off may have been started by one that was asked later; but who starts now
    // only leaves.
    if !stop::wait_for(0, || all_off() && all_off()) {
        death::give_restart_up(0, b"one of its CPUs sleeps and cannot be woken");
    }
    let stack = manifest.boot_stack.base + manifest.boot_stack.size;
    // SAFETY: the memory is what the loader had for a stack, and what this stack holds is not needed
    // any more: the function does not return.
    unsafe {
        asm!("mov sp, {0}", "mov x29, xzr", "mov x30, xzr", "br {1}",
             in(reg) stack, in(reg) alone as *const () as u64, options(noreturn));
    }
}

/// Everything else, alone on the machine.
extern "C" fn alone() -> ! {
    let (Some((info, manifest)), Some(shared)) = (image(), stop::shared()) else {
        panic!("a restart before the first start")
    };
    let mut phases = again::record();
    refill(info, manifest, &mut phases);
    shared.begin_again();
    // SAFETY: no other CPU runs, and nothing on this one refers to the vCPUs or the ledger.
    unsafe {
        set_devices_back(manifest, shared.vcpus);
        CPUS.iter().filter_map(|place| place.as_mut()).for_each(Vcpu::begin_again);
        CONDUCTED.store(false, Ordering::Release);
        let uart = Uart::new(manifest.arm64.uart);
        again::count(&|line| {
            uart.send(line);
        });
    }
    // SAFETY: the vCPU stands, and this is its CPU.
    unsafe {
        let ctx = ready(0, manifest.guest_entry, manifest.guest_tree);
        again::close(phases, cpu::counter());
        if !stopping::is_over() {
            cpu::park();
        }
        a64_enter(ctx)
    }
}

/// Has the loader do its work again, under its own translation.
fn refill(info: &BootInfo, manifest: &Manifest, phases: &mut Phases) {
    let Some(refill) = info.refill else { panic!("a restart without a loader") };
    let ids = cpu::ids();
    // SAFETY: both sets of tables map this code, its data and the loader's stack, each to itself; the
    // loader's have not been touched since it left them.
    unsafe {
        el2::translate(info.tables, &ids);
        // This restart does not end before the guest runs again.
        refill(info.image, manifest, phases, again::last_life());
        el2::translate(EL2_TABLES.get() as u64, &ids);
    }
}

/// Devices that the guest has used and the firmware knows.
///
/// # Safety
/// No CPU uses them.
unsafe fn set_devices_back(manifest: &Manifest, vcpus: usize) {
    // SAFETY: the board's devices, which EL2 maps; the caller's promise.
    unsafe {
        Uart::new(manifest.arm64.uart).reset();
        stop::frames(manifest).reset(vcpus);
        if manifest.arm64.guarded != 0 {
            guard::prepare(manifest.arm64.distributor);
        }
    }
}
