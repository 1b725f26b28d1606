// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a run ends: the epitaph first, then all other vCPUs are stopped, then the console, then the
//! machine's power. The first vCPU that ends the run does all of it. A guest that may begin again does
//! so instead ([`super::restart`]).
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

use anchorite_hv::core::Last;
use anchorite_hv::core::end::write_epitaph;
use anchorite_hv::core::text::Text;
use anchorite_hv::power9::context::{FaultFrame, HSRR_FLAG};
use anchorite_hv::power9::lock::relax;
use anchorite_hv::power9::regs::vector;
use anchorite_hv::power9::{GuestContext, Power9, report};
use anchorite_platform::powernv::core::{mfspr, spr};
use anchorite_spec::{End, ExitReason};

use super::state::{BOARD, CONTEXTS, CPUS, index_of};
use super::{restart, stop};
use crate::known::{image, take_end};
use crate::own::{EPITAPH, LEDGER};
use crate::{again, close};

/// The vCPU that ends the run, plus one; 0 while none does.
static DYING: AtomicUsize = AtomicUsize::new(0);
/// The slow handler, with all of the guest's registers in the context: explains a fault; ends the run,
/// or the guest's present life, or keeps the vCPU out of the guest while another one does.
pub extern "C" fn with_frame(ctx: &mut GuestContext) {
    let index = index_of(ctx);
    // SAFETY: a vCPU's exits do not nest, and only its own core is here.
    let Some(vcpu) = (unsafe { CPUS[index].as_mut() }) else {
        die(index, End::FirmwareFault, of_guest(index, ctx), b"an exit before the vCPU stood")
    };
    let asked = report::explain(vcpu, ctx);
    if let Some(end) = take_end(index) {
        match image().map_or(Some(end), |(_, manifest)| again::ends(manifest, end, asked)) {
            None => {
                restart::begin(index, end, &of_guest(index, ctx), vcpu.last_words.as_bytes());
            }
            Some(end) => {
                let mut last = of_guest(index, ctx);
                let fault = vcpu.machine.storage_fault();
                (last.fault_address, last.fault_cause) = match last.vector {
                    vector::HDSI => (fault.hdar, fault.hdsisr),
                    vector::HISI => (fault.asdr, ctx.msr),
                    _ => (0, 0),
                };
                let mut text = Text::new();
                text.push(vcpu.last_words.as_bytes());
                die(index, end, last, text.as_bytes())
            }
        }
    }
    stop::arrive(index, ctx);
}

/// The guest's registers.
fn of_guest(index: usize, ctx: &GuestContext) -> Last {
    Last {
        cpu: index as u32,
        pc: ctx.nip,
        msr: ctx.msr,
        link: ctx.lr,
        vector: ctx.vector & !HSRR_FLAG,
        stack: ctx.gpr[1],
        gpr: ctx.gpr,
        ..Last::default()
    }
}

/// The vectors' answer to an exception in the firmware itself.
pub extern "C" fn firmware_fault(frame: &FaultFrame, ctx: &mut GuestContext) -> ! {
    let mut text = Text::new();
    let number = frame.vector & !HSRR_FLAG;
    let what = if number == vector::MACHINE_CHECK { "machine check" } else { "exception" };
    text.f("%s %x in the firmware at %x", &[what], &[number, frame.pc]);
    let index = index_of(ctx);
    let last = Last {
        cpu: index as u32,
        reason: Some(ExitReason::FirmwareFault),
        vector: number,
        pc: frame.pc,
        msr: frame.msr,
        link: frame.lr,
        fault_address: frame.dar,
        fault_cause: frame.dsisr,
        stack: frame.gpr[1],
        gpr: frame.gpr,
        ..Last::default()
    };
    die(index, End::FirmwareFault, last, text.as_bytes())
}

/// A core that the loader found in the machine's tree did not start.
pub fn lacks_core(thread: u32) -> ! {
    let mut text = Text::new();
    text.f("the core with PIR %x does not start", &[], &[thread.into()]);
    die(0, End::BoardMismatch, Last::default(), text.as_bytes())
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let index = index_of(mfspr::<{ spr::HSPRG0 }>() as *const GuestContext);
    // SAFETY: only read, and only by this vCPU's own core.
    let ctx = unsafe { &(*CONTEXTS)[index] };
    die(index, End::FirmwareFault, of_guest(index, ctx), close::panic_text(info).as_bytes())
}

/// The guest could not be restarted in place: the machine is reset instead, which starts it too.
pub fn give_restart_up(index: usize, text: &[u8]) -> ! {
    let last = Last { cpu: index as u32, ..Last::default() };
    die(index, End::Rebooted, last, text)
}

/// The epitaph, the others, the closing lines, the power switch.
fn die(index: usize, how: End, mut last: Last, text: &[u8]) -> ! {
    // SAFETY: set once at boot; what is half-changed when the firmware dies is another lock's.
    let board = unsafe { BOARD.as_ref() };
    match DYING.compare_exchange(0, index + 1, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            // SAFETY: counters, only read; the vCPU's reason is a plain word of this core's.
            let (ledger, vcpu) = unsafe { (&*LEDGER.get(), CPUS[index].as_ref()) };
            last.reason = last.reason.or(vcpu.and_then(|vcpu| vcpu.reason));
            last.exits = ledger.total();
            // SAFETY: the exchange above makes this core the only writer, once.
            write_epitaph(unsafe { &mut *EPITAPH.get() }, how, &last, text);
            close::fault_again();
            if let Some(board) = board {
                stop::for_good(index, board);
                board.drain_console();
                let write = |line: &[u8]| board.below.console_print(line);
                close::lines(&write, ledger, how, &last, text);
                board.below.console_flush();
            }
        }
        // The epitaph or the closing lines themselves faulted: what counts has been written. The others
        // may still run, and write between this.
        Err(who) if who == index + 1 => {
            if let Some(board) = board {
                close::second_fault(&|line| board.below.console_print(line));
                board.below.console_flush();
            }
        }
        Err(_) => stop::halt(index),
    }
    match (board, how) {
        (Some(board), End::Rebooted) => board.below.reboot(),
        (Some(board), _) => board.below.power_down(),
        _ => {}
    }
    // The switch has been asked; the machine stops by itself. Nothing below can be reached but by its
    // refusal, and waiting is all that is left.
    loop {
        relax();
    }
}
