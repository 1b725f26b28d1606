// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A hostile guest. It tries each mechanism by which the firmware keeps a guest inside its walls or
//! serves it, one named probe each, and says on the console what came of it:
//! `probe NAME ok`, or `probe NAME FAIL got=… want=…`. Expected values are LoPAR's and the Power
//! ISA's, not what the firmware happens to do. At the end it powers off.
#![no_std]
#![no_main]

mod attack;
mod board;
mod calls;
mod console;
mod coverage;
#[path = "../../common/forge.rs"]
mod forge;
mod faults;
mod hcall;
#[path = "../../common/hex.rs"]
mod hex;
mod interrupts;
mod lives;
mod low;
mod mmu;
mod nmi;
mod numbers;
mod off_thread;
#[path = "../../common/orders.rs"]
mod orders;
#[path = "../../../../hv/spec/src/papr.rs"]
#[expect(dead_code, reason = "the firmware uses more of it")]
mod papr;
#[path = "../../common/random.rs"]
mod random;
mod relocated;
#[path = "../../common/report.rs"]
mod report;
mod resets;
#[path = "../../../../hv/spec/src/rtas.rs"]
#[expect(dead_code, reason = "the firmware uses more of it")]
mod rtas;
mod silence;
mod smp;
mod storm;
mod trap;
#[path = "../../common/tree.rs"]
mod tree;
mod walls;
mod watchdog;

use report::Probe;

#[expect(unsafe_code, reason = "called by name from the assembly")]
#[unsafe(no_mangle)]
extern "C" fn probe_main(tree: u64, big_endian: u64) -> ! {
    silence::entered();
    lives::begin(tree);
    say!("probe begins, entered {}", if big_endian == 1 { "big-endian" } else { "little-endian" });
    entry(tree, big_endian == 1);
    lives::live();
    faults::run(tree);
    if tree::asked_for(tree, "only=nested-machine-check") {
        nmi::nested();
    }
    if tree::asked_for(tree, "long=races") {
        interrupts::run_longer();
    }
    if tree::asked_for(tree, "only=resets") {
        resets::run();
    }
    if tree::asked_for(tree, "only=watchdog") {
        watchdog::power_off();
    }
    attack::run(tree);
    silence::run(tree);
    calls::run();
    walls::run();
    relocated::run();
    interrupts::run();
    let several = smp::run();
    storm::run();
    watchdog::run();
    nmi::run();
    if several {
        coverage::run();
    }
    Probe::run("registers-survive-every-hypercall", |p| {
        let (leaks, [call, register, value]) = hcall::leaks();
        let what = format_args!("call {call:#x}, register {register}, {value:#x}");
        p.equal(&what, leaks, 0);
    });
    say!("probe ends");
    await_reader();
    console::power_off();
    say!("probe power-off FAIL got=0x0 want=0x1 in the machine's end");
    loop {}
}

/// Lets someone outside look at the machine, until a byte comes; not for ever, if nobody is there.
pub fn await_reader() {
    let start = trap::now();
    while trap::now() - start < 120 * trap::SECOND {
        let [code, count, high, ..] = hcall::hcall(hcall::GET_TERM_CHAR, &[0]);
        if code != 0 || count > 0 {
            Probe::run("console-input", |p| {
                p.equal(&"code", code, 0);
                p.equal(&"bytes", count, 1);
                p.equal(&"byte", high >> 56, u64::from(b'x'));
            });
            return;
        }
    }
}

/// The entry contract, and that interrupts come in the byte order that the config names.
fn entry(tree: u64, big_endian: bool) {
    Probe::run("entry-tree", |p| {
        let magic = trap::load(tree, 4);
        p.equal(&"the tree's magic", u64::from((magic.r3 as u32).swap_bytes()), 0xd00d_feed);
        p.holds(&"alignment", tree % 8 == 0);
    });
    if big_endian {
        Probe::run("set-mode-little-endian", |p| {
            p.equal(&"code", hcall::code(hcall::SET_MODE, &[1, 4, 0, 0]), 0);
        });
    } else {
        Probe::run("little-endian-entry-outlives-cede", |p| {
            // Without H_SET_MODE: interrupts are little-endian before and after the firmware has
            // had the core. A big-endian vector would not come back.
            for _ in 0..3 {
                let trap = trap::word(0, 0, 0).trap;
                p.equal(&"vector", trap.vector, 0x700);
                trap::set_decrementer(1000);
                p.equal(&"cede", hcall::code(hcall::CEDE, &[]), 0);
                trap::interrupts(false);
            }
        });
    }
}
