// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is not the guest's, or is misused: accesses anywhere in the guest's space and beyond, through
//! tables that are noise; system registers and instructions; the interrupt controller. Each comes back,
//! by an exception or without.
#![expect(unsafe_code, reason = "fills tables with noise")]

use core::ptr;

use super::calls::EDGES;
use crate::board::{
    ANNEX_END, CPUS, DISTRIBUTOR, DISTRIBUTOR_END, FRAME, FRAMES, FRAMES_END, HOST_SECRETS, ISLAND,
    RAM, RAM_END, RTC, SCRATCH, UART,
};
use crate::interrupts::{frame, keep_one_pending};
use crate::mmu::{self, HIGH_HALF};
use crate::random::Random;
use crate::registers::TAKING;
use crate::trap::{EL0, EL1H, Outcome, encoding, load, store, system, word};

/// What stores may change: the rest of RAM is the program and its tables.
const ARENA: u64 = SCRATCH + 0x10_0000;
const ARENA_SIZE: u64 = 0x100_0000;
/// Each CPU's tables of noise: a root, and fifteen tables.
const TABLES: u64 = SCRATCH + 0x200_0000;

/// ldr of 1, 2, 4 and 8 bytes, ldrsb, ldp, ldr with write-back, ldar, ldxr, a vector's ldr: x1 from x0.
const LOADS: [u32; 10] = [
    0x3940_0001,
    0x7940_0001,
    0xb940_0001,
    0xf940_0001,
    0x3980_0001,
    0xa940_0801,
    0xf840_8401,
    0xc8df_fc01,
    0xc85f_7c01,
    0x3dc0_0001,
];
/// str of 1, 2, 4 and 8 bytes, stp, str with write-back, stlr, a vector's str, dc zva: x1 to x0.
const STORES: [u32; 9] = [
    0x3900_0001,
    0x7900_0001,
    0xb900_0001,
    0xf900_0001,
    0xa900_0801,
    0xf800_8401,
    0xc89f_fc01,
    0x3d80_0001,
    0xd50b_7420,
];
/// As wide as a store can be.
const WIDEST: u64 = 256;
/// Bytes of the 1 GiB that this program's tables map as devices.
const MAPPED: u64 = 1 << 39;

fn is_in(address: u64, from: u64, to: u64) -> bool {
    from <= address && address < to
}

/// Whether an access there, aligned or not, touches a byte of the guest's.
fn is_own(address: u64) -> bool {
    let regions = [
        (RAM, RAM_END),
        (ISLAND, ANNEX_END),
        (UART, UART + 0x1000),
        (RTC, RTC + 0x1000),
        (DISTRIBUTOR, DISTRIBUTOR_END),
        (FRAMES, FRAMES_END),
    ];
    regions.iter().any(|(from, to)| is_in(address, from.saturating_sub(16), *to))
}

/// The address, or one where a store does this program no harm.
fn harmless(address: u64) -> u64 {
    let close = |from: u64, to: u64| is_in(address, from.saturating_sub(WIDEST), to + WIDEST);
    match address {
        _ if close(RAM, RAM_END - 0x1_0000) => ARENA + address % ARENA_SIZE,
        // The console, and frames that others need: these have attacks of their own.
        _ if close(UART, UART + 0x1000) => address + 0x2000,
        _ if close(DISTRIBUTOR, DISTRIBUTOR_END) || close(FRAMES, FRAMES_END) => {
            address + 0x1000_0000
        }
        _ => address,
    }
}

/// One wild act of this CPU's: the instruction and the address, if it reached what is not the guest's.
pub fn act(cpu: usize, random: &mut Random) -> Option<[u64; 2]> {
    match random.below(8) {
        0..=3 => return access(random),
        4 => by_noise(cpu, random),
        5 => register(random),
        6 => instruction(random),
        _ => controller(cpu, random),
    }
    None
}

fn access(random: &mut Random) -> Option<[u64; 2]> {
    let mut address = match random.below(4) {
        0 | 1 => random.next() >> (24 + random.below(32)),
        2 => random.argument(&EDGES),
        _ => random.one_of(&HOST_SECRETS) + random.below(0x1_0000),
    };
    let is_store = random.below(2) == 0;
    let list: &[u32] = if is_store { &STORES } else { &LOADS };
    let instruction = random.one_of(list);
    if is_store {
        address = harmless(address);
    }
    let value = random.next();
    let try_it = || word(EL1H, instruction, address, value);
    // Where this program's tables end the rest is tried without them.
    let outcome = if address < MAPPED { try_it() } else { mmu::without(try_it) };
    let reached = outcome.ran() && !is_own(address);
    reached.then_some([instruction.into(), address])
}

/// A root and tables of this CPU's own for the upper half, filled with noise.
fn by_noise(cpu: usize, random: &mut Random) {
    let root = TABLES + cpu as u64 * 0x1_0000;
    for _ in 0..8 {
        let place = match random.below(4) {
            0 | 1 => root + random.below(16) * 0x1000,
            2 => random.one_of(&HOST_SECRETS),
            _ => random.argument(&EDGES),
        } & 0x0000_ffff_ffff_f000;
        let entry = match random.below(3) {
            0 => place | 3,
            1 => place | 0x701,
            _ => place | random.next() & 0xfff0_0000_0000_0fff,
        };
        let at = if random.below(2) == 0 { random.below(16) } else { random.below(0x2000) };
        // SAFETY: scratch memory of this CPU's own.
        unsafe { ptr::write_volatile((root + at * 8) as *mut u64, entry) };
    }
    mmu::set_high_root(root);
    let address = HIGH_HALF | random.below(16) << 39 | random.next() & 0x7f_ffff_ffff;
    let state = random.one_of(&[EL1H, EL1H, EL0]);
    word(state, random.one_of(&LOADS), address, 0);
    mmu::set_high_root(RAM_END);
}

/// Registers that may hold noise: AFSR0, AFSR1, ESR, FAR, PAR, CONTEXTIDR, CSSELR, TPIDR_EL0, TPIDRRO.
const FREE: [u32; 9] = [
    encoding(3, 0, 5, 1, 0),
    encoding(3, 0, 5, 1, 1),
    encoding(3, 0, 5, 2, 0),
    encoding(3, 0, 6, 0, 0),
    encoding(3, 0, 7, 4, 0),
    encoding(3, 0, 13, 0, 1),
    encoding(3, 2, 0, 0, 0),
    encoding(3, 3, 13, 0, 2),
    encoding(3, 3, 13, 0, 3),
];

/// Any register is read and what was read written back; what is not there, or nobody needs, gets noise.
fn register(random: &mut Random) {
    let any = 2 << 14 | random.below(0x8000) as u32;
    let register = if random.below(8) == 0 { random.one_of(&FREE) } else { any };
    if TAKING.contains(&register) {
        return;
    }
    let read = word(random.one_of(&[EL1H, EL1H, EL0]), system(register, true), 0, 0);
    let beyond = register >> 14 == 3 && (register >> 11 & 7 >= 4 || register >> 7 & 15 == 15);
    let value = match read.ran() {
        _ if FREE.contains(&register) || beyond => random.argument(&EDGES),
        true if read.0.pstate == EL1H => read.x(1),
        _ => return,
    };
    word(EL1H, system(register, false), 0, value);
}

/// Caches, address translation, TLBs, from EL1 and EL0, of any address but the program's.
fn instruction(random: &mut Random) {
    let crn = random.one_of(&[7, 8, 8, 8, 9, 11, 15]);
    let instruction = encoding(1, random.below(8) as u32, crn, 0, 0) | random.below(128) as u32;
    let address = harmless(random.argument(&EDGES));
    let state = random.one_of(&[EL1H, EL1H, EL1H, EL0]);
    word(state, system(instruction, false), 0, address);
}

/// The distributor, this CPU's own frames, and the tables that any CPU's could name.
fn controller(cpu: usize, random: &mut Random) {
    for _ in 0..4 {
        let size = 1 << random.below(4);
        let value = random.argument(&EDGES);
        let other = frame(random.below(CPUS as u64) as usize);
        let at = match random.below(4) {
            0 => DISTRIBUTOR + random.below(0x1_0000),
            1 => frame(cpu) + random.below(2 * FRAME - 8),
            // CTLR, PROPBASER, PENDBASER, SETLPIR, CLRLPIR, INVLPIR, INVALLR.
            2 => other + random.one_of(&[0x70, 0x74, 0x78, 0x7c, 0x40, 0x48, 0xa0, 0xb0]),
            _ => DISTRIBUTOR + random.one_of(&[0, 0x40, 0x48, 0x80, 0x6000, 0x6100, 0xfffc]),
        };
        let _: Outcome = if random.below(4) == 0 { load(at, size) } else { store(at, size, value) };
    }
    // Others wait for an interrupt meanwhile.
    keep_one_pending(cpu);
}
