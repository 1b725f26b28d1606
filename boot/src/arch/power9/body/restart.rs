// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest begins again without a machine reset.
//!
//! Whoever ends it takes all other vCPUs out ([`super::stop`]), which then wait to be started as they
//! do at boot. Interrupts come first: not before no source can trigger, what was triggered has arrived
//! and no queue is left is the guest's memory filled, or an event of its last life could be written
//! into the next one. The loader fills it, on the stack that it had at boot. Then every core removes
//! what is left of the last life in it, and the first vCPU is started.
use core::arch::asm;

use anchorite_hv::core::end::Last;
use anchorite_hv::power9::{Power9, Shared, interrupts};
use anchorite_platform::powernv::core::timebase;
use anchorite_platform::powernv::{Board, BootInfo};
use anchorite_spec::{End, Manifest};
use core::sync::atomic::Ordering;

use super::state::{BOARD, CPUS, STACKS};
use super::{NO_PROCESS_TABLE, death, enter, stop};
use crate::known::image;
use crate::{again, stopping};

/// What a restart needs of the machine.
struct Machine {
    info: &'static BootInfo,
    manifest: &'static Manifest,
    board: &'static Board,
    shared: &'static Shared,
}

impl Machine {
    fn get() -> Self {
        // SAFETY: set once at boot, and never held mutably afterwards.
        match (image(), unsafe { BOARD.as_ref() }, stop::shared()) {
            (Some((info, manifest)), Some(board), Some(shared)) => {
                Self { info, manifest, board, shared }
            }
            _ => panic!("a restart before the first start"),
        }
    }

    /// Waits for what the other vCPUs do meanwhile; gives the restart up if they do not.
    fn wait_for(&self, index: usize, what: impl FnMut() -> bool) {
        let since = timebase();
        let late = || {
            anchorite_hv::power9::lock::relax();
            timebase() - since > again::PATIENCE * self.manifest.timebase_hz
        };
        if !stopping::wait_for(what, late, || stop::halt(index)) {
            death::give_restart_up(index, b"one of its CPUs cannot be woken");
        }
    }
}

/// Restarts the guest, on the core of the vCPU that has ended it. Returns if someone else is at it.
pub fn begin(index: usize, why: End, last: &Last, words: &[u8]) {
    let machine = Machine::get();
    let since = timebase();
    if !stopping::for_restart() {
        return;
    }
    // SAFETY: of those that would end this life only this one comes here.
    unsafe { again::begins(why, since, last, words) };
    stop::pull(index, machine.board, machine.shared);
    machine.wait_for(index, || machine.shared.others_stopped(index));
    let stack = machine.manifest.boot_stack.base + machine.manifest.boot_stack.size - FRAME;
    // SAFETY: the memory is what the loader had for a stack, and what this stack holds is not needed
    // any more.
    unsafe { go_over(stack, alone, index) }
}

/// What the caller of a function leaves it on the stack.
const FRAME: u64 = 64;

/// Goes on with a function on another stack.
///
/// # Safety
/// The stack's memory must be free, and nothing on the present one needed.
unsafe fn go_over(stack: u64, function: extern "C" fn(usize) -> !, argument: usize) -> ! {
    // SAFETY: the caller's promise; a function finds its own address in r12.
    unsafe {
        asm!("mr 1, {0}", "mtctr 12", "bctr", in(reg) stack, in("r3") argument,
             in("r12") function as *const () as u64, options(noreturn));
    }
}

/// Everything else: no other vCPU runs.
extern "C" fn alone(index: usize) -> ! {
    let machine = Machine::get();
    let Machine { info, manifest, board, shared } = machine;
    let mut phases = again::record();
    // SAFETY: the vCPU is this core's, whose handlers are done.
    let (Some(vcpu), Some(refill)) = (unsafe { CPUS[index].as_mut() }, info.refill) else {
        panic!("a restart without a loader")
    };
    if interrupts::clear(vcpu).is_err() {
        death::give_restart_up(index, b"its interrupts cannot be taken back");
    }
    // SAFETY: this one does not end before the guest runs again.
    refill(info.image, manifest, &mut phases, unsafe { again::last_life() });
    vcpu.machine.set_process_table(NO_PROCESS_TABLE);
    shared.begin_again();
    let others = || (0..shared.vcpus).filter(|other| *other != index);
    for other in others() {
        shared.seats[other].renew.store(true, Ordering::SeqCst);
        board.kick(other);
    }
    vcpu.renew();
    let renewed = |other: usize| !shared.seats[other].renew.load(Ordering::SeqCst);
    machine.wait_for(index, || others().all(renewed));
    board.drain_console();
    // SAFETY: no other vCPU runs.
    unsafe {
        again::count(&|line| board.below.console_print(line));
        again::close(phases, timebase());
    }
    // SAFETY: the stack is this vCPU's, and no exit is being served.
    unsafe { go_over(STACKS[index].top(), release, index) }
}

/// The last step, on the vCPU's own stack: once the first vCPU is started, it may restart the guest in
/// its turn and have the loader's.
extern "C" fn release(index: usize) -> ! {
    let Machine { manifest, board, shared, .. } = Machine::get();
    if !stopping::is_over() {
        stop::halt(index);
    }
    shared.start_first(manifest, timebase());
    if index != 0 {
        board.kick(0);
    }
    enter(index)
}
