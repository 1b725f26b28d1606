// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The handlers of an image that says how long exits take (`firmware.timing`), around those of all
//! others. The vectors have left the times before and after in the context.
use anchorite_hv::power9::{GuestContext, entry};
use anchorite_platform::powernv::core::timebase;

use super::state::{CPUS, index_of};
use super::{context, death};
use crate::timing::clock;

/// Has a copy of the vectors read the time.
///
/// # Safety
/// The copy is there, and not used yet.
pub unsafe fn install(copy: u64) {
    for (at, instruction) in entry::timed() {
        // SAFETY: the place is in the copy.
        unsafe { core::ptr::write_volatile((copy + at) as *mut u32, instruction) };
    }
}

/// Every guest exit arrives here from the vectors.
pub extern "C" fn handle_exit(ctx: &mut GuestContext) -> u64 {
    let index = index_of(ctx);
    // SAFETY: a vCPU's exits do not nest, and its clock stood before its first entry.
    let Some(clock) = (unsafe { clock(index) }) else {
        return context::FULL_FRAME;
    };
    clock.begin(ctx.left, core::mem::take(&mut ctx.entered), timebase());
    clock.serve(timebase());
    let next = super::handle_exit(ctx);
    // SAFETY: the handler is done with it.
    let vcpu = unsafe { CPUS[index].as_mut() };
    let (reason, slept) = vcpu.map_or((None, 0), |v| (v.reason, core::mem::take(&mut v.slept)));
    clock.end(reason, slept, timebase());
    next
}

/// The slow handler: what it comes back from kept the vCPU out of the guest.
pub extern "C" fn with_frame(ctx: &mut GuestContext) {
    let index = index_of(ctx);
    // SAFETY: as above; the reference does not outlive the line.
    if let Some(clock) = unsafe { clock(index) } {
        clock.reopen();
    }
    death::with_frame(ctx);
    // SAFETY: as above.
    let (vcpu, clock) = unsafe { (CPUS[index].as_ref(), clock(index)) };
    if let Some(clock) = clock {
        clock.kept_out(vcpu.and_then(|vcpu| vcpu.reason), timebase());
    }
}
