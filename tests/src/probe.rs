// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guests of `guests/`, which try every wall from inside: how one is built and run.
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::guest::{Ended, Guest};
use crate::image::{Image, image_of};
use crate::monitor::Monitor;
use crate::{output, root};

/// All probes, on a machine with other things to do.
const PROBES: Duration = Duration::from_secs(300);

/// What makes the POWER9 probe's board one without skiboot.
pub const BARE: [&str; 6] = [
    "--set",
    "board.boot=bare",
    "--set",
    "firmware.console=uart",
    "--set",
    "firmware.memory={base=\"32MiB\",size=\"2MiB\"}",
];

/// Builds one of the guests, once.
///
/// # Errors
///
/// The build fails.
pub fn build_guest(probe: &'static str) -> Result<()> {
    type Built = std::result::Result<(), String>;
    static PROBES: Mutex<BTreeMap<&str, Built>> = Mutex::new(BTreeMap::new());
    let mut probes = PROBES.lock().unwrap_or_else(PoisonError::into_inner);
    let built = probes.entry(probe).or_insert_with(|| {
        let built = output(Command::new(root().join("tests/guests/build")).arg(probe));
        let built = built.map_err(|error| format!("{error:#}"))?;
        let errors = String::from_utf8_lossy(&built.stderr).into_owned();
        if built.status.success() { Ok(()) } else { Err(errors) }
    });
    built.clone().map_err(anyhow::Error::msg)
}

/// Builds a probe, and an image of its own board with it.
///
/// # Errors
///
/// Either build fails.
pub fn build(probe: &'static str, name: &str, arguments: &[&str]) -> Result<Image> {
    build_guest(probe)?;
    let board = root().join("tests/guests").join(probe).join("board.toml");
    image_of(&board, name, arguments)
}

/// Runs a probe to its end; `look` sees the machine after the last attack, while the guest waits.
///
/// # Errors
///
/// A probe found something wrong, `look` did, or the run does not end as it should.
pub fn run(
    image: &Image,
    arguments: &[&str],
    look: impl FnOnce(&mut Monitor) -> Result<()>,
) -> Result<Ended> {
    run_within(PROBES, image, arguments, look)
}

/// The same for a probe that takes this long at most.
///
/// # Errors
///
/// As [`run`].
pub fn run_within(
    patience: Duration,
    image: &Image,
    arguments: &[&str],
    look: impl FnOnce(&mut Monitor) -> Result<()>,
) -> Result<Ended> {
    let limit = (2 * patience).as_secs().to_string();
    let mut guest = Guest::start(&image.path, &[&["--timeout", &limit], arguments].concat())?;
    guest.expect("probe ends", patience)?;
    let mut monitor = Monitor::connect(guest.qmp())?;
    look(&mut monitor)?;
    drop(monitor);
    guest.send(b"x")?;
    let ended = guest.end()?;
    for line in ended.console.lines().filter(|line| line.starts_with("probe ")) {
        println!("{line}");
    }
    let failed: Vec<&str> = ended.console.lines().filter(|line| line.contains(" FAIL ")).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    ensure!(ended.console.contains("probe console-input ok"), "no input reached the guest");
    ended.expect(0, "the guest powered off")?;
    Ok(ended)
}

/// Lines of probes that were as they should be.
#[must_use]
pub fn passed(ended: &Ended) -> usize {
    ended.console.lines().filter(|line| line.starts_with("probe ")).count()
}
