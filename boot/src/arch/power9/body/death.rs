// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a run ends: the epitaph first, then the console, then the machine's power.
use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use anchorite_hv::core::Last;
use anchorite_hv::core::end::{Text, write_epitaph};
use anchorite_hv::power9::Power9;
use anchorite_hv::power9::context::{FaultFrame, GuestContext, HSRR_FLAG};
use anchorite_hv::power9::regs::vector;
use anchorite_spec::{End, ExitReason};

use super::state::{CONTEXT, PARTITION, noted_end};
use crate::close;
use crate::own::EPITAPH;

static DYING: AtomicBool = AtomicBool::new(false);

/// The slow handler: ends the run with all of the guest's registers in the context.
pub extern "C" fn end_with_frame(ctx: &mut GuestContext) {
    let mut last = Last {
        pc: ctx.nip,
        msr: ctx.msr,
        link: ctx.lr,
        vector: ctx.vector & !HSRR_FLAG,
        stack: ctx.gpr[1],
        gpr: ctx.gpr,
        ..Last::default()
    };
    // SAFETY: exits do not nest, and this one does not return to the guest.
    let Some(partition) = (unsafe { (*PARTITION.get()).as_mut() }) else {
        die(End::FirmwareFault, &last, b"an exit before the partition stood")
    };
    let fault = partition.machine.storage_fault();
    (last.fault_address, last.fault_cause) = match last.vector {
        vector::HDSI => (fault.hdar, fault.hdsisr),
        vector::HISI => (fault.asdr, ctx.msr),
        _ => (0, 0),
    };
    let mut text = Text::new();
    text.push(partition.last_words.as_bytes());
    end(noted_end(), last, &text)
}

/// The vectors' answer to an exception in the firmware itself.
pub extern "C" fn firmware_fault(frame: &FaultFrame, _: &mut GuestContext) -> ! {
    let mut text = Text::new();
    let vector = frame.vector & !HSRR_FLAG;
    let _ = write!(text, "exception {vector:#x} in the firmware at {:#x}", frame.pc);
    let last = Last {
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
    end(End::FirmwareFault, last, &text)
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let mut text = Text::new();
    let _ = write!(text, "{}", info.message());
    if let Some(place) = info.location() {
        let _ = write!(text, " ({}:{})", place.file(), place.line());
    }
    // SAFETY: only read, and nothing else runs.
    let ctx = unsafe { &*CONTEXT.get() };
    let last = Last {
        pc: ctx.nip,
        msr: ctx.msr,
        vector: ctx.vector & !HSRR_FLAG,
        stack: ctx.gpr[1],
        gpr: ctx.gpr,
        ..Last::default()
    };
    end(End::FirmwareFault, last, &text)
}

/// Fills in who and how often, and dies.
fn end(end: End, mut last: Last, text: &Text) -> ! {
    // SAFETY: only read; the ledger and the vCPU's reason are plain words that stay valid even if
    // the firmware died while changing the partition.
    if let Some(partition) = unsafe { (*PARTITION.get()).as_ref() } {
        last.reason = last.reason.or(partition.vcpu.reason);
        last.exits = partition.ledger.total();
    }
    die(end, &last, text.as_bytes())
}

/// The epitaph, the closing lines, the power switch.
fn die(how: End, last: &Last, text: &[u8]) -> ! {
    if !DYING.swap(true, Ordering::Relaxed) {
        // SAFETY: this is the only writer, it runs on the one CPU, and only once.
        write_epitaph(unsafe { &mut *EPITAPH.get() }, how, last, text);
        // SAFETY: as in `end`; a half-changed partition still names OPAL.
        if let Some(partition) = unsafe { (*PARTITION.get()).as_mut() } {
            partition.machine.drain_console();
            let opal = partition.machine.opal;
            let write = |line: &[u8]| opal.console_print(line);
            close::lines(&write, partition.ledger, how, last, text);
            opal.console_flush();
        }
    }
    // SAFETY: as above; reached at once when the epitaph or the closing lines themselves faulted.
    if let Some(partition) = unsafe { (*PARTITION.get()).as_ref() } {
        match how {
            End::Rebooted => partition.machine.opal.reboot(),
            _ => partition.machine.opal.power_down(),
        }
    }
    // OPAL has been asked; the machine stops by itself. Nothing below can be reached but by its
    // refusal, and waiting is all that is left.
    loop {
        core::hint::spin_loop();
    }
}
