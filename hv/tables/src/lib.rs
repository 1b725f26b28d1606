// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Second-stage page tables: pure builders and independent walkers.
#![no_std]
