// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A hostile guest on four CPUs. It tries each mechanism by which the firmware keeps a guest inside
//! its walls or serves it, one named probe each, and says on the console what came of it:
//! `probe NAME ok`, or `probe NAME FAIL got=… want=…`. Expected values are the Arm architecture's,
//! PSCI's and SMCCC's, not what the firmware happens to do. At the end all CPUs power off at once.
//!
//! With `vectors=` in its command line it does one thing instead: it puts its vectors where they
//! cannot be executed. With `only=walls` it leaves out what takes long and is the same on all
//! processors; with `lives` it is restarted again and again; with `ids` it tells what the processor is.
#![no_std]
#![no_main]

mod attack;
mod board;
mod calls;
mod console;
mod faults;
#[path = "../../common/forge.rs"]
mod forge;
mod forms;
mod frames;
#[path = "../../common/hex.rs"]
mod hex;
mod ids;
mod interrupts;
mod lives;
mod low;
mod mmu;
#[path = "../../common/orders.rs"]
mod orders;
mod psci;
mod races;
#[path = "../../common/random.rs"]
mod random;
mod registers;
#[path = "../../common/report.rs"]
mod report;
mod silence;
mod smp;
mod trap;
#[path = "../../common/tree.rs"]
mod tree;
mod vectors;
mod walls;

use board::CPUS;
use report::Probe;

/// Entered by the firmware with its tree; `others` is all other registers ored together.
#[expect(unsafe_code, reason = "called by name from the assembly")]
#[unsafe(no_mangle)]
extern "C" fn probe_main(tree: u64, others: u64) -> ! {
    silence::entered();
    say!("probe begins");
    lives::begin(tree);
    low::install(0);
    vectors::lose(tree);
    entry(tree, others);
    mmu::fill();
    mmu::prepare();
    mmu::turn(true);
    ids::tell(tree);
    faults::run(tree);
    interrupts::keep_one_pending(0);
    lives::live(tree);
    silence::run(tree);
    attack::run(tree);
    Probe::run("start-of-other-cpus", |p| {
        for cpu in 1..CPUS {
            p.holds(&"off", smp::is_off(cpu));
            // The fourth comes and goes.
            if cpu < CPUS - 1 {
                p.equal(&"start", smp::start(cpu), psci::SUCCESS);
            }
        }
        p.equal(&"registers at their start", smp::garbage(), 0);
    });
    walls::run();
    forms::run();
    calls::run();
    if !tree::asked_for(tree, "only=walls") {
        registers::run();
        races::run();
        frames::run();
    } else {
        smp::start(3);
    }
    Probe::run("registers-survive-every-call", |p| {
        let (leaks, [call, register, value], strays) = psci::leaks();
        p.equal(&format_args!("call {call:#x}, x{register} {value:#x}"), leaks, 0);
        p.equal(&"calls that came back elsewhere", strays, 0);
    });
    say!("probe ends");
    await_reader();
    smp::together(&[0, 1, 2, 3], |_| {
        smp::meet(CPUS);
        psci::power_off();
    });
    loop {}
}

/// Lets someone outside look at the machine, until a byte comes; not for ever, if nobody is there.
pub fn await_reader() {
    let start = trap::now();
    while trap::now() - start < 120 * trap::second() {
        if let Some(byte) = console::typed() {
            Probe::run("console-input", |p| p.equal(&"byte", byte.into(), u64::from(b'x')));
            return;
        }
    }
}

/// The entry contract: Linux's (Documentation/arch/arm64/booting.rst).
fn entry(tree: u64, others: u64) {
    Probe::run("entry", |p| {
        let magic = trap::load(tree, 4).x(1) as u32;
        p.equal(&"the tree's magic", magic.swap_bytes().into(), 0xd00d_feed);
        p.holds(&"alignment", tree % 8 == 0);
        p.equal(&"all other registers", others, 0);
        p.holds(&"no translation", !mmu::is_on());
    });
}
