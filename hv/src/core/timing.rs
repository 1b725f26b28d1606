// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long exits take, as it is measured (`firmware.timing`; [`anchorite_spec::timing`] has what comes
//! of it).
//!
//! Each vCPU has a [`Clock`] of its own. The vectors read the time at the exit's first instructions and
//! at its last ones, the handler at its beginning and its end. How an exit ended is known when the next
//! one begins; all of it is accounted then, in two records under their sequence numbers. That is part
//! of the next exit's way to its handler: what it costs to measure is not hidden.
use core::sync::atomic::{AtomicU64, Ordering, fence};

use anchorite_spec::ExitReason;
use anchorite_spec::ledger::{CPUS, SLOTS};
use anchorite_spec::timing::{
    EXITS_WORDS, PHASES, Phase, SPENT_WORDS, Timing, WEIGHTS, class, exits, spent,
};

/// A record of words that only grow: one vCPU writes, others read.
#[repr(transparent)]
pub struct Record<const WORDS: usize>([AtomicU64; WORDS]);

impl<const WORDS: usize> Record<WORDS> {
    /// Nothing written.
    #[must_use]
    pub const fn empty() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }

    /// Begins to write. Only ever one CPU does so.
    fn open(&self) -> Writing<'_> {
        Writing::open(&self.0)
    }

    /// Makes a copy that is not torn; false, and zeros, if the record was written during each of so many
    /// tries.
    #[must_use]
    pub fn read(&self, copy: &mut [u64; WORDS], tries: u32) -> bool {
        copy_of(&self.0, copy, tries)
    }
}

#[inline(never)]
fn copy_of(words: &[AtomicU64], copy: &mut [u64], tries: u32) -> bool {
    let calm = snapshot(copy, tries, |place, order| words[place].load(order));
    if !calm {
        copy.fill(0);
    }
    calm
}

/// A record that is being written.
struct Writing<'a> {
    words: &'a [AtomicU64],
    sequence: u64,
    sum: u64,
}

impl<'a> Writing<'a> {
    fn open(words: &'a [AtomicU64]) -> Self {
        let [sequence, .., check] = words else { panic!("a record without words") };
        let (number, sum) = (sequence.load(Ordering::Relaxed), check.load(Ordering::Relaxed));
        sequence.store(number.wrapping_add(1), Ordering::Relaxed);
        // Who sees a word that is stored below sees this number, or a later one, afterwards.
        fence(Ordering::Release);
        Self { words, sequence: number, sum }
    }

    /// Has a word grow.
    #[inline(never)]
    fn add(&mut self, place: usize, by: u64) {
        if by != 0 {
            let word = &self.words[place];
            word.store(word.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
            self.sum = self.sum.wrapping_add(by.wrapping_mul(WEIGHTS[place]));
        }
    }

    /// Has a word grow to a value, if it is smaller.
    fn raise(&mut self, place: usize, to: u64) {
        let old = self.words[place].load(Ordering::Relaxed);
        self.add(place, to.saturating_sub(old));
    }

    fn close(self) {
        let [sequence, .., check] = self.words else { return };
        check.store(self.sum, Ordering::Relaxed);
        // Who sees this number sees all that was stored above.
        sequence.store(self.sequence.wrapping_add(2), Ordering::Release);
    }
}

/// The reader's side, over whatever loads a word.
fn snapshot(copy: &mut [u64], tries: u32, mut load: impl FnMut(usize, Ordering) -> u64) -> bool {
    (0..tries).any(|_| {
        let before = load(0, Ordering::Acquire);
        copy[0] = before;
        for (place, word) in copy.iter_mut().enumerate().skip(1) {
            *word = load(place, Ordering::Relaxed);
        }
        // None of these loads is made after the next one.
        fence(Ordering::Acquire);
        load(0, Ordering::Relaxed) == before && before.is_multiple_of(2)
    })
}

/// A vCPU's records: [`anchorite_spec::timing::Times`].
#[repr(C)]
pub struct Records {
    /// [`anchorite_spec::timing::Times::spent`].
    pub spent: Record<SPENT_WORDS>,
    /// [`anchorite_spec::timing::Times::exits`].
    pub exits: [Record<EXITS_WORDS>; SLOTS],
}

const _: () = assert!(size_of::<[Records; CPUS]>() == size_of::<Timing>());

impl Records {
    /// Nothing written.
    #[must_use]
    pub const fn empty() -> Self {
        Self { spent: Record::empty(), exits: [const { Record::empty() }; SLOTS] }
    }
}

/// An exit under way.
struct Stay {
    entered: u64,
    /// How far it is accounted for.
    until: u64,
    /// What it has taken so far.
    ticks: [u64; PHASES],
    /// Why, once it is about to end.
    reason: Option<ExitReason>,
}

impl Stay {
    /// Whatever it did since the last time that it was asked.
    #[inline(never)]
    fn spend(&mut self, phase: Phase, until: u64) -> u64 {
        let ticks = until.saturating_sub(self.until);
        self.ticks[phase as usize] += ticks;
        self.until = self.until.max(until);
        ticks
    }
}

/// A vCPU's clock.
pub struct Clock {
    records: &'static Records,
    /// The last exit, until the next one says how it ended.
    stay: Stay,
}

impl Clock {
    /// A vCPU before its first entry.
    #[must_use]
    pub fn new(records: &'static Records, now: u64) -> Self {
        let mut time = records.spent.open();
        time.add(spent::STARTED, now);
        time.add(spent::UNTIL, now);
        time.close();
        Self { records, stay: Stay { entered: now, until: now, ticks: [0; PHASES], reason: None } }
    }

    /// An exit's handler begins. The guest had gone on at `left`, and its vector came at `entered`; it
    /// did not read the time if that is before.
    pub fn begin(&mut self, left: u64, entered: u64, now: u64) {
        let last = &mut self.stay;
        let phase = if last.reason.is_some() { Phase::Exit } else { Phase::Away };
        last.spend(phase, left);
        let took = last.until - last.entered;
        let entered = if entered < last.until { now.max(last.until) } else { entered };
        last.spend(Phase::Guest, entered);
        let mut time = self.records.spent.open();
        for (n, ticks) in last.ticks.iter().enumerate() {
            time.add(spent::TICKS + n, *ticks);
        }
        time.raise(spent::UNTIL, entered);
        time.close();
        if let Some(reason) = last.reason {
            let mut exits = self.records.exits[reason.slot()].open();
            exits.add(exits::COUNT, 1);
            exits.add(exits::TOTAL, took);
            exits.raise(exits::LONGEST, took);
            exits.raise(exits::SHORTEST, !took);
            exits.add(exits::HISTOGRAM + class(took), 1);
            exits.close();
        }
        self.stay = Stay { entered, until: entered, ticks: [0; PHASES], reason: None };
    }

    /// The handler itself begins: until now the time of the exit before was accounted.
    pub fn serve(&mut self, now: u64) {
        self.stay.spend(Phase::Entry, now);
    }

    /// The handler is done with the exit, of which it slept so many ticks.
    pub fn end(&mut self, reason: Option<ExitReason>, slept: u64, now: u64) {
        let phase = match reason {
            Some(ExitReason::HJoin | ExitReason::PsciCpuSuspend) => Phase::Asleep,
            Some(ExitReason::RtasStopSelf) => Phase::Away,
            _ => Phase::Handler,
        };
        let took = self.stay.spend(phase, now);
        let slept = slept.min(took);
        self.stay.ticks[phase as usize] -= slept;
        self.stay.ticks[Phase::Asleep as usize] += slept;
        self.stay.reason = reason;
    }

    /// The exit goes on after all, and may be the vCPU's last.
    pub fn reopen(&mut self) {
        self.stay.reason = None;
    }

    /// The vCPU was kept out of the guest until now.
    pub fn kept_out(&mut self, reason: Option<ExitReason>, now: u64) {
        self.stay.spend(Phase::Away, now);
        self.stay.reason = reason;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use anchorite_spec::timing::{Spent, check, is_whole};
    use zerocopy::{FromBytes, IntoBytes};

    use super::*;

    type Small = Record<6>;

    /// What belongs together: 3 times the first word, 5 times, …
    fn belongs_together(copy: &[u64; 6]) -> bool {
        copy[2] == 3 * copy[1] && copy[3] == 5 * copy[1] && copy[4] == copy[1] && is_whole(copy)
    }

    const EVENT: [(usize, u64); 4] = [(1, 1), (2, 3), (3, 5), (4, 1)];

    fn event(record: &Small) {
        let mut writing = record.open();
        EVENT.into_iter().for_each(|(place, by)| writing.add(place, by));
        writing.close();
    }

    #[test]
    fn a_copy_is_never_torn_wherever_a_write_comes_between() {
        // A write before each of the loads of the first try, then none.
        for at in 0..=6 {
            let record = Small::empty();
            event(&record);
            let mut loads = 0;
            let mut copy = [0; 6];
            let calm = snapshot(&mut copy, 2, |place, order| {
                if loads == at {
                    event(&record);
                }
                loads += 1;
                record.0[place].load(order)
            });
            assert!(calm && belongs_together(&copy), "{at}: {copy:?}");
            assert_eq!((copy[1], copy[0]), (2, 4));
            // At the first load the write is over before anything was read.
            assert_eq!(loads, if at == 0 { 7 } else { 14 });
        }
    }

    #[test]
    fn who_never_gets_a_calm_copy_says_so() {
        let record = Small::empty();
        event(&record);
        let calm = snapshot(&mut [0; 6], 1000, |place, order| {
            event(&record);
            record.0[place].load(order)
        });
        assert!(!calm);
    }

    #[test]
    fn nothing_is_read_while_a_write_is_under_way() {
        let record = Small::empty();
        let mut copy = [7; 6];
        let mut writing = record.open();
        for (place, by) in EVENT {
            assert!(!record.read(&mut copy, 3));
            writing.add(place, by);
        }
        assert!(!record.read(&mut copy, 3) && copy == [0; 6]);
        writing.close();
        assert!(record.read(&mut copy, 1) && belongs_together(&copy));
    }

    #[test]
    fn another_cpu_never_reads_a_torn_copy() {
        static RECORD: Small = Small::empty();
        static OVER: AtomicBool = AtomicBool::new(false);
        const EVENTS: u64 = 2_000_000;
        let reader = thread::spawn(|| {
            let (mut copy, mut last) = ([0; 6], 0);
            while !OVER.load(Ordering::Relaxed) {
                if RECORD.read(&mut copy, 100) {
                    assert!(belongs_together(&copy) && copy[1] >= last, "{copy:?}");
                    last = copy[1];
                }
            }
        });
        (0..EVENTS).for_each(|_| event(&RECORD));
        OVER.store(true, Ordering::Relaxed);
        assert!(reader.join().is_ok());
        let mut end = [0; 6];
        assert!(RECORD.read(&mut end, 1));
        assert_eq!((end[0], end[1], end[5]), (2 * EVENTS, EVENTS, check(&end)));
    }

    fn clock(now: u64) -> Clock {
        Clock::new(Box::leak(Box::new(Records::empty())), now)
    }

    fn spent(clock: &Clock) -> Spent {
        let mut copy = [0; SPENT_WORDS];
        assert!(clock.records.spent.read(&mut copy, 1));
        Spent::read_from_bytes(copy.as_bytes()).expect("its size")
    }

    fn exits_of(clock: &Clock, reason: ExitReason) -> anchorite_spec::timing::Exits {
        let mut copy = [0; EXITS_WORDS];
        assert!(clock.records.exits[reason.slot()].read(&mut copy, 1));
        anchorite_spec::timing::Exits::read_from_bytes(copy.as_bytes()).expect("its size")
    }

    /// An exit at these times, for this reason.
    fn exit(clock: &mut Clock, reason: ExitReason, at: [u64; 4], slept: u64) {
        let [left, entered, began, done] = at;
        clock.begin(left, entered, began);
        clock.serve(began);
        clock.end(Some(reason), slept, done);
    }

    #[test]
    fn all_time_goes_to_one_phase() {
        let mut clock = clock(1000);
        exit(&mut clock, ExitReason::HRandom, [1010, 1110, 1112, 1115], 0);
        assert_eq!(spent(&clock).ticks, [100, 0, 0, 0, 0, 10]);
        exit(&mut clock, ExitReason::HCede, [1116, 1216, 1217, 1317], 90);
        assert_eq!(spent(&clock).ticks, [200, 2, 3, 1, 0, 10]);
        let random = exits_of(&clock, ExitReason::HRandom);
        assert_eq!((random.count, random.total, random.least(), random.longest), (1, 6, 6, 6));
        assert_eq!(random.histogram[class(6)], 1);
        exit(&mut clock, ExitReason::HRandom, [1319, 1320, 1321, 1322], 0);
        assert_eq!(spent(&clock).ticks, [201, 3, 13, 3, 90, 10]);
        let cede = exits_of(&clock, ExitReason::HCede);
        assert_eq!((cede.count, cede.total), (1, 103), "asleep or not, the guest waits");
        exit(&mut clock, ExitReason::HRandom, [1323, 2000, 2000, 2000], 0);
        let random = exits_of(&clock, ExitReason::HRandom);
        assert_eq!((random.count, random.total, random.least(), random.longest), (2, 9, 3, 6));
        assert_eq!(random.histogram.iter().sum::<u64>(), random.count);
        let spent = spent(&clock);
        assert_eq!((spent.started, spent.until), (1000, 2000));
        assert_eq!(spent.ticks.iter().sum::<u64>(), spent.until - spent.started);
    }

    #[test]
    fn a_vector_that_did_not_read_the_time_and_clocks_that_go_back_lose_nothing() {
        let mut clock = clock(100);
        exit(&mut clock, ExitReason::SystemReset, [110, 0, 150, 160], 0);
        assert_eq!(spent(&clock).ticks, [40, 0, 0, 0, 0, 10], "the handler's own time instead");
        // Reads that the processor made early.
        exit(&mut clock, ExitReason::HRandom, [159, 158, 157, 150], 50);
        exit(&mut clock, ExitReason::HRandom, [170, 180, 181, 182], 50);
        exit(&mut clock, ExitReason::HRandom, [183, 184, 185, 186], 0);
        let spent = spent(&clock);
        assert_eq!((spent.until, spent.ticks.iter().sum::<u64>()), (184, 84));
    }

    #[test]
    fn time_out_of_use_is_nobodys_exit() {
        let mut clock = clock(0);
        // Stopped, and started again: the call never returned.
        exit(&mut clock, ExitReason::PsciCpuOff, [10, 20, 21, 22], 0);
        clock.reopen();
        // Another that was served, and then the vCPU was kept out for a restart.
        exit(&mut clock, ExitReason::HRandom, [500, 510, 511, 512], 0);
        clock.reopen();
        clock.kept_out(Some(ExitReason::HRandom), 900);
        exit(&mut clock, ExitReason::RtasStopSelf, [901, 902, 903, 1000], 0);
        exit(&mut clock, ExitReason::HJoin, [1001, 1002, 1003, 1100], 0);
        exit(&mut clock, ExitReason::HRandom, [1101, 1102, 1103, 1104], 0);
        assert_eq!(exits_of(&clock, ExitReason::PsciCpuOff).count, 0);
        assert_eq!(exits_of(&clock, ExitReason::HRandom).count, 1);
        let away = 10 + (500 - 22) + (900 - 512) + 97;
        assert_eq!(spent(&clock).ticks, [10 + 10 + 3, 4, 2, 3, 97, away]);
        assert_eq!(spent(&clock).until, 1102);
    }
}
