// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite`: one board config and one guest kernel in, one firmware image out; and the image
//! inspected, run in QEMU, and read while it runs.
mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let _cli = cli::Cli::parse();
    ExitCode::from(2)
}
