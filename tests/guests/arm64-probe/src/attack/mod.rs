// SPDX-License-Identifier: Apache-2.0 OR MIT
//! With an order for it in its command line the guest does one thing: all its CPUs attack at once, by
//! calls and by everything else, which ends when the order is done; they start each other and leave
//! meanwhile. Someone outside looks at the machine before and after; at the very end the guest prints
//! lines that look like a clean end, and loses its vectors.

mod calls;
mod wild;
#[path = "../../../common/work.rs"]
mod work;

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::board::{CPUS, RAM_END};
use crate::interrupts::{frame, keep_one_pending};
use crate::orders::Orders;
use crate::psci::{self, CPU_ON, VERSION};
use crate::report::Probe;
use crate::trap::{class, load};
use crate::{forge, say, smp, tree, vectors};

/// Whether the order stands.
static ON: AtomicBool = AtomicBool::new(false);

/// Whether CPUs that start are to take part.
pub fn is_on() -> bool {
    ON.load(Relaxed)
}

/// Attacks if the tree says so; then it does not return.
pub fn run(tree: u64) {
    let Some(orders) = Orders::read(tree::bytes(tree)) else { return };
    say!("attack seed={:#x} calls={} wild={}", orders.seed, orders.calls, orders.wild);
    say!("attack begins on {CPUS} CPUs");
    while crate::console::typed().is_none() {}
    work::share(&orders, CPUS);
    let before: [_; CPUS] = core::array::from_fn(tables);
    ON.store(true, Relaxed);
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
    work::run(cpu, |random| calls::call(cpu, random) >= 0, |random| wild::act(cpu, random));
    while !(0..CPUS).all(work::is_done) {
        // Whoever is off has something left to do, and whoever waits needs an interrupt.
        for other in (0..CPUS).filter(|other| !work::is_done(*other)) {
            psci::call(&[CPU_ON, other as u64, smp::entry(), other as u64]);
            keep_one_pending(other);
        }
    }
    if cpu != 0 {
        smp::turn_off(cpu);
    }
}

/// The firmware still answers, and what it must not have let through did not get through.
fn end(same_tables: bool) -> ! {
    while !(1..CPUS).all(smp::is_off) {}
    let (served, turns) = work::done();
    say!("attack: {served} served, {turns} turns");
    Probe::run("attack-reached-nothing", |p| {
        work::reached_nothing(p);
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
