// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How vCPUs are taken out of the guest, whatever they do there and however they are masked, without
//! an interrupt that comes to EL2: they lose their translation and come by their next instruction;
//! those that sleep are woken for it. When the run ends they stay; for a restart they leave as a CPU
//! does that the guest takes out of use, and the first vCPU's goes on with the restart.
use core::sync::atomic::Ordering;

use anchorite_hv::arm64::Shared;
use anchorite_hv::arm64::vcpu::OFF;
use anchorite_platform::qemu_virt::gic::Frames;
use anchorite_platform::qemu_virt::{cpu, el2};
use anchorite_platform::read_register;
use anchorite_spec::Manifest;

use super::state::{CPUS, SHARED};
use super::{PAGE, restart};
use crate::again::PATIENCE;
use crate::known::image;
use crate::stopping::{self, Why};

/// Takes all vCPUs but the calling one out of the guest for good, so that neither console nor ledger
/// move any more. One that sleeps and lets nothing wake it sleeps on, and is not waited for for ever.
pub fn for_good(index: usize) {
    stopping::for_good();
    let (Some((_, manifest)), Some(shared)) = (image(), shared()) else { return };
    pull(index, manifest, shared);
    let quiet = || {
        (0..shared.vcpus).filter(|other| *other != index).all(|other| {
            let off = shared.seats[other].state.load(Ordering::Acquire) == OFF;
            off || stopping::has_halted(other)
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
    let first = stopping::for_restart();
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

/// A vCPU's CPU that has come out, or that has just been started.
pub fn arrive(index: usize) -> ! {
    if stopping::why() == Some(Why::Restart) {
        if index == 0 {
            restart::conduct();
        }
        // SAFETY: the vCPU is this CPU's, and its handlers are done.
        if let Some(vcpu) = unsafe { CPUS[index].as_mut() } {
            el2::silence_timers();
            vcpu.leave();
        }
    }
    stopping::halted(index);
    cpu::park()
}

/// Waits for something while vCPUs come out; false if it takes too long. Does not return if the run
/// ends meanwhile.
pub fn wait_for(index: usize, what: impl FnMut() -> bool) -> bool {
    let until = cpu::counter() + PATIENCE * read_register!("cntfrq_el0");
    let late = || {
        cpu::pause();
        cpu::counter() > until
    };
    stopping::wait_for(what, late, || arrive(index))
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
