// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The handlers of an image that says how long exits take (`firmware.timing`), around those of all
//! others. The vectors have left the times before and after in the context.
use anchorite_hv::arm64::GuestContext;
use anchorite_platform::qemu_virt::cpu::counter;

use super::state::{CPUS, index_of};
use super::{context, death};
use crate::timing::clock;

/// Every guest exit arrives here from the vectors.
pub extern "C" fn handle_exit(ctx: &mut GuestContext) -> u64 {
    let index = index_of(ctx);
    // SAFETY: a vCPU's exits do not nest, and its clock stood before its first entry.
    let Some(clock) = (unsafe { clock(index) }) else {
        return context::FULL_FRAME;
    };
    clock.begin(ctx.left, ctx.entered, counter());
    clock.serve(counter());
    let next = super::handle_exit(ctx);
    end(index);
    next
}

/// The slow handler: it serves exits, too.
pub extern "C" fn with_frame(ctx: &mut GuestContext) {
    let index = index_of(ctx);
    // SAFETY: as above; the reference does not outlive the line.
    if let Some(clock) = unsafe { clock(index) } {
        clock.reopen();
    }
    death::with_frame(ctx);
    end(index);
}

fn end(index: usize) {
    // SAFETY: the vCPU and its clock are this CPU's, and their handlers are done with them.
    let (vcpu, clock) = unsafe { (CPUS[index].as_ref(), clock(index)) };
    if let Some(clock) = clock {
        clock.end(vcpu.and_then(|vcpu| vcpu.reason), 0, counter());
    }
}
