// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a panic is told from a reboot: by the software-delegated exception interface (Arm DEN 0054),
//! which stock Linux kernels have built in, and of which nothing but its farewells is served.
//!
//! No event is ever delivered. But Linux masks events on each CPU that it takes out of use, for a
//! shutdown as for a panic, and only before a shutdown it resets the interface. So when all CPUs are
//! masked without a reset the guest panics, or restarts in an emergency. If it then asks for a
//! reset, a CPU that masked twice says which: once to stop the others in the panic, once more to
//! restart. If it asks for nothing, it spins with interrupts enabled, which no other way of going
//! down does; to see that, EL2 takes its own timer interrupt from then on.
use core::sync::atomic::Ordering;

use super::board::Arm64;
use super::context::GuestContext;
use super::psci::code;
use super::regs::pstate;
use super::vcpu::{ON, Shared, Vcpu};

/// Function numbers, without the bit of the 64-bit form, which all have.
pub mod function {
    /// The first and the last.
    pub const ALL: [u32; 2] = [0x8400_0020, 0x8400_003F];
    /// SDEI_VERSION.
    pub const VERSION: u32 = 0x8400_0020;
    /// SDEI_PE_MASK.
    pub const MASK: u32 = 0x8400_002B;
    /// SDEI_PE_UNMASK.
    pub const UNMASK: u32 = 0x8400_002C;
    /// SDEI_PRIVATE_RESET.
    pub const PRIVATE_RESET: u32 = 0x8400_0031;
    /// SDEI_SHARED_RESET.
    pub const SHARED_RESET: u32 = 0x8400_0032;
}

/// Version 1.0.
const VERSION: i64 = 1 << 48;
/// Rings of EL2's timer with interrupts enabled, two seconds' worth, after which a guest that spins will do
/// so for ever.
const LONG: u32 = 20;

/// Serves one call.
pub fn serve<M: Arm64>(v: &mut Vcpu<M>, number: u32) -> i64 {
    let shared = v.shared;
    let masked = &shared.seats[v.index].masked;
    match number {
        function::VERSION => VERSION,
        function::MASK => {
            let first = v.masks == 0;
            v.masks = v.masks.saturating_add(1);
            v.rings = 0;
            masked.store(true, Ordering::SeqCst);
            if is_going_down(shared) && !v.guarded {
                v.guarded = v.machine.guard();
            }
            first.into()
        }
        function::UNMASK => {
            v.masks = 0;
            masked.store(false, Ordering::SeqCst);
            shared.orderly.store(false, Ordering::SeqCst);
            code::SUCCESS
        }
        function::PRIVATE_RESET => code::SUCCESS,
        function::SHARED_RESET => {
            shared.orderly.store(true, Ordering::SeqCst);
            code::SUCCESS
        }
        _ => code::NOT_SUPPORTED,
    }
}

/// A kernel begins: it asks about a trusted OS, as Linux does once, early. One that takes over after
/// a panic is not the one that went down, and has its interrupts for itself again.
pub fn begin<M: Arm64>(v: &mut Vcpu<M>) {
    (v.masks, v.rings) = (0, 0);
    v.shared.seats[v.index].masked.store(false, Ordering::SeqCst);
    if v.guarded && !v.shared.guarded {
        v.machine.unguard();
        v.guarded = false;
    }
}

/// No CPU is left that the guest would use, and it has not said that this is as it should be.
fn is_going_down(shared: &Shared) -> bool {
    let used = |seat: &&super::vcpu::Seat| seat.state.load(Ordering::SeqCst) == ON;
    !shared.orderly.load(Ordering::SeqCst)
        && shared.seats.iter().filter(used).all(|seat| seat.masked.load(Ordering::SeqCst))
}

/// Whether a reset that this vCPU asks for is that of a panic.
pub fn is_panic<M>(v: &Vcpu<M>) -> bool {
    v.masks >= 2 && !v.shared.orderly.load(Ordering::SeqCst)
}

/// Whether the guest has panicked and spins for ever; asked at each ring of the timer.
pub fn is_stuck<M>(v: &mut Vcpu<M>, ctx: &GuestContext) -> bool {
    if v.masks == 0 || !is_going_down(v.shared) {
        v.rings = 0;
    } else if ctx.pstate & pstate::IRQ_MASKED == 0 {
        // Between them may be rings with interrupts masked: it takes its own timer's, and on a slow
        // machine is often found doing so.
        v.rings += 1;
    }
    v.rings >= LONG
}

#[cfg(test)]
mod tests {
    use anchorite_spec::{End, ExitReason};

    use super::super::exits::{quick, serve};
    use super::super::fake::{Fake, context, vcpu, vcpu_of};
    use super::super::vcpu::STARTING;
    use super::*;
    use crate::core::Action;

    const RESET: u64 = 0x8400_0009;

    fn call(v: &mut Vcpu<Fake>, number: u64) -> Action {
        let mut ctx = context(0x5a00_0000);
        ctx.gpr[0] = number;
        serve(v, &mut ctx)
    }

    fn sdei(v: &mut Vcpu<Fake>, calls: &[u32]) {
        for number in calls {
            assert_eq!(call(v, u64::from(number | 1 << 30)), Action::Resume);
        }
    }

    #[test]
    fn what_linux_asks_at_boot() {
        let mut v = vcpu();
        let mut ctx = context(0x5a00_0000);
        for (number, result) in [(0xc400_0020_u64, VERSION), (0xc400_0021, -1), (0x8400_0020, -1)] {
            ctx.gpr[0] = number;
            assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
            assert_eq!(ctx.gpr[0] as i64, result, "{number:#x}");
        }
        assert_eq!(v.row.count[ExitReason::Sdei.slot()], 2);
    }

    #[test]
    fn a_reset_says_what_came_before_it() {
        use function::{MASK, SHARED_RESET, UNMASK};
        let boot = [SHARED_RESET, UNMASK];
        for (calls, end) in [
            (&[][..], End::Rebooted),
            // An emergency restart, a panic that restarts, an orderly reboot.
            (&[MASK], End::Rebooted),
            (&[MASK, MASK], End::GuestPanic),
            (&[MASK, SHARED_RESET, MASK], End::Rebooted),
        ] {
            let mut v = vcpu();
            sdei(&mut v, &boot);
            sdei(&mut v, calls);
            assert_eq!(call(&mut v, RESET), Action::End(end), "{calls:x?}");
        }
    }

    #[test]
    fn a_guest_that_spins_behind_its_panic_is_found() {
        let mut v = vcpu();
        v.machine.timer_rings = true;
        sdei(&mut v, &[function::MASK]);
        assert!(v.guarded, "the only CPU is gone");
        let mut ring = |pstate| {
            let mut ctx = context(0);
            (ctx.vector, ctx.pstate) = (0x500, pstate);
            if quick(&mut v, &mut ctx) { Action::Resume } else { serve(&mut v, &mut ctx) }
        };
        // Interrupts masked: it still writes its last lines, or waits before it restarts.
        for pstate in [5 | 1 << 7; 2 * LONG as usize] {
            assert_eq!(ring(pstate), Action::Resume);
        }
        // It takes its timer's interrupts meanwhile.
        for _ in 1..LONG {
            assert_eq!((ring(5), ring(5 | 1 << 7)), (Action::Resume, Action::Resume));
        }
        assert_eq!(ring(5), Action::End(End::GuestPanic));
        assert_eq!(v.row.count[ExitReason::El2Timer.slot()], 4 * u64::from(LONG) - 1);
    }

    #[test]
    fn a_kernel_that_takes_over_is_not_the_one_that_went_down() {
        const MIGRATE_INFO_TYPE: u64 = 0x8400_0006;
        let ring = |v: &mut Vcpu<Fake>| {
            v.machine.timer_rings = true;
            let mut ctx = context(0);
            (ctx.vector, ctx.pstate) = (0x500, 5);
            quick(v, &mut ctx) || serve(v, &mut ctx) == Action::Resume
        };
        let mut v = vcpu();
        sdei(&mut v, &[function::MASK]);
        assert!((1..LONG).all(|_| ring(&mut v)));
        assert_eq!(call(&mut v, MIGRATE_INFO_TYPE), Action::Resume);
        assert_eq!((v.guarded, v.masks, &v.machine.timer[..]), (false, 0, &[false][..]));
        // Its own panic is one again: it spins, or it restarts.
        sdei(&mut v, &[function::MASK]);
        assert!(v.guarded);
        sdei(&mut v, &[function::MASK]);
        assert_eq!(call(&mut v, RESET), Action::End(End::GuestPanic));
        // A guest that is guarded by its config stays so.
        let mut v = vcpu_of(true);
        assert_eq!(call(&mut v, MIGRATE_INFO_TYPE), Action::Resume);
        assert!(v.guarded);
    }

    #[test]
    fn a_cpu_that_leaves_is_no_panic() {
        let mut v = vcpu();
        v.shared.seats[1].state.store(ON, Ordering::Relaxed);
        sdei(&mut v, &[function::MASK]);
        assert!(!v.guarded, "the other CPU runs on");
        v.shared.seats[1].state.store(STARTING, Ordering::Relaxed);
        v.machine.timer_rings = true;
        // Guarded anyway, it keeps the CPU as long as it wants.
        let mut v = vcpu_of(true);
        v.shared.seats[1].state.store(ON, Ordering::Relaxed);
        v.machine.timer_rings = true;
        sdei(&mut v, &[function::MASK]);
        for _ in 0..3 * LONG {
            let mut ctx = context(0);
            (ctx.vector, ctx.pstate) = (0x500, 5);
            assert!(quick(&mut v, &mut ctx));
        }
    }
}
