// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a run ends: the epitaph first, then all other vCPUs are stopped, then the console, then the
//! machine's power. The first vCPU that ends the run does all of it.
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

use anchorite_hv::arm64::board::Arm64;
use anchorite_hv::arm64::context::FaultFrame;
use anchorite_hv::arm64::report::own_fault;
use anchorite_hv::arm64::{GuestContext, exits, report};
use anchorite_hv::core::end::write_epitaph;
use anchorite_hv::core::text::Text;
use anchorite_hv::core::{Action, Last};
use anchorite_platform::qemu_virt::cpu;
use anchorite_platform::qemu_virt::machine::silence;
use anchorite_platform::read_register;
use anchorite_spec::{End, ExitReason};

use super::state::{CONTEXTS, CPUS, index_of};
use super::{restart, stop};
use crate::known::{image, take_end};
use crate::own::{EPITAPH, LEDGER};
use crate::{again, close};

/// PSCI SYSTEM_OFF and SYSTEM_RESET.
const SYSTEM_OFF: u64 = 0x8400_0008;
const SYSTEM_RESET: u64 = 0x8400_0009;

/// The vCPU that dies, plus one; 0 while all live.
static DYING: AtomicUsize = AtomicUsize::new(0);

/// The slow handler: serves an exit that needs all registers, explains a fault, or ends the run.
pub extern "C" fn with_frame(ctx: &mut GuestContext) {
    let index = index_of(ctx);
    // SAFETY: a vCPU's exits do not nest, and only its own CPU is here.
    let Some(vcpu) = (unsafe { CPUS[index].as_mut() }) else {
        die(index, End::FirmwareFault, &of_guest(index, ctx), b"an exit before the vCPU stood")
    };
    let action = match take_end(index) {
        Some(end) => Action::End(end),
        None if vcpu.fault.is_some() => Action::Explain,
        None => exits::serve(vcpu, ctx),
    };
    let asked = report::explain(vcpu, ctx);
    let Action::End(end) = action else { return };
    let judged = image().map_or(Some(end), |(_, manifest)| again::ends(manifest, end, asked));
    let mut last = of_guest(index, ctx);
    let Some(end) = judged else { restart::begin(index, end, &last, vcpu.last_words.as_bytes()) };
    let fault = vcpu.machine.fault();
    last.fault_address = fault.far;
    last.reason = vcpu.reason;
    let mut text = Text::new();
    text.push(vcpu.last_words.as_bytes());
    die(index, end, &last, text.as_bytes())
}

/// The guest's registers.
fn of_guest(index: usize, ctx: &GuestContext) -> Last {
    let mut gpr = [0; 32];
    gpr[..31].copy_from_slice(&ctx.gpr);
    Last {
        cpu: index as u32,
        vector: ctx.vector,
        pc: ctx.pc,
        msr: ctx.pstate,
        link: ctx.gpr[30],
        stack: read_register!("sp_el1"),
        fault_cause: ctx.esr,
        gpr,
        ..Last::default()
    }
}

/// The vectors' answer to an exception in the firmware itself.
pub extern "C" fn firmware_fault(frame: &FaultFrame) -> ! {
    let mut text = Text::new();
    let (vector, esr) = (frame.vector, frame.esr);
    text.f(
        "exception %x, %s (ESR %x), in the firmware at %x, address %x",
        &[own_fault(vector, esr)],
        &[vector, esr, frame.pc, frame.far],
    );
    let index = own_index();
    let mut gpr = [0; 32];
    gpr[..31].copy_from_slice(&frame.gpr);
    let last = Last {
        cpu: index as u32,
        reason: Some(ExitReason::FirmwareFault),
        vector,
        pc: frame.pc,
        msr: frame.pstate,
        link: frame.gpr[30],
        stack: frame.sp,
        fault_address: frame.far,
        fault_cause: esr,
        gpr,
        ..Last::default()
    };
    die(index, End::FirmwareFault, &last, text.as_bytes())
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let index = own_index();
    // SAFETY: only read, and only by this vCPU's own CPU.
    let ctx = unsafe { &(*CONTEXTS.get())[index] };
    die(index, End::FirmwareFault, &of_guest(index, ctx), close::panic_text(info).as_bytes())
}

fn own_index() -> usize {
    index_of(read_register!("tpidr_el2") as *const GuestContext)
}

/// The guest could not be restarted in place: the machine is reset instead, which starts it too.
pub fn give_restart_up(index: usize, text: &[u8]) -> ! {
    let last = Last { cpu: index as u32, ..Last::default() };
    die(index, End::Rebooted, &last, text)
}

/// The epitaph, the closing lines, the power switch.
fn die(index: usize, how: End, last: &Last, text: &[u8]) -> ! {
    match DYING.compare_exchange(0, index + 1, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            // SAFETY: counters that other CPUs may still raise; a count behind by one is no harm.
            let ledger = unsafe { &*LEDGER.get() };
            let last = Last { exits: ledger.total(), ..*last };
            // SAFETY: the exchange above makes this CPU the only writer.
            write_epitaph(unsafe { &mut *EPITAPH.get() }, how, &last, text);
            close::fault_again();
            silence();
            stop::for_good(index);
            // SAFETY: only read; the UART does not change after the vCPU stands.
            if let Some(vcpu) = unsafe { CPUS[index].as_ref() } {
                let uart = vcpu.machine.uart;
                let write = |line: &[u8]| {
                    uart.send(line);
                };
                close::lines(&write, ledger, how, &last, text);
                uart.flush();
            }
        }
        // The closing lines themselves faulted: what counts has been written. The others may still run,
        // and write between this.
        Err(who) if who == index + 1 => {
            // SAFETY: as above.
            if let Some(vcpu) = unsafe { CPUS[index].as_ref() } {
                let uart = vcpu.machine.uart;
                close::second_fault(&|line| {
                    uart.send(line);
                });
                uart.flush();
            }
        }
        // Another vCPU ends the run and switches the machine off.
        Err(_) => stop::arrive(index),
    }
    cpu::smc([if how == End::Rebooted { SYSTEM_RESET } else { SYSTEM_OFF }, 0, 0, 0]);
    // The machine's firmware has been asked, and the machine stops by itself.
    cpu::park()
}
