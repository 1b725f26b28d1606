// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every call's success and its error codes, as PSCI (Arm DEN 0022) and SMCCC (DEN 0028) have them.
#![expect(unsafe_code, reason = "puts code at the end of RAM")]

use core::arch::asm;

use crate::board::{ANNEX_END, FRAMES, ISLAND, RAM, RAM_END, UART};
use crate::psci::*;
use crate::report::Probe;
use crate::smp;
use crate::trap::{EL1T, store, word};

fn expect(probe: &Probe, rows: &[(&[u64], u64)]) {
    for instruction in [HVC, SMC] {
        for (args, want) in rows {
            let got = call_by(instruction, args);
            probe.equal(&format_args!("{args:x?} by {instruction:#x}"), got, *want);
        }
    }
}

/// All of them, with the fourth CPU off and the others on.
pub fn run() {
    Probe::run("calls-that-answer", |p| {
        expect(
            p,
            &[
                (&[VERSION], 0x1_0001),
                // The upper half of x0 is no part of the number.
                (&[0xdead_beef << 32 | VERSION], 0x1_0001),
                (&[SMCCC_VERSION], 0x1_0001),
                (&[MIGRATE_INFO_TYPE], 2),
                // SDEI, as far as it is there: its version, and no event.
                (&[0xc400_0020], 1 << 48),
                (&[0xc400_0021, 0, RAM, 0, 0, 0], NOT_SUPPORTED),
                (&[CPU_SUSPEND, 0, 0, 0], SUCCESS),
                (&[CPU_SUSPEND & !(1 << 30), 0, 0, 0], SUCCESS),
                (&[CPU_SUSPEND, 1 << 16, RAM, 0], INVALID_PARAMETERS),
                (&[ARCH_FEATURES, SMCCC_VERSION], SUCCESS),
                (&[ARCH_FEATURES, ARCH_FEATURES], SUCCESS),
                (&[ARCH_FEATURES, 0xc500_0020], NOT_SUPPORTED),
                (&[SYSTEM_RESET2, 1, 0], INVALID_PARAMETERS),
                (&[SYSTEM_RESET2, 1 << 31, 0], INVALID_PARAMETERS),
                (&[SYSTEM_RESET2 & !(1 << 30), 0x7fff_ffff, 0], INVALID_PARAMETERS),
            ],
        );
        for served in [
            VERSION,
            CPU_SUSPEND,
            CPU_OFF,
            CPU_ON,
            AFFINITY_INFO,
            MIGRATE_INFO_TYPE,
            SYSTEM_OFF,
            SYSTEM_RESET,
            SYSTEM_RESET2,
            FEATURES,
            SMCCC_VERSION,
        ] {
            expect(p, &[(&[FEATURES, served], SUCCESS), (&[FEATURES, !served], NOT_SUPPORTED)]);
        }
        p.equal(&"with EL0's stack", word(EL1T, HVC, VERSION, 0).x(0), 0x1_0001);
    });
    Probe::run("calls-that-do-not-exist", |p| {
        for number in [
            0,
            1,
            0x400_0000,
            VERSION | 1 << 30,
            CPU_OFF | 1 << 30,
            SYSTEM_OFF | 1 << 30,
            FEATURES | 1 << 30,
            0x8400_0005,
            0x8400_0007,
            0x8400_000b,
            0xc400_000e,
            0x8400_000f,
            0x8400_0013,
            0x8400_001f,
            0x8400_0020,
            0x8400_0050,
            0xc400_0053,
            0x8400_0060,
            0x8600_ff01,
            0x8600_0000,
            0xc500_0020,
            0xc400_0021,
            0xc200_0000,
            0x8300_0000,
            0xbf00_ff01,
            0xffff_ffff,
            u64::MAX,
            SYSTEM_OFF | 1 << 24,
            SYSTEM_OFF & !(1 << 31),
        ] {
            expect(p, &[(&[number, SCRATCHED, SCRATCHED, SCRATCHED], NOT_SUPPORTED)]);
        }
        // With another number in the instruction it is another call.
        for immediate in [1_u32, 0x8000, 0xffff] {
            for (instruction, what) in [(HVC, "hvc"), (SMC, "smc")] {
                for number in [VERSION, SYSTEM_OFF, CPU_OFF] {
                    let got = call_by(instruction | immediate << 5, &[number]);
                    p.equal(&format_args!("{what} #{immediate}"), got, NOT_SUPPORTED);
                }
            }
        }
    });
    cpu_on();
}

/// What no argument is.
const SCRATCHED: u64 = 0x5000_0000;

fn cpu_on() {
    let entry = smp::entry();
    Probe::run("cpu-on-refused", |p| {
        for target in [4, 0xff, 0x100, 1 << 24, 1 << 31 | 3, 1 << 32 | 3, u64::MAX, 3 << 8] {
            expect(p, &[(&[CPU_ON, target, entry, 3], INVALID_PARAMETERS)]);
            expect(p, &[(&[AFFINITY_INFO, target, 0], INVALID_PARAMETERS)]);
        }
        for address in [
            0,
            RAM - 4,
            RAM_END,
            RAM_END - 2,
            RAM_END - 1,
            RAM + 1,
            RAM + 2,
            RAM_END + RAM,
            0x5000_0000,
            0x8000_0000,
            ISLAND - 4,
            ANNEX_END,
            UART,
            FRAMES,
            1 << 40,
            1 << 63,
            u64::MAX,
            u64::MAX - 3,
        ] {
            expect(p, &[(&[CPU_ON, 3, address, 3], INVALID_ADDRESS)]);
        }
        for running in 0..3 {
            expect(
                p,
                &[
                    (&[CPU_ON, running, entry, running], ALREADY_ON),
                    (&[AFFINITY_INFO, running, 0], 0),
                    (&[AFFINITY_INFO, running, 1], INVALID_PARAMETERS),
                    (&[AFFINITY_INFO, running, u64::MAX], INVALID_PARAMETERS),
                ],
            );
        }
        // The 32-bit form takes the lower halves.
        let junk = 0xffff_ffff << 32;
        let short = CPU_ON & !(1 << 30);
        expect(p, &[(&[short, junk | 2, junk | entry, 0], ALREADY_ON)]);
        p.holds(&"the fourth CPU is off", smp::is_off(3));
    });
    Probe::run("cpu-on-at-the-end-of-ram", |p| {
        // b probe_secondary_entry, in RAM's last word.
        let last = RAM_END - 4;
        let words = entry.wrapping_sub(last) / 4 & 0x3ff_ffff;
        store(last, 4, 5 << 26 | words);
        // SAFETY: makes the word visible to fetches.
        unsafe { asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) last) };
        let before = smp::starts(3).0;
        let argument = 0xfedc_ba98_7654_3213 & !0xc | 3;
        p.equal(&"result", call(&[CPU_ON, 3, last, argument]), SUCCESS);
        smp::await_start(3, before);
        p.equal(&"x0", smp::starts(3).1, argument);
        p.equal(&"other registers", smp::garbage(), 0);
        smp::give(3, smp::turn_off);
        while !smp::is_off(3) {}
    });
}
