// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite guests`: what `scripts/guests` needs done in Rust.
use anyhow::Result;

use crate::{cli, initramfs};

/// Runs the subcommand.
///
/// # Errors
///
/// What the subcommand could not read or write.
pub fn guests(command: &cli::GuestsCommand) -> Result<u8> {
    match command {
        cli::GuestsCommand::Initramfs { busybox, recipe, module, out } => {
            initramfs::write(busybox, recipe, module, out)?;
        }
    }
    Ok(0)
}
