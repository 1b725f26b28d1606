// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware's own watchdog: what a silent guest is, and what becomes of it.
//!
//! It is fed by a call of the guest's, or it looks for signs of life itself. Then each CPU that runs
//! looks at itself twice in the time that the guest is given: whether its timer was set to another
//! time since, or it has gone to sleep; either feeds the watchdog for all. A CPU that has seen nothing
//! twice in a row, in a time in which none has fed it, ends the guest's life. So what a delay of the
//! whole machine makes late, or one CPU makes of the others, is no silence.
use core::sync::atomic::{AtomicU64, Ordering};

use anchorite_spec::manifest::{WATCHDOG_RESTARTS, WATCHDOG_STOPS};
use anchorite_spec::{End, Manifest};

use super::text::Text;

/// A time that does not come.
pub const NEVER: u64 = u64::MAX;
/// Two readings of the same timer may differ by this, in ticks: far less than any guest's tick.
const SAME: u64 = 8192;

/// What all CPUs share.
pub struct Watchdog {
    seconds: u32,
    action: u32,
    looks: bool,
    /// The same in ticks.
    time: AtomicU64,
    /// When the guest has been silent for too long.
    deadline: AtomicU64,
}

/// What can be seen of a CPU's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// When its timer comes, or came.
    pub timer: u64,
    /// How often it has been seen going to sleep.
    pub sleeps: u64,
}

/// What one CPU has seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// When it looks next, in ticks, or [`NEVER`].
    pub next: u64,
    signs: Signs,
    /// Looks in a row that saw nothing new.
    silent: u32,
}

impl Seen {
    /// A CPU that does not look.
    pub const NOTHING: Self = Self { next: NEVER, signs: Signs { timer: 0, sleeps: 0 }, silent: 0 };
}

impl Watchdog {
    /// What the manifest asks for.
    #[must_use]
    pub fn new(manifest: &Manifest) -> Self {
        Self {
            seconds: manifest.watchdog_seconds,
            action: manifest.watchdog_action,
            looks: manifest.watchdog_looks != 0,
            time: AtomicU64::new(0),
            deadline: AtomicU64::new(NEVER),
        }
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.seconds != 0
    }

    /// Whether it waits for calls.
    #[must_use]
    pub const fn is_called(&self) -> bool {
        self.is_on() && !self.looks
    }

    /// Seconds that the guest is given.
    #[must_use]
    pub const fn seconds(&self) -> u32 {
        self.seconds
    }

    /// A guest is about to be entered; `hz` ticks are a second.
    pub fn begin(&self, now: u64, hz: u64) {
        self.time.store(hz.saturating_mul(self.seconds.into()), Ordering::Relaxed);
        self.feed(now);
    }

    /// A sign of life.
    pub fn feed(&self, now: u64) {
        self.deadline.store(now + self.time.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// A CPU begins to look.
    #[must_use]
    pub fn start(&self, now: u64) -> Seen {
        match self.is_on() {
            true => Seen { next: self.next(now), ..Seen::NOTHING },
            false => Seen::NOTHING,
        }
    }

    /// When a CPU that looks now does so again.
    fn next(&self, now: u64) -> u64 {
        match self.looks {
            true => now + self.time.load(Ordering::Relaxed) / 2,
            false => self.deadline.load(Ordering::Relaxed),
        }
    }

    /// A CPU's time to look has come: whether the guest's life is over. Only one CPU is told.
    #[must_use]
    pub fn is_over(&self, now: u64, signs: Signs, seen: &mut Seen) -> bool {
        let is_new =
            signs.sleeps != seen.signs.sleeps || signs.timer.abs_diff(seen.signs.timer) > SAME;
        seen.silent = if is_new { 0 } else { seen.silent + 1 };
        seen.signs = signs;
        if self.looks && is_new {
            self.feed(now);
        }
        seen.next = self.next(now);
        let deadline = self.deadline.load(Ordering::Relaxed);
        if self.looks && seen.silent < 2 || now < deadline {
            return false;
        }
        let (told, by) = (NEVER, Ordering::Relaxed);
        self.deadline.compare_exchange(deadline, told, by, by).is_ok()
    }

    /// How a silent guest's life ends, and what is to be said of it.
    #[must_use]
    pub fn verdict(&self) -> (End, Text) {
        let (end, what) = match self.action {
            WATCHDOG_RESTARTS => (End::Silence, "restart"),
            WATCHDOG_STOPS => (End::PolicyStop, "stop"),
            _ => (End::Silence, "power-off"),
        };
        let sign = if self.looks { "sign of life" } else { "call" };
        let mut text = Text::new();
        let seconds = self.seconds.into();
        text.f("the watchdog has seen no %s for %d s: %s", &[sign, what], &[seconds]);
        (end, text)
    }
}

#[cfg(test)]
mod tests {
    use anchorite_spec::manifest::WATCHDOG_POWERS_OFF;
    use zerocopy::FromZeros;

    use super::*;

    const HZ: u64 = 1_000_000;

    fn watchdog(looks: bool) -> Watchdog {
        let mut manifest = Manifest::new_zeroed();
        (manifest.watchdog_seconds, manifest.watchdog_looks) = (10, looks.into());
        let watchdog = Watchdog::new(&manifest);
        watchdog.begin(0, HZ);
        watchdog
    }

    fn timer(timer: u64) -> Signs {
        Signs { timer, sleeps: 0 }
    }

    #[test]
    fn without_one_nobody_looks() {
        let off = Watchdog::new(&Manifest::new_zeroed());
        off.begin(5, HZ);
        assert!(!off.is_on() && !off.is_called());
        assert_eq!(off.start(5).next, NEVER);
    }

    #[test]
    fn calls_feed_it_and_nothing_else() {
        let called = watchdog(false);
        let mut seen = called.start(0);
        assert!(called.is_called());
        assert_eq!(seen.next, 10 * HZ);
        called.feed(7 * HZ);
        assert!(!called.is_over(10 * HZ, timer(1 << 40), &mut seen));
        assert_eq!(seen.next, 17 * HZ);
        assert!(called.is_over(17 * HZ, timer(1 << 41), &mut seen));
    }

    #[test]
    fn a_timer_that_is_set_anew_is_life_and_a_tick_of_jitter_is_not() {
        let looks = watchdog(true);
        let mut seen = looks.start(0);
        for n in 1..100 {
            assert_eq!(seen.next, n * 5 * HZ);
            assert!(!looks.is_over(seen.next, timer(n * HZ), &mut seen));
        }
        let last = seen.next - 5 * HZ;
        let mut silent = timer(99 * HZ);
        for expected in [false, true] {
            silent.timer += SAME;
            assert_eq!(looks.is_over(seen.next, silent, &mut seen), expected);
        }
        assert_eq!(seen.next - 5 * HZ, last + 10 * HZ, "not before its time");
    }

    #[test]
    fn a_sleeper_that_is_woken_and_sleeps_on_lives() {
        let looks = watchdog(true);
        let mut seen = looks.start(0);
        for sleeps in 1..100 {
            assert!(!looks.is_over(seen.next, Signs { timer: 7, sleeps }, &mut seen));
        }
    }

    #[test]
    fn one_cpus_life_is_that_of_all() {
        let looks = watchdog(true);
        let (mut dead, mut alive) = (looks.start(0), looks.start(0));
        for n in 1..100 {
            // The dead one looks first.
            assert!(!looks.is_over(dead.next, timer(3), &mut dead), "{n}");
            assert!(!looks.is_over(alive.next, timer(n * HZ), &mut alive));
        }
        for n in 0..4 {
            let over = looks.is_over(dead.next, timer(3), &mut dead);
            assert_eq!(over, n == 1, "its time after the last sign, once: {n}");
        }
    }

    #[test]
    fn a_machine_that_stood_still_is_not_silent() {
        let looks = watchdog(true);
        let mut seen = looks.start(0);
        assert!(!looks.is_over(5 * HZ, timer(HZ), &mut seen));
        // Nothing ran for an hour, and the look that was due comes before anything else.
        assert!(!looks.is_over(3600 * HZ, timer(HZ), &mut seen));
        assert!(!looks.is_over(3605 * HZ, timer(3601 * HZ), &mut seen));
    }

    #[test]
    fn what_becomes_of_it() {
        for (action, end, text) in [
            (WATCHDOG_RESTARTS, End::Silence, "no sign of life for 10 s: restart"),
            (WATCHDOG_STOPS, End::PolicyStop, "no sign of life for 10 s: stop"),
            (WATCHDOG_POWERS_OFF, End::Silence, "no sign of life for 10 s: power-off"),
        ] {
            let mut watchdog = watchdog(true);
            watchdog.action = action;
            let (found, said) = watchdog.verdict();
            assert_eq!(found, end);
            assert!(said.as_bytes().ends_with(text.as_bytes()));
        }
    }
}
