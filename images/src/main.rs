// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite`: one board config and one guest kernel in, one firmware image out; and the image
//! inspected, run in QEMU, and read while it runs.
mod check;
mod cli;
mod config;
mod exit;
mod guests;
mod image;
mod initramfs;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let outcome = match cli::Cli::parse().command {
        cli::Command::Guests { command } => guests::guests(&command),
        cli::Command::Check(args) => check::check(&args),
        cli::Command::Build(_)
        | cli::Command::Inspect(_)
        | cli::Command::Run(_)
        | cli::Command::Stats(_) => Ok(2),
    };
    ExitCode::from(outcome.unwrap_or_else(|error| {
        eprintln!("anchorite: {error:#}");
        exit::code(&error)
    }))
}
