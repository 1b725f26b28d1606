// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hypervisor: everything between a guest's exit and its resumption.
//!
//! [`core`](mod@crate::core) knows no machine, [`mem`] is the only way to touch guest memory, and
//! [`power9`] and [`arm64`] hold what is an architecture's own. A handler is a function of the vCPU's saved state and of
//! a [`core::Machine`]; all handlers run, and are tested, on the build host.
#![cfg_attr(not(test), no_std)]

pub mod arm64;
pub mod core;
#[cfg(test)]
mod fuzz;
pub mod mem;
pub mod power9;
