// SPDX-License-Identifier: Apache-2.0 OR MIT
//! CPUs that cede with a cede latency hint, so that the firmware takes them off their threads: all that
//! wakes a CPU from H_CEDE does, and numbered interrupts from every CPU to every CPU each come once.
#![expect(unsafe_code, reason = "runs on several CPUs")]

use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::board::{ESB, SCRATCH, TIMA};
use crate::calls::put_be32;
use crate::hcall;
use crate::interrupts::{Reader, rounds};
use crate::random::Random;
use crate::report::Probe;
use crate::smp::{CPUS, FAR, QUEUES, call, cede, until};
use crate::trap;

/// Where the hint is in a CPU's area.
const HINT: u64 = 0xb0;
/// The priorities of a CPU's two queues: by whether the sender's number is even.
const PRIORITIES: [u64; 2] = [6, 3];
/// What an event's number has besides its source's.
const MARK: u32 = 0x1234_5600;

/// One source for each sender and receiver: interrupts sent, and taken.
static SENT: [AtomicU64; CPUS * CPUS] = [const { AtomicU64::new(0) }; CPUS * CPUS];
static TAKEN: [AtomicU64; CPUS * CPUS] = [const { AtomicU64::new(0) }; CPUS * CPUS];
/// How many each is to have sent.
static GOAL: AtomicU64 = AtomicU64::new(0);

const fn area(cpu: usize) -> u64 {
    SCRATCH + 0x8000 + 0x400 * cpu as u64
}

/// Registers a CPU's area with this hint.
pub fn hint(p: &Probe, cpu: usize, value: u8) {
    put_be32(area(cpu) + 4, 640 << 16);
    put_be32(area(cpu) + HINT, u32::from(value) << 24);
    let code = call(hcall::REGISTER_VPA, [1 << 45, cpu as u64, area(cpu), 0, 0])[0];
    p.equal(&"area", code, 0);
}

/// Takes the area away.
pub fn no_hint(p: &Probe, cpu: usize) {
    let code = call(hcall::REGISTER_VPA, [5 << 45, cpu as u64, 0, 0, 0])[0];
    p.equal(&"no area", code, 0);
}

const fn source(sender: usize, receiver: usize) -> usize {
    CPUS * receiver + sender
}

const fn queue(cpu: usize, which: usize) -> u64 {
    QUEUES + 0x1_0000 * (PRIORITIES.len() * cpu + which) as u64
}

fn page(source: usize) -> u64 {
    ESB + source as u64 * 0x2_0000
}

/// Gives the CPUs queues and sources, all empty and on.
pub fn set_up(p: &Probe, goal: u64) {
    for cpu in 0..CPUS {
        for (which, priority) in PRIORITIES.into_iter().enumerate() {
            let memory = queue(cpu, which);
            (0..0x1_0000).step_by(4).for_each(|offset| put_be32(memory + offset, 0));
            let code = call(hcall::SET_QUEUE, [1, cpu as u64, priority, memory, 16])[0];
            p.equal(&"queue", code, 0);
        }
        for sender in 0..CPUS {
            let n = source(sender, cpu);
            SENT[n].store(0, SeqCst);
            TAKEN[n].store(0, SeqCst);
            let number = u64::from(MARK | n as u32);
            let route = [2, n as u64, cpu as u64, PRIORITIES[sender % 2], number];
            p.equal(&"source", call(hcall::SET_SOURCE, route)[0], 0);
            // SAFETY: the source's management page: on, nothing pending.
            unsafe { ptr::read_volatile((page(n) + 0x1_0c00) as *const u64) };
        }
    }
    GOAL.store(goal, SeqCst);
}

/// Takes all of it away again; each queue has had as many events as were sent.
pub fn take_away(p: &Probe, goal: u64) {
    for n in 0..CPUS * CPUS {
        p.equal(&"sent", SENT[n].load(SeqCst), goal);
        p.equal(&"taken", TAKEN[n].load(SeqCst), goal);
        p.equal(&"mask", call(hcall::SET_SOURCE, [0, n as u64, 0, 0xff, 0])[0], 0);
    }
    for cpu in 0..CPUS as u64 {
        for priority in PRIORITIES {
            let [_, _, _, _, index, ..] = hcall::hcall(hcall::GET_QUEUE, &[1, cpu, priority]);
            p.equal(&"index", index, goal * (CPUS / PRIORITIES.len()) as u64);
            p.equal(&"queue", call(hcall::SET_QUEUE, [0, cpu, priority, 0, 0])[0], 0);
        }
    }
}

/// Sends this CPU's interrupts and takes those for it, until all have been: what was wrong.
pub fn exchange(cpu: usize) -> u64 {
    let goal = GOAL.load(SeqCst);
    let mut random = Random::new(cpu as u64 ^ goal);
    let mut readers = [0, 1].map(|which| Reader::of(queue(cpu, which)));
    let mut wrong = take(&mut readers);
    let done = || {
        let sent = (0..CPUS).all(|other| SENT[source(cpu, other)].load(SeqCst) == goal);
        sent && (0..CPUS).all(|other| TAKEN[source(other, cpu)].load(SeqCst) == goal)
    };
    let ended = until(|| {
        let n = source(cpu, random.below(CPUS as u64) as usize);
        let sent = SENT[n].load(SeqCst);
        if sent < goal && sent == TAKEN[n].load(SeqCst) {
            SENT[n].store(sent + 1, SeqCst);
            // SAFETY: the source's trigger page, which is the guest's.
            unsafe { ptr::write_volatile(page(n) as *mut u64, 0) };
        }
        // With one for this CPU under way nothing else has to wake it.
        let comes = (0..CPUS).map(|other| source(other, cpu));
        let mut comes = comes.filter(|n| SENT[*n].load(SeqCst) != TAKEN[*n].load(SeqCst));
        let far = comes.next().is_some() && random.below(4) != 0;
        trap::set_decrementer(if far { FAR } else { random.below(50_000) });
        cede();
        wrong += take(&mut readers);
        done()
    });
    trap::set_decrementer(FAR);
    wrong + u64::from(!ended)
}

/// Takes what is pending: how much of it is wrong.
fn take(readers: &mut [Reader; 2]) -> u64 {
    let mut wrong = 0;
    loop {
        // SAFETY: the guest's own interrupt page: accepts the most favoured one.
        let word = unsafe { ptr::read_volatile((TIMA + 0x810) as *const u16) }.swap_bytes();
        for reader in &mut *readers {
            while let Some(event) = reader.next() {
                let n = (event ^ MARK) as usize;
                if n >= CPUS * CPUS {
                    wrong += 1;
                    continue;
                }
                // SAFETY: its management page: the interrupt's end, 1 if another came meanwhile, which
                // none does before the sender sees it taken.
                wrong += unsafe { ptr::read_volatile((page(n) + 0x1_0000) as *const u64) };
                TAKEN[n].fetch_add(1, SeqCst);
            }
        }
        // SAFETY: the guest's own interrupt page: takes every priority again.
        unsafe { ptr::write_volatile((TIMA + 0x11) as *mut u8, 0xff) };
        if word & 0x8000 == 0 {
            return wrong;
        }
    }
}

/// How many interrupts each CPU sends each.
pub fn goal() -> u64 {
    (rounds() / 32).min(0x400)
}
