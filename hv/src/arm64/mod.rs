// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Armv8-A with the firmware at EL2 (nVHE) and its guest at EL1 behind stage 2.
//!
//! The path of an exit: a vector in `entry.S` stores what Rust may clobber into the vCPU's
//! [`GuestContext`] and calls [`exits::serve`] through it. All EL1 and EL0 state is the guest's for
//! good; interrupts, timers and TLB maintenance are direct. What is left are the guest's own calls
//! (PSCI, SMCCC), the redistributors' control frames, and its mistakes.

pub mod board;
pub mod context;
#[cfg(target_arch = "aarch64")]
pub mod entry;
pub mod exits;
#[cfg(test)]
pub(crate) mod fake;
pub mod feature_list;
pub mod features;
pub mod gic;
pub mod inject;
pub mod psci;
pub mod regs;
pub mod report;
pub mod sdei;
pub mod vcpu;
pub mod walk;
pub mod watchdog;

pub use board::Arm64;
pub use context::GuestContext;
pub use vcpu::{Shared, Vcpu};
