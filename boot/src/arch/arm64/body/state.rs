// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What arm64's firmware keeps: one of each for every vCPU, touched by that vCPU's CPU alone, and
//! what all share.
use anchorite_hv::arm64::context::SecondaryStart;
use anchorite_hv::arm64::{GuestContext, Shared, Vcpu};
use anchorite_hv::core::text::Text;
use anchorite_platform::qemu_virt::Virt;
use anchorite_spec::manifest::VCPUS;

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
/// What each has to say when it ends the run.
pub static LAST_WORDS: [Own<Text>; VCPUS] = [const { Own::new(Text::new()) }; VCPUS];
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

/// The number of the vCPU that a context belongs to.
pub fn index_of(context: *const GuestContext) -> usize {
    let distance = (context as usize).wrapping_sub(CONTEXTS.get() as usize);
    (distance / size_of::<GuestContext>()).min(VCPUS - 1)
}
