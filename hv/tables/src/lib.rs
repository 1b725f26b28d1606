// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Second-stage page tables: pure builders, and walkers that share no code with them.
//!
//! A builder writes into bytes that its caller provides and knows the address they will have on the
//! machine; nothing here touches a machine. A walker reads such bytes with constants of its own, so
//! that a mistake in a builder cannot hide in the check.
#![no_std]

pub mod radix;
pub mod stage1;
pub mod stage2;
pub mod walk;
