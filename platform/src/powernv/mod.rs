// SPDX-License-Identifier: Apache-2.0 OR MIT
//! OpenPOWER machines with OPAL underneath: console, clock, power and XIVE by its calls, the core's
//! own registers directly.
#![expect(unsafe_code, reason = "privileged instructions, device registers, the call into OPAL")]

pub mod boot_info;
pub mod core;
pub mod machine;
pub mod opal;
pub mod tima;

pub use boot_info::BootInfo;
pub use machine::{Board, PowerNv};
pub use opal::Opal;
