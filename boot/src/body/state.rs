// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware's memory: one of each, at addresses that the builder knows by symbol.
use core::cell::UnsafeCell;

use anchorite_hv::power9::{GuestContext, Partition};
use anchorite_platform::powernv::PowerNv;
use anchorite_spec::{End, Epitaph, Ledger};

/// A static that one CPU uses at a time.
#[repr(transparent)]
pub struct Own<T>(UnsafeCell<T>);

// SAFETY: this version runs one vCPU, whose exits do not nest; the one exception, a fault of the
// firmware itself, never returns to the interrupted code.
unsafe impl<T> Sync for Own<T> {}

impl<T> Own<T> {
    const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Where the value is. Who dereferences it argues why no one else does.
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}

/// A stack, growing down.
#[repr(C, align(128))]
pub struct Stack<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: only the stack pointer refers into it.
unsafe impl<const N: usize> Sync for Stack<N> {}

impl<const N: usize> Stack<N> {
    /// The first stack pointer: room for one frame header below the end, which holds zero.
    pub fn top(&self) -> u64 {
        self.0.get() as u64 + N as u64 - 64
    }
}

/// A page of its own.
#[repr(C, align(4096))]
pub struct Page([u8; 4096]);

/// The exit ledger; outside readers find it by the manifest.
#[unsafe(no_mangle)]
pub static LEDGER: Own<Ledger> = Own::new(Ledger::EMPTY);
/// The epitaph; likewise.
#[unsafe(no_mangle)]
pub static EPITAPH: Own<Epitaph> = Own::new(Epitaph::EMPTY);
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
pub static STACK: Stack<16384> = Stack(UnsafeCell::new([0; 16384]));
/// The stack on which the firmware dies.
pub static FAULT_STACK: Stack<8192> = Stack(UnsafeCell::new([0; 8192]));

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
