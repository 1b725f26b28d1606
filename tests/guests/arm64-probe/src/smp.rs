// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The other CPUs: started, given something to do all at once, stopped.
#![expect(unsafe_code, reason = "called by name from the assembly, and waits")]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::board::CPUS;
use crate::psci::{self, AFFINITY_INFO, CPU_OFF, CPU_ON, call};
use crate::{attack, interrupts, low, mmu};

/// A job: the CPU's number is given.
pub type Job = fn(usize);

/// The job that each CPU is to do, as a number; 0 is none.
static JOBS: [AtomicUsize; CPUS] = [const { AtomicUsize::new(0) }; CPUS];
/// Jobs that each has done.
static DONE: [AtomicUsize; CPUS] = [const { AtomicUsize::new(0) }; CPUS];
/// CPUs that stand at the start of a common job.
static READY: AtomicUsize = AtomicUsize::new(0);
/// Starts of each CPU.
static STARTS: [AtomicUsize; CPUS] = [const { AtomicUsize::new(0) }; CPUS];
/// x0 of each CPU's last start.
static ARGUMENTS: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
/// Registers that were not zero when a CPU started.
static GARBAGE: AtomicU64 = AtomicU64::new(0);

/// Where CPUs begin.
pub fn entry() -> u64 {
    &raw const low::probe_secondary_entry as u64
}

/// AFFINITY_INFO: whether a CPU is off.
pub fn is_off(cpu: usize) -> bool {
    call(&[AFFINITY_INFO, cpu as u64, 0]) == 1
}

/// Starts of a CPU so far, and x0 of the last.
pub fn starts(cpu: usize) -> (usize, u64) {
    (STARTS[cpu].load(Ordering::Acquire), ARGUMENTS[cpu].load(Ordering::Acquire))
}

/// What CPUs found in registers other than x0.
pub fn garbage() -> u64 {
    GARBAGE.load(Ordering::Relaxed)
}

/// Starts a CPU and waits until it runs. Returns PSCI's result.
pub fn start(cpu: usize) -> u64 {
    let before = starts(cpu).0;
    let result = call(&[CPU_ON, cpu as u64, entry(), cpu as u64]);
    if result == psci::SUCCESS {
        await_start(cpu, before);
    }
    result
}

/// Waits until a CPU has started once more.
pub fn await_start(cpu: usize, before: usize) {
    while starts(cpu).0 == before {
        pause();
    }
}

/// Lets others run.
pub fn pause() {
    // SAFETY: a hint.
    unsafe { asm!("yield", options(nomem, nostack)) };
}

/// Gives a CPU something to do.
pub fn give(cpu: usize, job: Job) {
    DONE[cpu].store(0, Ordering::Relaxed);
    JOBS[cpu].store(job as usize, Ordering::Release);
}

/// Waits until a CPU has done what it was given.
pub fn await_done(cpu: usize) {
    while DONE[cpu].load(Ordering::Acquire) == 0 {
        pause();
    }
}

/// Does a job on all these CPUs at once, of which the calling one is the first.
pub fn together(cpus: &[usize], job: Job) {
    READY.store(0, Ordering::Release);
    for cpu in &cpus[1..] {
        give(*cpu, job);
    }
    job(cpus[0]);
    for cpu in &cpus[1..] {
        await_done(*cpu);
    }
}

/// Where a common job begins: waits until this many CPUs are there.
pub fn meet(cpus: usize) {
    READY.fetch_add(1, Ordering::AcqRel);
    while READY.load(Ordering::Acquire) < cpus {
        pause();
    }
}

/// Ends the calling CPU; it can be started again.
pub fn turn_off(_: usize) {
    call(&[CPU_OFF]);
}

#[unsafe(no_mangle)]
extern "C" fn probe_secondary(argument: u64, others: u64) -> ! {
    let cpu = argument as usize & (CPUS - 1);
    low::install(cpu);
    mmu::prepare();
    mmu::turn(true);
    interrupts::keep_one_pending(cpu);
    GARBAGE.fetch_or(others, Ordering::Relaxed);
    JOBS[cpu].store(0, Ordering::Relaxed);
    ARGUMENTS[cpu].store(argument, Ordering::Release);
    STARTS[cpu].fetch_add(1, Ordering::AcqRel);
    if attack::is_on() && cpu != 0 {
        attack::take_part(cpu);
    }
    loop {
        let job = JOBS[cpu].swap(0, Ordering::Acquire);
        if job == 0 {
            pause();
            continue;
        }
        // SAFETY: `give` puts nothing else there.
        let job: Job = unsafe { core::mem::transmute(job) };
        job(cpu);
        DONE[cpu].store(1, Ordering::Release);
    }
}
