// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counts what a guest's exits cost, in instructions, and says it on the console:
//! `bench NAME min=… median=… p99=… max=…`.
//!
//! Under `anchorite run --icount` the timebase ticks 64 times in 125 instructions, in whatever state
//! they are executed. A sample is a row of equal events between two reads of it, less the instructions
//! of this program around them. Its interrupt vectors count theirs in a register. An event has the
//! guest's own instruction in it, the call or the load, which a hypervisor cannot save.
#![no_std]
#![no_main]

#[expect(dead_code, reason = "the probe uses more of it")]
#[path = "../../power9-probe/src/board.rs"]
mod board;
#[path = "../../power9-probe/src/console.rs"]
mod console;
mod events;
mod hcall;
mod low;
#[expect(dead_code, reason = "the probe uses more of it")]
#[path = "../../power9-probe/src/mmu.rs"]
mod mmu;
#[expect(dead_code, reason = "the probe uses more of them")]
#[path = "../../power9-probe/src/numbers.rs"]
mod numbers;
#[expect(dead_code, reason = "the firmware uses more of it")]
#[path = "../../../../hv/spec/src/rtas.rs"]
mod rtas;
#[path = "../../common/samples.rs"]
mod samples;
#[path = "../../common/say.rs"]
mod say;
mod trap;

use samples::measure;

/// Entered by the firmware.
#[expect(unsafe_code, reason = "called by name from the assembly")]
#[unsafe(no_mangle)]
extern "C" fn bench_main() -> ! {
    events::prepare();
    measure("nothing", events::nothing);
    measure("1000-nops", events::nops);
    measure("h-poll-pending", || events::call([hcall::POLL_PENDING, 0, 0, 0]));
    measure("h-confer", || events::call([hcall::CONFER, u64::MAX, 0, 0]));
    measure("h-random", || events::call([hcall::RANDOM, 0, 0, 0]));
    measure("h-set-mode-bad-flag", || events::call([hcall::SET_MODE, 2, 4, 0]));
    measure("h-prod-self", || events::call([hcall::PROD, 0, 0, 0]));
    measure("h-unknown", || events::call([hcall::UNKNOWN, 0, 0, 0]));
    measure("h-cede-decrementer", events::cede);
    hcall::register_area();
    measure("h-cede-with-vpa", events::cede);
    hcall::cede_latency_hint(1);
    measure("h-cede-off-thread", events::cede);
    hcall::cede_latency_hint(0);
    measure("h-put-term-char", events::put_term_char);
    events::translate(true);
    measure("h-unknown-translated", || events::call([hcall::UNKNOWN, 0, 0, 0]));
    events::translate(false);
    measure("decrementer", events::decrementer);
    measure("external-ipi", events::external);
    measure("load-from-a-hole", events::hole);
    events::register_routines();
    measure("load-from-a-hole-fwnmi", events::hole_with_routine);
    say!("bench ends");
    console::power_off();
    loop {}
}
