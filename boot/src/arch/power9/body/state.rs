// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What POWER9's firmware keeps: one of each, for the one vCPU, whose exits do not nest. The one
//! exception, a fault of the firmware itself, never returns to the interrupted code.
use anchorite_hv::power9::{GuestContext, Partition};
use anchorite_platform::powernv::PowerNv;
use anchorite_spec::End;

use crate::own::{Own, Stack};

/// A page of its own.
#[repr(C, align(4096))]
pub struct Page([u8; 4096]);

/// The vCPU's registers.
pub static CONTEXT: Own<GuestContext> = Own::new(GuestContext::EMPTY);
/// The partition table: one page, of which one entry is used.
pub static PARTITION_TABLE: Own<Page> = Own::new(Page([0; 4096]));
/// The partition, once it stands.
pub static PARTITION: Own<Option<Partition<PowerNv>>> = Own::new(None);
/// How the run ends, once a handler has decided it.
static END: Own<Option<End>> = Own::new(None);
/// The stack that serves exits.
#[unsafe(export_name = "body_stack")]
pub static STACK: Stack<16384> = Stack::new();
/// The stack on which the firmware dies.
pub static FAULT_STACK: Stack<8192> = Stack::new();

pub use super::death::firmware_fault as fault_entry;

/// Remembers how the run ends, until the full register frame has been stored.
pub fn note_end(end: End) {
    // SAFETY: written and read by the one exit that ends the run.
    unsafe { *END.get() = Some(end) };
}

/// What [`note_end`] said.
pub fn noted_end() -> End {
    // SAFETY: as above.
    unsafe { *END.get() }.unwrap_or(End::FirmwareFault)
}
