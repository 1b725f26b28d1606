// SPDX-License-Identifier: Apache-2.0 OR MIT
//! With an order for it in its command line the guest does one thing: all its CPUs attack at once, by
//! calls and by everything else, which ends when the order is done; they start each other and leave
//! meanwhile. Someone outside looks at the machine before and after; at the very end the guest prints
//! lines that look like a clean end, and loses its vectors.
#![expect(unsafe_code, reason = "reads the tree")]

mod calls;
mod wild;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::board::{CPUS, RAM_END};
use crate::interrupts::{frame, keep_one_pending};
use crate::orders::Orders;
use crate::psci::{self, CPU_ON, VERSION};
use crate::random::Random;
use crate::report::Probe;
use crate::trap::{class, load};
use crate::{forge, say, smp, vectors};

/// Whether the order stands.
static ON: AtomicU64 = AtomicU64::new(0);
static SEED: AtomicU64 = AtomicU64::new(0);
/// What each CPU still has to do.
static CALLS: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
static WILD: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
/// How often each came to the top of its loop.
static TURNS: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
static SERVED: AtomicU64 = AtomicU64::new(0);
/// Accesses that reached what is not the guest's; the first one's instruction and address.
static REACHED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Whether CPUs that start are to take part.
pub fn is_on() -> bool {
    ON.load(Relaxed) != 0
}

/// Attacks if the tree says so; then it does not return.
pub fn run(tree: u64) {
    // SAFETY: the firmware put the tree there; its size stands in its second word.
    let bytes = unsafe {
        let size = u32::from_be(*((tree + 4) as *const u32));
        core::slice::from_raw_parts(tree as *const u8, size as usize)
    };
    let Some(orders) = Orders::read(bytes) else { return };
    say!("attack seed={:#x} calls={} wild={}", orders.seed, orders.calls, orders.wild);
    say!("attack begins on {CPUS} CPUs");
    while crate::console::typed().is_none() {}
    SEED.store(orders.seed, Relaxed);
    for cpu in 0..CPUS {
        CALLS[cpu].store(orders.calls.div_ceil(CPUS as u64), Relaxed);
        WILD[cpu].store(orders.wild.div_ceil(CPUS as u64), Relaxed);
    }
    let before: [_; CPUS] = core::array::from_fn(tables);
    ON.store(1, Relaxed);
    for cpu in 1..CPUS {
        psci::call(&[CPU_ON, cpu as u64, smp::entry(), cpu as u64]);
    }
    take_part(0);
    end(before == core::array::from_fn(tables));
}

/// The addresses of a control frame's tables.
fn tables(cpu: usize) -> [u64; 2] {
    [0x70, 0x78].map(|offset| load(frame(cpu) + offset, 8).x(1))
}

/// A CPU that was started, to the end of its order; only the first one comes back.
pub fn take_part(cpu: usize) {
    let turn = TURNS[cpu].fetch_add(1, Relaxed);
    let mut random = Random::new(SEED.load(Relaxed) ^ (cpu as u64) << 56 ^ turn << 32);
    // Both shares of the order, mixed. What is not come back from is not counted.
    while !is_done(cpu) {
        let [calls, wild] = [&CALLS, &WILD].map(|left| left[cpu].load(Relaxed));
        if random.below(calls + wild) < calls {
            SERVED.fetch_add(u64::from(calls::call(cpu, &mut random) >= 0), Relaxed);
            CALLS[cpu].store(calls - 1, Relaxed);
        } else {
            note(wild::act(cpu, &mut random));
            WILD[cpu].store(wild - 1, Relaxed);
        }
    }
    while !(0..CPUS).all(is_done) {
        // Whoever is off has something left to do, and whoever waits needs an interrupt.
        for other in (0..CPUS).filter(|other| !is_done(*other)) {
            psci::call(&[CPU_ON, other as u64, smp::entry(), other as u64]);
            keep_one_pending(other);
        }
    }
    if cpu != 0 {
        smp::turn_off(cpu);
    }
}

/// Notes what an access reached.
fn note(reached: Option<[u64; 2]>) {
    if let Some(what) = reached
        && REACHED[0].fetch_add(1, Relaxed) == 0
    {
        REACHED[1..].iter().zip(what).for_each(|(word, value)| word.store(value, Relaxed));
    }
}

fn is_done(cpu: usize) -> bool {
    CALLS[cpu].load(Relaxed) + WILD[cpu].load(Relaxed) == 0
}

/// The firmware still answers, and what it must not have let through did not get through.
fn end(same_tables: bool) -> ! {
    while !(1..CPUS).all(smp::is_off) {}
    let turns = TURNS.iter().map(|turns| turns.load(Relaxed)).sum::<u64>();
    let served = SERVED.load(Relaxed);
    say!("attack: {served} served, {turns} turns");
    Probe::run("attack-reached-nothing", |p| {
        let [count, word, address] = [0, 1, 2].map(|n| REACHED[n].load(Relaxed));
        p.equal(&format_args!("instruction {word:#010x} at {address:#x}"), count, 0);
        p.holds(&"calls were served", served > 0);
        p.holds(&"the interrupt controller's tables are where they were", same_tables);
    });
    Probe::run("attack-answers", |p| {
        p.equal(&"PSCI VERSION", psci::call(&[VERSION]), 0x1_0001);
        p.equal(&"holes", load(RAM_END, 8).class(), class::DATA + 1);
        p.equal(&"a CPU", smp::start(1), psci::SUCCESS);
    });
    Probe::run("registers-survive-every-call", |p| {
        let (leaks, [call, register, value], strays) = psci::leaks();
        p.equal(&format_args!("call {call:#x}, x{register} {value:#x}"), leaks, 0);
        p.equal(&"calls that came back elsewhere", strays, 0);
    });
    say!("probe ends");
    crate::await_reader();
    forge::forge_an_end();
    vectors::give_up(RAM_END)
}
