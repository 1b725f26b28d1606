// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What POWER9's firmware keeps, for each vCPU one of each. A vCPU's exits do not nest; the one
//! exception, a fault of the firmware itself, never returns to the interrupted code.
use core::sync::atomic::{AtomicBool, AtomicU64};

use anchorite_hv::core::text::Text;
use anchorite_hv::power9::{GuestContext, Shared, Vcpu, light};
use anchorite_platform::powernv::{Board, PowerNv};
use anchorite_spec::low;
use anchorite_spec::manifest::VCPUS;

use crate::own::{Late, Own, Stack};

/// The partition table: one page.
#[repr(C, align(4096))]
pub struct PartitionTable(pub [[AtomicU64; 2]; 256]);

/// Where a thread that enters the firmware goes on.
#[repr(C)]
pub struct Next {
    /// The first stack pointer.
    pub stack: *const u8,
    /// A function of what the entry was given in r3, and of the table of contents.
    pub function: extern "C" fn(u64, u64) -> !,
}

/// Read by `start.S`: first the boot's own.
#[unsafe(export_name = "body_next")]
pub static NEXT: Own<Next> =
    Own::new(Next { stack: BOOT_STACK.first(), function: super::body_main });
/// The vCPUs' registers, alone in a page that the vectors reach.
pub const CONTEXTS: *mut [GuestContext; VCPUS] = low::CONTEXTS.base as *mut _;
const _: () = assert!(size_of::<[GuestContext; VCPUS]>() as u64 <= low::CONTEXTS.size);
/// Hypercalls that are answered without a frame.
pub static CALLS: light::Calls = light::table::<PowerNv>();
/// None of them, for an image that dies at the guest's first exit. Never written.
pub static NO_CALLS: Own<light::Calls> = Own::new([None; light::UNKNOWN + 1]);
/// The partition table, of which two entries are used.
pub static PARTITION_TABLE: PartitionTable =
    PartitionTable([const { [const { AtomicU64::new(0) }; 2] }; 256]);
/// The machine, once it stands.
pub static BOARD: Late<Board> = Late::new();
/// The partition, once it stands.
pub static SHARED: Late<Shared> = Late::new();
/// The vCPUs, once they stand.
pub static CPUS: [Late<Vcpu<PowerNv>>; VCPUS] = [const { Late::new() }; VCPUS];
/// What each has to say when it ends the run.
pub static LAST_WORDS: [Own<Text>; VCPUS] = [const { Own::new(Text::new()) }; VCPUS];
/// Which vCPUs' cores have come into the firmware.
pub static ARRIVED: [AtomicBool; VCPUS] = [const { AtomicBool::new(false) }; VCPUS];
/// The stack of the thread that boots: the partition is made on it.
pub static BOOT_STACK: Stack<65536> = Stack::new();
/// The stacks that serve exits.
pub static STACKS: [Stack<16384>; VCPUS] = [const { Stack::new() }; VCPUS];
/// The stacks on which the firmware dies.
pub static FAULT_STACKS: [Stack<8192>; VCPUS] = [const { Stack::new() }; VCPUS];

/// The number of the vCPU that a context belongs to.
pub fn index_of(context: *const GuestContext) -> usize {
    let real = context as u64 & !low::ALIAS;
    let distance = real.wrapping_sub(low::CONTEXTS.base) as usize;
    (distance / size_of::<GuestContext>()).min(VCPUS - 1)
}
