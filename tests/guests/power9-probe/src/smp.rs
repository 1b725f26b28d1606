// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Several CPUs: started and stopped in races, woken, interrupted and reset by each other. Further
//! CPUs run [`probe_cpu`], which does what the first one asks for; with one CPU there is nothing to do.
#![expect(unsafe_code, reason = "runs on several CPUs, and calls the firmware from them")]

use core::arch::asm;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::board::{ESB, NO_SERVER, RAM_END, SCRATCH, TIMA};
use crate::calls::put_be32;
use crate::hcall::{self, BAD_MODE, CONTINUE, PARAMETER};
use crate::interrupts::rounds;
use crate::low::{CPU_ENTRY, EXTS, RESETS};
use crate::random::Random;
use crate::report::Probe;
use crate::trap::{self, SECOND, now};
use crate::{attack, lives, off_thread, rtas, say, watchdog};

/// CPUs that probes of several use.
pub const CPUS: usize = 4;
const PRIORITY: u64 = 6;
/// CPU n's own source.
const FIRST_LISN: u64 = 8;
/// CPU n's own queue: as many pages.
pub const QUEUES: u64 = SCRATCH + 0x40_0000;
/// CPU n's RTAS buffer.
const BUFFERS: u64 = SCRATCH + 0x100;

/// What a further CPU is to do next.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum Task {
    Nothing,
    /// RTAS stop-self.
    Stop,
    /// Answers each prod with a prod of the first CPU, from its cede.
    Ping,
    /// Passes each interrupt on to the next CPU.
    Ring,
    /// Sends every CPU interrupts, and takes theirs.
    Exchange,
    /// Spins with interrupts off until a reset comes.
    Spin,
    /// Spins with interrupts off until [`ROUND`] is [`OVER`].
    Deaf,
    /// H_CEDE, with nothing that would wake it.
    Cede,
    /// H_JOIN.
    Join,
    /// Starts the second further CPU, as the first CPU does.
    Race,
    /// Random calls.
    Storm,
    /// Starts a watchdog, then RTAS stop-self.
    Watchdog,
    /// H_JOIN, then prods the first CPU.
    Relay,
    /// Prods the first further CPU, then RTAS stop-self.
    HandOver,
}

static TASK: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
/// What the task came to; [`BUSY`] while it goes on.
static RESULT: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
/// How often each has started.
static STARTS: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
/// What each was started with: r3, MSR.
static ENTERED: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
/// Rounds of what the CPUs do together.
static ROUND: AtomicU64 = AtomicU64::new(0);

const BUSY: u64 = u64::MAX;
/// [`ROUND`] when a CPU is about to do what it was asked for.
const READY: u64 = 1;
/// A decrementer that never comes.
pub const FAR: u64 = 1 << 54;
/// No answer within this time is none.
const PATIENCE: u64 = 120 * SECOND;
/// A wake-up later than this is counted: a lost one would wait for the firmware's heartbeat or longer.
const LATE: u64 = SECOND / 10;

/// A hypercall from any CPU: r3 and r4 afterwards.
pub fn call(number: u64, args: [u64; 5]) -> [u64; 2] {
    let (mut r3, mut r4) = (number, args[0]);
    // SAFETY: the call changes no memory but what its arguments name; all callers name scratch RAM.
    unsafe {
        asm!("sc 1", inout("r3") r3, inout("r4") r4, inout("r5") args[1] => _,
             inout("r6") args[2] => _, inout("r7") args[3] => _, inout("r8") args[4] => _,
             out("r0") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _,
             out("cr0") _, out("cr1") _, out("cr5") _, out("cr6") _, out("cr7") _,
             out("ctr") _, out("xer") _);
    }
    crate::coverage::hcall(number, r3);
    [r3, r4]
}

/// A CPU's RTAS buffer.
pub const fn buffer(cpu: usize) -> u64 {
    BUFFERS + 0x100 * cpu as u64
}

/// An RTAS call from any CPU: the outputs.
pub fn services(cpu: usize, token: u32, inputs: &[u32], outputs: u32) -> [u32; 2] {
    let at = buffer(cpu);
    let head = [token, inputs.len() as u32, outputs];
    for (n, word) in head.iter().chain(inputs).enumerate() {
        put_be32(at + 4 * n as u64, *word);
    }
    call(hcall::RTAS, [at, 0, 0, 0, 0]);
    let first = at + 4 * (3 + inputs.len() as u64);
    let answers = [first, first + 4].map(crate::calls::get_be32);
    crate::coverage::service(token, answers[0]);
    answers
}

/// RTAS start-cpu, called by a CPU: the status.
pub fn start(caller: usize, cpu: usize) -> u32 {
    services(caller, rtas::START_CPU, &[cpu as u32, CPU_ENTRY as u32, cpu as u32], 1)[0]
}

/// Whether the first CPU is told that it is.
pub fn is_stopped(cpu: usize) -> bool {
    services(0, rtas::QUERY_CPU_STOPPED_STATE, &[cpu as u32], 2) == [0, 0]
}

/// Waits for something that another CPU does; false if it does not.
pub fn until(mut come: impl FnMut() -> bool) -> bool {
    let since = now();
    while !come() {
        if now() - since > PATIENCE {
            return false;
        }
    }
    true
}

fn ask(cpu: usize, task: Task) {
    RESULT[cpu].store(BUSY, SeqCst);
    TASK[cpu].store(task as u64, SeqCst);
}

/// What the task came to, or `None` if it does not end.
fn answer(cpu: usize) -> Option<u64> {
    until(|| RESULT[cpu].load(SeqCst) != BUSY).then(|| RESULT[cpu].load(SeqCst))
}

/// A further CPU, from its first instruction and after each start.
#[unsafe(no_mangle)]
extern "C" fn probe_cpu(number: u64, registers: u64) -> ! {
    let cpu = number as usize % CPUS;
    if lives::several() {
        lives::join_in(cpu, registers);
    }
    if attack::is_on() {
        attack::take_part(cpu);
    }
    let msr: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mfmsr {0}", out(reg) msr, options(nomem, nostack)) };
    trap::set_decrementer(FAR);
    ENTERED[cpu].store(number << 32 | msr & 0xffff_ffff, SeqCst);
    STARTS[cpu].fetch_add(1, SeqCst);
    let mut random = Random::new(number);
    loop {
        let task = TASK[cpu].swap(Task::Nothing as u64, SeqCst);
        let result = match task {
            t if t == Task::Stop as u64 => {
                RESULT[cpu].store(0, SeqCst);
                u64::from(services(cpu, rtas::STOP_SELF, &[], 1)[0])
            }
            t if t == Task::Ping as u64 => pong(),
            t if t == Task::Ring as u64 => pass_on(cpu, &mut random),
            t if t == Task::Exchange as u64 => off_thread::exchange(cpu),
            t if t == Task::Spin as u64 => {
                let before = RESETS.of(cpu).get();
                ROUND.store(READY, SeqCst);
                u64::from(!until(|| RESETS.of(cpu).get() != before))
            }
            t if t == Task::Deaf as u64 => u64::from(!until(|| ROUND.load(SeqCst) == OVER)),
            t if t == Task::Cede as u64 => {
                ROUND.store(READY, SeqCst);
                cede()
            }
            t if t == Task::Join as u64 => {
                ROUND.store(READY, SeqCst);
                call(hcall::JOIN, [0; 5])[0]
            }
            t if t == Task::Relay as u64 => {
                ROUND.fetch_add(1, SeqCst);
                let [mut code, _] = call(hcall::JOIN, [0; 5]);
                if code == CONTINUE {
                    // It came so late that who prodded it has stopped. The prod is still there.
                    code = cede();
                }
                call(hcall::PROD, [0; 5]);
                code
            }
            t if t == Task::HandOver as u64 => {
                until(|| ROUND.load(SeqCst) == 2);
                // So that both have joined, or only just.
                let (since, spin) = (now(), random.below(100_000));
                while now() - since < spin {}
                call(hcall::PROD, [1, 0, 0, 0, 0]);
                RESULT[cpu].store(0, SeqCst);
                u64::from(services(cpu, rtas::STOP_SELF, &[], 1)[0])
            }
            t if t == Task::Race as u64 => u64::from(start(cpu, 2)),
            t if t == Task::Storm as u64 => storm(cpu, &mut random),
            t if t == Task::Watchdog as u64 => {
                let [flags, number, timeout] = watchdog::START_DUMP;
                let [code, _] = call(hcall::WATCHDOG, [flags, number, timeout, 0, 0]);
                RESULT[cpu].store(code, SeqCst);
                u64::from(services(cpu, rtas::STOP_SELF, &[], 1)[0])
            }
            _ => {
                // Idle, so that a host with fewer CPUs has time for the others.
                trap::set_decrementer(SECOND / 10_000);
                cede();
                trap::set_decrementer(FAR);
                continue;
            }
        };
        RESULT[cpu].store(result, SeqCst);
    }
}

/// H_CEDE, and interrupts off again.
pub fn cede() -> u64 {
    let [code, _] = call(hcall::CEDE, [0; 5]);
    trap::interrupts(false);
    code
}

/// Even rounds are the first CPU's turn, odd ones the second's. [`u64::MAX`] - 1 ends it.
const OVER: u64 = u64::MAX - 1;

fn pong() -> u64 {
    loop {
        match ROUND.load(SeqCst) {
            OVER => return 0,
            round if round % 2 == 1 => {
                ROUND.store(round + 1, SeqCst);
                call(hcall::PROD, [0; 5]);
            }
            _ => {
                cede();
            }
        }
    }
}

/// A CPU's own source.
pub fn lisn(cpu: usize) -> u64 {
    FIRST_LISN + cpu as u64
}

/// Its management page.
pub fn manage(cpu: usize) -> u64 {
    ESB + lisn(cpu) * 0x2_0000 + 0x1_0000
}

/// Sends the source's interrupt.
pub fn trigger(cpu: usize) {
    let page = ESB + lisn(cpu) * 0x2_0000;
    // SAFETY: the source's trigger page, which is the guest's.
    unsafe { ptr::write_volatile(page as *mut u64, 0) };
}

/// Accepts this CPU's interrupt, ends it, and takes the next ones; whether there was one.
fn accept(cpu: usize) -> bool {
    let page = manage(cpu);
    // SAFETY: the guest's own interrupt pages.
    unsafe {
        let word = ptr::read_volatile((TIMA + 0x810) as *const u16).swap_bytes();
        ptr::read_volatile(page as *const u64);
        ptr::write_volatile((TIMA + 0x11) as *mut u8, 0xff);
        word & 0x8000 != 0
    }
}

/// Waits for this CPU's interrupt by H_CEDE and accepts it.
fn await_interrupt(cpu: usize, seen: u64) -> bool {
    until(|| {
        cede();
        EXTS.of(cpu).get() != seen || ROUND.load(SeqCst) == OVER
    }) && (ROUND.load(SeqCst) == OVER || accept(cpu))
}

fn pass_on(cpu: usize, random: &mut Random) -> u64 {
    let mut wrong = 0;
    // Opens its priorities.
    accept(cpu);
    loop {
        let seen = EXTS.of(cpu).get();
        // So that it comes before the cede, during it or in it.
        let (since, spin) = (now(), random.below(20_000));
        while now() - since < spin {}
        wrong += u64::from(!await_interrupt(cpu, seen));
        if ROUND.load(SeqCst) == OVER || wrong > 3 {
            return wrong;
        }
        trigger((cpu + 1) % CPUS);
    }
}

/// Calls that change no CPU's life.
fn storm(cpu: usize, random: &mut Random) -> u64 {
    const CALLS: u64 = 5_000;
    let numbers = [
        hcall::GET_TERM_CHAR,
        hcall::REGISTER_VPA,
        hcall::CONFER,
        hcall::PROD,
        hcall::RANDOM,
        hcall::SOURCE_INFO,
        hcall::SET_SOURCE,
        hcall::GET_SOURCE,
        hcall::QUEUE_INFO,
        hcall::SET_QUEUE,
        hcall::GET_QUEUE,
        hcall::SYNC,
        hcall::RESET,
        hcall::RPT_INVALIDATE,
        hcall::SET_MODE,
        hcall::RTAS,
    ];
    for _ in 0..CALLS {
        let number = random.one_of(&numbers);
        let small = |random: &mut Random| random.below(8);
        let mut args = [0; 5].map(|_| small(random));
        match number {
            // Another CPU's console is not this one's to empty.
            hcall::GET_TERM_CHAR => args[0] = 5,
            hcall::REGISTER_VPA => {
                args[0] <<= 45;
                args[2] = SCRATCH + 0x8000 + 0x400 * args[1];
                put_be32(args[2] + 4, 640 << 16);
            }
            hcall::SET_QUEUE => {
                (args[3], args[4]) = (QUEUES + 0x10_0000 + args[3] * 0x1_0000, 16);
            }
            hcall::SET_MODE => args = [1, 4, 0, 0, 0],
            hcall::RTAS => {
                services(cpu, rtas::GET_TIME_OF_DAY, &[], 8);
                continue;
            }
            _ => {}
        }
        call(number, args);
    }
    0
}

/// Has all further CPUs spin with interrupts off. Until they do, this one's timer is set again and again.
pub fn deafen() {
    for cpu in 1..CPUS {
        ask(cpu, Task::Deaf);
        let before = STARTS[cpu].load(SeqCst);
        if start(0, cpu) == 0 {
            until(|| {
                trap::set_decrementer(FAR);
                STARTS[cpu].load(SeqCst) != before && TASK[cpu].load(SeqCst) == 0
            });
        }
    }
}

/// Has a further CPU come and stop again.
pub fn start_to_stop(cpu: usize) {
    let before = STARTS[cpu].load(SeqCst);
    ask(cpu, Task::Stop);
    start(0, cpu);
    until(|| STARTS[cpu].load(SeqCst) > before);
}

/// All of them; false if there is only one CPU.
pub fn run() -> bool {
    trap::interrupts(false);
    trap::set_decrementer(FAR);
    let query = services(0, rtas::QUERY_CPU_STOPPED_STATE, &[CPUS as u32 - 1], 2)[0];
    if query != 0 {
        say!("one CPU only");
        return false;
    }
    starts();
    races();
    Probe::run("prod-and-cede", |p| ping_pong(p, rounds()));
    Probe::run("interrupts-from-cpu-to-cpu", ring);
    Probe::run("reset-of-a-cpu-that-spins-with-interrupts-off", |p| resets(p, Task::Spin));
    Probe::run("reset-of-a-ceded-cpu", |p| resets(p, Task::Cede));
    Probe::run("reset-of-a-joined-cpu", |p| resets(p, Task::Join));
    off_their_threads();
    Probe::run("reset-of-all", reset_of_all);
    Probe::run("join", join);
    Probe::run("who-was-prodded-is-not-the-last", hand_over);
    Probe::run("storm-on-every-cpu", |p| {
        (1..CPUS).for_each(|cpu| ask(cpu, Task::Storm));
        let mut random = Random::new(0);
        storm(0, &mut random);
        (1..CPUS).for_each(|cpu| p.equal(&cpu, answer(cpu).unwrap_or(BUSY), 0));
        p.equal(&"reset", call(hcall::RESET, [0; 5])[0], 0);
        for server in 0..CPUS as u64 {
            for function in [6, 7, 5] {
                let code = call(hcall::REGISTER_VPA, [function << 45, server, 0, 0, 0])[0];
                p.equal(&"areas", code, 0);
            }
        }
    });
    Probe::run("stopped-cpus-stay-so", |p| {
        for cpu in 1..CPUS {
            ask(cpu, Task::Stop);
            p.holds(&"stopped", until(|| is_stopped(cpu)));
            // Nothing but start-cpu brings one back.
            p.equal(&"prod", call(hcall::PROD, [cpu as u64, 0, 0, 0, 0])[0], 0);
            p.equal(&"reset", call(hcall::SIGNAL_RESET, [cpu as u64, 0, 0, 0, 0])[0], 0);
            p.holds(&"still", is_stopped(cpu));
        }
        // What was signalled to a stopped CPU is not kept for its next life.
        let before = RESETS.of(1).get();
        p.equal(&"again", start(0, 1).into(), 0);
        ask(1, Task::Nothing);
        ask(1, Task::Stop);
        p.holds(&"stopped", until(|| is_stopped(1)));
        p.equal(&"no reset", RESETS.of(1).get(), before);
        p.equal(&"the last CPU", call(hcall::JOIN, [0; 5])[0], CONTINUE);
    });
    Probe::run("watchdog-of-a-cpu-that-has-stopped", |p| {
        for _ in 0..5 {
            let starts = STARTS[1].load(SeqCst);
            p.equal(&"start", start(0, 1).into(), 0);
            p.holds(&"it comes", until(|| STARTS[1].load(SeqCst) == starts + 1));
            // From here on this CPU makes no call: the one that stops has to see to its own leaving.
            let before = RESETS.get();
            ask(1, Task::Watchdog);
            p.holds(&"the reset comes", watchdog::reset_comes(before, || {}));
            p.equal(&"started", answer(1).unwrap_or(BUSY), 0);
            p.holds(&"stopped", until(|| is_stopped(1)));
        }
    });
    true
}

/// All with a cede latency hint.
fn off_their_threads() {
    Probe::run("cpus-off-their-threads", |p| (0..CPUS).for_each(|cpu| off_thread::hint(p, cpu, 1)));
    Probe::run("numbered-interrupts-come-once", |p| {
        // The second time with queues that were taken away.
        for goal in [off_thread::goal(), off_thread::goal() + 1] {
            off_thread::set_up(p, goal);
            (1..CPUS).for_each(|cpu| ask(cpu, Task::Exchange));
            p.equal(&"wrong events", off_thread::exchange(0), 0);
            (1..CPUS).for_each(|cpu| p.equal(&cpu, answer(cpu).unwrap_or(BUSY), 0));
            off_thread::take_away(p, goal);
        }
    });
    Probe::run("prod-of-a-cpu-off-its-thread", |p| ping_pong(p, rounds() / 5));
    Probe::run("reset-of-a-cpu-off-its-thread", |p| resets(p, Task::Cede));
    Probe::run("cpus-on-their-threads", |p| (0..CPUS).for_each(|cpu| off_thread::no_hint(p, cpu)));
}

fn starts() {
    const REFUSED: u64 = -3_i32 as u32 as u64;
    const RUNS: u64 = -1_i32 as u32 as u64;
    Probe::run("cpus-start-as-asked", |p| {
        for (args, want) in [
            ([NO_SERVER as u32, CPU_ENTRY as u32, 0], REFUSED),
            ([u32::MAX, CPU_ENTRY as u32, 0], REFUSED),
            ([1, RAM_END as u32, 0], REFUSED),
            ([1, CPU_ENTRY as u32 + 1, 0], REFUSED),
            ([0, CPU_ENTRY as u32, 0], RUNS),
        ] {
            let got = services(0, rtas::START_CPU, &args, 1)[0];
            p.equal(&format_args!("{args:x?}"), got.into(), want);
        }
        for cpu in 1..CPUS {
            p.holds(&"stopped at first", is_stopped(cpu));
            p.equal(&"start", start(0, cpu).into(), 0);
            p.holds(&"it came", until(|| STARTS[cpu].load(SeqCst) == 1));
            // Machine checks, recoverable, little-endian by its own doing; nothing else.
            p.equal(&"state", ENTERED[cpu].load(SeqCst), (cpu as u64) << 32 | 0x1003);
            p.holds(&"it runs", !is_stopped(cpu));
            p.equal(&"again", start(0, cpu).into(), RUNS);
        }
    });
}

fn races() {
    Probe::run("stop-and-start-in-a-row", |p| {
        for round in 0..300 {
            let cpu = 1 + round % (CPUS - 1);
            let before = STARTS[cpu].load(SeqCst);
            ask(cpu, Task::Stop);
            // Refused until it has stopped, taken at once when it has.
            p.holds(&"it starts", until(|| start(0, cpu) == 0));
            p.holds(&"it comes", until(|| STARTS[cpu].load(SeqCst) == before + 1));
        }
    });
    Probe::run("two-cpus-start-a-third", |p| {
        for _ in 0..200 {
            ask(2, Task::Stop);
            p.holds(&"stopped", until(|| is_stopped(2)));
            let before = STARTS[2].load(SeqCst);
            ask(1, Task::Race);
            let mine = start(0, 2);
            let other = answer(1).unwrap_or(BUSY);
            let taken = u64::from(mine == 0) + u64::from(other == 0);
            p.equal(&"it was taken once", taken, 1);
            p.holds(&"it comes", until(|| STARTS[2].load(SeqCst) > before));
            p.equal(&"it comes once", STARTS[2].load(SeqCst), before + 1);
        }
    });
}

fn ping_pong(p: &Probe, rounds: u64) {
    ROUND.store(0, SeqCst);
    ask(1, Task::Ping);
    let [mut late, mut worst] = [0_u64; 2];
    for round in 0..rounds {
        let since = now();
        ROUND.store(2 * round + 1, SeqCst);
        call(hcall::PROD, [1, 0, 0, 0, 0]);
        let came = until(|| {
            let mine = ROUND.load(SeqCst) == 2 * round + 2;
            if !mine {
                cede();
            }
            mine
        });
        if !came {
            p.holds(&format_args!("round {round}"), false);
            break;
        }
        worst = worst.max(now() - since);
        late += u64::from(now() - since > LATE);
    }
    ROUND.store(OVER, SeqCst);
    call(hcall::PROD, [1, 0, 0, 0, 0]);
    p.equal(&"end", answer(1).unwrap_or(BUSY), 0);
    say!("prod: {late} late of {rounds} rounds, worst {} us", worst / 512);
    p.holds(&format_args!("{late} late"), late < rounds / 50);
}

fn ring(p: &Probe) {
    let laps = rounds() / CPUS as u64;
    ROUND.store(0, SeqCst);
    for cpu in 0..CPUS {
        let (server, queue) = (cpu as u64, QUEUES + 0x1_0000 * cpu as u64);
        let code = call(hcall::SET_QUEUE, [1, server, PRIORITY, queue, 16])[0];
        p.equal(&"queue", code, 0);
        let code = call(hcall::SET_SOURCE, [2, lisn(cpu), server, PRIORITY, server])[0];
        p.equal(&"source", code, 0);
        // SAFETY: the source's management page: on, nothing pending.
        unsafe { ptr::read_volatile((manage(cpu) + 0xc00) as *const u64) };
    }
    accept(0);
    let mut random = Random::new(7);
    (1..CPUS).for_each(|cpu| ask(cpu, Task::Ring));
    let [mut late, mut worst] = [0_u64; 2];
    for lap in 0..laps {
        let (seen, since) = (EXTS.get(), now());
        trigger(1);
        let spin = random.below(60_000);
        while now() - since < spin {}
        if !await_interrupt(0, seen) {
            p.holds(&format_args!("lap {lap}"), false);
            break;
        }
        worst = worst.max(now() - since);
        late += u64::from(now() - since > LATE);
    }
    ROUND.store(OVER, SeqCst);
    for cpu in 1..CPUS {
        call(hcall::PROD, [cpu as u64, 0, 0, 0, 0]);
        p.equal(&"wrong events", answer(cpu).unwrap_or(BUSY), 0);
        let source = [0, lisn(cpu), 0, 0xff, 0];
        p.equal(&"mask", call(hcall::SET_SOURCE, source)[0], 0);
    }
    say!("ring: {late} late of {laps} laps, worst {} us", worst / 512);
    p.holds(&format_args!("{late} late"), late < laps / 50);
}

fn resets(p: &Probe, task: Task) {
    for _ in 0..200 {
        let before = RESETS.of(1).get();
        ROUND.store(0, SeqCst);
        ask(1, task);
        p.holds(&"ready", until(|| ROUND.load(SeqCst) == READY));
        p.equal(&"code", call(hcall::SIGNAL_RESET, [1, 0, 0, 0, 0])[0], 0);
        p.holds(&"it comes", until(|| RESETS.of(1).get() == before + 1));
        if task != Task::Spin && RESULT[1].load(SeqCst) == BUSY {
            // It may have come before the wait began.
            call(hcall::PROD, [1, 0, 0, 0, 0]);
        }
        p.equal(&"it goes on", answer(1).unwrap_or(BUSY), 0);
    }
}

fn reset_of_all(p: &Probe) {
    let counts = || [0, 1, 2, 3].map(|cpu| RESETS.of(cpu).get());
    let signal = |target: i64| call(hcall::SIGNAL_RESET, [target as u64, 0, 0, 0, 0])[0];
    // A reset in a vector would overwrite what that has saved: the others take no interrupt.
    ROUND.store(0, SeqCst);
    (1..CPUS).for_each(|cpu| ask(cpu, Task::Deaf));
    p.holds(&"deaf", until(|| TASK.iter().skip(1).all(|task| task.load(SeqCst) == 0)));
    let before = counts();
    p.equal(&"others", signal(-2), 0);
    let others = before.map(|count| count + 1);
    p.holds(&"they come", until(|| counts()[1..] == others[1..]));
    p.equal(&"not here", RESETS.get(), before[0]);
    p.equal(&"all", signal(-1), 0);
    p.equal(&"here", RESETS.get(), before[0] + 1);
    p.holds(&"they come", until(|| (1..CPUS).all(|cpu| counts()[cpu] == before[cpu] + 2)));
    p.equal(&"no such server", signal(NO_SERVER as i64), PARAMETER);
    p.equal(&"no such server", signal(-3), PARAMETER);
    ROUND.store(OVER, SeqCst);
    (1..CPUS).for_each(|cpu| p.equal(&"they go on", answer(cpu).unwrap_or(BUSY), 0));
}

fn join(p: &Probe) {
    for _ in 0..200 {
        (1..CPUS).for_each(|cpu| ask(cpu, Task::Join));
        // Once all others have joined, the last is told so.
        let mut code = 0;
        let came = until(|| {
            if RESULT.iter().skip(1).all(|result| result.load(SeqCst) == BUSY) {
                code = try_join();
            }
            code == CONTINUE
        });
        p.holds(&"the last one", came);
        for cpu in 1..CPUS {
            p.equal(&"joined", RESULT[cpu].load(SeqCst), BUSY);
            p.equal(&"prod", call(hcall::PROD, [cpu as u64, 0, 0, 0, 0])[0], 0);
            p.equal(&"woken", answer(cpu).unwrap_or(BUSY), 0);
        }
    }
    // The prod that the last call did not use.
    cede();
    trap::interrupts(true);
    p.equal(&"with interrupts on", call(hcall::JOIN, [0; 5])[0], BAD_MODE);
    trap::interrupts(false);
}

/// All CPUs but one have joined or stopped. It prods another and stops: who was prodded is one that
/// runs, however long it takes to come out.
fn hand_over(p: &Probe) {
    ask(3, Task::Stop);
    p.holds(&"stopped", until(|| is_stopped(3)));
    for _ in 0..100 {
        let starts = STARTS[2].load(SeqCst);
        ROUND.store(0, SeqCst);
        ask(1, Task::Relay);
        ask(2, Task::HandOver);
        ROUND.fetch_add(1, SeqCst);
        p.equal(&"joined", call(hcall::JOIN, [0; 5])[0], 0);
        p.equal(&"joined", answer(1).unwrap_or(BUSY), 0);
        p.holds(&"it starts", until(|| start(0, 2) == 0));
        p.holds(&"it comes", until(|| STARTS[2].load(SeqCst) > starts));
    }
    let starts = STARTS[3].load(SeqCst);
    p.equal(&"start", start(0, 3).into(), 0);
    p.holds(&"it comes", until(|| STARTS[3].load(SeqCst) > starts));
}

/// H_JOIN on the first CPU, with its own prod before it, lest it wait for ever while others still run.
fn try_join() -> u64 {
    call(hcall::PROD, [0; 5]);
    call(hcall::JOIN, [0; 5])[0]
}
