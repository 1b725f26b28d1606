// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machines: each module puts one platform behind the hypervisor's traits.
#![cfg_attr(not(test), no_std)]

#[cfg(target_arch = "powerpc64")]
pub mod powernv;
#[cfg(target_arch = "aarch64")]
pub mod qemu_virt;
