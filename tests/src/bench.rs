// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What exits cost, in instructions: the bench guests run and read, and what they must not exceed.
//!
//! QEMU executes one instruction in each nanosecond of its clock then (`-icount shift=0`). These are
//! instructions, not cycles.
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::guest::{Ended, Guest};
use crate::probe::build;
use crate::{output, root};

/// Others by name, and their instructions.
pub type Peers = &'static [(&'static str, u64)];

/// An event on a board, and what is known of it.
pub struct Row {
    /// The board and how it is set.
    pub board: &'static str,
    /// What the bench guest calls it.
    pub event: &'static str,
    /// What hand-written code that does the same takes, where somebody wrote it.
    pub floor: Option<u64>,
    /// What others take, as measured in the same way.
    pub peers: Peers,
    /// What it may take.
    pub limit: Option<u64>,
}

impl Row {
    /// What others take, for people.
    #[must_use]
    pub fn others(&self) -> String {
        let others: Vec<_> =
            self.peers.iter().map(|(name, count)| format!("{name} {count}")).collect();
        others.join(", ")
    }

    /// Whether it takes more than it may.
    #[must_use]
    pub fn is_over(&self, median: u64) -> bool {
        self.limit.is_some_and(|limit| median > limit)
    }
}

const fn row(
    board: &'static str,
    event: &'static str,
    floor: Option<u64>,
    peers: Peers,
    limit: Option<u64>,
) -> Row {
    Row { board, event, floor, peers, limit }
}

/// A board: its bench guest, what its config is given besides, and how it runs.
struct Board {
    name: &'static str,
    guest: &'static str,
    config: &'static [&'static str],
    run: &'static [&'static str],
}

const MAX: &[&str] = &["--icount", "--cpu", "max"];

const BOARDS: [Board; 5] = [
    Board { name: "power9-bare", guest: "power9-bench", config: &[], run: &["--icount"] },
    Board {
        name: "power9-opal",
        guest: "power9-bench",
        config: &[
            "--set",
            "board.boot=opal-payload",
            "--set",
            "firmware.console=opal",
            "--set",
            "firmware.memory.base=1MiB",
        ],
        run: &["--icount"],
    },
    Board {
        name: "power9-flushes",
        guest: "power9-bench",
        config: &["--set", "firmware.mitigations=on"],
        run: &["--icount"],
    },
    Board { name: "arm64", guest: "arm64-bench", config: &[], run: MAX },
    Board {
        name: "arm64-guarded",
        guest: "arm64-bench",
        config: &["--set", "guest.interrupts=guarded"],
        run: MAX,
    },
];

const FLUSHED: Peers = &[("KVM with its mitigations", 2932)];
const HCALL: Peers = &[("KVM", 2256), ("KVM with its mitigations", 2932)];

const PSCI: Peers = &[("Bao", 189), ("Xen", 464), ("KVM", 1318)];
const UNKNOWN: Peers = &[("Bao", 1421), ("Xen", 1630), ("KVM", 1269)];
const TIMER: Peers = &[("Bao", 200), ("Xen", 1085), ("KVM", 2607)];
const SGI: Peers = &[("Bao", 777), ("Xen", 1027), ("KVM", 2693)];
const GIC: Peers = &[("Bao", 225), ("Xen", 589), ("KVM", 2082)];

/// All rows, in the order of the table.
pub const ROWS: &[Row] = &[
    row("power9-bare", "h-poll-pending", Some(64), HCALL, Some(80)),
    row("power9-bare", "h-confer", None, &[], None),
    row("power9-bare", "h-random", None, &[], None),
    row("power9-bare", "h-set-mode-bad-flag", Some(87), &[("KVM", 2310)], Some(110)),
    row("power9-bare", "h-prod-self", Some(87), &[("KVM", 2397)], Some(110)),
    row("power9-bare", "h-unknown", Some(64), &[("KVM", 3960)], Some(80)),
    row("power9-bare", "h-unknown-translated", None, &[], None),
    row("power9-bare", "h-cede-decrementer", Some(88), &[("KVM", 2177)], Some(120)),
    row("power9-bare", "h-cede-with-vpa", None, &[], None),
    row("power9-bare", "h-cede-off-thread", None, &[], None),
    row("power9-bare", "h-put-term-char", Some(117), &[("KVM + QEMU", 9988)], Some(200)),
    row("power9-bare", "load-from-a-hole", Some(162), &[("KVM + QEMU", 9683)], Some(600)),
    row("power9-bare", "load-from-a-hole-fwnmi", None, &[], None),
    row("power9-bare", "decrementer", Some(0), &[("KVM", 0)], Some(0)),
    row("power9-bare", "external-ipi", Some(0), &[], Some(0)),
    row("power9-opal", "h-poll-pending", None, &[], None),
    row("power9-opal", "h-set-mode-bad-flag", None, &[], None),
    row("power9-opal", "h-prod-self", None, &[], None),
    row("power9-opal", "h-unknown", None, &[], None),
    row("power9-opal", "h-cede-decrementer", None, &[], None),
    row("power9-opal", "h-put-term-char", None, &[], None),
    row("power9-opal", "load-from-a-hole", None, &[], None),
    row("power9-opal", "decrementer", None, &[], None),
    row("power9-opal", "external-ipi", None, &[], None),
    row("power9-flushes", "h-poll-pending", None, FLUSHED, None),
    row("power9-flushes", "h-set-mode-bad-flag", None, &[], None),
    row("power9-flushes", "h-prod-self", None, &[], None),
    row("power9-flushes", "h-unknown", None, &[], None),
    row("power9-flushes", "h-cede-decrementer", None, &[], None),
    row("power9-flushes", "h-put-term-char", None, &[], None),
    row("power9-flushes", "load-from-a-hole", None, &[], None),
    row("power9-flushes", "decrementer", Some(0), &[("KVM", 0)], Some(0)),
    row("power9-flushes", "external-ipi", Some(0), &[], Some(0)),
    row("arm64", "hvc-psci-version", Some(36), PSCI, Some(60)),
    row("arm64", "hvc-unknown", Some(36), UNKNOWN, Some(60)),
    row("arm64", "smc-psci-version", None, &[("Bao", 203), ("Xen", 495)], Some(65)),
    row("arm64", "smc-unknown", None, &[], None),
    row("arm64", "timer", Some(1), TIMER, Some(1)),
    row("arm64", "sgi", Some(2), SGI, Some(2)),
    row("arm64", "gic-read", Some(1), GIC, Some(1)),
    row("arm64", "gic-write", Some(1), &[], Some(1)),
    row("arm64", "load-from-a-hole", None, &[], None),
    row("arm64-guarded", "hvc-psci-version", Some(36), PSCI, None),
    row("arm64-guarded", "hvc-unknown", Some(36), UNKNOWN, None),
    row("arm64-guarded", "timer", Some(1), TIMER, Some(1)),
    row("arm64-guarded", "sgi", Some(96), SGI, Some(120)),
    row("arm64-guarded", "gic-read", Some(61), GIC, Some(110)),
    row("arm64-guarded", "gic-write", None, &[], None),
];

/// Instructions of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The fewest.
    pub min: u64,
    /// The middle one.
    pub median: u64,
    /// 99 of 100 are not above it.
    pub p99: u64,
    /// The most: a report to the console, say.
    pub max: u64,
}

/// Every event of every board, by `board/event`.
///
/// # Errors
///
/// A bench guest does not build, does not end, or its measure is wrong.
pub fn measure() -> Result<BTreeMap<String, Spread>> {
    all("")
}

/// The same of images that time their exits, by `board+timing/event`.
///
/// # Errors
///
/// As [`measure`].
pub fn measure_timed() -> Result<BTreeMap<String, Spread>> {
    all(TIMED)
}

/// What the boards of images that time their exits are called besides.
pub const TIMED: &str = "+timing";

fn all(suffix: &str) -> Result<BTreeMap<String, Spread>> {
    let mut spreads = BTreeMap::new();
    for board in BOARDS {
        let name = format!("{}{suffix}", board.name);
        spreads.append(&mut measured(&name, &start(&name)?.end()?)?);
    }
    for row in ROWS {
        let key = format!("{}{suffix}/{}", row.board, row.event);
        ensure!(spreads.contains_key(&key), "{key} was not measured");
    }
    Ok(spreads)
}

/// Starts the bench guest of a board, with [`TIMED`] in its name if exits are to be timed.
///
/// # Errors
///
/// There is no such board, or its guest does not build.
pub fn start(name: &str) -> Result<Guest> {
    let bare = name.strip_suffix(TIMED).unwrap_or(name);
    let board = BOARDS.into_iter().find(|board| board.name == bare).context("no such board")?;
    let mut config = board.config.to_vec();
    if bare != name {
        config.extend(["--set", "firmware.timing=true"]);
    }
    let image = build(board.guest, &format!("{name}-bench"), &config)?;
    Guest::start(&image.path, board.run)
}

/// What the bench guest of a board counted.
///
/// # Errors
///
/// It did not end as it should, or its measure is wrong.
pub fn measured(name: &str, ended: &Ended) -> Result<BTreeMap<String, Spread>> {
    ended.expect(0, "the guest powered off")?;
    let lines = ended.console.lines().filter_map(parse);
    let spreads: BTreeMap<_, _> =
        lines.map(|(event, spread)| (format!("{name}/{event}"), spread)).collect();
    let found = |event: &str| spreads.get(&format!("{name}/{event}")).copied();
    let exactly = |count| Some(Spread { min: count, median: count, p99: count, max: count });
    let right = found("nothing") == exactly(0) && found("1000-nops") == exactly(1000);
    ensure!(right, "{name} does not count instructions: {}", ended.console);
    Ok(spreads)
}

/// `bench NAME min=… median=… p99=… max=…`.
fn parse(line: &str) -> Option<(&str, Spread)> {
    let mut words = line.strip_prefix("bench ")?.split_whitespace();
    let event = words.next()?;
    let mut value = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
    let [min, median, p99, max] = ["min", "median", "p99", "max"].map(&mut value);
    Some((event, Spread { min: min?, median: median?, p99: p99?, max: max? }))
}

/// Which compiler built the firmware.
///
/// # Errors
///
/// There is no toolchain yet.
pub fn compiler() -> Result<String> {
    let version = ". target/toolchain.sh && \"$FW_RUSTC\" --version";
    let version = output(Command::new("sh").args(["-c", version]).current_dir(root()))?;
    ensure!(version.status.success(), "no target/toolchain.sh: `make setup` writes it");
    Ok(String::from_utf8_lossy(&version.stdout).trim().to_owned())
}

/// Medians that were accepted, by compiler.
const BASELINE: &str = "tests/bench/baseline.json";

/// What has grown by more than 2 % since the baseline of this compiler; `None` if it has none.
///
/// # Errors
///
/// The baseline cannot be read.
pub fn growth(spreads: &BTreeMap<String, Spread>) -> Result<Option<Vec<String>>> {
    let baseline: Value = serde_json::from_slice(&fs::read(root().join(BASELINE))?)?;
    let Some(known) = baseline[compiler()?].as_object() else { return Ok(None) };
    let mut grown = Vec::new();
    for (key, spread) in spreads {
        let Some(before) = known.get(key).and_then(Value::as_u64) else { continue };
        if spread.median * 100 > before * 102 {
            grown.push(format!("{key}: {} instructions, {before} before", spread.median));
        }
    }
    Ok(Some(grown))
}

/// Makes these medians the baseline of this compiler.
///
/// # Errors
///
/// The baseline cannot be read or written.
pub fn accept(spreads: &BTreeMap<String, Spread>) -> Result<()> {
    let path = root().join(BASELINE);
    let mut baseline: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let medians: BTreeMap<_, _> = spreads.iter().map(|(key, s)| (key, s.median)).collect();
    baseline[compiler()?] = json!(medians);
    let text = serde_json::to_string_pretty(&baseline)?;
    fs::write(&path, format!("{text}\n")).context(BASELINE)
}
