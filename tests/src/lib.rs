// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the QEMU tests stand on: images built once, a guest that is typed at, a machine that is
//! read from outside.
//!
//! Everything goes through `target/bin/anchorite` and its documented interface, as an outsider's
//! script would.
pub mod attack;
pub mod bench;
pub mod boots;
pub mod codecs;
pub mod executed;
pub mod facilities;
pub mod guest;
pub mod image;
pub mod initramfs;
pub mod kexec;
pub mod live;
pub mod load;
pub mod monitor;
pub mod mutants;
pub mod outside;
pub mod plot;
pub mod probe;
pub mod restart;
pub mod share;
pub mod stats;
#[cfg(test)]
mod threats;
pub mod timing;
pub mod told;
pub mod watchdog;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Trial};

/// Machines at once, at most: each is one busy host CPU and some gigabytes.
const MACHINES: usize = 4;

/// Tests by name.
pub type Tests = &'static [(&'static str, fn() -> Result<()>)];

/// A test by its name.
#[must_use]
pub fn trial(name: impl Into<String>, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || test().map_err(|error| format!("{error:#}").into()))
}

/// Runs tests as the command line says.
#[must_use]
pub fn run(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(cpus).clamp(1, MACHINES));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// How long a machine with other things to do may take for what takes it a second.
const PATIENCE: Duration = Duration::from_secs(120);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Waits until this holds. A test waits for what it is about, not for a time in which that ought to
/// happen: the machine may have other things to do.
///
/// # Errors
///
/// It does not within two minutes, or `holds` fails.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let limit = Instant::now() + PATIENCE;
    while !holds()? {
        ensure!(Instant::now() < limit, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(BETWEEN_LOOKS);
    }
    Ok(())
}

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

/// The config of the POWER9 board without skiboot.
#[must_use]
pub fn bare_board() -> PathBuf {
    root().join("board-configs/qemu-powernv9-bare.toml")
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

/// The same for a program that must succeed: what it says.
///
/// # Errors
///
/// It cannot be started, or fails; then what it says of that.
pub fn succeed(command: &mut Command) -> Result<Vec<u8>> {
    let ended = output(command)?;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    Ok(ended.stdout)
}
