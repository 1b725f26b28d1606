// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random hypercalls with arguments that look right, and much text.
use crate::board::{
    ESB, ISLAND, ISLAND_END, NO_SERVER, RAM_END, SCRATCH, SCRATCH_SIZE, SOURCES, TIMA,
};
use crate::calls::put_be32;
use crate::console;
use crate::hcall::{self, code};
use crate::random::Random;
use crate::report::Probe;
use crate::trap::{interrupts, load, set_decrementer};
use crate::{mmu, rtas, say};

const SEED: u64 = 0x5eed_0009_0000_0001;
const CALLS: u64 = 20_000;

/// Numbers that are served, and some near them.
const NUMBERS: [u64; 24] = [
    hcall::GET_TERM_CHAR,
    hcall::PUT_TERM_CHAR,
    hcall::REGISTER_VPA,
    hcall::CEDE,
    hcall::CONFER,
    hcall::PROD,
    hcall::CHARACTERISTICS,
    hcall::RANDOM,
    hcall::SET_MODE,
    hcall::PROC_TBL,
    hcall::SOURCE_INFO,
    hcall::SET_SOURCE,
    hcall::GET_SOURCE,
    hcall::QUEUE_INFO,
    hcall::SET_QUEUE,
    hcall::GET_QUEUE,
    hcall::SET_LINE,
    hcall::GET_LINE,
    hcall::ESB,
    hcall::SYNC,
    hcall::RESET,
    hcall::RPT_INVALIDATE,
    hcall::RTAS,
    hcall::JOIN,
];

/// An argument: small, a flag, an address at an edge, or noise.
fn argument(random: &mut Random) -> u64 {
    const EDGES: [u64; 12] = [
        SCRATCH,
        RAM_END,
        RAM_END - 0x1_0000,
        ISLAND,
        ISLAND_END - 0x1_0000,
        ISLAND_END,
        ESB,
        TIMA,
        u64::MAX,
        1 << 63,
        1 << 52,
        0x4000_0000_0000,
    ];
    let small = random.below(33);
    match random.below(8) {
        0..=2 => small,
        3 => 1 << random.below(64),
        4 => random.one_of(&EDGES).wrapping_sub(small),
        5 => random.one_of(&EDGES).wrapping_add(small * 0x80),
        6 => SCRATCH + random.below(SCRATCH_SIZE / 0x1_0000) * 0x1_0000,
        _ => random.next() >> random.below(64),
    }
}

/// A buffer for RTAS somewhere in scratch RAM: any token but those that end the run.
fn buffer(random: &mut Random) -> u64 {
    let at = SCRATCH + random.below(SCRATCH_SIZE - 0x1000);
    let tokens = [
        rtas::GET_TIME_OF_DAY,
        rtas::SET_TIME_OF_DAY,
        rtas::GET_SYSTEM_PARAMETER,
        rtas::QUERY_CPU_STOPPED_STATE,
        0,
        11,
        u32::MAX,
    ];
    let counts = [0, 1, 2, 3, 7, 8, 15, 16, 17, u32::MAX];
    put_be32(at, random.one_of(&tokens));
    put_be32(at + 4, random.one_of(&counts));
    put_be32(at + 8, random.one_of(&counts));
    for n in 3..20 {
        put_be32(at + 4 * n, (random.next() >> random.below(64)) as u32);
    }
    at
}

/// Both.
pub fn run() {
    say!("storm seed {SEED:#x}, {CALLS} calls");
    Probe::run("storm-of-hypercalls", |p| {
        let mut random = Random::new(SEED);
        let mut served = 0_u64;
        for _ in 0..CALLS {
            let number = match random.below(16) {
                0 => random.next() >> random.below(64),
                1 => random.below(0x500) & !3,
                _ => random.one_of(&NUMBERS),
            };
            let mut args = [0; 8];
            args.iter_mut().for_each(|arg| *arg = argument(&mut random));
            if random.below(2) == 0 {
                // Often all but one are plausible.
                args.iter_mut().skip(1).for_each(|arg| *arg &= 0x1f);
                args[random.below(8) as usize] = argument(&mut random);
            }
            match number {
                // Text is another probe's.
                hcall::PUT_TERM_CHAR if args[1] <= 16 => args[1] = 0,
                hcall::REGISTER_VPA if random.below(4) > 0 => {
                    args[..2].copy_from_slice(&[random.below(8) << 45, 0])
                }
                hcall::RTAS => args[0] = buffer(&mut random),
                hcall::SET_SOURCE => args[1] = random.below(SOURCES + 2),
                // Its own reset is another probe's.
                hcall::SIGNAL_RESET => args[0] = NO_SERVER,
                hcall::CEDE => set_decrementer(random.below(2000)),
                _ => {}
            }
            let code = code(number, &args);
            interrupts(false);
            if number == hcall::SET_MODE {
                // Interrupts of this program are little-endian, and it has no breakpoints.
                p.equal(&"little-endian", hcall::code(number, &[1, 4, 0, 0]), 0);
                p.equal(&"no breakpoint", hcall::code(number, &[0, 1, 0, 0]), 0);
                // They begin in real mode: there is nothing at 0xc000000000004000.
                p.equal(&"real mode", hcall::code(number, &[0, 3, 0, 0]), 0);
            }
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
        for n in 0..0x1000_u32 {
            let mut line = *b"flood 0000000.\r\n";
            for (digit, place) in line[6..13].iter_mut().rev().zip(0..) {
                *digit = b'0' + (n / 10_u32.pow(place) % 10) as u8;
            }
            console::put(&line);
        }
        p.equal(&"answers", code(hcall::RANDOM, &[]), 0);
    });
}
