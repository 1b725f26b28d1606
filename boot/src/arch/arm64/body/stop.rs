// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How vCPUs are taken out of the guest, whatever they do there and however they are masked, without
//! an interrupt that comes to EL2: they lose their translation and come by their next instruction;
//! those that sleep are woken for it. When the run ends they stay; for a restart they leave as a CPU
//! does that the guest takes out of use, and the first vCPU's goes on with the restart.
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anchorite_hv::arm64::Shared;
use anchorite_hv::arm64::vcpu::OFF;
use anchorite_platform::qemu_virt::gic::Frames;
use anchorite_platform::qemu_virt::{cpu, el2};
use anchorite_platform::read_register;
use anchorite_spec::Manifest;
use anchorite_spec::manifest::VCPUS;

use super::state::{CPUS, SHARED, image};
use super::{PAGE, restart};

/// The vCPUs run.
const NO: u32 = 0;
/// They are taken out and the guest begins again.
const FOR_RESTART: u32 = 1;
/// They are taken out for good.
const FOR_GOOD: u32 = 2;

/// Why the vCPUs are being taken out of the guest. A restart can still become an end.
static STOP: AtomicU32 = AtomicU32::new(NO);
/// Which vCPUs have come out for good.
static HALTED: [AtomicBool; VCPUS] = [const { AtomicBool::new(false) }; VCPUS];

/// Whether they are.
#[inline]
pub fn is_on() -> bool {
    STOP.load(Ordering::Acquire) != NO
}

/// Takes all vCPUs but the calling one out of the guest for good, so that neither console nor ledger
/// move any more. One that sleeps and lets nothing wake it sleeps on, and is not waited for for ever.
pub fn for_good(index: usize) {
    STOP.store(FOR_GOOD, Ordering::SeqCst);
    let (Some((_, manifest)), Some(shared)) = (image(), shared()) else { return };
    pull(index, manifest, shared);
    let quiet = || {
        (0..shared.vcpus).filter(|other| *other != index).all(|other| {
            let off = shared.seats[other].state.load(Ordering::Acquire) == OFF;
            off || HALTED[other].load(Ordering::Acquire)
        })
    };
    let until = cpu::counter() + read_register!("cntfrq_el0") / 2;
    while !quiet() && cpu::counter() < until {
        cpu::pause();
    }
}

/// Takes all vCPUs but the calling one out of the guest, for it to begin again; false if someone else
/// is at it already.
pub fn for_restart(index: usize, manifest: &Manifest, shared: &Shared) -> bool {
    let first = STOP.compare_exchange(NO, FOR_RESTART, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    if first {
        pull(index, manifest, shared);
    }
    first
}

fn pull(index: usize, manifest: &Manifest, shared: &Shared) {
    let bytes = u64::from(manifest.arm64.root_tables.max(1)) * PAGE;
    // SAFETY: the root is what VTTBR_EL2 has on every CPU that runs a guest, and with the tables that
    // a restart puts back the only thing of them that is written after the first entry.
    unsafe { el2::clear_root(manifest.table_root, bytes) };
    let seats = shared.seats.iter().enumerate().take(shared.vcpus);
    for (other, seat) in seats.filter(|(other, _)| *other != index) {
        if seat.state.load(Ordering::Acquire) != OFF {
            frames(manifest).wake(other, seat.mpidr);
        }
    }
    cpu::wake_event_waiters();
}

/// The restart is done and vCPUs may run; false if the run has ended meanwhile.
pub fn is_over() -> bool {
    STOP.compare_exchange(FOR_RESTART, NO, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

/// A vCPU's CPU that has come out, or that has just been started.
pub fn arrive(index: usize) -> ! {
    if STOP.load(Ordering::SeqCst) == FOR_RESTART {
        if index == 0 {
            restart::conduct();
        }
        // SAFETY: the vCPU is this CPU's, and its handlers are done.
        if let Some(vcpu) = unsafe { CPUS[index].as_mut() } {
            el2::silence_timers();
            vcpu.leave();
        }
    }
    HALTED[index].store(true, Ordering::Release);
    cpu::park()
}

/// Waits for something while vCPUs come out; false if it takes too long. Does not return if the run
/// ends meanwhile.
pub fn wait_for(index: usize, mut what: impl FnMut() -> bool) -> bool {
    /// Seconds. Who has not come by then sleeps, and lets no interrupt wake it.
    const PATIENCE: u64 = 20;
    let until = cpu::counter() + PATIENCE * read_register!("cntfrq_el0");
    loop {
        if STOP.load(Ordering::SeqCst) == FOR_GOOD {
            arrive(index);
        }
        if what() {
            return true;
        }
        if cpu::counter() > until {
            return false;
        }
        cpu::pause();
    }
}

/// The interrupt controller's frames.
pub fn frames(manifest: &Manifest) -> Frames {
    // SAFETY: EL2 maps what the manifest says.
    unsafe { Frames::new(manifest.arm64.distributor, manifest.arm64.redistributor) }
}

/// What all vCPUs share, once it stands.
pub fn shared() -> Option<&'static Shared> {
    // SAFETY: set once at boot, before any vCPU runs.
    unsafe { SHARED.as_ref() }
}
