// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts: delivered without the firmware, and none lost around H_CEDE.
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use crate::board::{ESB, SCRATCH, TIMA};
use crate::calls::{get_be32, put_be32};
use crate::hcall::{self, code, hcall};
use crate::low::{DECS, EXTS};
use crate::off_thread;
use crate::random::Random;
use crate::report::Probe;
use crate::say;
use crate::trap::{self, interrupts, load, now, set_decrementer, store};

/// Timebase ticks in a millisecond.
const MILLISECOND: u64 = trap::SECOND / 1000;
/// The source that this program uses.
const LISN: u64 = 1;
const PRIORITY: u64 = 6;
const NUMBER: u32 = 0x1234_5678;
const TRIGGER: u64 = ESB + LISN * 0x2_0000;
const MANAGE: u64 = TRIGGER + 0x1_0000;
const QUEUE: u64 = SCRATCH + 0x10_0000;
const QUEUE_WORDS: u64 = 0x1_0000 / 4;

/// A queue's reader.
pub struct Reader {
    queue: u64,
    index: u64,
    generation: u32,
}

impl Reader {
    /// That of an empty queue there.
    pub const fn of(queue: u64) -> Self {
        Self { queue, index: 0, generation: 1 << 31 }
    }

    /// The next event.
    pub fn next(&mut self) -> Option<u32> {
        let word = get_be32(self.queue + 4 * self.index);
        if word & 1 << 31 != self.generation {
            return None;
        }
        self.index += 1;
        if self.index == QUEUE_WORDS {
            self.index = 0;
            self.generation ^= 1 << 31;
        }
        Some(word & !(1 << 31))
    }
}

/// Accepts the interrupt at the thread's page: the notification byte and the priority.
fn accept() -> (u64, u64) {
    let word = (load(TIMA + 0x810, 2).r3 as u16).swap_bytes();
    (u64::from(word >> 8), u64::from(word & 0xff))
}

fn open() {
    store(TIMA + 0x11, 1, 0xff);
}

/// Ends the source's interrupt: 1 if another came meanwhile.
fn end() -> u64 {
    load(MANAGE, 8).r3.swap_bytes()
}

fn set_up(p: &Probe) {
    for offset in (0..0x1_0000).step_by(4) {
        put_be32(QUEUE + offset, 0);
    }
    p.equal(&"queue", code(hcall::SET_QUEUE, &[1, 0, PRIORITY, QUEUE, 16]), 0);
    let route = [2, LISN, 0, PRIORITY, u64::from(NUMBER)];
    p.equal(&"source", code(hcall::SET_SOURCE, &route), 0);
    load(MANAGE + 0xc00, 8);
    open();
    // What earlier probes left pending.
    for _ in 0..16 {
        accept();
        open();
    }
}

/// All of them.
pub fn run() {
    interrupts(false);
    let mut reader = Reader::of(QUEUE);
    Probe::run("interrupt-to-itself", |p| {
        set_up(p);
        p.holds(&"an empty queue", reader.next().is_none());
        let before = EXTS.get();
        store(TRIGGER, 8, 0);
        p.equal(&"none while masked", EXTS.get() - before, 0);
        interrupts(true);
        p.equal(&"one", EXTS.get() - before, 1);
        let (notified, priority) = accept();
        p.equal(&"accepted", notified & 0x80, 0x80);
        p.equal(&"priority", priority, PRIORITY);
        p.equal(&"number", reader.next().map_or(0, u64::from), u64::from(NUMBER));
        p.holds(&"no second", reader.next().is_none());
        p.equal(&"no other meanwhile", end(), 0);
        open();
        interrupts(true);
        interrupts(false);
        p.equal(&"no second", EXTS.get() - before, 1);
        p.equal(&"accepted again", accept().0 & 0x80, 0);
    });
    Probe::run("interrupts-are-merged-not-lost", |p| {
        store(TRIGGER, 8, 0);
        store(TRIGGER, 8, 0);
        store(TRIGGER, 8, 0);
        interrupts(true);
        interrupts(false);
        accept();
        p.holds(&"the first", reader.next().is_some());
        p.holds(&"only one", reader.next().is_none());
        // The end of the first sends the second on its way.
        p.equal(&"another came", end(), 1);
        open();
        interrupts(true);
        interrupts(false);
        p.equal(&"accepted", accept().0 & 0x80, 0x80);
        p.holds(&"the second", reader.next().is_some());
        p.equal(&"no third", end(), 0);
        open();
    });
    Probe::run("masked-source-is-silent", |p| {
        let before = EXTS.get();
        p.equal(&"mask", code(hcall::SET_SOURCE, &[0, LISN, 0, 0xff, 0]), 0);
        store(TRIGGER, 8, 0);
        interrupts(true);
        interrupts(false);
        p.equal(&"none", EXTS.get() - before, 0);
        let route = [2, LISN, 0, PRIORITY, u64::from(NUMBER)];
        p.equal(&"unmask", code(hcall::SET_SOURCE, &route), 0);
        load(MANAGE + 0xc00, 8);
        while reader.next().is_some() {}
    });
    Probe::run("a-source-without-queue-harms-nobody", |p| {
        p.equal(&"route", code(hcall::SET_SOURCE, &[2, 5, 0, 3, 7]), 0);
        let page = ESB + 5 * 0x2_0000;
        load(page + 0x1_0c00, 8);
        store(page, 8, 0);
        interrupts(true);
        interrupts(false);
        p.equal(&"sync", code(hcall::SYNC, &[0, 5]), 0);
        p.equal(&"mask", code(hcall::SET_SOURCE, &[0, 5, 0, 0xff, 0]), 0);
        accept();
        open();
    });
    decrementer();
    // Rounds, and of those what a busy host may make late.
    let all = rounds();
    Probe::run("cede-and-decrementer", |p| cede_by_decrementer(p, all, all / 50));
    Probe::run("cede-and-own-interrupt", |p| cede_by_interrupt(p, all, all / 50, &mut reader));
    Probe::run("cede-off-thread-and-decrementer", |p| {
        off_thread::hint(p, 0, 1);
        cede_by_decrementer(p, all / 5, all / 20);
    });
    Probe::run("cede-off-thread-and-own-interrupt", |p| {
        cede_by_interrupt(p, all / 5, all / 20, &mut reader);
        off_thread::no_hint(p, 0);
    });
    queue_wraps(&mut reader);
}

fn decrementer() {
    Probe::run("decrementer-without-exit", |p| {
        let before = DECS.get();
        set_decrementer(1000);
        interrupts(true);
        let start = now();
        while DECS.get() == before && now() - start < 1000 * MILLISECOND {}
        interrupts(false);
        p.equal(&"interrupts", DECS.get() - before, 1);
        // Expired while interrupts were off: delivered when they come on.
        set_decrementer(0);
        let start = now();
        while now() - start < MILLISECOND / 10 {}
        p.equal(&"none while off", DECS.get() - before, 1);
        interrupts(true);
        // QEMU's timer may be late on a busy host.
        let start = now();
        while DECS.get() - before < 2 && now() - start < 1000 * MILLISECOND {}
        interrupts(false);
        p.equal(&"then one", DECS.get() - before, 2);
    });
}

/// Rounds of each race: see [`run_longer`].
static ROUNDS: AtomicU64 = AtomicU64::new(10_000);
/// Later than this is late: a lost wake-up would wait for the firmware's own heartbeat.
const LATE: u64 = 20 * MILLISECOND;

/// Rounds of each race.
pub fn rounds() -> u64 {
    ROUNDS.load(Relaxed)
}

/// A million rounds from now on.
pub fn run_longer() {
    ROUNDS.store(1_000_000, Relaxed);
}

fn cede_by_decrementer(p: &Probe, rounds: u64, late_allowed: u64) {
    let mut random = Random::new(0xdec);
    let [mut late, mut worst, mut early] = [0_u64; 3];
    for round in 0..rounds {
        let before = DECS.get();
        let ticks = random.below(30_000);
        let due = now() + ticks;
        set_decrementer(ticks);
        if round % 2 == 0 {
            // So that it expires around the call, also before it.
            let spin = random.below(ticks + 1000);
            let start = now();
            while now() - start < spin {}
        }
        while DECS.get() == before {
            p.equal(&"code", code(hcall::CEDE, &[]), 0);
            if DECS.get() == before {
                early += 1;
            }
            interrupts(false);
        }
        let lag = now().saturating_sub(due);
        worst = worst.max(lag);
        late += u64::from(lag > LATE);
        p.equal(&"one interrupt", DECS.get() - before, 1);
    }
    say!("cede: {late} late of {rounds} rounds, {early} early, worst {} us", worst / 512);
    p.holds(&format_args!("{late} late"), late <= late_allowed);
}

fn cede_by_interrupt(p: &Probe, rounds: u64, late_allowed: u64, reader: &mut Reader) {
    let [mut late, mut worst, mut wrong] = [0_u64; 3];
    for _ in 0..rounds {
        let before = EXTS.get();
        store(TRIGGER, 8, 0);
        let start = now();
        while EXTS.get() == before {
            p.equal(&"code", code(hcall::CEDE, &[]), 0);
            interrupts(false);
        }
        let lag = now() - start;
        worst = worst.max(lag);
        late += u64::from(lag > LATE);
        wrong += u64::from(accept().0 & 0x80 == 0);
        wrong += u64::from(reader.next() != Some(NUMBER));
        end();
        open();
    }
    say!("cede: {late} late of {rounds} rounds, worst {} us", worst / 512);
    p.equal(&"wrong events", wrong, 0);
    p.holds(&"none besides", reader.next().is_none());
    p.holds(&format_args!("{late} late"), late <= late_allowed);
    let [_, _, _, _, index, ..] = hcall(hcall::GET_QUEUE, &[1, 0, PRIORITY]);
    p.equal(&"index", index, reader.index);
}

fn queue_wraps(reader: &mut Reader) {
    Probe::run("queue-wraps", |p| {
        for _ in 0..QUEUE_WORDS + 10 {
            store(TRIGGER, 8, 0);
            accept();
            p.equal(&"number", reader.next().map_or(0, u64::from), u64::from(NUMBER));
            end();
            open();
        }
    });
    trap::interrupts(false);
}
