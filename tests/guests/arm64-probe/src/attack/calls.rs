// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random calls of every owner's range, by HVC and SMC, with arguments that look right. What would end
//! the run is left out. Between them every number that has a meaning, with each argument at and around every
//! edge.
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::board::{ANNEX_END, FRAMES, ISLAND, RAM_END, SCRATCH, UART};
use crate::psci::{self, CPU_OFF, CPU_ON, CPU_SUSPEND, call_by};
use crate::random::Random;
use crate::smp;

/// Addresses at which something ends.
pub const EDGES: [u64; 14] = [
    SCRATCH,
    RAM_END,
    ISLAND,
    ANNEX_END,
    FRAMES,
    UART,
    0x5000_0000,
    0x5008_0000,
    0x8000_0000,
    0x808_0000,
    1 << 40,
    1 << 48,
    1 << 63,
    u64::MAX,
];

/// Numbers that are served, and some near them, without the bit of their 64-bit form.
const NUMBERS: [u64; 20] = [
    psci::VERSION,
    CPU_SUSPEND & !(1 << 30),
    CPU_OFF,
    CPU_ON & !(1 << 30),
    psci::AFFINITY_INFO & !(1 << 30),
    psci::MIGRATE_INFO_TYPE,
    psci::FEATURES,
    0x8400_000e,
    0x8400_0020,
    0x8400_002b,
    0x8400_002c,
    0x8400_0031,
    0x8400_0032,
    psci::SMCCC_VERSION,
    psci::ARCH_FEATURES,
    0x8000_8000,
    0x8000_7fff,
    0x8400_0050,
    0x8400_0053,
    0x8600_ff01,
];
/// Where each owner's functions begin: architecture, CPU, SiP, OEM, standard, hypervisor's, vendor's,
/// trusted applications and OS.
const OWNERS: [u64; 9] = [
    0x8000_0000,
    0x8100_0000,
    0x8200_0000,
    0x8300_0000,
    0x8400_0000,
    0x8500_0000,
    0x8600_0000,
    0xb000_0000,
    0xbf00_0000,
];

/// Ranges of numbers that have a meaning to somebody: PSCI and SDEI, the random generator's, SMCCC's own
/// and its workarounds, the watchdog's, the hypervisor's own.
const RANGES: [(u64, u64); 7] = [
    (0x8400_0000, 0x40),
    (0x8400_0050, 4),
    (0x8000_0000, 8),
    (0x8000_3fff, 1),
    (0x8000_7ffe, 3),
    (0x8600_000f, 3),
    (0x8600_ff00, 4),
];
/// Steps from an edge.
const NEAR: [u64; 4] = [-0x1000_i64 as u64, -1_i64 as u64, 0, 8];
/// Arguments that may be pointers.
const ARGS: u64 = 3;
/// Structured calls: each argument of each number in both forms, at and around every edge.
const STRUCTURED: u64 = {
    let (mut numbers, mut n) = (0, 0);
    while n < RANGES.len() {
        numbers += RANGES[n].1;
        n += 1;
    }
    2 * numbers * ARGS * (EDGES.len() * NEAR.len()) as u64
};
/// How many of them were made.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Whether each structured call was made.
pub fn all_edges() -> bool {
    STEPS.load(Relaxed) >= STRUCTURED
}

/// The next structured call; none for a number that ends something.
fn structured() -> Option<[u64; 6]> {
    let step = STEPS.fetch_add(1, Relaxed) % STRUCTURED;
    let (edges, near) = (EDGES.len() as u64, NEAR.len() as u64);
    let at = EDGES[(step / near % edges) as usize].wrapping_add(NEAR[(step % near) as usize]);
    let which = step / near / edges;
    let numbers = RANGES.iter().flat_map(|(first, count)| *first..*first + *count);
    let number = numbers.map(|number| number | which % 2 << 30).nth((which / 2 / ARGS) as usize)?;
    let short = number as u32 & !(1 << 30);
    let mut args = [number, 0, 0, 0, 0, 0];
    if short | 1 << 30 == CPU_ON as u32 {
        // The first CPU runs.
        args[2] = smp::entry();
    }
    args[1 + (which / 2 % ARGS) as usize] = at;
    (!ends(number) && short != CPU_OFF as u32).then_some(args)
}

/// SYSTEM_OFF, SYSTEM_RESET and SYSTEM_RESET2.
fn ends(number: u64) -> bool {
    matches!(number as u32 & !(1 << 30), 0x8400_0008 | 0x8400_0009 | 0x8400_0012)
}

/// A number of a call that comes back; now and then a CPU other than the first leaves.
fn number(cpu: usize, random: &mut Random) -> u64 {
    loop {
        let number = match random.below(8) {
            0 => random.next() >> random.below(64),
            1 | 2 => random.one_of(&OWNERS) | random.below(0x80) | random.below(2) << 30,
            3 => random.one_of(&OWNERS) | random.below(0x1_0000) | random.below(2) << 30,
            _ => random.one_of(&NUMBERS) | random.below(2) << 30 | random.next() << 32,
        };
        let off = number as u32 & !(1 << 30) == CPU_OFF as u32;
        if !ends(number) && !(off && (cpu == 0 || random.below(8) > 0)) {
            return number;
        }
    }
}

/// One call; the result.
pub fn call(cpu: usize, random: &mut Random) -> i64 {
    if random.below(3) == 0
        && let Some(args) = structured()
    {
        return call_by(random.one_of(&[psci::HVC, psci::SMC]), &args) as i64;
    }
    let number = number(cpu, random);
    let mut args = [number, 0, 0, 0, 0, 0];
    args[1..].iter_mut().for_each(|arg| *arg = random.argument(&EDGES));
    if number as u32 | 1 << 30 == CPU_ON as u32 {
        let target = random.below(5);
        if random.below(2) == 0 {
            args[1..4].copy_from_slice(&[target, smp::entry(), target]);
        } else {
            // Where no CPU can begin, or which does not exist.
            args[random.below(2) as usize + 1] = random.one_of(&[RAM_END, 0x5000_0000, 1 << 40]);
        }
    }
    call_by(random.one_of(&[psci::HVC, psci::SMC]), &args) as i64
}
