// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What arm64's firmware keeps: one of each for every vCPU, touched by that vCPU's CPU alone, and
//! what all share.
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use anchorite_hv::arm64::context::SecondaryStart;
use anchorite_hv::arm64::{GuestContext, Shared, Vcpu};
use anchorite_platform::qemu_virt::{BootInfo, Virt};
use anchorite_spec::manifest::VCPUS;
use anchorite_spec::{End, Manifest};

use crate::own::{Late, Own, Stack};

/// Tables of EL2's own translation.
pub const TABLES: usize = 10;

/// The tables.
#[repr(C, align(4096))]
pub struct Tables(pub [[u64; 512]; TABLES]);

/// Each vCPU's registers.
pub static CONTEXTS: Own<[GuestContext; VCPUS]> = Own::new([GuestContext::EMPTY; VCPUS]);
/// Each vCPU, once it stands.
pub static CPUS: [Late<Vcpu<Virt>>; VCPUS] = [const { Late::new() }; VCPUS];
/// What they share, once it stands.
pub static SHARED: Late<Shared> = Late::new();
/// Where secondary CPUs begin.
pub static STARTS: Own<[SecondaryStart; VCPUS]> = Own::new(
    [SecondaryStart { mair: 0, tcr: 0, ttbr: 0, sctlr: 0, stack: 0, entry: 0, vcpu: 0 }; VCPUS],
);
/// EL2's own translation.
pub static EL2_TABLES: Own<Tables> = Own::new(Tables([[0; 512]; TABLES]));
/// The stacks that serve exits.
#[unsafe(export_name = "body_stack")]
pub static STACKS: [Stack<8192>; VCPUS] = [const { Stack::new() }; VCPUS];
/// The stacks on which the firmware dies.
pub static FAULT_STACKS: [Stack<4096>; VCPUS] = [const { Stack::new() }; VCPUS];
/// How the run ends, once a handler has decided it on this vCPU; 0 before.
static ENDS: [AtomicU32; VCPUS] = [const { AtomicU32::new(0) }; VCPUS];

/// The loader's findings, once they were taken over.
static INFO: AtomicPtr<BootInfo> = AtomicPtr::new(core::ptr::null_mut());

/// Takes the loader's findings over.
pub fn found(info: &'static BootInfo) {
    INFO.store(core::ptr::from_ref(info).cast_mut(), Ordering::Release);
}

/// What was found and what the image says; `None` until then.
pub fn image() -> Option<(&'static BootInfo, &'static Manifest)> {
    // SAFETY: `found` was given both for good: nothing writes the findings or the manifest's copy.
    unsafe {
        let info = INFO.load(Ordering::Acquire).as_ref()?;
        Some((info, (info.manifest as *const Manifest).as_ref()?))
    }
}

/// The number of the vCPU that a context belongs to.
pub fn index_of(context: *const GuestContext) -> usize {
    let distance = (context as usize).wrapping_sub(CONTEXTS.get() as usize);
    (distance / size_of::<GuestContext>()).min(VCPUS - 1)
}

/// Remembers how the run ends, until the full register frame has been stored.
pub fn note_end(vcpu: usize, end: End) {
    ENDS[vcpu].store(end as u32, Ordering::Relaxed);
}

/// Nothing has ended: the guest begins again.
pub fn forget_ends() {
    ENDS.iter().for_each(|end| end.store(0, Ordering::Relaxed));
}

/// What [`note_end`] said.
pub fn noted_end(vcpu: usize) -> Option<End> {
    End::from_u32(ENDS[vcpu].load(Ordering::Relaxed))
}
