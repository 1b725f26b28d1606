// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a run ends: the epitaph first, then all other vCPUs are stopped, then the console, then the
//! machine's power. The first vCPU that ends the run does all of it.
use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anchorite_hv::core::Last;
use anchorite_hv::core::end::{Text, write_epitaph};
use anchorite_hv::power9::context::{FaultFrame, HSRR_FLAG};
use anchorite_hv::power9::lock::relax;
use anchorite_hv::power9::regs::vector;
use anchorite_hv::power9::vcpu::State;
use anchorite_hv::power9::{GuestContext, Power9};
use anchorite_platform::powernv::Board;
use anchorite_platform::powernv::core::{mfspr, spr, timebase};
use anchorite_spec::manifest::VCPUS;
use anchorite_spec::{End, ExitReason};

use super::state::{BOARD, CONTEXTS, CPUS, SHARED, index_of, noted_end};
use crate::close;
use crate::own::{EPITAPH, LEDGER};

/// The vCPU that ends the run, plus one; 0 while none does.
static DYING: AtomicUsize = AtomicUsize::new(0);
/// Which vCPUs have stopped for it.
static HALTED: [AtomicBool; VCPUS] = [const { AtomicBool::new(false) }; VCPUS];
/// How long the others are waited for, in ticks: two seconds on a machine of this kind. One that
/// does not come is stuck in the firmware itself.
const PATIENCE: u64 = 1 << 30;

/// The slow handler: ends the run with all of the guest's registers in the context.
pub extern "C" fn end_with_frame(ctx: &mut GuestContext) {
    let index = index_of(ctx);
    let mut last = of_guest(index, ctx);
    // SAFETY: a vCPU's exits do not nest, and this one does not return to the guest.
    let Some(vcpu) = (unsafe { CPUS[index].as_mut() }) else {
        die(index, End::FirmwareFault, last, b"an exit before the vCPU stood")
    };
    let fault = vcpu.machine.storage_fault();
    (last.fault_address, last.fault_cause) = match last.vector {
        vector::HDSI => (fault.hdar, fault.hdsisr),
        vector::HISI => (fault.asdr, ctx.msr),
        _ => (0, 0),
    };
    let mut text = Text::new();
    text.push(vcpu.last_words.as_bytes());
    die(index, noted_end(index), last, text.as_bytes())
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
    let vector = frame.vector & !HSRR_FLAG;
    let _ = write!(text, "exception {vector:#x} in the firmware at {:#x}", frame.pc);
    let index = index_of(ctx);
    let last = Last {
        cpu: index as u32,
        reason: Some(ExitReason::FirmwareFault),
        vector,
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
    let _ = write!(text, "the core with PIR {thread:#x} does not start");
    die(0, End::BoardMismatch, Last::default(), text.as_bytes())
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let mut text = Text::new();
    let _ = write!(text, "{}", info.message());
    if let Some(place) = info.location() {
        let _ = write!(text, " ({}:{})", place.file(), place.line());
    }
    let index = index_of(mfspr::<{ spr::HSPRG0 }>() as *const GuestContext);
    // SAFETY: only read, and only by this vCPU's own core.
    let ctx = unsafe { &(*CONTEXTS)[index] };
    die(index, End::FirmwareFault, of_guest(index, ctx), text.as_bytes())
}

/// Called at the end of every exit: halts this vCPU if another one ends the run.
#[inline]
pub fn check(index: usize) {
    if DYING.load(Ordering::Acquire) != 0 {
        halt(index);
    }
}

/// Nothing more happens on this core.
#[cold]
fn halt(index: usize) -> ! {
    HALTED[index].store(true, Ordering::Release);
    loop {
        // SAFETY: the vCPU is this core's, which will not serve another exit.
        match unsafe { CPUS[index].as_mut() } {
            Some(vcpu) => vcpu.machine.park(),
            None => relax(),
        }
    }
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
            if let Some(board) = board {
                stop_others(index, board);
                board.drain_console();
                let write = |line: &[u8]| board.below.console_print(line);
                close::lines(&write, ledger, how, &last, text);
                board.below.console_flush();
            }
        }
        // The epitaph or the closing lines themselves faulted: what counts has been written.
        Err(who) if who == index + 1 => {}
        Err(_) => halt(index),
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

/// Takes all other vCPUs out of the guest, so that neither console nor ledger move any more.
fn stop_others(index: usize, board: &Board) {
    // SAFETY: set once at boot.
    let Some(shared) = (unsafe { SHARED.as_ref() }) else { return };
    let others = || (0..shared.vcpus).filter(|other| *other != index);
    others().for_each(|other| board.kick(other));
    let since = timebase();
    while timebase() - since < PATIENCE {
        // Who holds the lock is on its way to its halt, unless it is the one that dies here.
        if let Some(states) = shared.states.try_lock() {
            let quiet = |other: usize| {
                let waits = matches!(states[other], State::Stopped | State::Joined);
                waits || HALTED[other].load(Ordering::Acquire)
            };
            if others().all(quiet) {
                return;
            }
        }
        relax();
    }
}
