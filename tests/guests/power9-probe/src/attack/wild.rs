// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is not the guest's, or is misused: accesses anywhere in the guest's space, through tables that
//! are noise, to the interrupt controller's pages; special-purpose registers; instructions that are a
//! hypervisor's. Each comes back, by an exception or without.
#![expect(unsafe_code, reason = "runs instructions that trap, on every CPU")]

use core::arch::asm;
use core::ptr;

use super::calls::{EDGES, harmless};
use crate::board::{ESB, ESB_END, HOST_SECRETS, ISLAND, ISLAND_END, RAM_END, SCRATCH, TIMA};
use crate::low::{LOST, VEC};
use crate::mmu;
use crate::random::Random;
use crate::smp::CPUS;
use crate::trap::{MSR, mfspr, mtspr};

/// Data by translation, code without.
const TRANSLATED: u64 = MSR | 0x10;

#[repr(C, align(128))]
struct Code([u32; 32]);
static mut CODE: [Code; CPUS] = [const { Code([0; 32]) }; CPUS];

/// lbz, lhz, lwz, ld, lhbrx, lwbrx, ldbrx, lwarx, ldarx, dcbst, icbi, dcbt: r5 from r4.
const LOADS: [u32; 12] = [
    0x88a4_0000,
    0xa0a4_0000,
    0x80a4_0000,
    0xe8a4_0000,
    0x7ca0_262c,
    0x7ca0_242c,
    0x7ca0_2428,
    0x7ca0_2028,
    0x7ca0_20a8,
    0x7c00_206c,
    0x7c00_27ac,
    0x7c00_222c,
];
/// stb, sth, stw, std, sthbrx, stwbrx, stdbrx, stwcx., stdcx., dcbz, dcbf: r5 to r4.
const STORES: [u32; 11] = [
    0x98a4_0000,
    0xb0a4_0000,
    0x90a4_0000,
    0xf8a4_0000,
    0x7ca0_272c,
    0x7ca0_252c,
    0x7ca0_2528,
    0x7ca0_212d,
    0x7ca0_21ad,
    0x7c00_27ec,
    0x7c00_20ac,
];
/// Instructions that are the hypervisor's or that invalidate, with r4 and r5: hrfid, attn, msgsnd, msgclr;
/// tlbie of a hash and of a radix partition, of a process, of its walks and of all of it; tlbiel; tlbie of
/// all of a partition; slbia, slbmte, slbie, tlbsync, ptesync; stop; tbegin., tsr., tabort., treclaim.,
/// trechkpt.
const INSTRUCTIONS: [u32; 22] = [
    0x4c00_0224,
    0x0000_0200,
    0x7c00_219c,
    0x7c00_21dc,
    0x7ca0_2264,
    0x7ca1_2264,
    0x7ca3_2264,
    0x7ca7_2264,
    0x7cab_2264,
    0x7ca3_2224,
    0x7ca9_2264,
    0x7ce0_03e4,
    0x7ca0_2324,
    0x7c00_2364,
    0x7c00_046c,
    0x7c40_04ac,
    0x4c00_02e4,
    0x7c00_051d,
    0x7c20_05dd,
    0x7c04_071d,
    0x7c04_075d,
    0x7c00_07dd,
];

/// What became of a try: the vector of its exception, or 0.
type Vector = u64;

/// Runs one instruction with r4 and r5 in this machine state.
fn run(cpu: usize, word: u32, r4: u64, r5: u64, msr: u64) -> Vector {
    const BLR: u32 = 0x4e80_0020;
    let at = (&raw mut CODE as u64 + 128 * cpu as u64) as *mut u32;
    // SAFETY: this CPU's own line of code. Whatever the instruction provokes goes on at the label, with
    // the registers as they were before it, in the state that is this program's.
    unsafe {
        if ptr::read_volatile(at) != word {
            ptr::write_volatile(at, word);
            ptr::write_volatile(at.add(1), BLR);
            asm!("dcbst 0, {0}", "sync", "icbi 0, {0}", "sync", "isync", in(reg) at,
                 options(nostack));
        }
        VEC.of(cpu).set(0);
        asm!(
            "mfspr {own}, 272",
            "lis {t}, 3f@h",
            "ori {t}, {t}, 3f@l",
            "std {t}, 0x2800({own})",
            "mtctr {at}",
            "mtmsrd {msr}",
            "isync",
            "bctrl",
            "3: mtmsrd {back}",
            "isync",
            "li {t}, 0",
            "std {t}, 0x2800({own})",
            own = out(reg_nonzero) _, t = out(reg_nonzero) _, at = in(reg_nonzero) at,
            msr = in(reg_nonzero) msr, back = in(reg_nonzero) MSR,
            inout("r4") r4 => _, inout("r5") r5 => _, out("r0") _, out("r3") _,
            out("ctr") _, out("lr") _, out("xer") _, out("cr0") _,
        );
    }
    VEC.of(cpu).get()
}

/// Whether a guest real address is one that the guest has.
fn is_own(address: u64) -> bool {
    let page = address & 0x0fff_ffff_ffff_ffff;
    let is_in = |from: u64, to: u64| from <= page && page < to;
    is_in(0, RAM_END)
        || is_in(ISLAND, ISLAND_END)
        || is_in(ESB, ESB_END)
        || is_in(TIMA, TIMA + 0x1_0000)
}

/// Anywhere: below 2^56, at an edge, in the host's own, in the interrupt controller's pages.
fn anywhere(random: &mut Random) -> u64 {
    match random.below(8) {
        0 | 1 => random.next() >> (8 + random.below(48)),
        2 | 3 => random.argument(&EDGES),
        4 => random.one_of(&HOST_SECRETS) + random.below(0x1_0000),
        5 => ESB + random.below(ESB_END - ESB),
        6 => TIMA + random.below(0x1_0000),
        _ => {
            random.one_of(&[RAM_END, ISLAND, ISLAND_END, ESB, ESB_END, TIMA]) - 8 + random.below(16)
        }
    }
}

/// One wild act of this CPU's: the instruction and the address, if it reached what is not the guest's.
pub fn act(cpu: usize, random: &mut Random) -> Option<[u64; 2]> {
    match random.below(8) {
        0..=3 => return access(cpu, random),
        4 | 5 => by_noise(cpu, random),
        6 => register(cpu, random),
        _ => {
            let word = random.one_of(&INSTRUCTIONS);
            run(cpu, word, random.argument(&EDGES), random.argument(&EDGES) & !0x3ff, MSR);
        }
    }
    None
}

fn access(cpu: usize, random: &mut Random) -> Option<[u64; 2]> {
    let mut address = anywhere(random);
    let store = random.below(2) == 0;
    if store {
        address = harmless(address);
    }
    let word = if store { random.one_of(&STORES) } else { random.one_of(&LOADS) };
    let lost = LOST.of(cpu).get();
    let vector = run(cpu, word, address, random.next(), MSR);
    // Operations on caches, reservations that are lost and hints may do nothing.
    let silent = [0x7ca0_212d, 0x7ca0_21ad, 0x7c00_222c, 0x7c00_206c, 0x7c00_20ac, 0x7c00_27ac];
    // A reset that broke the vector off left no number.
    let told = vector != 0 || LOST.of(cpu).get() != lost;
    let fine = told || is_own(address) || silent.contains(&word);
    (!fine).then_some([word.into(), address])
}

/// A root and a table of each CPU's own, filled with noise that leads anywhere but to the program.
fn by_noise(cpu: usize, random: &mut Random) {
    const TABLES: u64 = SCRATCH + 0x300_0000;
    let root = TABLES + cpu as u64 * 0x4_0000;
    let tree = 0x4000_0000_0000_00a0 | root | 13;
    let entry = |random: &mut Random| {
        let place = match random.below(4) {
            0 => root + random.below(0x40) * 0x1000,
            1 => random.one_of(&HOST_SECRETS),
            2 => random.one_of(&[RAM_END, ISLAND_END, ISLAND, ESB, TIMA]),
            _ => 1 << 40 | random.next() & 0x01ff_ffff_ffff_f000,
        };
        let bits = random.next();
        match random.below(4) {
            0 => 0x8000_0000_0000_0009 | place,
            1 => 0x8000_0000_0000_0000 | place | bits & 31,
            2 => 0xc000_0000_0000_0187 | place,
            // A leaf of a gigabyte hides the lower bits of its address: it must not begin at 0.
            _ => 0xc000_0000_0000_0000 | place | bits & 0x1bf | 1 << 41,
        }
    };
    // SAFETY: scratch memory of this CPU's own, and its row of the process table.
    unsafe {
        let put = |at: u64, value: u64| ptr::write_volatile(at as *mut u64, value.to_be());
        put(mmu::process_table() + 16 * (cpu as u64 + 8), tree);
        for _ in 0..8 {
            put(root + random.below(0x40) * 8, entry(random));
            put(root + 0x1_0000 + random.below(0x6000) * 8, entry(random));
        }
        asm!("mtspr 48, {0}", "isync", in(reg) cpu as u64 + 8, options(nostack));
    }
    if random.below(4) == 0 {
        // tlbie of all of the process.
        run(cpu, 0x7cab_2264, 0x400, (cpu as u64 + 8) << 32 | 1, MSR);
    }
    let address = random.below(0x40) << 39 | random.next() & 0x7f_ffff_ffff;
    run(cpu, random.one_of(&LOADS), address, 0, TRANSLATED);
    // SAFETY: back to the process that is this program's.
    unsafe { asm!("mtspr 48, {0}", "isync", in(reg) 0_u64, options(nostack)) };
}

/// Reads of any register, writes of those that this program can do without.
fn register(cpu: usize, random: &mut Random) {
    let number = random.below(1024) as u32;
    // CTR, LR and XER; PIDR; SPRG0; counting and tracing, which QEMU would be slow with.
    let needed = matches!(number, 1 | 8 | 9 | 48 | 272 | 768..=799);
    let word = if needed || random.below(2) == 0 { mfspr(number) } else { mtspr(number) };
    run(cpu, word, 0, random.argument(&EDGES), MSR);
}
