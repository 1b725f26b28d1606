// SPDX-License-Identifier: Apache-2.0 OR MIT
//! With `lives` in its command line the guest does one thing: it makes a mess of its machine on all
//! four CPUs and asks for a restart, again and again; and looks each time whether it begins as it did
//! the first time. The number of its life it remembers in the clock's date, which the firmware keeps.
//!
//! The CPUs take turns: one restarts, one spins with interrupts off, one is ceded, one has stopped, has
//! joined or calls. Now and then the first CPU has stopped meanwhile, or two restart at once. With
//! `lives=hammer` all interrupt each other and themselves until, in the middle of it, one restarts: no
//! event of a life may be seen in the next, in no queue's memory and by no CPU.
#![expect(unsafe_code, reason = "registers of the CPU, devices and memory")]

use core::arch::asm;
use core::ptr::{read_volatile, write_volatile};
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::board::{ESB, ISLAND, ISLAND_END, RAM_END, SCRATCH, SOURCES, TIMA};
use crate::calls::put_be32;
use crate::hcall::{self, NOOP, RESOURCE};
use crate::low::{CHECK_ROUTINE, EXTS, RESET_ROUTINE};
use crate::random::Random;
use crate::report::Probe;
use crate::smp::{
    CPUS, QUEUES, buffer, call, is_stopped, lisn, manage, services, start, trigger, until,
};
use crate::tree::asked_for;
use crate::{mmu, rtas, say, trap};

const POISON: u64 = 0x5bad_c0de_5bad_c0de;
/// A word in each page from here on is poisoned: behind all that the image holds for the guest.
const BEGIN: u64 = SCRATCH;
const PAGE: u64 = 0x1000;
const PRIORITY: u64 = 6;
const QUEUE: u64 = 0x1_0000;
/// Lives count from this year on.
const YEAR: u32 = 2001;
const DAYS: u32 = 28;
const MONTHS: u32 = 12;
/// H_WATCHDOG: start, and restart the guest; start, and reset it.
const RESTART: u64 = 0x102;
const DUMP: u64 = 0x103;
/// Far beyond the end of a life, in milliseconds.
const LONG: u64 = 1_000_000;

/// This life's number, plus one; 0 when there is only one.
static LIFE: AtomicU64 = AtomicU64::new(0);
static HAMMER: AtomicU64 = AtomicU64::new(0);
/// Further CPUs that have looked at themselves, and what was not as at first.
static CHECKED: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);
/// All may do what they do in this life.
static GO: AtomicU64 = AtomicU64::new(0);
/// CPUs that have taken their places.
static STANDING: AtomicU64 = AtomicU64::new(0);
/// Interrupts sent, and events that nobody sent in this life.
static SENT: AtomicU64 = AtomicU64::new(0);
static STRAY: AtomicU64 = AtomicU64::new(0);
/// Data that the image has, of which a life finds what the image has.
static PRISTINE: AtomicU64 = AtomicU64::new(0x1dea);

/// What stands in the entries of the segment lookaside buffer that a guest can write.
fn segments() -> u64 {
    let entry = |n: u64| -> u64 {
        let (esid, vsid): (u64, u64);
        // SAFETY: reads the entry.
        unsafe {
            asm!("slbmfee {0}, {2}", "slbmfev {1}, {2}", out(reg) esid, out(reg) vsid, in(reg) n,
                 options(nomem, nostack));
        }
        esid | vsid
    };
    (0..4).map(entry).fold(0, |all, one| all | one)
}

fn spr<const N: u32>() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mfspr {0}, {1}", out(reg) value, const N, options(nomem, nostack)) };
    value
}

fn set_spr<const N: u32>(value: u64) {
    // SAFETY: a register of the guest's own that this program does not use.
    unsafe { asm!("mtspr {1}, {0}", "isync", in(reg) value, const N, options(nostack)) };
}

/// Whether there are several lives.
pub fn several() -> bool {
    LIFE.load(SeqCst) != 0
}

/// Looks at the machine as it was found, before anything is set.
pub fn begin(tree: u64) {
    if !asked_for(tree, "lives") {
        return;
    }
    HAMMER.store(asked_for(tree, "lives=hammer").into(), SeqCst);
    // First of all: everything below writes to its own memory, and its calls set registers.
    let registers = registers();
    let ring = ring();
    // Without a vector for it one that comes would be the end.
    let externals = if ring == 0 { let_in() } else { 0 };
    let memory = touched(words());
    Probe::run("life-registers", |p| {
        for (name, value) in NAMES.iter().zip(registers) {
            p.equal(name, value, 0);
        }
        p.equal(&"little-endian interrupts", interrupts_little_endian(), 0);
        // Without GTSE this would trap. The word is `tlbie r4, r5, 0, 1, 1`.
        p.equal(&"tlbie", trap::word(0x7ca3_2264, 0x800, 0).trap.vector, 0);
    });
    Probe::run("life-memory", |p| {
        p.equal(&"words that are not zero", memory, 0);
        p.equal(&"its own data", PRISTINE.load(SeqCst), 0x1dea);
        p.equal(&"its own zeroes", STANDING.load(SeqCst) | SENT.load(SeqCst), 0);
    });
    Probe::run("life-controller", |p| {
        p.equal(&"what is pending", ring, 0);
        p.equal(&"interrupts", externals, 0);
        for source in 0..SOURCES {
            let [code, server, priority, number, ..] =
                hcall::hcall(hcall::GET_SOURCE, &[0, source]);
            p.equal(&"a source", code | server, 0);
            p.equal(&"its priority", priority, 0xff);
            p.equal(&"its number", number, source);
            p.equal(&"its state", event_state(source), 1);
        }
        for (server, priority) in (0..CPUS as u64).flat_map(|cpu| (0..7).map(move |n| (cpu, n))) {
            let [code, flags, page, size, ..] =
                hcall::hcall(hcall::GET_QUEUE, &[0, server, priority]);
            p.equal(&"a queue", code | flags | size, 0);
            p.equal(&"its page", page, u64::MAX);
        }
    });
    Probe::run("life-as-first", |p| {
        p.equal(&"watchdogs", call(hcall::WATCHDOG, [0x200, u64::MAX, 0, 0, 0])[0], NOOP);
        let refused = u64::from(rtas::PARAMETER as u32);
        p.equal(&"nmi routines", services(0, rtas::NMI_INTERLOCK, &[], 1)[0].into(), refused);
        for server in 0..CPUS as u64 {
            // A dispatch log needs a VPA.
            let log = [2 << 45, server, SCRATCH + 0x8000, 0, 0];
            p.equal(&"areas", call(hcall::REGISTER_VPA, log)[0], RESOURCE);
        }
    });
    let year = services(0, rtas::GET_TIME_OF_DAY, &[], 8)[1];
    let [month, day] = [5, 6].map(|n| crate::calls::get_be32(SCRATCH + 0x100 + 4 * n));
    let life = match year {
        YEAR..2020 => ((year - YEAR) * MONTHS + month - 1) * DAYS + day,
        _ => 0,
    };
    let days = life % DAYS;
    let months = life / DAYS;
    let date = [YEAR + months / MONTHS, 1 + months % MONTHS, 1 + days, 12, 0, 0, 0];
    services(0, rtas::SET_TIME_OF_DAY, &date, 1);
    LIFE.store(u64::from(life) + 1, SeqCst);
}

const NAMES: [&str; 23] = [
    "SPRG1",
    "SPRG2",
    "SPRG3",
    "DAR",
    "DSISR",
    "PIDR",
    "AMR",
    "IAMR",
    "FSCR",
    "DSCR",
    "VRSAVE",
    "MMCR0",
    "MMCR1",
    "MMCR2",
    "MMCRA",
    "PMC1",
    "PMC5",
    "SDAR",
    "TIDR",
    "PSPB",
    "decrementer",
    "vector registers",
    "segments",
];

/// What a CPU that starts finds: all of them are zero.
fn registers() -> [u64; NAMES.len()] {
    [
        spr::<273>(),
        spr::<274>(),
        spr::<275>(),
        spr::<19>(),
        spr::<18>(),
        spr::<48>(),
        spr::<29>(),
        spr::<61>(),
        spr::<153>(),
        spr::<17>(),
        spr::<256>(),
        // The counters stand still.
        spr::<795>() ^ 1 << 31,
        spr::<798>(),
        spr::<785>(),
        spr::<786>(),
        spr::<787>(),
        spr::<791>(),
        spr::<797>(),
        spr::<144>(),
        spr::<159>(),
        u64::from(spr::<22>() < 1 << 53),
        vector_registers(),
        segments(),
    ]
}

/// MSR with floating point, vectors and both of them at once: bits for `oris` and `ori`.
macro_rules! with_vectors {
    ($($line:expr),* ; $($operands:tt)*) => {
        // SAFETY: the program itself uses none of these registers; they are made accessible for the
        // moment.
        unsafe {
            asm!("mfmsr {was}", "oris {on}, {was}, 0x280", "ori {on}, {on}, 0x2000", "mtmsrd {on}", "isync",
                 $($line,)* "mtmsrd {was}", "isync",
                 was = out(reg) _, on = out(reg_nonzero) _, $($operands)*)
        }
    };
}

fn vector_registers() -> u64 {
    let (low, high): (u64, u64);
    // `xxlor vs0, vs0, n` for both halves, then `mfvsrd r5, vs0` and `mfvsrld r6, vs0`.
    with_vectors!(
        ".irp k, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        ".long 0xf0000490 + (\\k << 11)", ".endr",
        ".irp k, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        ".long 0xf0000492 + (\\k << 11)", ".endr",
        ".long 0x7c050066", ".long 0x7c060266";
        out("r5") high, out("r6") low, options(nostack)
    );
    low | high
}

/// Leaves something of this life in every register that another could look at.
fn spoil_registers() {
    // `mtvsrdd vs0, r5, r5`, then `xxlor n, vs0, vs0`.
    with_vectors!(
        ".long 0x7c052b66",
        ".irp k, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        ".long 0xf0000490 + (\\k << 21)", ".endr",
        ".irp k, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        ".long 0xf0000491 + (\\k << 21)", ".endr";
        in("r5") POISON, options(nostack)
    );
    for entry in 0..4_u64 {
        // SAFETY: nothing translates by these entries; this one is valid, for a segment far away.
        unsafe {
            asm!("slbmte {0}, {1}", in(reg) 0x400_u64, in(reg) 0x7000_0000_0800_0000 | entry,
                 options(nostack));
        }
    }
    set_spr::<273>(POISON);
    set_spr::<274>(POISON);
    set_spr::<275>(POISON);
    set_spr::<26>(POISON);
    set_spr::<27>(POISON);
    set_spr::<19>(POISON);
    set_spr::<18>(POISON);
    set_spr::<48>(7);
    set_spr::<29>(POISON);
    set_spr::<61>(POISON);
    set_spr::<153>(0x184);
    set_spr::<17>(0x10);
    set_spr::<256>(POISON);
    set_spr::<795>(0);
    set_spr::<798>(0x1e00);
    set_spr::<787>(0x100);
    set_spr::<791>(0x100);
    set_spr::<797>(POISON);
}

/// The operating system's ring of this CPU: pending, priority, what is queued up.
fn ring() -> u64 {
    // SAFETY: the guest's own interrupt page.
    let word = unsafe { read_volatile((TIMA + 0x10) as *const u64) }.swap_bytes();
    word >> 40
}

/// External interrupts that come when they may.
fn let_in() -> u64 {
    let cpu = (spr::<272>() >> 12) as usize;
    let before = EXTS.of(cpu).get();
    // SAFETY: the guest's own interrupt page.
    unsafe { write_volatile((TIMA + 0x11) as *mut u8, 0xff) };
    trap::interrupts(true);
    trap::interrupts(false);
    let came = EXTS.of(cpu).get() - before;
    // SAFETY: as above.
    unsafe { write_volatile((TIMA + 0x11) as *mut u8, 0) };
    came
}

/// Words that the last life may have left.
fn words() -> impl Iterator<Item = u64> {
    let pages = (BEGIN..RAM_END).chain(ISLAND..ISLAND_END).step_by(PAGE as usize);
    let last = (RAM_END - PAGE..RAM_END).chain(ISLAND_END - PAGE..ISLAND_END).step_by(8);
    pages.chain(last).chain(queues())
}

/// All words of the queues.
fn queues() -> impl Iterator<Item = u64> {
    (QUEUES..QUEUES + CPUS as u64 * QUEUE).step_by(8)
}

/// How many of these words are not zero.
fn touched(words: impl Iterator<Item = u64>) -> u64 {
    // SAFETY: the guest's RAM.
    words.filter(|at| unsafe { read_volatile(*at as *const u64) } != 0).count() as u64
}

/// A source's state: PQ.
fn event_state(source: u64) -> u64 {
    let page = ESB + source * 0x2_0000 + 0x1_0000;
    // SAFETY: the source's management page; the load from there changes nothing.
    unsafe { read_volatile((page + 0x800) as *const u64) }.swap_bytes() & 3
}

/// 1 if interrupts come little-endian: by a program interrupt whose vector can tell.
fn interrupts_little_endian() -> u64 {
    const VECTOR: u64 = 0x700;
    /// A branch over the next word in big-endian, nothing in little-endian; then a branch to the last
    /// five words. Each half sets r3, steps over the trap, and returns.
    const CODE: [u32; 12] = [
        0x0800_0048,                  // tdi 0, 0, 0x48
        0x4800_0018,                  // b .+0x18
        0x3860_0000_u32.swap_bytes(), // li r3, 0
        0x7c9a_02a6_u32.swap_bytes(), // mfsrr0 r4
        0x3884_0004_u32.swap_bytes(), // addi r4, r4, 4
        0x7c9a_03a6_u32.swap_bytes(), // mtsrr0 r4
        0x4c00_0024_u32.swap_bytes(), // rfid
        0x3860_0001,
        0x7c9a_02a6,
        0x3884_0004,
        0x7c9a_03a6,
        0x4c00_0024,
    ];
    let at = |n: usize| (VECTOR as *mut u32).wrapping_add(n);
    // SAFETY: the program's own vector, which is put back; nothing else interrupts meanwhile.
    let own: [u32; CODE.len()] = core::array::from_fn(|n| unsafe { read_volatile(at(n)) });
    let put = |words: &[u32; CODE.len()]| {
        for (n, word) in words.iter().enumerate() {
            // SAFETY: as above.
            unsafe { write_volatile(at(n), *word) };
        }
        // SAFETY: cache operations on the vector's line.
        unsafe {
            asm!("dcbst 0, {0}", "sync", "icbi 0, {0}", "sync", "isync", in(reg) VECTOR, options(nostack));
        }
    };
    put(&CODE);
    let little: u64;
    // SAFETY: the vector above returns behind the trap.
    unsafe { asm!("trap", out("r3") little, out("r4") _, options(nostack)) };
    put(&own);
    little
}

/// Lives, and ends. Returns if the command line does not ask for it.
pub fn live() {
    let Some(life) = LIFE.load(SeqCst).checked_sub(1) else { return };
    Probe::run("life-translation", |p| {
        p.equal(&"table", mmu::start(), 0);
        // `trap`, whose vector is entered with translation off unless the guest asks otherwise.
        let trap = trap::word_in(trap::RELOCATED, 0x7fe0_0008, 0, 0).trap;
        p.equal(&"vector", trap.vector, 0x700);
        p.equal(&"translation in it", trap.msr & 0x30, 0);
    });
    Probe::run("life-other-cpus", |p| {
        for cpu in 1..CPUS {
            p.holds(&format_args!("CPU {cpu} is stopped"), is_stopped(cpu));
            p.equal(&"start", start(0, cpu).into(), 0);
        }
        p.holds(&"they come", until(|| CHECKED.load(SeqCst) == CPUS as u64 - 1));
        p.equal(&"what they find", WRONG.load(SeqCst), 0);
        // Still nothing, with all of them there.
        p.equal(&"queues' memory", touched(queues()), 0);
    });
    say!("life {life} at {}", trap::now());
    for cpu in 0..CPUS as u64 {
        let queue = [1, cpu, PRIORITY, QUEUES + cpu * QUEUE, 16];
        let source = [2, lisn(cpu as usize), cpu, PRIORITY, event(cpu as usize)];
        call(hcall::SET_QUEUE, queue);
        call(hcall::SET_SOURCE, source);
        // SAFETY: the source's management page: it is on.
        unsafe { read_volatile((manage(cpu as usize) + 0xc00) as *const u64) };
    }
    if HAMMER.load(SeqCst) == 0 {
        make_a_mess();
    } else {
        Probe::run("life-queues", |p| p.equal(&"words that are not zero", touched(queues()), 0));
    }
    GO.store(1, SeqCst);
    take_place(0);
}

/// Things that the firmware keeps for the guest.
fn make_a_mess() {
    for at in words().filter(|at| !(SCRATCH..SCRATCH + 0x1_0000).contains(at)) {
        // SAFETY: the guest's RAM, of which nothing else is there; queues are poisoned before an event
        // is written to them.
        unsafe { write_volatile(at as *mut u64, POISON) };
    }
    PRISTINE.store(POISON, SeqCst);
    for server in 0..CPUS as u64 {
        let vpa = SCRATCH + 0x8000 + 0x400 * server;
        put_be32(vpa + 4, 640);
        call(hcall::REGISTER_VPA, [1 << 45, server, vpa, 0, 0]);
    }
    call(hcall::WATCHDOG, [DUMP, 3, LONG, 0, 0]);
    let routines = [RESET_ROUTINE, CHECK_ROUTINE].map(|at| at as u32);
    services(0, rtas::NMI_REGISTER, &routines, 1);
    call(hcall::SET_MODE, [3, 3, 0, 0, 0]);
    // Without GTSE.
    call(hcall::PROC_TBL, [mmu::REGISTER & !1, mmu::process_table(), 0, 0, 0]);
}

/// A further CPU, from its first instruction. `general` is what was in its general registers.
pub fn join_in(cpu: usize, general: u64) -> ! {
    let found = registers().into_iter().chain([general]);
    let wrong = found.filter(|value| *value != 0).count() as u64;
    let pending = if ring() == 0 { let_in() } else { 1 };
    WRONG.fetch_add(wrong + pending, SeqCst);
    CHECKED.fetch_add(1, SeqCst);
    while GO.load(SeqCst) == 0 {}
    take_place(cpu)
}

/// What a CPU does in this life.
fn take_place(cpu: usize) -> ! {
    let life = LIFE.load(SeqCst) - 1;
    if HAMMER.load(SeqCst) != 0 {
        hammer(cpu, life);
    }
    let first_goes = life % 5 == 4;
    // All have something pending, in their queues and on their rings.
    for other in 0..CPUS {
        trigger(other);
    }
    spoil_registers();
    STANDING.fetch_add(1, SeqCst);
    match (cpu as u64 + life) % CPUS as u64 {
        _ if first_goes && cpu == 0 => stop(cpu),
        0 => restart(cpu, life),
        1 => deaf(),
        2 => asleep(),
        _ if first_goes => restart(cpu, life),
        _ => match life % 4 {
            0 => stop(cpu),
            1 => restart(cpu, life),
            2 => loop {
                call(hcall::JOIN, [0; 5]);
            },
            _ => loop {
                call(hcall::RANDOM, [0; 5]);
            },
        },
    }
}

/// Asks for it when all stand where they should.
fn restart(cpu: usize, life: u64) -> ! {
    while STANDING.load(SeqCst) < CPUS as u64 {}
    while life % 10 == 4 && services(cpu, rtas::QUERY_CPU_STOPPED_STATE, &[0], 2) != [0, 0] {}
    ask_for_it(cpu, life)
}

fn ask_for_it(cpu: usize, life: u64) -> ! {
    match life % 3 {
        1 => {
            services(cpu, rtas::OS_TERM, &[0], 1);
        }
        2 => {
            call(hcall::WATCHDOG, [RESTART, 1 + cpu as u64, 1, 0, 0]);
        }
        _ => {
            services(cpu, rtas::SYSTEM_REBOOT, &[], 1);
        }
    }
    deaf()
}

/// RTAS stop-self, with something of this life in the registers that a call keeps.
fn stop(cpu: usize) -> ! {
    let at = buffer(cpu);
    for (word, value) in (0..).zip([rtas::STOP_SELF, 0, 1]) {
        put_be32(at + 4 * word, value);
    }
    // SAFETY: nothing more happens on this CPU.
    unsafe {
        asm!(".irp n, 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31", "mr \\n, 5", ".endr",
             "sc 1", "2: b 2b",
             in("r3") hcall::RTAS, in("r4") at, in("r5") POISON, options(noreturn))
    }
}

/// Spins with interrupts off.
fn deaf() -> ! {
    // SAFETY: nothing more happens on this CPU.
    unsafe { asm!("2: b 2b", options(noreturn)) }
}

/// Sleeps, with an event in its queue that it lets nobody tell it of.
fn asleep() -> ! {
    loop {
        call(hcall::CEDE, [0; 5]);
        trap::interrupts(false);
    }
}

/// What a CPU's queue has in this life, and in no other near it.
fn event(cpu: usize) -> u64 {
    LIFE.load(SeqCst) << 4 & 0x7fff_ffff | cpu as u64
}

/// Sends interrupts and takes those that come, and some time asks for a restart.
fn hammer(cpu: usize, life: u64) -> ! {
    const MOST: u64 = 4000;
    let mut random = Random::new(trap::now() ^ cpu as u64);
    let restarts = (life % CPUS as u64) as usize == cpu;
    let last = random.below(MOST);
    let mut reader = (QUEUES + cpu as u64 * QUEUE, 0, 1 << 31);
    // SAFETY: the guest's own interrupt page.
    unsafe { write_volatile((TIMA + 0x11) as *mut u8, 0xff) };
    while !restarts || SENT.load(SeqCst) < last {
        trigger(random.below(CPUS as u64) as usize);
        SENT.fetch_add(1, SeqCst);
        accept(cpu, &mut reader);
    }
    say!("sent {}, {} stray", SENT.load(SeqCst), STRAY.load(SeqCst));
    ask_for_it(cpu, life)
}

/// Takes this CPU's events, if there are any.
fn accept(cpu: usize, (queue, index, generation): &mut (u64, u64, u32)) {
    // SAFETY: the guest's own interrupt pages.
    unsafe {
        let word = read_volatile((TIMA + 0x810) as *const u16).swap_bytes();
        if word & 0x8000 == 0 {
            return;
        }
        loop {
            let entry = crate::calls::get_be32(*queue + 4 * *index);
            if entry & 1 << 31 != *generation {
                break;
            }
            if u64::from(entry & !(1 << 31)) != event(cpu) {
                STRAY.fetch_add(1, SeqCst);
            }
            *index += 1;
            if *index == QUEUE / 4 {
                (*index, *generation) = (0, *generation ^ 1 << 31);
            }
            read_volatile(manage(cpu) as *const u64);
        }
        write_volatile((TIMA + 0x11) as *mut u8, 0xff);
    }
}
