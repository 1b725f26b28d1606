// SPDX-License-Identifier: Apache-2.0 OR MIT
//! All CPUs at once: starts of one CPU, its end, and storms of everything that comes to EL2.
use core::sync::atomic::{AtomicU64, Ordering};

use crate::board::{CPUS, RAM_END, SCRATCH};
use crate::psci::{self, ALREADY_ON, CPU_ON, CPU_SUSPEND, ON_PENDING, SUCCESS, call, call_by};
use crate::random::Random;
use crate::report::Probe;
use crate::trap::{EL1H, class, encoding, load, store, system, word};
use crate::{interrupts, say, smp};

const SEED: u64 = 0x5eed_0a64_0000_0001;
const ROUNDS: u64 = 16;
const CALLS: u64 = 3000;
const FAULTS: u64 = 1500;

/// CPUs that started the fourth in this round, and what the last of them gave it.
static STARTED: AtomicU64 = AtomicU64::new(0);
static GIVEN: AtomicU64 = AtomicU64::new(0);
/// Results that no call may have.
static STRANGE: AtomicU64 = AtomicU64::new(0);
/// Rounds so far.
static ROUND: AtomicU64 = AtomicU64::new(0);

/// Asks for the fourth CPU; whether this call started it.
fn ask(cpu: usize) -> bool {
    let argument = ROUND.load(Ordering::Relaxed) << 16 | (cpu as u64) << 8 | 3;
    match call(&[CPU_ON, 3, smp::entry(), argument]) {
        SUCCESS => {
            STARTED.fetch_add(1, Ordering::AcqRel);
            GIVEN.store(argument, Ordering::Release);
            true
        }
        ALREADY_ON | ON_PENDING => false,
        _ => {
            STRANGE.fetch_add(1, Ordering::Relaxed);
            false
        }
    }
}

fn start_the_fourth(cpu: usize) {
    smp::meet(3);
    ask(cpu);
}

fn chase_the_fourth(cpu: usize) {
    smp::meet(3);
    // While it goes, until it is back.
    while STARTED.load(Ordering::Acquire) == 0 {
        if !ask(cpu) && call(&[psci::AFFINITY_INFO, 3, 0]) > 2 {
            STRANGE.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// All of them, with the fourth CPU off and the others on; the fourth is on afterwards.
pub fn run() {
    Probe::run("one-start-for-many-calls", |p| {
        for n in 0..ROUNDS {
            round(p, n, || smp::together(&[0, 1, 2], start_the_fourth));
            smp::give(3, smp::turn_off);
            while !smp::is_off(3) {}
        }
    });
    Probe::run("start-of-the-last-cpu", |p| p.equal(&"result", smp::start(3), SUCCESS));
    Probe::run("starts-while-it-ends", |p| {
        for n in 0..ROUNDS {
            round(p, n, || {
                smp::give(3, smp::turn_off);
                smp::together(&[0, 1, 2], chase_the_fourth);
            });
        }
    });
    storms();
}

/// Something after which the fourth CPU has been started by exactly one call.
fn round(p: &Probe, number: u64, body: impl FnOnce()) {
    let before = smp::starts(3).0;
    ROUND.store(number, Ordering::Relaxed);
    STARTED.store(0, Ordering::Release);
    body();
    smp::await_start(3, before);
    p.equal(&"calls that started it", STARTED.load(Ordering::Acquire), 1);
    p.equal(&"starts", (smp::starts(3).0 - before) as u64, 1);
    p.equal(&"x0", smp::starts(3).1, GIVEN.load(Ordering::Acquire));
    p.equal(&"results that cannot be", STRANGE.load(Ordering::Relaxed), 0);
    p.equal(&"registers at the start", smp::garbage(), 0);
}

/// Numbers that are served and do not end anything, and some near them.
const NUMBERS: [u64; 18] = [
    psci::VERSION,
    CPU_SUSPEND,
    CPU_SUSPEND & !(1 << 30),
    CPU_ON,
    CPU_ON & !(1 << 30),
    psci::AFFINITY_INFO,
    psci::AFFINITY_INFO & !(1 << 30),
    psci::MIGRATE_INFO_TYPE,
    psci::FEATURES,
    psci::SMCCC_VERSION,
    psci::ARCH_FEATURES,
    0x8000_8000,
    0x8000_7fff,
    0x8000_3fff,
    0x8400_0050,
    0xc400_0053,
    0x8600_ff01,
    0xc400_000e,
];

/// An argument: small, an address at an edge, or noise.
fn argument(random: &mut Random) -> u64 {
    const EDGES: [u64; 7] = [SCRATCH, RAM_END, 0x5000_0000, 0x80a_0000, u64::MAX, 1 << 63, 1 << 32];
    match random.below(6) {
        0 | 1 => random.below(5),
        2 => 1 << random.below(64),
        3 => random.one_of(&EDGES).wrapping_sub(random.below(9)),
        4 => random.one_of(&NUMBERS),
        _ => random.next() >> random.below(64),
    }
}

/// Powers off, resets, or says by SDEI that it is about to.
fn ends_something(number: u64) -> bool {
    const SDEI: core::ops::RangeInclusive<u64> = 0x8400_0020..=0x8400_003f;
    const RESET2: u64 = psci::SYSTEM_RESET2 & !(1 << 30);
    let short = number & !(1 << 30) & 0xffff_ffff;
    [psci::CPU_OFF, psci::SYSTEM_OFF, psci::SYSTEM_RESET, RESET2].contains(&short)
        || SDEI.contains(&short)
}

fn storm_of_calls(cpu: usize) {
    smp::meet(CPUS);
    let mut random = Random::new(SEED + cpu as u64);
    for _ in 0..CALLS {
        let number = match random.below(8) {
            0 => random.next() >> random.below(64),
            1 => 0x8400_0000 | random.below(0x80) | random.below(2) << 30,
            _ => random.one_of(&NUMBERS) | random.next() << 32,
        };
        if ends_something(number) {
            continue;
        }
        let mut args = [number, 0, 0, 0, 0, 0];
        args[1..].iter_mut().for_each(|arg| *arg = argument(&mut random));
        let instruction = random.one_of(&[psci::HVC, psci::SMC]);
        let result = call_by(instruction, &args) as i64;
        // All CPUs are on: a start can only be refused. The workarounds return nothing.
        let started = number as u32 & !(1 << 30) == CPU_ON as u32 & !(1 << 30) && result >= 0;
        if started || !(-9..=0x1_0002).contains(&result) && number & 0xffff_8000 != 0x8000_0000 {
            STRANGE.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn storm_of_faults(cpu: usize) {
    smp::meet(CPUS);
    let mut random = Random::new(SEED ^ cpu as u64);
    let frame = interrupts::frame(cpu);
    for _ in 0..FAULTS {
        let fine = match random.below(6) {
            0 => load(RAM_END + random.next() % 0x800_0000 & !7, 8).class() == class::DATA + 1,
            1 => store(0x5000_0000 + random.below(0x8_0000), 1, 0).class() == class::DATA + 1,
            2 => store(frame + 0x70 + random.below(4) * 4, 4, random.next()).ran(),
            3 => store(frame + 0x14, 4, 0).ran(),
            4 => {
                let register = encoding(3, random.below(8) as u32, 15, random.below(16) as u32, 0);
                word(EL1H, system(register, true), 0, 0).class() == class::UNKNOWN
            }
            _ => call(&[psci::VERSION]) == 0x1_0001,
        };
        STRANGE.fetch_add(u64::from(!fine), Ordering::Relaxed);
    }
}

fn storms() {
    say!("storm seed {SEED:#x}, {CALLS} calls and {FAULTS} faults on each CPU");
    for (name, job) in
        [("storm-of-calls", storm_of_calls as smp::Job), ("storm-of-faults", storm_of_faults)]
    {
        Probe::run(name, |p| {
            STRANGE.store(0, Ordering::Relaxed);
            smp::together(&[0, 1, 2, 3], job);
            p.equal(&"results that cannot be", STRANGE.load(Ordering::Relaxed), 0);
            for cpu in 0..CPUS {
                let table = load(interrupts::frame(cpu) + 0x78, 8).x(1);
                p.equal(&"PENDBASER", table & 0x000f_ffff_ffff_0000, 0);
            }
            p.equal(&"answers", call(&[psci::VERSION]), 0x1_0001);
        });
    }
}
