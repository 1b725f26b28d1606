// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware binaries: loader and resident body.
#![no_std]
