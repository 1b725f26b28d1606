// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long exits take, as images with `firmware.timing` say it: against what the guest counts from
//! inside, at the end and while it runs, of one CPU and of four.
use std::collections::BTreeMap;

use anchorite_tests::bench::{self, growth};
use anchorite_tests::guest::Guest;
use anchorite_tests::image::{image, image_of};
use anchorite_tests::probe::{BARE, build, passed, run};
use anchorite_tests::timing::{closing, watch};
use anchorite_tests::{Tests, arm64_board, load, stats, succeed};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub const TESTS: Tests = &[
    ("timing::power9_as_the_guest_counts", power9_as_the_guest_counts),
    ("timing::arm64_as_the_guest_counts", arm64_as_the_guest_counts),
    ("timing::guarded_as_the_guest_counts", guarded_as_the_guest_counts),
    ("timing::a_power9_guest_keeps_its_registers", a_power9_guest_keeps_its_registers),
    ("timing::an_arm64_guest_keeps_its_registers", an_arm64_guest_keeps_its_registers),
    ("timing::four_power9_cpus", four_power9_cpus),
    ("timing::four_arm64_cpus", four_arm64_cpus),
];

/// A sample for each that is kept, and one before.
const SAMPLES: u64 = 1001;

/// An event of a bench guest, the reason that the firmware has for it, and how often in a sample.
type Event = (&'static str, &'static str, u64);

fn power9_as_the_guest_counts() -> Result<()> {
    let events: &[Event] = &[
        ("h-poll-pending", "h_poll_pending", 64),
        ("h-confer", "h_confer", 64),
        ("h-random", "h_random", 64),
        ("h-prod-self", "h_prod", 64),
    ];
    // In ticks: 64 in 125 instructions.
    as_the_guest_counts("power9-bare+timing", events, 64, 125)
}

const CALLS: [Event; 2] =
    [("hvc-psci-version", "psci-version", 1), ("load-from-a-hole", "data-abort", 1)];

fn arm64_as_the_guest_counts() -> Result<()> {
    as_the_guest_counts("arm64+timing", &CALLS, 1, 1)
}

fn guarded_as_the_guest_counts() -> Result<()> {
    as_the_guest_counts("arm64-guarded+timing", &[CALLS[0], CALLS[1], ("sgi", "gic-sgi", 1)], 1, 1)
}

/// Runs a bench guest and reads it meanwhile; at the end the firmware has counted what the guest has
/// made, and has taken a little less for it than the guest has seen.
fn as_the_guest_counts(name: &str, events: &[Event], ticks: u64, instructions: u64) -> Result<()> {
    let mut guest = bench::start(name)?;
    // As often as it happens to be read in the seconds that it runs.
    let readings = watch(&mut guest, |_| false)?;
    let ended = guest.end()?;
    let spreads = bench::measured(name, &ended)?;
    let counted: BTreeMap<_, _> = closing(&ended.console, "exit")
        .into_iter()
        .map(|exit| (exit["reason"], exit["count"]))
        .collect();
    let timed: BTreeMap<_, _> =
        closing(&ended.console, "time").into_iter().map(|time| (time["reason"], time)).collect();
    for (reason, time) in &timed {
        ensure!(time["count"] == counted[reason] && time["calm"] == "true", "{time:?}");
    }
    // The guest does not go on after the last.
    ensure!(timed.len() + 1 == counted.len(), "{timed:?}\n{counted:?}");
    let mut exits = 0;
    for (event, reason, times) in events {
        let time = timed.get(reason).with_context(|| format!("no {reason}"))?;
        let value = |what: &str| time[what].parse::<u64>();
        let (count, total) = (value("count")?, value("total")?);
        let others = if *reason == "psci-version" { 2 } else { 1 };
        ensure!(count == SAMPLES * times * others, "{reason}: {count}");
        let seen = spreads[&format!("{name}/{event}")];
        // What the guest has between its two reads of the clock has the firmware's part in it.
        let at_most = count * seen.max * ticks / instructions + count;
        let at_least = count * seen.min * ticks / instructions * 9 / 10;
        ensure!((at_least..=at_most).contains(&total), "{event}: {total}, {at_least} to {at_most}");
        exits += count;
    }
    ensure!(exits > 1000, "{exits}");
    let phases: u64 = closing(&ended.console, "spent")
        .iter()
        .map(|phase| phase["ticks"].parse::<u64>())
        .sum::<std::result::Result<_, _>>()?;
    if let Some(last) = readings.last() {
        let until = last["timing"]["cpus"][0]["elapsed"].as_u64().context("no time")?;
        ensure!(phases >= until, "{phases} in the end, {until} before");
    }
    if let Some(grown) = growth(&spreads)? {
        ensure!(grown.is_empty(), "see tests/bench/baseline.json:\n{}", grown.join("\n"));
    }
    Ok(())
}

/// Reads Linux on four busy CPUs until each has left often for a reason; then the window between two
/// readings.
fn four_cpus(mut guest: Guest, reason: &str) -> Result<()> {
    guest.shell(&load::on(4))?;
    let all_have = |reading: &Value| {
        let cpus = reading["timing"]["cpus"].as_array();
        cpus.is_some_and(|cpus| {
            let has = |cpu: &Value| cpu["exits"][reason]["count"].as_u64().unwrap_or(0) > 20;
            cpus.len() == 4 && cpus.iter().all(has)
        })
    };
    let readings = watch(&mut guest, all_have)?;
    let last = readings.last().filter(|last| all_have(last)).context("not all four have left")?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), format!("{last:#}"))?;
    let since = ["--since".as_ref(), file.path().as_os_str()];
    let all = |of: &Value| of["timing"]["exits"][reason]["count"].as_u64();
    let later = watch(&mut guest, |now| all(now) > all(last))?;
    let later = later.last().context("no later reading")?;
    let window = stats::read(&[&["--qmp".as_ref(), guest.qmp().as_ref()], &since[..]].concat())?;
    for (cpu, now) in window["timing"]["cpus"].as_array().context("no cpus")?.iter().enumerate() {
        let phases = now["phases"].as_object().context("no phases")?;
        let sum: u64 = phases.values().filter_map(Value::as_u64).sum();
        ensure!(now["elapsed"] == sum, "{now:#}");
        let (from, to) = (&last["timing"]["cpus"][cpu], &later["timing"]["cpus"][cpu]);
        let at_least = to["elapsed"].as_u64().zip(from["elapsed"].as_u64()).context("no time")?;
        ensure!(sum >= at_least.0 - at_least.1, "{now:#}");
    }
    ensure!(window["timing"]["exits"][reason]["count"].as_u64() > Some(0), "{window:#}");
    let text = succeed(
        anchorite_tests::anchorite().args(["stats", "--qmp"]).arg(guest.qmp()).args(since),
    )?;
    let text = String::from_utf8(text)?;
    ensure!(text.contains(" %  guest") && text.contains(reason), "{text}");
    let ended = guest.power_off()?;
    ensure!(closing(&ended.console, "spent").len() == 4 * 6, "{}", ended.console);
    Ok(())
}

/// The ways from and to the guest are others than without timing: all probes again.
fn a_power9_guest_keeps_its_registers() -> Result<()> {
    let image = build("power9-probe", "timing-probe", &[&TIMING[..], &BARE].concat())?;
    let ended = run(&image, &[], |_| Ok(()))?;
    ensure!(passed(&ended) > 40, "only {} probes reported", passed(&ended));
    Ok(())
}

fn an_arm64_guest_keeps_its_registers() -> Result<()> {
    let image = build("arm64-probe", "arm64-timing-probe", &TIMING)?;
    let ended = run(&image, &["--cpu", "max"], |_| Ok(()))?;
    ensure!(passed(&ended) > 20, "only {} probes reported", passed(&ended));
    Ok(())
}

const TIMING: [&str; 2] = ["--set", "firmware.timing=true"];
const FOUR: [&str; 4] = ["--vcpus", "4", "--set", "firmware.timing=true"];

fn four_power9_cpus() -> Result<()> {
    let image = image("timing-four", &FOUR)?;
    four_cpus(Guest::boot(&image.path, &[])?, "h_cede")
}

fn four_arm64_cpus() -> Result<()> {
    let guarded = ["--set", "guest.interrupts=guarded"];
    let image = image_of(&arm64_board(), "arm64-timing-four", &[&FOUR[..], &guarded].concat())?;
    four_cpus(Guest::boot(&image.path, &["--cpu", "cortex-a72"])?, "gic-sgi")
}
