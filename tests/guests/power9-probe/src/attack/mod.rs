// SPDX-License-Identifier: Apache-2.0 OR MIT
//! With an order for it in its command line the guest does one thing: all its CPUs attack at once, by
//! calls and by everything else, which ends when the order is done. They start, stop, wake and reset each
//! other meanwhile: a CPU that loses its place goes on at the top of its loop. Someone outside looks at
//! the machine before and after. If that one says so the guest begins again in the middle of it; at the very end the console is flooded with lines that look like a
//! clean end, and the guest panics.
#![expect(unsafe_code, reason = "called by name from the assembly")]

pub mod calls;
mod wild;
#[path = "../../../common/work.rs"]
mod work;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::board::{ESB, RAM_END};
use crate::hcall::{self, code};
use crate::low::{AGAIN, LOST, RESETS, RESUME, low_again};
use crate::orders::Orders;
use crate::random::Random;
use crate::report::Probe;
use crate::smp::{self, CPUS};
use crate::trap::{self, MSR};
use crate::{console, coverage, forge, mmu, rtas, say, tree};

/// How many CPUs there are, once the order stands.
static ALL: AtomicU64 = AtomicU64::new(0);

/// Whether CPUs that start are to take part.
pub fn is_on() -> bool {
    ALL.load(Relaxed) != 0
}

/// Attacks if the tree says so; then it does not return.
pub fn run(tree: u64) {
    let Some(orders) = Orders::read(tree::bytes(tree)) else { return };
    mmu::start();
    let cpus = (1..CPUS).take_while(|cpu| smp::is_stopped(*cpu)).count() as u64 + 1;
    say!("attack seed={:#x} calls={} wild={}", orders.seed, orders.calls, orders.wild);
    say!("attack begins on {cpus} CPUs");
    work::ends_by(loop {
        let [_, count, high, ..] = hcall::hcall(hcall::GET_TERM_CHAR, &[0]);
        if count != 0 {
            break (high >> 56) as u8;
        }
    });
    work::share(&orders, cpus as usize);
    for cpu in 0..cpus as usize {
        // Resets come as early as they like.
        RESUME.of(cpu).set(MSR);
        AGAIN.of(cpu).set(low_again as *const () as u64);
    }
    ALL.store(cpus, Relaxed);
    for cpu in 1..cpus as usize {
        smp::start(0, cpu);
    }
    take_part(0);
}

/// A CPU that was started, or lost its place.
pub fn take_part(cpu: usize) -> ! {
    attack_again(cpu as u64)
}

/// From the assembly, on a fresh stack.
#[unsafe(no_mangle)]
extern "C" fn attack_again(cpu: u64) -> ! {
    let cpu = cpu as usize % CPUS;
    // A CPU that waits for another one's prod does not come back, and is not done.
    let call = |random: &mut Random| {
        if let Some(by) = work::cut_short(random) {
            end_life(cpu, by);
        }
        let served = call(cpu, random) == 0;
        trap::interrupts(false);
        served
    };
    let act = |random: &mut Random| {
        let reached = wild::act(cpu, random);
        trap::interrupts(false);
        reached
    };
    work::run(cpu, call, act);
    let all = ALL.load(Relaxed) as usize;
    loop {
        // Whoever waits, or has stopped, has something left to do.
        for other in (0..all).filter(|other| *other != cpu && !work::is_done(*other)) {
            smp::call(hcall::PROD, [other as u64, 0, 0, 0, 0]);
            smp::start(cpu, other);
        }
        match (0..all).all(work::is_done) {
            true if cpu == 0 => end(),
            true => {
                smp::services(cpu, rtas::STOP_SELF, &[], 1);
            }
            false => {}
        }
        trap::set_decrementer(trap::SECOND / 10_000);
        smp::call(hcall::CEDE, [0; 5]);
        trap::interrupts(false);
    }
}

/// Has the guest begin again, in the middle of what the others do: by a reboot, by a panic, or by a
/// watchdog, which comes a little later. Where another CPU does the same it may come back.
fn end_life(cpu: usize, by: u8) {
    /// Start, and restart the guest.
    const RESTART: u64 = 0x102;
    match by {
        b'r' => drop(smp::services(cpu, rtas::SYSTEM_REBOOT, &[], 1)),
        b'p' => drop(smp::services(cpu, rtas::OS_TERM, &[0], 1)),
        _ => drop(smp::call(hcall::WATCHDOG, [RESTART, 4, 1, 0, 0])),
    }
}

fn call(cpu: usize, random: &mut Random) -> u64 {
    let call = calls::next(cpu, false, random);
    if call.number == hcall::CEDE {
        trap::set_decrementer(random.below(20_000));
    }
    if call.number == hcall::JOIN && cpu == 0 {
        return 1;
    }
    let [a, b, c, d, e, ..] = call.args;
    smp::call(call.number, [a, b, c, d, e])[0]
}

/// The firmware still answers, and what it must not have let through did not get through.
fn end() -> ! {
    AGAIN.set(0);
    let others = 1..ALL.load(Relaxed) as usize;
    let stopped = smp::until(|| others.clone().all(smp::is_stopped));
    let resets = (0..CPUS).map(|cpu| RESETS.of(cpu).get()).sum::<u64>();
    let lost = (0..CPUS).map(|cpu| LOST.of(cpu).get()).sum::<u64>();
    let (served, turns) = work::done();
    say!("attack: {served} served, {turns} turns, {resets} resets, {lost} lost");
    Probe::run("attack-reached-nothing", |p| {
        work::reached_nothing(p);
        p.holds(&"the other CPUs have stopped", stopped);
        p.holds(&"each call's arguments were at every edge", calls::all_edges());
    });
    Probe::run("attack-answers", |p| {
        let stop = code(hcall::WATCHDOG, &[0x200, u64::MAX]);
        p.holds(&"watchdogs stop, or there were none", stop == 0 || stop == hcall::NOOP);
        p.equal(&"reset", code(hcall::RESET, &[0]), 0);
        p.equal(&"table", mmu::register(), 0);
        for (server, function) in (0..=others.len() as u64).flat_map(|n| [(n, 6), (n, 7), (n, 5)]) {
            let withdraw = [function << 45, server, 0];
            p.equal(&"areas", code(hcall::REGISTER_VPA, &withdraw), 0);
        }
        p.equal(&"answers", code(hcall::RANDOM, &[]), 0);
        let [code, _, eoi, trigger, shift, ..] = hcall::hcall(hcall::SOURCE_INFO, &[0, 0]);
        p.equal(&"code", code, 0);
        p.equal(&"trigger page", trigger, ESB);
        p.equal(&"management page", eoi, ESB + 0x1_0000);
        p.equal(&"page size", shift, 16);
        let status = smp::services(0, rtas::GET_TIME_OF_DAY, &[], 8)[0];
        p.equal(&"clock", status.into(), 0);
        p.equal(&"holes", trap::load(RAM_END, 8).trap.vector, 0x200);
    });
    coverage::none_strange();
    Probe::run("registers-survive-every-hypercall", |p| p.equal(&"leaks", hcall::leaks().0, 0));
    say!("probe ends");
    crate::await_reader();
    console::flood(0x400);
    forge::forge_an_end();
    crate::smp::services(0, rtas::OS_TERM, &[0], 1);
    loop {}
}
