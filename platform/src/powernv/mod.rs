// SPDX-License-Identifier: Apache-2.0 OR MIT
//! OpenPOWER machines: with OPAL underneath console, clock, power and XIVE are by its calls, on the bare
//! machine directly, as the core's own registers always are.
#![expect(unsafe_code, reason = "privileged instructions, device registers, the call into OPAL")]

pub mod bare;
pub mod below;
pub mod boot_info;
pub mod core;
pub mod lpc;
pub mod machine;
pub mod opal;
pub mod tima;
pub mod xive;

pub use bare::Bare;
pub use below::Below;
pub use boot_info::BootInfo;
pub use machine::{Board, PowerNv};
pub use opal::Opal;
