// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The work of an attack: what each CPU still has to do of its order, and what came of it.
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::CPUS;
use crate::orders::Orders;
use crate::random::Random;
use crate::report::Probe;

static SEED: AtomicU64 = AtomicU64::new(0);
/// What each CPU still has to do.
static CALLS: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
static WILD: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
/// How often each came to the top of its loop.
static TURNS: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
static SERVED: AtomicU64 = AtomicU64::new(0);
/// Accesses that reached what is not the guest's; the first one's instruction and address.
static REACHED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// How this life ends: the byte that someone outside has typed.
static LIFE: AtomicU64 = AtomicU64::new(WHOLE);
/// Once all of the order is done.
const WHOLE: u64 = b'x' as u64;
/// Of a life that ends before, so many calls of each CPU are its expected length.
const SHORT: u64 = 500;

/// Someone outside has said how this life is to end.
pub fn ends_by(byte: u8) {
    LIFE.store(byte.into(), Relaxed);
}

/// How to end this life right here, if it is not to be a whole one.
pub fn cut_short(random: &mut Random) -> Option<u8> {
    let by = LIFE.load(Relaxed);
    (by != WHOLE && random.below(SHORT) == 0).then_some(by as u8)
}

/// Gives each of so many CPUs its share of the order.
pub fn share(orders: &Orders, cpus: usize) {
    SEED.store(orders.seed, Relaxed);
    for cpu in 0..cpus {
        CALLS[cpu].store(orders.calls.div_ceil(cpus as u64), Relaxed);
        WILD[cpu].store(orders.wild.div_ceil(cpus as u64), Relaxed);
    }
}

/// Does a CPU's share, calls and everything else mixed. `call` says whether it was served, `act` the
/// instruction and the address by which it reached what is not the guest's. What is not come back from
/// is not counted.
pub fn run(
    cpu: usize,
    call: impl Fn(&mut Random) -> bool,
    act: impl Fn(&mut Random) -> Option<[u64; 2]>,
) {
    let turn = TURNS[cpu].fetch_add(1, Relaxed);
    let mut random = Random::new(SEED.load(Relaxed) ^ (cpu as u64) << 56 ^ turn << 32);
    while !is_done(cpu) {
        let [calls, wild] = [&CALLS, &WILD].map(|left| left[cpu].load(Relaxed));
        if random.below(calls + wild) < calls {
            SERVED.fetch_add(u64::from(call(&mut random)), Relaxed);
            CALLS[cpu].store(calls - 1, Relaxed);
        } else {
            note(act(&mut random));
            WILD[cpu].store(wild - 1, Relaxed);
        }
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

/// Whether nothing is left of a CPU's share.
pub fn is_done(cpu: usize) -> bool {
    CALLS[cpu].load(Relaxed) + WILD[cpu].load(Relaxed) == 0
}

/// Calls that were served, and turns of all CPUs' loops.
pub fn done() -> (u64, u64) {
    (SERVED.load(Relaxed), TURNS.iter().map(|turns| turns.load(Relaxed)).sum())
}

/// Nothing that is not the guest's was reached, and the calls were calls.
pub fn reached_nothing(p: &Probe) {
    let [count, word, address] = [0, 1, 2].map(|n| REACHED[n].load(Relaxed));
    p.equal(&format_args!("instruction {word:#010x} at {address:#x}"), count, 0);
    p.holds(&"calls were served", SERVED.load(Relaxed) > 0);
}
