// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counts what a guest's exits cost, in instructions, and says it on the console:
//! `bench NAME min=… median=… p99=… max=…`.
//!
//! Under `anchorite run --icount --cpu max` the virtual counter ticks once for each instruction that
//! is executed, at whatever exception level. A sample is what lies between two reads of the counter,
//! less the second read. It has the guest's own instruction in it, which a hypervisor cannot save.
#![no_std]
#![no_main]

#[expect(dead_code, reason = "the probe uses more of it")]
#[path = "../../arm64-probe/src/board.rs"]
mod board;
#[expect(dead_code, reason = "the probe is typed at")]
#[path = "../../arm64-probe/src/console.rs"]
mod console;
mod events;
mod psci;
#[path = "../../common/samples.rs"]
mod samples;
#[path = "../../common/say.rs"]
mod say;

use samples::measure;

/// Entered by the firmware.
#[expect(unsafe_code, reason = "called by name from the assembly")]
#[unsafe(no_mangle)]
extern "C" fn bench_main() -> ! {
    events::prepare();
    measure("nothing", events::nothing);
    measure("1000-nops", events::nops);
    measure("hvc-psci-version", || events::hvc(psci::VERSION));
    measure("hvc-unknown", || events::hvc(psci::UNKNOWN));
    measure("smc-psci-version", || events::smc(psci::VERSION));
    measure("smc-unknown", || events::smc(psci::UNKNOWN));
    measure("timer", events::timer);
    measure("sgi", events::sgi);
    measure("gic-read", events::gic_read);
    measure("gic-write", events::gic_write);
    measure("load-from-a-hole", events::hole);
    say!("bench ends");
    psci::power_off()
}
