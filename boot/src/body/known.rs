// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What every handler can ask for: the loader's findings, the image, and how this vCPU ends the run.
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use anchorite_spec::manifest::VCPUS;
use anchorite_spec::{End, Manifest};

use crate::arch::BootInfo;

/// The loader's findings, once they were taken over.
static INFO: AtomicPtr<BootInfo> = AtomicPtr::new(core::ptr::null_mut());
/// How the run ends, once a handler has decided it on this vCPU; 0 before.
static ENDS: [AtomicU32; VCPUS] = [const { AtomicU32::new(0) }; VCPUS];

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

/// Remembers how the run ends, until the full register frame has been stored.
pub fn note_end(vcpu: usize, end: End) {
    ENDS[vcpu].store(end as u32, Ordering::Relaxed);
}

/// What [`note_end`] said, once.
pub fn take_end(vcpu: usize) -> Option<End> {
    End::from_u32(ENDS[vcpu].swap(0, Ordering::Relaxed))
}
