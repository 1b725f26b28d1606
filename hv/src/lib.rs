// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hypervisor: portable core, guest memory, POWER9 entry and exits.
#![no_std]
