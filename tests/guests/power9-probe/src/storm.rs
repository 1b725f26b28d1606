// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random hypercalls with arguments that look right, and much text.
use crate::attack::calls::{self, Call};
use crate::board::RAM_END;
use crate::hcall::{self, code};
use crate::random::Random;
use crate::report::Probe;
use crate::trap::{interrupts, load, set_decrementer};
use crate::{console, mmu, say};

const SEED: u64 = 0x5eed_0009_0000_0001;
const CALLS: u64 = 20_000;

/// Both.
pub fn run() {
    say!("storm seed {SEED:#x}, {CALLS} calls");
    Probe::run("storm-of-hypercalls", |p| {
        let mut random = Random::new(SEED);
        let mut served = 0_u64;
        for _ in 0..CALLS {
            let Call { number, args } = calls::next(0, true, &mut random);
            if number == hcall::CEDE {
                set_decrementer(random.below(2000));
            }
            let code = code(number, &args);
            interrupts(false);
            served += u64::from(code == 0);
        }
        say!("storm: {served} served");
        p.equal(&"reset", code(hcall::RESET, &[0]), 0);
        p.equal(&"table", mmu::register(), 0);
        for function in [6_u64, 7, 5] {
            p.equal(&"areas", code(hcall::REGISTER_VPA, &[function << 45, 0, 0]), 0);
        }
        p.equal(&"answers", code(hcall::RANDOM, &[]), 0);
        p.equal(&"holes", load(RAM_END, 8).trap.vector, 0x200);
    });
    Probe::run("console-flood", |p| {
        console::flood(0x1000);
        p.equal(&"answers", code(hcall::RANDOM, &[]), 0);
    });
}
