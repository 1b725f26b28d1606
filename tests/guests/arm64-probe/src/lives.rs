// SPDX-License-Identifier: Apache-2.0 OR MIT
//! With `lives` in its command line the guest does one thing: it makes a mess of its machine on all
//! four CPUs and asks for a reset, again and again; and looks each time whether it begins as it did
//! the first time: against the state after a reset, and against what it has seen in its first life.
//! That, and the number of its life, it remembers in registers of the clock, which the firmware does
//! not know. With guarded interrupts the controller is not as after a reset.
//!
//! The CPUs take turns: one resets, one spins with everything masked, one sleeps in the middle of an
//! interrupt, one calls. Now and then the first CPU is off meanwhile, or two reset at once, or it is
//! a panic.
#![expect(unsafe_code, reason = "registers of the CPU, devices and memory")]

use core::arch::asm;
use core::cell::Cell;
use core::fmt;
use core::ptr::{read_volatile, write_volatile};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::board::{ANNEX, CPUS, DISTRIBUTOR, FRAME, ISLAND, RAM_END, RTC, SCRATCH, UART};
use crate::interrupts::{frame, read, write};
use crate::psci::{self, call};
use crate::report::Probe;
use crate::tree::asked_for;
use crate::{say, smp, trap};

/// The clock's match register.
const LIFE: u64 = RTC + 4;
/// Its load register.
const FIRST: u64 = RTC + 8;
/// Pages in each region, first, last and in between.
const PAGES: [u64; 4] = [SCRATCH, RAM_END - 0x1000, ISLAND + 0x20_0000, ANNEX];
const POISON: u64 = 0x5bad_c0de_5bad_c0de;
/// SDEI_PE_MASK, by which Linux says that it stops a CPU.
const MASK: u64 = 0xc400_002b;

/// CPUs that have taken their places.
static STANDING: AtomicUsize = AtomicUsize::new(0);
/// Data that the image has, of which a life finds what the image has.
static mut PRISTINE: u64 = 0x1dea;
static OWN_LIFE: AtomicU32 = AtomicU32::new(0);

macro_rules! register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reads a register.
        unsafe { asm!(concat!("mrs {0}, ", $name), out(reg) value, options(nomem, nostack)) };
        value
    }};
}
macro_rules! set_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: a register of the guest's own.
        unsafe { asm!(concat!("msr ", $name, ", {0}"), in(reg) value, options(nostack)) };
    }};
}

/// Looks at the machine as it was found, before anything is set.
pub fn begin(tree: u64) {
    if !asked_for(tree, "lives") {
        return;
    }
    let looks = Looks { reset: !asked_for(tree, "guarded"), sum: Cell::new(0) };
    Probe::run("life-registers", |p| {
        p.equal(&"SCTLR", register!("sctlr_el1") & 0x1005, 0);
        looks.at(p, &"PMR", register!("S3_0_C4_C6_0"));
        for (name, value) in [
            ("VBAR", register!("vbar_el1")),
            ("TTBR0", register!("ttbr0_el1")),
            ("TTBR1", register!("ttbr1_el1")),
            ("TPIDR", register!("tpidr_el1") | register!("tpidr_el0")),
            ("CPACR", register!("cpacr_el1")),
            ("SP_EL0", register!("sp_el0")),
            ("MDSCR", register!("mdscr_el1")),
            ("timers", (register!("cntv_ctl_el0") | register!("cntp_ctl_el0")) & 1),
            ("what is pending", register!("isr_el1")),
            ("groups", register!("S3_0_C12_C12_6") | register!("S3_0_C12_C12_7")),
            ("what is active", register!("S3_0_C12_C8_4") | register!("S3_0_C12_C9_0")),
        ] {
            p.equal(&name, value, 0);
        }
        p.equal(&"vector registers", vector_registers(), 0);
    });
    Probe::run("life-memory", |p| {
        for page in PAGES {
            let words = (0..512).map(|word| page + 8 * word);
            // SAFETY: the guest's RAM.
            let sum = words.fold(0, |all, at| all | unsafe { read_volatile(at as *const u64) });
            p.equal(&format_args!("the page at {page:#x}"), sum, 0);
        }
        // SAFETY: only this CPU runs.
        p.equal(&"its own data", unsafe { read_volatile(&raw const PRISTINE) }, 0x1dea);
        p.equal(&"its own zeroes", STANDING.load(Ordering::Relaxed) as u64, 0);
    });
    Probe::run("life-controller", |p| {
        looks.at(p, &"GICD_CTLR", u64::from(read(DISTRIBUTOR) & 3));
        for line in [1, 2] {
            looks.at_interrupts(p, DISTRIBUTOR, line);
        }
        p.equal(&"a route", u64::from(read(DISTRIBUTOR + 0x6000 + 8 * 33)), 0);
        for cpu in 0..CPUS {
            looks.at_interrupts(p, frame(cpu) + FRAME, 0);
            // Asleep, until the guest wakes it.
            looks.at(p, &"GICR_WAKER", u64::from(read(frame(cpu) + 0x14) ^ 6));
        }
        p.equal(&"the UART's interrupts", u64::from(read(UART + 0x38)), 0);
    });
    if read(LIFE) == 0 {
        write(FIRST, looks.sum.get());
    }
    Probe::run("life-as-first", |p| p.equal(&"sum", looks.sum.get().into(), read(FIRST).into()));
}

/// What was seen, and whether it must be as after a reset.
struct Looks {
    reset: bool,
    sum: Cell<u32>,
}

impl Looks {
    fn at(&self, p: &Probe, what: &dyn fmt::Display, value: u64) {
        self.sum.set((self.sum.get() ^ value as u32).wrapping_mul(0x0100_0193).rotate_left(5));
        if self.reset {
            p.equal(what, value, 0);
        }
    }

    /// Thirty-two interrupts.
    fn at_interrupts(&self, p: &Probe, frame: u64, line: u64) {
        for register in [0x080, 0x100, 0x200, 0x300] {
            let place = frame + register + 4 * line;
            self.at(p, &format_args!("{place:#x}"), read(place).into());
        }
        for word in 0..8 {
            let place = frame + 0x400 + 32 * line + 4 * word;
            self.at(p, &format_args!("{place:#x}"), read(place).into());
        }
    }
}

fn vector_registers() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: the program itself uses none; they are made accessible for the moment.
    unsafe {
        asm!("mrs {cpacr}, cpacr_el1", "msr cpacr_el1, {on}", "isb",
             ".arch_extension fp", ".arch_extension simd",
             ".irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
             "orr v0.16b, v0.16b, v\\n\\().16b", ".endr",
             "mov {low}, v0.d[0]", "mov {high}, v0.d[1]", "msr cpacr_el1, {cpacr}", "isb",
             cpacr = out(reg) _, low = out(reg) low, high = out(reg) high,
             on = in(reg) 3_u64 << 20, options(nostack));
    }
    low | high
}

/// Lives, and ends. Returns if the command line does not ask for it.
pub fn live(tree: u64) {
    if !asked_for(tree, "lives") {
        return;
    }
    Probe::run("life-other-cpus", |p| {
        (1..CPUS).for_each(|cpu| p.holds(&format_args!("CPU {cpu} is off"), smp::is_off(cpu)));
    });
    let life = read(LIFE);
    say!("life {life} at {}", trap::now());
    write(LIFE, life + 1);
    OWN_LIFE.store(life, Ordering::Relaxed);
    for page in PAGES {
        for word in 0..512 {
            // SAFETY: the guest's RAM, of which nothing else is there.
            unsafe { write_volatile((page + 8 * word) as *mut u64, POISON) };
        }
    }
    // SAFETY: only this CPU runs.
    unsafe { write_volatile(&raw mut PRISTINE, POISON) };
    for register in [0x100, 0x200, 0x300, 0x380] {
        write(DISTRIBUTOR + register + 4, 0xffff_ffff);
        write(DISTRIBUTOR + register + 8, 0xffff);
    }
    write(DISTRIBUTOR + 0x6000 + 8 * 33, 1);
    write(DISTRIBUTOR + 0x400 + 32, 0x2020_2020);
    write(UART + 0x38, 0x7ff);
    for cpu in 1..CPUS {
        while smp::start(cpu) != psci::SUCCESS {}
        smp::give(cpu, take_place);
    }
    take_place(0);
}

/// What a CPU does in this life.
fn take_place(cpu: usize) {
    let life = OWN_LIFE.load(Ordering::Relaxed) as usize;
    let first_goes = life % 5 == 4;
    spoil_registers();
    STANDING.fetch_add(1, Ordering::AcqRel);
    if first_goes && cpu == 0 {
        smp::turn_off(0);
    }
    match (cpu + life) % CPUS {
        0 => reset(life),
        3 if first_goes || life % 2 == 1 => reset(life),
        1 => deaf(),
        2 => asleep(cpu),
        _ => loop {
            call(&[psci::VERSION]);
        },
    }
}

/// Asks for it when all stand where they should.
fn reset(life: usize) -> ! {
    while STANDING.load(Ordering::Acquire) < CPUS {
        smp::pause();
    }
    while life % 10 == 4 && !smp::is_off(0) {}
    if life % 3 == 1 {
        // As Linux does behind a panic.
        call(&[MASK]);
        call(&[MASK]);
    }
    loop {
        call(&[if life % 2 == 0 { psci::SYSTEM_RESET } else { psci::SYSTEM_RESET2 }, 0, 0]);
    }
}

/// Spins with everything masked.
fn deaf() -> ! {
    // SAFETY: nothing more happens on this CPU.
    unsafe { asm!("msr daifset, #15", "2: b 2b", options(noreturn)) }
}

/// Sleeps with everything masked, an interrupt begun and not ended, both timers ringing.
fn asleep(cpu: usize) -> ! {
    const SENT: u64 = 1;
    let local = frame(cpu) + FRAME;
    write(local + 0x400, 0x8080_8080);
    write(local + 0x100, 1 << SENT | 1 << 27 | 1 << 30);
    set_register!("S3_0_C12_C11_5", SENT << 24 | 1 << cpu);
    // ICC_IAR1_EL1.
    while register!("S3_0_C12_C12_0") != SENT {}
    set_register!("cntp_cval_el0", 0);
    set_register!("cntp_ctl_el0", 1);
    // SAFETY: nothing more happens on this CPU.
    unsafe { asm!("msr daifset, #15", "2: wfi", "b 2b", options(noreturn)) }
}

/// Leaves something of this life in every register that another could look at.
fn spoil_registers() {
    set_register!("tpidr_el0", POISON);
    set_register!("sp_el0", POISON);
    set_register!("ttbr1_el1", 0x7000);
    // SAFETY: the program itself uses none of these; floating point stays accessible.
    unsafe {
        asm!("msr cpacr_el1, {on}", "isb", ".arch_extension fp", ".arch_extension simd",
             ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
             "dup v\\n\\().2d, {poison}", ".endr",
             on = in(reg) 3_u64 << 20, poison = in(reg) POISON, options(nostack));
    }
}
