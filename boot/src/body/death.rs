// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a run ends: the epitaph first, then the console, then the machine's power.
use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use anchorite_hv::core::Last;
use anchorite_hv::core::end::{Text, write_epitaph};
use anchorite_hv::power9::context::{FaultFrame, GuestContext, HSRR_FLAG};
use anchorite_hv::power9::regs::vector;
use anchorite_hv::power9::report::TAG;
use anchorite_hv::power9::{Partition, Power9};
use anchorite_platform::powernv::PowerNv;
use anchorite_spec::{End, ExitReason};

use super::state::{CONTEXT, EPITAPH, PARTITION, noted_end};

static DYING: AtomicBool = AtomicBool::new(false);

/// The slow handler: ends the run with all of the guest's registers in the context.
pub extern "C" fn end_with_frame(ctx: &mut GuestContext) {
    let mut last = Last {
        pc: ctx.nip,
        msr: ctx.msr,
        link: ctx.lr,
        vector: ctx.vector & !HSRR_FLAG,
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
            close(partition, how, last, text);
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

/// The closing lines for people: why, the exits by reason, the end.
fn close(partition: &mut Partition<PowerNv>, how: End, last: &Last, text: &[u8]) {
    partition.machine.drain_console();
    let opal = partition.machine.opal;
    let print = |line: &dyn core::fmt::Display| {
        let mut out = Text::new();
        let _ = write!(out, "{line}\r\n");
        opal.console_print(out.as_bytes());
    };
    print(&"");
    if !text.is_empty() {
        let text = core::str::from_utf8(text).unwrap_or("(text is not UTF-8)");
        print(&format_args!("{TAG}{}: {text}", how.name()));
    }
    if how.exit_code() != 0 {
        print(&format_args!(
            "{TAG}pc {:#x} msr {:#x} lr {:#x} vector {:#x} address {:#x} cause {:#x}",
            last.pc, last.msr, last.link, last.vector, last.fault_address, last.fault_cause
        ));
    }
    for (cpu, row) in partition.ledger.row.iter().enumerate() {
        for reason in ExitReason::ALL {
            let count = row.count[reason.slot()];
            if count != 0 {
                print(&format_args!("@exit reason={} cpu={cpu} count={count}", reason.name()));
            }
        }
    }
    print(&format_args!("@end status={} code={}", how.name(), how.exit_code()));
    opal.console_flush();
}
