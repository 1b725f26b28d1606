// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Restarts in place, as often as a test wants: of a guest of our own that makes a mess of its machine
//! in every life and looks in the next whether all is as at first, and of Debian under load. QEMU runs
//! with `-no-reboot`: a reset of the machine would end the run.
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::guest::{Ended, Guest};
use crate::probe::{BARE, build};
use crate::{load, stats};

/// What an image needs for restarts on every occasion.
pub const ALWAYS: [&str; 4] =
    ["--set", "guest.on_reboot=restart", "--set", "guest.on_panic=restart"];
/// The boards on which restarts are counted: name, probe, options, how the machine is started. skiboot
/// has interrupts of its own, which come when they come: that board's are counted without it.
pub const EVEN: [(&str, &str, &[&str], &[&str]); 3] = [
    ("power9-bare", "power9-probe", &BARE, &[]),
    ("arm64", "arm64-probe", &[], &["--cpu", "max"]),
    ("arm64-guarded", "arm64-probe", &["--set", "guest.interrupts=guarded"], &["--cpu", "max"]),
];
/// One life, on a machine with other things to do.
const LIFE: u64 = 20;
/// What a guest is told of its last life, in its shell.
const LAST_LIFE: &str = "tr -d '\\0' </proc/device-tree/chosen/anchorite/last-life";

/// Why a life of the probe ends, by its number.
fn after(life: u64) -> &'static str {
    if life % 3 == 1 { "guest-panic" } else { "rebooted" }
}

/// A probe whose command line has `lives` in it, restarted until its budget is spent, on a processor
/// and with further options. Returns its console.
///
/// # Errors
///
/// A life did not begin as the first one, or the count is another.
pub fn lives(
    name: &'static str,
    cmdline: &str,
    cpu: &[&str],
    more: &[&str],
    restarts: u64,
) -> Result<String> {
    let budget = format!("guest.restart_budget={restarts}");
    let arguments = [&["--cmdline", cmdline, "--set", &budget], &ALWAYS[..], more].concat();
    let bare = if more.starts_with(&BARE) { "-bare" } else { "" };
    let image = build(name, &format!("{name}{bare}-{cmdline}-{restarts}"), &arguments)?;
    let limit = (LIFE * (restarts + 1)).to_string();
    let run = Guest::start(&image.path, &[&["--timeout", &limit], cpu].concat())?;
    let ended = run.end_within(Duration::from_secs(LIFE * (restarts + 2)))?;
    judge(&ended, restarts)?;
    Ok(ended.console)
}

/// The POWER9 probe whose four CPUs interrupt each other until one restarts the guest, as often as this:
/// no life sees an event of the one before. Returns how many interrupts were sent.
///
/// # Errors
///
/// One does, or a life did not begin as the first one.
pub fn hammer(more: &[&str], restarts: u64) -> Result<u64> {
    let more = [more, &["--vcpus", "4"]].concat();
    let console = lives("power9-probe", "lives=hammer", &[], &more, restarts)?;
    let lines = || console.lines().map(str::trim_end);
    let clean = lines().filter(|line| *line == "probe life-queues ok").count() as u64;
    ensure!(clean == restarts + 1, "{clean} lives began with empty queues");
    let sent = lines().filter_map(|line| line.strip_prefix("sent ")?.strip_suffix(", 0 stray"));
    let sent: Vec<u64> = sent.map(str::parse).collect::<Result<_, _>>()?;
    ensure!(sent.len() as u64 == restarts + 1, "only {} lives without stray events", sent.len());
    Ok(sent.iter().sum())
}

fn judge(ended: &Ended, restarts: u64) -> Result<()> {
    ended.expect(15, "the guest was restarted as often as the config allows")?;
    let lines = || ended.console.lines().map(str::trim_end);
    let failed: Vec<&str> = lines().filter(|line| line.contains(" FAIL ")).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    for probe in ["registers", "memory", "controller", "as-first", "other-cpus"] {
        let line = format!("probe life-{probe} ok");
        let lives = ended.console.split("@restart ");
        if let Some(life) = lives.clone().find(|life| !life.lines().any(|l| l.trim_end() == line)) {
            bail!("no {line:?} in a life:\n{life}");
        }
        ensure!(lives.count() as u64 == restarts + 1, "other than {restarts} restarts");
    }
    let told: Vec<&str> = lines().filter(|line| line.starts_with("@restart ")).collect();
    let expected = (1..=restarts).map(|n| format!("@restart count={n} after={}", after(n - 1)));
    ensure!(told == expected.collect::<Vec<_>>(), "{told:?}");
    // Thousands are set apart for people.
    ensure!(ended.report.replace(',', "").contains(&match restarts {
        1 => "restarted once".to_owned(),
        n => format!("restarted {n} times"),
    }));
    // The counter runs on.
    let times = lines().filter_map(|line| line.strip_prefix("life ")?.split_once(" at "));
    let times: Vec<u64> = times.map(|(_, at)| at.parse()).collect::<Result<_, _>>()?;
    ensure!(times.len() as u64 == restarts + 1 && times.is_sorted(), "{times:?}");
    Ok(())
}

/// A probe that does nothing but ask for its restart, this often, with instructions counted as time:
/// from each life's last line but one to the next one's first instruction it takes as many instructions
/// as every other time. A tick of POWER9's timebase is two instructions, or nearly: there the ticks may
/// differ by one. The count on the console grows by a digit now and then, which takes some more:
/// numbers of as many digits are compared. Returns the ticks by digits.
///
/// # Errors
///
/// A restart cost more or less than another.
pub fn even(probe: &'static str, more: &[&str], run: &[&str], restarts: u64) -> Result<Vec<u64>> {
    let budget = format!("guest.restart_budget={restarts}");
    let arguments = [&["--cmdline", "again", "--set", &budget], &ALWAYS[..], more].concat();
    let name = format!("{probe}-{}-again-{restarts}", more.len());
    let image = build(probe, &name, &arguments)?;
    let limit = (LIFE * (restarts + 1)).to_string();
    let run = Guest::start(&image.path, &[&["--icount", "--timeout", &limit], run].concat())?;
    let ended = run.end_within(Duration::from_secs(LIFE * (restarts + 2)))?;
    ended.expect(15, "the guest was restarted as often as the config allows")?;
    let hex = |text: &str| u64::from_str_radix(text.trim_end(), 16);
    let lines = ended.console.lines().filter_map(|line| line.strip_prefix("restarted from 0x"));
    let lines = lines.filter_map(|line| line.split_once(" to 0x"));
    let times: Vec<(u64, u64)> =
        lines.map(|(asked, entered)| Ok((hex(asked)?, hex(entered)?))).collect::<Result<_>>()?;
    ensure!(times.len() as u64 == restarts + 1, "{} lives", times.len());
    let costs = times.windows(2).map(|lives| lives[1].1 - lives[0].0);
    let mut rows: Vec<Vec<u64>> = Vec::new();
    for (number, cost) in (1_u64..).zip(costs) {
        rows.resize_with(number.ilog10() as usize + 1, Vec::new);
        rows[number.ilog10() as usize].push(cost);
    }
    let rounding = u64::from(probe.starts_with("power9"));
    for row in &rows {
        let (least, most) = (row.iter().min(), row.iter().max());
        let even = least.zip(most).is_some_and(|(least, most)| most - least <= rounding);
        ensure!(even, "{row:?}");
    }
    Ok(rows.iter().map(|row| row[0]).collect())
}

/// Debian at its shell, restarted this often, by turns in order and by force under load and behind a
/// panic; to the shell of its last life. The ledger counts on.
///
/// # Errors
///
/// It does not come back, or not with all its CPUs.
pub fn debian(guest: &mut Guest, cpus: u32, restarts: u64) -> Result<()> {
    let total = |guest: &Guest| stats::total(&stats::live(guest)?);
    let first = (guest.shell(LAST_LIFE)?, stats::live(guest)?["last_life"].clone());
    ensure!(first == (String::new(), Value::Null), "a life before the first: {first:?}");
    for count in 1..=restarts {
        let before = total(guest)?;
        guest.shell("echo left behind >/tmp/file")?;
        guest.shell(&load::on(cpus))?;
        let (line, after) = match count % 3 {
            1 => ("reboot -f", "rebooted"),
            2 => ("echo 1 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger", "guest-panic"),
            _ => ("reboot", "rebooted"),
        };
        guest.restart(line, count, after)?;
        ensure!(guest.shell("nproc")? == cpus.to_string());
        ensure!(guest.shell("ls /tmp")?.is_empty(), "a file of the last life");
        ensure!(total(guest)? > before, "the ledger began again");
        let told = stats::live(guest)?["restarts"].as_u64().context("no restarts")?;
        ensure!(told == count, "{told} restarts told, {count} made");
        // What the guest finds in its tree is what is found from outside.
        let life = stats::live(guest)?["last_life"].take();
        let text = |key: &str| life[key].as_str().unwrap_or("-").to_owned();
        let mut line = format!("after={after} restarts={count} cpu={}", life["cpu"]);
        for key in ["pc", "state", "words"] {
            line += &format!(" {key}={}", text(key));
        }
        ensure!(guest.shell(LAST_LIFE)?.trim_end() == line.trim_end(), "not {line}");
        ensure!(cpus == 1 || life["cpu"].as_u64() < Some(cpus.into()), "{life}");
    }
    Ok(())
}
