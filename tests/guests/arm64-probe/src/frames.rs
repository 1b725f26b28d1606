// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interrupt controller's registers, all of them, misused.
use crate::board::{CPUS, DISTRIBUTOR, DISTRIBUTOR_END, FRAME, SCRATCH};
use crate::interrupts::{frame, is_one_pending, keep_one_pending, read};
use crate::psci::{self, VERSION};
use crate::random::Random;
use crate::report::Probe;
use crate::trap::{class, load, store};

/// GICR_CTLR, and its bit that lets the controller read and write tables in memory.
const CTLR: u64 = 0;
const ENABLE_LPIS: u32 = 1;
/// GICR_PROPBASER and GICR_PENDBASER: addresses of tables.
const TABLES: [u64; 2] = [0x70, 0x78];

fn answers(p: &Probe) {
    p.equal(&"PSCI VERSION", psci::call(&[VERSION]), 0x1_0001);
}

/// A store that came back: done, ignored or refused.
fn came_back(p: &Probe, address: u64, size: u64, value: u64) {
    let outcome = store(address, size, value);
    let fine = outcome.ran() || outcome.class() == class::DATA + 1;
    p.holds(&format_args!("{address:#x}, {size} bytes: esr {:#x}", outcome.0.esr), fine);
}

/// All of them.
pub fn run() {
    Probe::run("tables-of-the-interrupt-controller", |p| {
        for cpu in 0..CPUS {
            let base = frame(cpu);
            let before = TABLES.map(|offset| load(base + offset, 8).x(1));
            for value in [SCRATCH, 0x5000_0000, u64::MAX, SCRATCH | 1 << 62 | 0x780] {
                for offset in TABLES {
                    for (address, size, part) in [
                        (base + offset, 8, value),
                        (base + offset, 4, value),
                        (base + offset + 4, 4, value >> 32),
                        (base + offset, 2, value),
                        (base + offset + 1, 1, value),
                    ] {
                        came_back(p, address, size, part);
                        let after = TABLES.map(|offset| load(base + offset, 8).x(1));
                        p.holds(&format_args!("{address:#x}, {size} bytes"), after == before);
                    }
                }
                for (address, size) in [(base, 4), (base, 8), (base, 2), (base, 1), (base + 4, 4)] {
                    came_back(p, address, size, value | 1);
                    let control = read(base + CTLR);
                    p.equal(&"EnableLPIs", (control & ENABLE_LPIS).into(), 0);
                }
            }
        }
        answers(p);
    });
    Probe::run("control-frames-from-end-to-end", |p| {
        let mut random = Random::new(0x0a64_0001);
        for cpu in 0..CPUS {
            let base = frame(cpu);
            let before = TABLES.map(|offset| load(base + offset, 8).x(1));
            // One from end to end; of the others what has a meaning, and some of the rest.
            let all = |offset: &u64| cpu == 0 || *offset < 0x200 || offset % 0x100 == 0;
            for offset in (0..FRAME).step_by(4).filter(all) {
                came_back(p, base + offset, 4, random.next());
                if offset % 8 == 0 {
                    came_back(p, base + offset, 8, random.next());
                }
                if offset % 64 == 0 {
                    came_back(p, base + offset + random.below(64), 1, random.next());
                    came_back(p, base + offset + random.below(31) * 2, 2, random.next());
                }
            }
            // Across the end, into the frame that is written directly.
            for before in 1..8 {
                came_back(p, base + FRAME - before, 8, u64::MAX);
            }
            p.equal(&"EnableLPIs", (read(base + CTLR) & ENABLE_LPIS).into(), 0);
            let after = TABLES.map(|offset| load(base + offset, 8).x(1));
            p.holds(&format_args!("the tables of frame {cpu}"), after == before);
        }
        answers(p);
    });
    Probe::run("direct-frames-from-end-to-end", |p| {
        let mut random = Random::new(0x0a64_0002);
        let mut noise = |from: u64, to: u64| {
            // 60: so that all places within a word of registers have their turn.
            for address in (from..to).step_by(60) {
                came_back(p, address, 4, random.next());
                if address % 16 == 0 {
                    came_back(p, address + random.below(64), 1, random.next());
                    came_back(p, address, 8, random.next());
                    load(address, 1 << random.below(4));
                }
            }
        };
        noise(DISTRIBUTOR, DISTRIBUTOR_END);
        for cpu in 0..CPUS {
            noise(frame(cpu) + FRAME, frame(cpu) + 2 * FRAME);
        }
        answers(p);
        keep_one_pending(0);
        p.holds(&"an interrupt comes again", is_one_pending());
    });
}
