// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite`: one board config and one guest kernel in, one firmware image out; and the image
//! inspected, run in QEMU, and read while it runs.
mod attach;
mod build;
mod check;
mod cli;
mod config;
mod container;
mod diff;
mod exit;
mod explain;
mod fault;
mod fit;
#[cfg(test)]
mod fuzz;
mod guests;
mod image;
mod initramfs;
mod inspect;
mod keys;
mod last_words;
mod new;
mod pack;
mod qemu;
mod qmp;
mod read;
mod run;
mod say;
mod sign;
mod stats;
mod terminal;
mod timing;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let outcome = match cli::Cli::parse().command {
        cli::Command::Guests { command } => guests::guests(&command),
        cli::Command::Check(args) => check::check(&args),
        cli::Command::Build(args) => build::build(&args),
        cli::Command::Diff(args) => diff::diff(&args),
        cli::Command::Explain(args) => explain::explain(&args),
        cli::Command::Fault(args) => fault::fault(&args),
        cli::Command::New(args) => new::new(&args),
        cli::Command::Pack(args) => pack::pack(&args),
        cli::Command::Run(args) => run::run(&args),
        cli::Command::Sign(args) => sign::sign(&args),
        cli::Command::Stats(args) => stats::stats(&args),
        cli::Command::Inspect(args) => inspect::inspect(&args),
    };
    ExitCode::from(outcome.unwrap_or_else(|error| {
        say::aside(format_args!("anchorite: {error:#}"));
        exit::code(&error)
    }))
}
