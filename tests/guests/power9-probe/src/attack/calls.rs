// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random hypercalls and RTAS calls with arguments that look right, and between them every call with each
//! argument at and around every edge. What would end the run, or have the
//! firmware or the interrupt controller write to this program itself, is turned into something near it.
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::board::{
    ESB, HOST_SECRETS, ISLAND, ISLAND_END, NO_SERVER, RAM_END, SCRATCH, SOURCES, TIMA,
};
use crate::calls::put_be32;
use crate::hcall;
use crate::low::CPU_ENTRY;
use crate::mmu;
use crate::papr::SERVED;
use crate::random::Random;
use crate::rtas::{self, SERVICES};

/// A call that is about to be made.
pub struct Call {
    /// Its number.
    pub number: u64,
    /// Its arguments.
    pub args: [u64; 8],
}

/// Addresses at which something ends.
pub const EDGES: [u64; 16] = [
    SCRATCH,
    RAM_END,
    RAM_END - 0x1_0000,
    ISLAND,
    ISLAND_END - 0x1_0000,
    ISLAND_END,
    ESB,
    TIMA,
    HOST_SECRETS[0],
    HOST_SECRETS[1],
    HOST_SECRETS[2],
    HOST_SECRETS[4],
    u64::MAX,
    1 << 63,
    1 << 52,
    0xffff_ffff,
];
/// Steps from an edge: an interrupt queue, an area, a word and a byte before it, at it, a word and a page
/// behind it.
const NEAR: [u64; 7] =
    [-0x1_0000_i64 as u64, -128_i64 as u64, -8_i64 as u64, -1_i64 as u64, 0, 8, 0x1000];
/// Arguments of a hypercall that may be pointers.
const ARGS: u64 = 5;
/// Inputs of an RTAS call that may be.
const INPUTS: u64 = 7;
/// Structured calls: each argument of each call, each input of each service and the place of an RTAS call's
/// words itself, at and around every edge.
pub const STRUCTURED: u64 = (SERVED.len() as u64 * ARGS + SERVICES.len() as u64 * INPUTS + 1)
    * (EDGES.len() * NEAR.len()) as u64;
/// How many of them were made.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Whether each structured call was made.
pub fn all_edges() -> bool {
    STEPS.load(Relaxed) >= STRUCTURED
}
/// Where each CPU has its RTAS buffers, 64 KiB of them.
const BUFFERS: u64 = SCRATCH + 0x200_0000;

/// What calls, the interrupt controller and wild stores may write of the guest's own RAM: this, and its
/// last 64 KiB. The rest is the program, its buffers and its tables.
const ARENA: u64 = SCRATCH + 0x10_0000;
const ARENA_SIZE: u64 = 0x1e0_0000;

/// The address, or one in the arena if up to 128 bytes there could be needed.
pub const fn harmless(address: u64) -> u64 {
    let real = address & 0x0fff_ffff_ffff_ffff;
    let is_last = RAM_END - 0x1_0000 <= real && real < RAM_END;
    let wraps = real.wrapping_add(128) & 0x0fff_ffff_ffff_ffff < 256;
    if is_last || real >= RAM_END && !wraps { address } else { ARENA + real % ARENA_SIZE }
}

/// The next call of a CPU, with others beside it or not.
pub fn next(cpu: usize, alone: bool, random: &mut Random) -> Call {
    if !alone && random.below(3) == 0 {
        return structured(cpu, random);
    }
    let number = match random.below(16) {
        0 => random.next() >> random.below(64),
        1 => random.below(0x500) & !3,
        2..=4 => hcall::RTAS,
        _ => SERVED[random.below(SERVED.len() as u64) as usize].number,
    };
    let mut args = [0; 8].map(|_: u64| random.argument(&EDGES));
    if random.below(2) == 0 {
        // Often all but one are plausible.
        args.iter_mut().skip(1).for_each(|arg| *arg &= 0x1f);
        args[random.below(8) as usize] = random.argument(&EDGES);
    }
    tame(cpu, alone, number, &mut args, random);
    Call { number, args }
}

/// The next structured call: all arguments are plausible, but one.
fn structured(cpu: usize, random: &mut Random) -> Call {
    let step = STEPS.fetch_add(1, Relaxed) % STRUCTURED;
    let (edges, near) = (EDGES.len() as u64, NEAR.len() as u64);
    let at = EDGES[(step / near % edges) as usize].wrapping_add(NEAR[(step % near) as usize]);
    let which = step / near / edges;
    let Some(which) = which.checked_sub(SERVED.len() as u64 * ARGS) else {
        let number = SERVED[(which / ARGS) as usize].number;
        let mut args = match number {
            hcall::REGISTER_VPA => {
                [(1 + step % 3) << 45, random.below(NO_SERVER), 0, 0, 0, 0, 0, 0]
            }
            hcall::SET_QUEUE => [1, random.below(NO_SERVER), random.below(7), 0, 16, 0, 0, 0],
            hcall::PROC_TBL => [0x1d, 0, 0, 4, 0, 0, 0, 0],
            hcall::WATCHDOG => [0x103, 1, 0, 0, 0, 0, 0, 0],
            _ => [0, step & 3, step & 7, 0, 0, 0, 0, 0],
        };
        args[(which % ARGS) as usize] = at;
        tame(cpu, false, number, &mut args, random);
        if number == hcall::REGISTER_VPA && which % ARGS == 2 {
            args[2] = harmless(at);
            put_in_ram(args[2], &[0, 640 << 16]);
        }
        return Call { number, args };
    };
    let mut args = [0; 8];
    if which == SERVICES.len() as u64 * INPUTS {
        // The words of a call that returns eight.
        args[0] = harmless(at);
        put_in_ram(args[0], &[rtas::GET_TIME_OF_DAY, 0, 8]);
        return Call { number: hcall::RTAS, args };
    }
    let service = &SERVICES[(which / INPUTS) as usize];
    let mut words = match service.token {
        // A CPU that runs.
        rtas::START_CPU => [cpu as u32, CPU_ENTRY as u32 + 2, 0, 0, 0, 0, 0],
        // No address of an instruction.
        _ => [1; INPUTS as usize],
    };
    words[(which % INPUTS) as usize] = at as u32;
    // What ends something, or tells another probe's reader something, is called with a word too many.
    let more = matches!(
        service.token,
        rtas::POWER_OFF
            | rtas::SYSTEM_REBOOT
            | rtas::OS_TERM
            | rtas::STOP_SELF
            | rtas::DISPLAY_CHARACTER
    );
    args[0] = BUFFERS + cpu as u64 * 0x1_0000 + random.below(0x3fc0) * 4;
    let head = [service.token, (service.inputs + usize::from(more)) as u32, service.outputs as u32];
    for (place, word) in (args[0]..).step_by(4).zip(head.into_iter().chain(words)) {
        put_be32(place, word);
    }
    Call { number: hcall::RTAS, args }
}

/// Stores words, as far as they lie in the last 64 KiB of RAM.
fn put_in_ram(at: u64, words: &[u32]) {
    for (place, word) in (0..).map(|n| at.wrapping_add(4 * n)).zip(words) {
        if (RAM_END - 0x1_0000..RAM_END - 3).contains(&place) {
            put_be32(place, *word);
        }
    }
}

fn tame(cpu: usize, alone: bool, number: u64, args: &mut [u64; 8], random: &mut Random) {
    match number {
        // Text is another probe's.
        hcall::PUT_TERM_CHAR if args[1] <= 16 => args[1] = 0,
        hcall::REGISTER_VPA => {
            if random.below(4) > 0 {
                args[..2].copy_from_slice(&[random.below(8) << 45, random.below(NO_SERVER + 1)]);
            }
            args[2] = harmless(args[2]);
            if random.below(2) == 0 {
                args[2] = SCRATCH + 0x8000 + random.below(8) * 0x400;
                put_be32(args[2] + 4, [640 << 16, 128][random.below(2) as usize]);
            }
        }
        // Another CPU's buffer holds half a call now and then.
        hcall::RTAS if random.below(4) == 0 => args[0] = harmless(args[0]),
        hcall::RTAS => args[0] = buffer(cpu, alone, random),
        hcall::SET_SOURCE if random.below(2) == 0 => args[1] = random.below(SOURCES + 2),
        hcall::SET_QUEUE => args[3] = harmless(args[3]),
        // What is read as a process table must not lead to this program.
        hcall::PROC_TBL if random.below(4) > 0 => args[1] = mmu::process_table(),
        hcall::PROC_TBL => args[1] = RAM_END + (args[1] & 0xffff_ffff_f000),
        hcall::SIGNAL_RESET if alone => args[0] = NO_SERVER,
        // Interrupts of this program are little-endian and in real mode; it has no breakpoints.
        hcall::SET_MODE if matches!(args[1], 1..=5) => args[0] |= 1 << random.below(64) | 1,
        hcall::WATCHDOG => args[2] |= 1 << 50,
        _ => {}
    }
}

/// An RTAS argument buffer of this CPU's, of a call that comes back: its address.
fn buffer(cpu: usize, alone: bool, random: &mut Random) -> u64 {
    let at = BUFFERS + cpu as u64 * 0x1_0000 + random.below(0x3fc0) * 4;
    let service = &SERVICES[random.below(SERVICES.len() as u64) as usize];
    let token = if random.below(8) == 0 { random.next() as u32 } else { service.token };
    let counts = [0, 1, 2, 3, 7, 8, 15, 16, 17, u32::MAX];
    let mut head = [service.inputs as u32, service.outputs as u32];
    // These do something to the run that is not for the middle of an attack.
    let ends = match token {
        rtas::POWER_OFF | rtas::SYSTEM_REBOOT | rtas::OS_TERM | rtas::NMI_REGISTER => true,
        rtas::DISPLAY_CHARACTER => true,
        rtas::STOP_SELF => cpu == 0 || random.below(8) > 0,
        _ => random.below(4) == 0,
    };
    if ends || !SERVICES.iter().any(|service| service.token == token) {
        head[random.below(2) as usize] = random.one_of(&counts);
        if head == [service.inputs as u32, service.outputs as u32] {
            head[0] += 1;
        }
    }
    for (n, word) in [token, head[0], head[1]].into_iter().enumerate() {
        put_be32(at + 4 * n as u64, word);
    }
    for n in 3..20 {
        put_be32(at + 4 * n, random.argument(&EDGES) as u32);
    }
    if token == rtas::START_CPU && !alone && random.below(2) == 0 {
        let target = random.below(NO_SERVER + 1) as u32;
        for (n, word) in (3..).zip([target, CPU_ENTRY as u32, target]) {
            put_be32(at + 4 * n, word);
        }
    } else if token == rtas::START_CPU {
        // Where no CPU can begin.
        put_be32(at + 16, random.one_of(&[RAM_END as u32, CPU_ENTRY as u32 + 2, u32::MAX & !3]));
    }
    at
}
