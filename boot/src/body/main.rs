// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The resident firmware: what stays when the loader is gone.
//!
//! How the machine is taken over and how it ends is the architecture's, in `arch`; what every
//! board's firmware keeps, and how it says goodbye, stands beside this file.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "takes the machine over and owns the firmware's memory")]

mod again;
#[cfg_attr(target_arch = "powerpc64", path = "../arch/power9/body/mod.rs")]
#[cfg_attr(target_arch = "aarch64", path = "../arch/arm64/body/mod.rs")]
mod arch;
mod close;
mod known;
mod own;
mod phases;
mod stopping;
mod timing;
