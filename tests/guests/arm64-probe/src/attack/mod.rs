// SPDX-License-Identifier: Apache-2.0 OR MIT
//! With an order for it in its command line the guest does one thing: all its CPUs attack at once, by
//! calls and by everything else, which ends when the order is done; they start each other and leave
//! meanwhile. Someone outside looks at the machine before and after. If that one says so the guest begins
//! again in the middle of it; at the very end the guest prints
//! lines that look like a clean end, switches the UART off that the firmware uses too, and loses its vectors.

mod calls;
mod wild;
#[path = "../../../common/work.rs"]
mod work;

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::board::{CPUS, RAM_END, UART};
use crate::interrupts::{frame, keep_one_pending};
use crate::orders::Orders;
use crate::psci::{self, CPU_ON, VERSION};
use crate::random::Random;
use crate::report::Probe;
use crate::trap::{class, load, store};
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
    work::ends_by(loop {
        if let Some(byte) = crate::console::typed() {
            break byte;
        }
    });
    work::share(&orders, CPUS);
    let before: [_; CPUS] = core::array::from_fn(tables);
    ON.store(true, Relaxed);
    for cpu in 1..CPUS {
        psci::call(&[CPU_ON, cpu as u64, smp::entry(), cpu as u64]);
    }
    take_part(0);
    end(before == core::array::from_fn(tables));
}

/// Has the guest begin again, in the middle of what the others do: by a panic or by a reboot.
fn end_life(by: u8, random: &mut Random) {
    if by == b'p' {
        vectors::give_up(RAM_END);
    }
    psci::call(&[random.one_of(&[psci::SYSTEM_RESET, psci::SYSTEM_RESET2])]);
}

/// The addresses of a control frame's tables.
fn tables(cpu: usize) -> [u64; 2] {
    [0x70, 0x78].map(|offset| load(frame(cpu) + offset, 8).x(1))
}

/// A CPU that was started, to the end of its order; only the first one comes back.
pub fn take_part(cpu: usize) {
    let call = |random: &mut Random| {
        if let Some(by) = work::cut_short(random) {
            end_life(by, random);
        }
        calls::call(cpu, random) >= 0
    };
    work::run(cpu, call, |random| wild::act(cpu, random));
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
        p.holds(&"each call's arguments were at every edge", calls::all_edges());
        p.holds(&"the interrupt controller's tables are where they were", same_tables);
    });
    Probe::run("attack-answers", |p| {
        p.equal(&"PSCI VERSION", psci::call(&[VERSION]), 0x1_0001);
        p.equal(&"holes", load(RAM_END, 8).class(), class::DATA + 1);
        // A call of another CPU's that came late may have turned it on once more: it goes off again.
        let mut code = smp::start(1);
        while matches!(code, psci::ALREADY_ON | psci::ON_PENDING) {
            code = smp::start(1);
        }
        p.equal(&"a CPU", code, psci::SUCCESS);
    });
    Probe::run("registers-survive-every-call", |p| {
        let (leaks, [call, register, value], strays) = psci::leaks();
        p.equal(&format_args!("call {call:#x}, x{register} {value:#x}"), leaks, 0);
        p.equal(&"calls that came back elsewhere", strays, 0);
    });
    say!("probe ends");
    crate::await_reader();
    forge::forge_an_end();
    // From here on nothing that is sent gets out: the UART is off, and hears itself.
    store(UART + 0x30, 4, 1 << 7);
    vectors::give_up(RAM_END)
}
