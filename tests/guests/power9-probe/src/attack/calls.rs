// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random hypercalls and RTAS calls with arguments that look right. What would end the run, or have the
//! firmware or the interrupt controller write to this program itself, is turned into something near it.
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
