// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What tests of the firmware's watchdog share: the boards, and a Linux that has nothing to do.
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::guest::Guest;
use crate::image::image_of;
use crate::probe::BARE;
use crate::{arm64_board, bare_board, board, stats};

/// A board with a watchdog.
pub struct Board {
    /// For images' names.
    pub name: &'static str,
    /// The guest of our own for it.
    pub probe: &'static str,
    /// What makes that guest's config this board's.
    pub config: &'static [&'static str],
    /// What gives it all its CPUs.
    pub cpus: &'static [&'static str],
    /// What Debian's config takes.
    linux: fn() -> PathBuf,
    more: &'static [&'static str],
    /// How the machine is started.
    pub run: &'static [&'static str],
    /// The exit by which a CPU looks.
    reason: &'static str,
}

const FOUR: [&str; 2] = ["--vcpus", "4"];
const GUARDED: [&str; 2] = ["--set", "guest.interrupts=guarded"];

/// All of them.
pub const BOARDS: &[Board] = &[
    Board {
        name: "watchdog-power9",
        probe: "power9-probe",
        config: &[],
        cpus: &FOUR,
        linux: board,
        more: &[],
        run: &[],
        reason: "watchdog",
    },
    Board {
        name: "watchdog-bare",
        probe: "power9-probe",
        config: &BARE,
        cpus: &FOUR,
        linux: bare_board,
        more: &[],
        run: &[],
        reason: "watchdog",
    },
    Board {
        name: "watchdog-arm64",
        probe: "arm64-probe",
        config: &GUARDED,
        cpus: &[],
        linux: arm64_board,
        more: &GUARDED,
        run: &["--cpu", "max"],
        reason: "wfi",
    },
];

/// Debian on four CPUs that does nothing for so many seconds, under a watchdog of this timeout, and
/// lives. Its kernel's start is silent: in the host's time that takes as long as the host lets it.
///
/// # Errors
///
/// It does not, or nobody looked.
pub fn idle(board: &Board, run: &[&str], timeout: u64, seconds: u64) -> Result<()> {
    let watchdog = format!("firmware.watchdog={{timeout={timeout},action=\"power-off\"}}");
    let arguments = [&FOUR, &["--set", &watchdog][..], board.more].concat();
    let name = format!("{}-linux-{timeout}", board.name);
    let image = image_of(&(board.linux)(), &name, &arguments)?;
    let mut guest = Guest::boot(&image.path, &[run, board.run].concat())?;
    let looks =
        |guest: &Guest| -> Result<u64> { Ok(stats::count(&stats::live(guest)?, board.reason)) };
    let before = looks(&guest)?;
    guest.shell(&format!("sleep {seconds}"))?;
    let looked = looks(&guest)? - before;
    // Each CPU looks twice in the timeout, and the last look may be still to come.
    ensure!(looked >= 4 * (seconds * 2 / timeout - 1) / 2, "{looked} looks in {seconds} s");
    guest.power_off()?;
    Ok(())
}
