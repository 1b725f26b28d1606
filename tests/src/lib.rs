// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the QEMU tests stand on: images built once, a guest that is typed at, a machine that is
//! read from outside.
//!
//! Everything goes through `target/bin/anchorite` and its documented interface, as an outsider's
//! script would.
pub mod guest;
pub mod image;
pub mod live;
pub mod monitor;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};

/// The checkout.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The board config that the tests use.
#[must_use]
pub fn board() -> PathBuf {
    root().join("board-configs/qemu-powernv9.toml")
}

/// The arm64 board's config.
#[must_use]
pub fn arm64_board() -> PathBuf {
    root().join("board-configs/qemu-arm64-virt.toml")
}

/// The program under test.
#[must_use]
pub fn anchorite() -> Command {
    Command::new(root().join("target/bin/anchorite"))
}

/// Runs the program to its end, with nothing on its standard input.
///
/// # Errors
///
/// It cannot be started.
pub fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}; `make tools` builds it"))
}
