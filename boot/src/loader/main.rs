// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The loader: runs once, at whatever address the image was loaded, and is wiped afterwards; or it
//! stays, out of the guest's reach, and fills guest memory again when the guest is restarted.
//!
//! It proves the image against its digests and the machine against the image, fills guest memory
//! and jumps to the resident firmware. Everything that could be wrong with the image or the machine
//! is found, named and ended with its code here. The order of these steps is the machine's, in
//! `arch`; what the steps have in common stands in the modules beside this file.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "runs before anything else and hands the machine over")]

extern crate alloc;

#[cfg_attr(target_arch = "powerpc64", path = "../arch/power9/loader/mod.rs")]
#[cfg_attr(target_arch = "aarch64", path = "../arch/arm64/loader/mod.rs")]
mod arch;
mod clock;
mod end;
mod guest;
mod heap;
mod image;
mod restart;
mod say;
#[cfg_attr(not(feature = "verify"), path = "no_signature.rs")]
mod signature;
mod tree;
