// SPDX-License-Identifier: Apache-2.0 OR MIT
//! QEMU boot tests, own guests and rejected configs.
#![no_std]
