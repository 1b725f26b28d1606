// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `anchorite stats` and the closing lines tell of images that time their exits, and what must
//! hold of it whenever it is read.
use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::guest::Guest;
use crate::stats;

/// What must hold of every reading; `mean` is exact here. Returns its CPUs.
///
/// # Errors
///
/// It does not.
pub fn judged(reading: &Value) -> Result<&Vec<Value>> {
    let timing = &reading["timing"];
    let never = timing["never_calm"].as_array().context("no timing")?;
    ensure!(never.is_empty(), "never calm: {never:?}");
    ensure!(timing["unit"] == "ticks" && timing["hz"] == reading["timebase_hz"], "{timing:#}");
    let cpus = timing["cpus"].as_array().context("no cpus")?;
    for cpu in cpus {
        let phases = cpu["phases"].as_object().context("no phases")?;
        let sum: u64 = phases.values().filter_map(Value::as_u64).sum();
        let until = number(&cpu["until"])? - number(&cpu["started"])?;
        ensure!(sum == number(&cpu["elapsed"])? && sum == until, "not 100 %: {cpu:#}");
        exits(cpu)?;
    }
    exits(timing)?;
    Ok(cpus)
}

/// Of all reasons of a CPU, or of all CPUs.
fn exits(of: &Value) -> Result<()> {
    for (name, exits) in of["exits"].as_object().context("no exits")? {
        let [count, total, min, max] =
            ["count", "total", "min", "max"].map(|what| number(&exits[what]));
        let (count, total, min, max) = (count?, total?, min?, max?);
        let histogram = exits["histogram"].as_object().context("no histogram")?;
        let classes: Vec<(u64, u64)> = histogram
            .iter()
            .map(|(from, n)| Ok((from.parse()?, number(n)?)))
            .collect::<Result<_>>()?;
        let sum: u64 = classes.iter().map(|(_, n)| n).sum();
        ensure!(sum == count && count > 0, "{name}: {exits:#}");
        ensure!(min * count <= total && total <= max * count, "{name}: {exits:#}");
        // The shortest and the longest are in the first and in the last class that has any.
        let class = |time: u64| if time == 0 { 0 } else { 1 << time.ilog2().min(30) };
        let least = classes.iter().map(|(from, _)| *from).min();
        let most = classes.iter().map(|(from, _)| *from).max();
        ensure!(least == Some(class(min)) && most == Some(class(max)), "{name}: {exits:#}");
        // All of it lies between what the classes allow.
        let floor: u64 = classes.iter().map(|(from, n)| from * n).sum();
        ensure!(floor <= total, "{name}: {exits:#}");
    }
    Ok(())
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("no number: {value}"))
}

/// Reads a running guest again and again until `enough`, or until it has ended. Every reading holds by
/// itself and goes on from the one before; all of them.
///
/// # Errors
///
/// One does not.
pub fn watch(guest: &mut Guest, mut enough: impl FnMut(&Value) -> bool) -> Result<Vec<Value>> {
    let mut readings: Vec<Value> = Vec::new();
    while guest.runs()? {
        // At first there is no firmware in the machine, at last no machine.
        let Ok(reading) = stats::live(guest) else { continue };
        if reading["timing"].is_null() {
            continue;
        }
        for (cpu, now) in judged(&reading)?.iter().enumerate() {
            let Some(last) = readings.last() else { break };
            let before = &last["timing"]["cpus"][cpu];
            ensure!(number(&now["until"])? >= number(&before["until"])?, "back in time: {now:#}");
            for (name, exits) in before["exits"].as_object().context("no exits")? {
                let later = number(&now["exits"][name]["count"])?;
                ensure!(later >= number(&exits["count"])?, "fewer of {name}: {now:#}");
            }
        }
        let last = enough(&reading);
        readings.push(reading);
        if last {
            break;
        }
    }
    Ok(readings)
}

/// The closing lines' words: `@NAME key=value …`.
#[must_use]
pub fn closing<'a>(console: &'a str, name: &str) -> Vec<BTreeMap<&'a str, &'a str>> {
    let start = format!("@{name} ");
    let lines = console.lines().filter_map(|line| line.strip_prefix(&start));
    lines
        .map(|line| line.split_whitespace().filter_map(|word| word.split_once('=')).collect())
        .collect()
}
