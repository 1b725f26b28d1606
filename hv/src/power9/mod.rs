// SPDX-License-Identifier: Apache-2.0 OR MIT
//! POWER9 in hypervisor state, its guest in supervisor state with partition-scoped radix tables.
//!
//! The path of an exit: a vector in `entry.S` stores what Rust may clobber into the vCPU's
//! [`GuestContext`] and calls [`exits::serve`] through it; what that decides is what the guest
//! finds when `hrfid` lets it go on. The host state that a general-purpose hypervisor swaps here
//! is the guest's for good, so there is nothing to move.

pub mod board;
pub mod capacity;
pub mod characteristics;
pub mod context;
#[cfg(test)]
mod docs;
#[cfg(target_arch = "powerpc64")]
pub mod entry;
pub mod escalation;
pub mod exits;
#[cfg(test)]
pub(crate) mod fake;
pub mod flush;
pub mod hcall;
pub mod inject;
pub mod interrupts;
pub mod light;
pub mod lock;
pub mod nmi;
pub mod regs;
pub mod report;
pub mod rtas;
pub mod vcpu;
pub mod walk;
pub mod watchdog;

pub use board::Power9;
pub use context::GuestContext;
pub use lock::Lock;
pub use vcpu::{Shared, Vcpu};
