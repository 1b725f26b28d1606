// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machines behind the hypervisor's Machine trait.
#![no_std]
