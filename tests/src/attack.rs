// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Attacks by the guests of `guests/`: all CPUs at once, as much as is asked for, and the whole machine
//! compared before and after. A run prints its seed; `ANCHORITE_ATTACK_SEED` repeats it.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::guest::Guest;
use crate::image::{Image, image_of};
use crate::monitor::Monitor;
use crate::outside::{Snapshot, judge};
use crate::probe::BARE;
use crate::restart::ALWAYS;
use crate::{live, probe, root};

/// How much is done, over all CPUs.
#[derive(Clone, Copy)]
pub struct Order {
    /// Calls of the firmware.
    pub calls: u64,
    /// Accesses, instructions and registers that are not the guest's, or are misused.
    pub wild: u64,
    /// A new seed for each run, and not always the same one.
    pub fresh: bool,
    /// Seconds that it may take on a machine with other things to do.
    pub patience: u64,
}

/// What `make test` does to each board.
pub const SHORT: Order = Order { calls: 100_000, wild: 10_000, fresh: false, patience: 300 };
/// What `make soak` does.
pub const LONG: Order =
    Order { calls: 10_000_000, wild: 1_000_000, fresh: true, patience: 2 * 3600 };

/// What it does to the last life of a guest that was restarted in the middle of others.
pub const AGAIN: Order = Order { fresh: true, ..SHORT };

/// The seed of a run that is to repeat.
const SEED: u64 = 0x5eed;

/// A board of a guest's, under attack.
pub struct Board {
    /// The guest.
    pub probe: &'static str,
    /// A name for its image.
    pub name: &'static str,
    /// What makes its board another than the guest's own.
    pub board: &'static [&'static str],
    /// The same for its image.
    pub build: &'static [&'static str],
    /// The same for the run.
    pub run: &'static [&'static str],
}

const POWER9: [&str; 4] = ["--vcpus", "4", "--set", "ram.0.size=1296MiB"];

/// POWER9 under skiboot.
pub const POWER9_OPAL: Board =
    Board { probe: "power9-probe", name: "attack-power9", board: &[], build: &POWER9, run: &[] };
/// POWER9 without it.
pub const POWER9_BARE: Board = Board {
    probe: "power9-probe",
    name: "attack-power9-bare",
    board: &BARE,
    build: &POWER9,
    run: &[],
};
/// arm64, with all interrupts the guest's.
pub const ARM64: Board = Board {
    probe: "arm64-probe",
    name: "attack-arm64",
    board: &[],
    build: &["--set", "ram.0.size=1376MiB"],
    run: &["--cpu", "max"],
};
/// arm64, with a timer of EL2's own.
pub const ARM64_GUARDED: Board = Board {
    probe: "arm64-probe",
    name: "attack-arm64-guarded",
    board: &["--set", "guest.interrupts=guarded"],
    build: &["--set", "ram.0.size=1376MiB"],
    run: &["--cpu", "neoverse-n1"],
};

fn seed(order: Order) -> Result<u64> {
    if let Ok(text) = std::env::var("ANCHORITE_ATTACK_SEED") {
        let hex = text.strip_prefix("0x").map(|hex| u64::from_str_radix(hex, 16));
        return Ok(hex.unwrap_or_else(|| text.parse())?);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    Ok(if order.fresh { now } else { SEED })
}

/// What the guest is sent for each life that ends in the middle of its attack, and why it begins again
/// then, one after the other: on POWER9 by a reboot, by a panic, by a watchdog of its own.
const POWER9_LIVES: [(u8, &str); 3] =
    [(b'r', "rebooted"), (b'p', "guest-panic"), (b'w', "rebooted")];
/// The same on arm64, by a reset or for want of vectors. A reset counts as a panic's if the CPU happens to
/// have made the calls that a panic makes.
const ARM64_LIVES: [(u8, &str); 2] = [(b'r', ""), (b'p', "guest-panic")];

impl Board {
    fn image(&self, order: Order, more: &[&str]) -> Result<Image> {
        probe::build_guest(self.probe)?;
        let Order { calls, wild, .. } = order;
        let cmdline = format!("attack seed={:#x} calls={calls} wild={wild}", seed(order)?);
        println!("{}: {cmdline}", self.name);
        let board = root().join("tests/guests").join(self.probe).join("board.toml");
        let arguments = [&["--cmdline", &cmdline], self.build, more].concat();
        image_of(&board, &format!("{}-{calls}-{}", self.name, more.len()), &arguments)
    }

    /// Attacks, and looks at what came of it. Before that the guest begins again in the middle of its
    /// attack, so many times for each way of ending a life; the last life attacks to its end.
    ///
    /// # Errors
    ///
    /// Something got through, the firmware does not answer any more, a life did not begin, or a forged
    /// line was believed.
    pub fn attack(&self, order: Order, rounds: usize) -> Result<()> {
        let ways = if self.probe == "power9-probe" { &POWER9_LIVES[..] } else { &ARM64_LIVES };
        let restarts = ways.len() * rounds;
        let budget = format!("guest.restart_budget={restarts}");
        let more = [&ALWAYS[..], &["--set", &budget]].concat();
        let image = self.image(order, if restarts == 0 { &[] } else { &more })?;
        let limit = (2 * order.patience).to_string();
        let mut guest = Guest::start(&image.path, &[&["--timeout", &limit], self.run].concat())?;
        let patience = Duration::from_secs(order.patience);
        guest.expect("attack begins", patience)?;
        let mut monitor = Monitor::connect(guest.qmp())?;
        let before = Snapshot::take(&mut monitor, &image.manifest)?;
        for (count, (byte, after)) in (1..=restarts).zip(ways.iter().cycle()) {
            guest.send(&[*byte])?;
            guest.expect(&format!("@restart count={count} after={after}"), patience)?;
            guest.expect("attack begins", patience)?;
        }
        guest.send(b"x")?;
        guest.expect("probe ends", patience)?;
        live::untouched(&mut monitor, &image)?;
        let later = Snapshot::take(&mut monitor, &image.manifest)?;
        let findings = judge(&image, &before, &later, restarts != 0)?;
        drop(monitor);
        guest.send(b"x")?;
        let ended = guest.end()?;
        let lines = || ended.console.lines().map(str::trim_end);
        let told = lines().rfind(|line| line.starts_with("attack: "));
        println!("{}, {findings:?}", told.context("no account of the attack")?);
        let failed: Vec<&str> = lines().filter(|line| line.contains(" FAIL ")).collect();
        ensure!(failed.is_empty(), "{}", failed.join("\n"));
        for name in ["reached-nothing", "answers"] {
            let line = format!("probe attack-{name} ok");
            ensure!(lines().any(|told| told == line), "no {line:?}:\n{}", ended.console);
        }
        // It says that it has powered off. It has not.
        ensure!(lines().filter(|line| *line == "@end status=powered-off code=0").count() == 1);
        match restarts {
            0 => ended.expect(10, "the guest panicked"),
            _ => ended.expect(15, "the guest was restarted as often as the config allows"),
        }
    }
}
