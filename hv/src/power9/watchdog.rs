// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Watchdogs: the guest's own, and the firmware's.
//!
//! The guest's (H_WATCHDOG; LoPAR's hcall-watchdog function set, as Linux's
//! pseries-wdt uses it) are timebase values in memory that all vCPUs share. Each vCPU that makes an exit takes
//! the earliest one over into its hypervisor decrementer, which interrupts the guest whatever it has
//! masked; whoever finds one expired acts. Pings only move a value: no vCPU is disturbed by them, and
//! a decrementer that then comes too early is set anew. A vCPU that goes to sleep without its timer
//! has another one take an exit.
//!
//! The firmware's ([`crate::core::watchdog`]) is fed by whatever starts one of the guest's, as
//! pseries-wdt does again and again; or each vCPU looks at itself when its decrementer comes. One that
//! sleeps in H_CEDE is woken for it, and cedes again if it lives.
use core::sync::atomic::Ordering;

use anchorite_spec::{End, ExitReason};

use super::board::Power9;
use super::context::GuestContext;
use super::hcall::{HcallError, HcallResult, done};
use super::report;
use super::vcpu::Vcpu;
use crate::core::Action;
use crate::core::text::Text;
pub use crate::core::watchdog::NEVER;
use crate::core::watchdog::Signs;

/// How many a guest has.
pub const WATCHDOGS: usize = 4;
/// The shortest time, in milliseconds.
const SHORTEST: u64 = 1;

/// What an expired one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnExpiry {
    /// The run is over.
    PowerOff,
    /// The guest begins anew.
    Restart,
    /// All vCPUs take a system reset, in which the guest saves what it wants to before it restarts.
    Dump,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    /// Timebase.
    expires: u64,
    on_expiry: OnExpiry,
    leave_others: bool,
}

/// The guest's watchdogs, by number less one.
#[derive(Default)]
pub struct Watchdogs([Option<Running>; WATCHDOGS]);

impl Watchdogs {
    /// When the next one expires.
    fn earliest(&self) -> u64 {
        self.0.iter().flatten().map(|running| running.expires).min().unwrap_or(NEVER)
    }

    /// Takes one that has expired, and unless it says otherwise all others with it.
    fn expired(&mut self, now: u64) -> Option<(usize, OnExpiry)> {
        let is_due = |slot: &Option<Running>| slot.is_some_and(|running| running.expires <= now);
        let index = self.0.iter().position(is_due)?;
        let running = self.0[index].take()?;
        if !running.leave_others {
            self.0 = [None; WATCHDOGS];
        }
        Some((index, running.on_expiry))
    }
}

/// Operations, bits 48:55 of the flags.
const START: u64 = 1;
const STOP: u64 = 2;
const QUERY: u64 = 3;
const QUERY_MIGRATION: u64 = 4;
/// Bit 47: when this one expires, the others go on.
const LEAVE_OTHERS: u64 = 1 << 16;
/// Bits 0:46.
const RESERVED: u64 = !0x1_ffff;
/// The number that stands for all, for [`STOP`].
const ALL: u64 = u64::MAX;
/// The answer to [`QUERY_MIGRATION`]: it need not be stopped first.
const NEED_NOT_STOP: u64 = 2;

/// H_WATCHDOG(flags, number, timeout in ms).
pub fn watchdog<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    let [flags, number, timeout] = [4, 5, 6].map(|n| ctx.gpr[n]);
    if flags & RESERVED != 0 {
        return Err(HcallError::Parameter);
    }
    let index = || match number {
        1.. if number <= WATCHDOGS as u64 => Ok(number as usize - 1),
        _ => Err(HcallError::P2),
    };
    let mut watchdogs = v.shared.watchdogs.lock();
    match flags >> 8 & 0xff {
        START => {
            let on_expiry = match flags & 0xff {
                1 => OnExpiry::PowerOff,
                2 => OnExpiry::Restart,
                3 => OnExpiry::Dump,
                _ => return Err(HcallError::Parameter),
            };
            let index = index()?;
            if timeout < SHORTEST {
                return Err(HcallError::P3);
            }
            let ticks = timeout.saturating_mul(v.shared.timebase_hz / 1000);
            let expires = v.machine.timebase().saturating_add(ticks).min(NEVER - 1);
            let leave_others = flags & LEAVE_OTHERS != 0;
            watchdogs.0[index] = Some(Running { expires, on_expiry, leave_others });
            v.shared.watchdog.feed(v.machine.timebase());
        }
        STOP => {
            let stopped = match number {
                ALL => core::mem::take(&mut *watchdogs).0.iter().any(Option::is_some),
                _ => watchdogs.0[index()?].take().is_some(),
            };
            if !stopped {
                return Err(HcallError::Noop);
            }
        }
        QUERY => ctx.gpr[4] = SHORTEST << 48 | (WATCHDOGS as u64) << 32,
        QUERY_MIGRATION => {
            index()?;
            ctx.gpr[4] = NEED_NOT_STOP;
        }
        _ => return Err(HcallError::Parameter),
    }
    v.shared.watchdog_due.store(watchdogs.earliest(), Ordering::SeqCst);
    done()
}

/// The hypervisor decrementer came: what follows if a watchdog has expired, the firmware's first.
pub fn serve<M: Power9>(v: &mut Vcpu<M>) -> Action {
    v.timer = NEVER;
    let now = v.machine.timebase();
    if now >= v.seen.next {
        let sleeps = v.row.count[ExitReason::HCede.slot()];
        let signs = Signs { timer: v.machine.decrementer_at(), sleeps };
        if v.shared.watchdog.is_over(now, signs, &mut v.seen) {
            let (end, text) = v.shared.watchdog.verdict();
            report::notice(v, &text);
            v.last_words.push(text.as_bytes());
            return Action::End(end);
        }
    }
    v.watch();
    let mut watchdogs = v.shared.watchdogs.lock();
    let Some((index, on_expiry)) = watchdogs.expired(now) else { return Action::Resume };
    v.shared.watchdog_due.store(watchdogs.earliest(), Ordering::SeqCst);
    drop(watchdogs);
    let (what, end) = match on_expiry {
        OnExpiry::PowerOff => ("power-off", Some(End::Watchdog)),
        OnExpiry::Restart => ("restart", Some(End::Rebooted)),
        OnExpiry::Dump => ("system reset", None),
    };
    let mut text = Text::new();
    text.f("the guest's watchdog %d has expired: %s", &[what], &[index as u64 + 1]);
    report::notice(v, &text);
    match end {
        Some(end) => {
            v.last_words.push(text.as_bytes());
            Action::End(end)
        }
        None => {
            (0..v.shared.vcpus).for_each(|target| v.signal_reset(target));
            Action::Resume
        }
    }
}

impl<M: Power9> Vcpu<M> {
    /// Has this core's timer come when it is to look for the firmware's watchdog.
    pub fn watch(&mut self) {
        if self.seen.next < self.timer {
            self.timer = self.seen.next;
            self.machine.set_timer(self.timer);
        }
    }

    /// Takes the earliest watchdog over into this core's timer.
    pub fn follow_watchdog(&mut self) {
        let due = self.shared.watchdog_due.load(Ordering::Relaxed);
        if due < self.timer {
            self.timer = due;
            self.machine.set_timer(due);
        }
    }

    /// Before this vCPU waits without its timer: another one, which is active, takes it over.
    pub fn leave_watchdog(&mut self, other: usize) {
        self.timer = NEVER;
        if self.shared.watchdog_due.load(Ordering::SeqCst) != NEVER {
            self.machine.kick(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exits;
    use super::super::fake::{Fake, TICKS_PER_MS, context, hcall, vcpu, vcpu_of};
    use super::super::hcall::serve as serve_hcall;
    use super::super::regs::vector;
    use super::super::vcpu::State;
    use super::*;

    fn call(v: &mut Vcpu<Fake>, args: [u64; 3]) -> (i64, u64) {
        let mut ctx = hcall(&[0x45c, args[0], args[1], args[2]]);
        ctx.vector = vector::SYSTEM_CALL;
        assert_eq!(exits::serve(v, &mut ctx), Action::Resume);
        (ctx.gpr[3] as i64, ctx.gpr[4])
    }

    fn timer_comes(v: &mut Vcpu<Fake>, milliseconds: u64) -> (Action, GuestContext) {
        v.machine.ticks += milliseconds * TICKS_PER_MS;
        let mut ctx = context(vector::HDEC);
        (exits::serve(v, &mut ctx), ctx)
    }

    #[test]
    fn every_code() {
        let mut v = vcpu();
        for (args, code) in [
            ([0x101, 1, 1], 0),
            ([0x102, 4, u64::MAX], 0),
            ([0x1_0103, 2, 1000], 0),
            ([0x101, 0, 1000], -55),
            ([0x101, 5, 1000], -55),
            ([0x101, u64::MAX, 1000], -55),
            ([0x101, 1, 0], -56),
            ([0x100, 1, 1000], -4),
            ([0x104, 1, 1000], -4),
            ([0x2_0101, 1, 1000], -4),
            ([1 << 63 | 0x101, 1, 1000], -4),
            ([0x001, 1, 1000], -4),
            ([0x500, 1, 1000], -4),
            ([0x200, 5, 0], -55),
            ([0x200, 1, 0], 0),
            ([0x200, 1, 0], -63),
            ([0x200, u64::MAX, 0], 0),
            ([0x200, u64::MAX, 0], -63),
            ([0x400, 5, 0], -55),
        ] {
            assert_eq!(call(&mut v, args).0, code, "{args:x?}");
        }
        assert_eq!(call(&mut v, [0x300, 9, 9]), (0, 1 << 48 | 4 << 32));
        assert_eq!(call(&mut v, [0x400, 4, 0]), (0, 2));
        assert_eq!(v.shared.watchdog_due.load(Ordering::Relaxed), NEVER);
    }

    #[test]
    fn a_ping_moves_it_and_silence_ends_the_run() {
        let mut v = vcpu();
        assert_eq!(call(&mut v, [0x101, 1, 10]).0, 0);
        assert_eq!(v.machine.timer, 10 * TICKS_PER_MS);
        v.machine.ticks += 6 * TICKS_PER_MS;
        assert_eq!(call(&mut v, [0x101, 1, 10]).0, 0);
        assert_eq!(v.machine.timer, 10 * TICKS_PER_MS, "not before it comes");
        assert_eq!(timer_comes(&mut v, 4).0, Action::Resume);
        assert_eq!(v.machine.timer, 16 * TICKS_PER_MS);
        assert_eq!(timer_comes(&mut v, 6).0, Action::End(End::Watchdog));
        assert_eq!(v.last_words.as_bytes(), b"the guest's watchdog 1 has expired: power-off");
        assert_eq!(v.row.count[ExitReason::Watchdog.slot()], 2);
    }

    #[test]
    fn the_earliest_counts_and_stops_the_others_unless_told() {
        for (flags, left) in [(0x103, NEVER), (0x1_0103, 50 * TICKS_PER_MS)] {
            let mut v = vcpu();
            assert_eq!(call(&mut v, [0x102, 2, 50]).0, 0);
            assert_eq!(call(&mut v, [flags, 3, 20]).0, 0);
            assert_eq!(v.machine.timer, 20 * TICKS_PER_MS);
            let (action, ctx) = timer_comes(&mut v, 20);
            assert_eq!((action, ctx.nip), (Action::Resume, 0x100), "a system reset");
            assert_eq!(v.shared.watchdog_due.load(Ordering::Relaxed), left);
            if left != NEVER {
                assert_eq!(timer_comes(&mut v, 30).0, Action::End(End::Rebooted));
            }
        }
    }

    #[test]
    fn every_vcpu_that_stays_has_the_timer() {
        let mut v = vcpu_of(2);
        v.shared.states.lock()[1] = State::Running;
        assert!(v.stop());
        assert!(v.machine.kicked.is_empty(), "no watchdog runs");
        v.shared.states.lock()[0] = State::Running;
        assert_eq!(call(&mut v, [0x103, 1, 10]).0, 0);
        assert!(v.machine.kicked.is_empty());
        assert!(v.stop());
        assert_eq!(v.machine.kicked, [1]);
        v.shared.states.lock()[0] = State::Running;
        let shared = v.shared;
        v.machine.meanwhile =
            Some(Box::new(|| shared.seats[0].prodded.store(true, Ordering::SeqCst)));
        let _ = serve_hcall(&mut v, &mut hcall(&[0x298]));
        assert_eq!(v.machine.kicked, [1, 1]);
        // The reset goes to all that are not stopped.
        v.machine.meanwhile = None;
        let (_, ctx) = timer_comes(&mut v, 10);
        assert_eq!(ctx.nip, 0x100);
        assert!(v.shared.seats[1].reset.load(Ordering::Relaxed));
    }
}
