// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the loader found, handed to the resident firmware once.
use anchorite_hv::core::restart::Refill;
use anchorite_spec::manifest::VCPUS;
use anchorite_spec::phases::Phases;

/// The loader's findings. All addresses are host physical.
#[repr(C)]
pub struct BootInfo {
    /// The loader, where it ran.
    pub loader: u64,
    /// The image, where it was loaded.
    pub image: u64,
    /// The loader's tables of EL2's own translation.
    pub tables: u64,
    /// How guest memory is filled again; `None` if the loader is not to stay.
    pub refill: Option<Refill>,
    /// The manifest's copy.
    pub manifest: u64,
    /// MPIDR_EL1 of each vCPU's CPU.
    pub mpidr: [u64; VCPUS],
    /// How long the boot has taken.
    pub phases: Phases,
}
