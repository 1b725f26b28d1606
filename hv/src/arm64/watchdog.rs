// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware's watchdog on arm64 ([`crate::core::watchdog`]): each CPU looks at itself when EL2's
//! own timer rings, which takes guarded interrupts; or a call feeds it.
//!
//! What a sleeping CPU does nobody sees, as WFI does not leave the guest. So after each look the next
//! one does, once: it counts as a sign of life, and is executed again.
use anchorite_spec::ExitReason;

use super::board::Arm64;
use super::context::GuestContext;
use super::psci::code;
use super::vcpu::Vcpu;
use crate::core::watchdog::Signs;
use crate::core::{Action, report};

/// The call that feeds the watchdog, and how Linux's driver for such calls uses it (arm_smc_wdt): in a
/// range for hypervisors of whatever vendor, without the bit of the 64-bit form.
pub const FUNCTION: u32 = 0x8600_0010;

/// What the call is to do: x1.
mod operation {
    /// Whether there is a watchdog, and what times it has.
    pub const INIT: u64 = 0;
    /// Sets the time.
    pub const SET_TIMEOUT: u64 = 1;
    /// Switches it on or off.
    pub const ENABLE: u64 = 2;
    /// Feeds it.
    pub const PET: u64 = 3;
}

/// EL2's timer has rung.
pub fn look<M: Arm64>(v: &mut Vcpu<M>) -> Action {
    let now = v.machine.counter();
    if now < v.seen.next {
        return Action::Resume;
    }
    let sleeps = v.row.count[ExitReason::Wfi.slot()];
    let signs = Signs { timer: v.machine.timers(), sleeps };
    if !v.shared.watchdog.is_over(now, signs, &mut v.seen) {
        v.machine.trap_sleep(!v.shared.watchdog.is_called());
        return Action::Resume;
    }
    let (end, text) = v.shared.watchdog.verdict();
    report::line(&mut v.machine, text.as_bytes());
    v.last_words.push(text.as_bytes());
    Action::End(end)
}

/// The guest executes WFI with nothing pending, after a look.
pub fn sleeps<M: Arm64>(v: &mut Vcpu<M>) -> Action {
    v.count(ExitReason::Wfi);
    v.machine.trap_sleep(false);
    Action::Resume
}

/// Serves the call. The time is the board config's, and so is that there is a watchdog.
pub fn call<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> i64 {
    let seconds = u64::from(v.shared.watchdog.seconds());
    let [operation, argument] = [1, 2].map(|n| ctx.gpr[n] & u64::from(u32::MAX));
    match operation {
        operation::INIT => {
            // The least and the most.
            (ctx.gpr[1], ctx.gpr[2]) = (seconds, seconds);
            code::SUCCESS
        }
        operation::SET_TIMEOUT if argument == seconds => code::SUCCESS,
        operation::SET_TIMEOUT => code::INVALID_PARAMETERS,
        operation::ENABLE if argument == 0 => code::DENIED,
        operation::ENABLE | operation::PET => {
            v.shared.watchdog.feed(v.machine.counter());
            code::SUCCESS
        }
        _ => code::NOT_SUPPORTED,
    }
}

impl<M: Arm64> Vcpu<M> {
    /// Begins to look for the watchdog on a CPU that starts.
    pub fn watch(&mut self) {
        self.seen = self.shared.watchdog.start(self.machine.counter());
    }
}

#[cfg(test)]
mod tests {
    use anchorite_spec::End;

    use super::super::exits::quick;
    use super::super::fake::{Fake, RAM, context, served as serve, watched};
    use super::*;

    const HZ: u64 = 1000;

    /// Rings once a second, until the CPU looks; nothing else happens before.
    fn ring(v: &mut Vcpu<Fake>) -> Action {
        v.machine.timer_rings = true;
        loop {
            v.machine.counter += HZ;
            let looks = v.machine.counter >= v.seen.next;
            let mut ctx = context(0);
            ctx.vector = 0x500;
            let action = match quick(v, &mut ctx) {
                true => Action::Resume,
                false => serve(v, &mut ctx),
            };
            assert_eq!(ctx.pc, 0x4000);
            if looks {
                return action;
            }
            assert_eq!(action, Action::Resume);
        }
    }

    fn sleep(v: &mut Vcpu<Fake>) -> GuestContext {
        let mut ctx = context(1 << 26 | 1 << 25);
        assert_eq!(serve(v, &mut ctx), Action::Resume);
        ctx
    }

    fn call(v: &mut Vcpu<Fake>, args: [u64; 2]) -> (i64, [u64; 2]) {
        let mut ctx = context(0x16 << 26);
        (ctx.gpr[0], ctx.gpr[1], ctx.gpr[2]) = (u64::from(FUNCTION), args[0], args[1]);
        assert_eq!(serve(v, &mut ctx), Action::Resume);
        (ctx.gpr[0] as i64, [ctx.gpr[1], ctx.gpr[2]])
    }

    fn begun(looks: bool) -> Vcpu<Fake> {
        let mut v = watched(10, looks);
        v.shared.watchdog.begin(0, HZ);
        v.watch();
        v
    }

    #[test]
    fn a_guest_that_sets_its_timers_lives_and_a_deaf_one_is_found() {
        let mut v = begun(true);
        for n in 1..20 {
            v.machine.timers = n * 10 * HZ;
            assert_eq!(ring(&mut v), Action::Resume);
        }
        assert_eq!(ring(&mut v), Action::Resume);
        assert_eq!(ring(&mut v), Action::End(End::Silence));
        assert_eq!(
            v.last_words.as_bytes(),
            b"the watchdog has seen no sign of life for 10 s: restart"
        );
    }

    #[test]
    fn a_guest_that_sleeps_on_lives() {
        let mut v = begun(true);
        assert!(!v.machine.traps_sleep, "not before the first look");
        for _ in 0..20 {
            assert_eq!(ring(&mut v), Action::Resume);
            assert!(v.machine.traps_sleep);
            assert_eq!(sleep(&mut v).pc, 0x4000, "it sleeps after all");
            assert!(!v.machine.traps_sleep);
        }
        assert_eq!(v.row.count[ExitReason::Wfi.slot()], 20);
    }

    #[test]
    fn a_call_feeds_it_and_nothing_turns_it_off() {
        let mut v = begun(false);
        assert!(v.shared.has_more_calls());
        for (args, code) in [
            ([0, 0], 0),
            ([1, 10], 0),
            ([1, 11], -2),
            ([2, 1], 0),
            ([2, 0], -3),
            ([3, 0], 0),
            ([4, 0], -1),
            ([5, 0], -1),
        ] {
            assert_eq!(call(&mut v, args).0, code, "{args:?}");
        }
        assert_eq!(call(&mut v, [0, 0]).1, [10, 10]);
        for _ in 0..20 {
            v.machine.counter += 9 * HZ;
            assert_eq!(call(&mut v, [3, 0]).0, 0);
            assert_eq!(ring(&mut v), Action::Resume);
            assert!(!v.machine.traps_sleep);
        }
        // The timers do not.
        v.machine.timers = RAM;
        assert_eq!(ring(&mut v), Action::End(End::Silence));
    }

    #[test]
    fn without_one_there_is_no_call_and_no_trap() {
        let mut v = super::super::fake::vcpu_of(true);
        assert_eq!(call(&mut v, [3, 0]).0, -1);
        assert_eq!(v.row.count[ExitReason::SmcccUnknown.slot()], 1);
        assert_eq!(sleep(&mut v).pc, v.machine.vbar + 0x200, "undefined, as ever");
    }
}
