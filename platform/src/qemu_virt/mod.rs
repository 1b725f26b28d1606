// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Arm machines like QEMU's `virt`: PSCI below, GICv3, a PL011, EL2 without VHE.
#![expect(unsafe_code, reason = "privileged instructions, device registers, calls to EL3")]

pub mod boot_info;
pub mod cpu;
pub mod el2;
pub mod gic;
pub mod guard;
pub mod machine;
pub mod uart;

pub use boot_info::BootInfo;
pub use machine::Virt;
pub use uart::Uart;
