// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A stock kernel on four CPUs: how often, and for how many of all executed instructions, it is in the
//! firmware, while it boots and under two loads.
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::executed::{Counter, Executed};
use crate::guest::Guest;
use crate::image::{Image, image_of};
use crate::stats::{ALLOWED, count, live};
use crate::{arm64_board, bare_board, board, load};

const VCPUS: u32 = 4;
const BOOT: Duration = Duration::from_secs(300);

/// A board, how it is set, and what a load may take there.
struct Board {
    name: &'static str,
    config: fn() -> PathBuf,
    set: &'static [&'static str],
    limited: bool,
}

const BOARDS: &[Board] = &[
    Board { name: "power9-bare", config: bare_board, set: &[], limited: true },
    Board { name: "power9-opal", config: board, set: &[], limited: true },
    Board { name: "arm64", config: arm64_board, set: &[], limited: true },
    Board {
        name: "arm64-guarded",
        config: arm64_board,
        set: &["--set", "guest.interrupts=guarded"],
        limited: false,
    },
];

impl Board {
    fn image(&self) -> Result<Image> {
        let cpus = VCPUS.to_string();
        let arguments = [&["--vcpus", &cpus][..], self.set].concat();
        image_of(&(self.config)(), &format!("share-{}", self.name), &arguments)
    }
}

/// The boards' names.
pub fn boards() -> impl Iterator<Item = &'static str> {
    BOARDS.iter().map(|board| board.name)
}

/// The image of one: its config's own guest, on four CPUs.
///
/// # Errors
///
/// There is no such board, or it does not build.
pub fn image(name: &str) -> Result<Image> {
    named(name)?.image()
}

fn named(name: &str) -> Result<&'static Board> {
    BOARDS.iter().find(|board| board.name == name).context("no such board")
}

/// What a board did in a window.
pub struct Share {
    /// The board.
    pub board: &'static str,
    /// `boot`: from the guest's entry to its shell. `mixed`: timers, processes, pipes, page faults and
    /// interrupts from CPU to CPU, with CPUs that go to sleep between. `busy`: the same beside a
    /// loop on each CPU, so that none sleeps.
    pub load: &'static str,
    /// Executed instructions.
    pub executed: Executed,
    /// Exits by reason.
    pub exits: Map<String, Value>,
    limited: bool,
}

impl Share {
    /// All exits.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.exits.values().filter_map(Value::as_u64).sum()
    }

    /// Instructions of the firmware's in a million of all.
    #[must_use]
    pub const fn per_million(&self) -> u64 {
        self.executed.firmware * 1_000_000 / self.executed.total()
    }

    /// What is more than is promised: of exits under load, and under the mixed one of the firmware's part
    /// of all instructions. Beside what is asked for, sleep and console, there are no exits, and so no
    /// instructions of the firmware's.
    #[must_use]
    pub fn excess(&self) -> Option<String> {
        const MIXED_PER_MILLION: u64 = 3_000;
        if !self.limited || self.load == "boot" {
            return None;
        }
        let asked = |name: &String| !self.board.starts_with("arm64") && ALLOWED.contains(&&**name);
        let unasked: Vec<_> = self.exits.keys().filter(|name| !asked(name)).collect();
        let per_million = self.per_million();
        let much = self.load == "mixed" && per_million > MIXED_PER_MILLION;
        (much || !unasked.is_empty()).then(|| {
            format!("{} {}: {per_million} of a million, {unasked:?}", self.board, self.load)
        })
    }

    /// For scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "board": self.board, "load": self.load, "exits": self.exits,
            "instructions": self.executed.total(), "firmware": self.executed.firmware,
            "earlier_firmware": self.executed.below,
        })
    }
}

/// One of them, with windows of this length.
///
/// # Errors
///
/// There is no such board, its guest does not boot, or cannot be looked at.
pub fn measure(name: &str, window: Duration) -> Result<[Share; 3]> {
    let board = named(name)?;
    let image = board.image()?;
    let counter = Counter::new()?;
    let mut guest = Guest::start(&image.path, &counter.arguments())?;
    guest.expect("anchorite: guest entered", BOOT)?;
    let entered = counter.read(&guest, &image.manifest)?;
    guest.await_shell()?;
    let mut before = (counter.read(&guest, &image.manifest)?, live(&guest)?);
    let boot = share(board, "boot", before.0.since(entered), &json!({}), &before.1)?;

    let mut window_under = |load: &'static str, script: &str| -> Result<Share> {
        guest.shell(script)?;
        before = (counter.read(&guest, &image.manifest)?, live(&guest)?);
        sleep(window);
        let after = (counter.read(&guest, &image.manifest)?, live(&guest)?);
        share(board, load, after.0.since(before.0), &before.1, &after.1)
    };
    let mixed = window_under("mixed", &load::on(VCPUS))?;
    let busy = window_under("busy", &load::spinning(VCPUS))?;
    guest.power_off()?;
    Ok([boot, mixed, busy])
}

fn share(
    board: &Board,
    load: &'static str,
    executed: Executed,
    before: &Value,
    after: &Value,
) -> Result<Share> {
    let names = after["exits"].as_object().context("no exits")?.keys();
    let more = names.map(|name| (name.clone(), count(after, name) - count(before, name)));
    let exits = more.filter(|(_, more)| *more > 0).map(|(name, more)| (name, more.into()));
    let exits = exits.collect();
    ensure!(executed.guest > 0, "the guest executed nothing");
    Ok(Share { board: board.name, load, executed, exits, limited: board.limited })
}
