// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `make bench`: a table of what exits cost, one of what codecs cost, and `target/bench.json`. With
//! `UPDATE=1` the medians become the baseline from which growth is counted.
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anchorite_tests::bench::{ROWS, TIMED, accept, compiler, growth, measure, measure_timed};
use anchorite_tests::plot::plot;
use anchorite_tests::{anchorite, boots, codecs, root, share, succeed};
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Of the loads.
const WINDOW: Duration = Duration::from_secs(10);

fn main() -> Result<ExitCode> {
    let (mut spreads, mut timed) = (measure()?, measure_timed()?);
    let shown = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    println!("Instructions per event, QEMU -icount; not cycles. {}", compiler()?);
    println!(
        "{:<14} {:<22} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7} {:>7}  others",
        "board", "event", "median", "min", "p99", "max", "floor", "at most", "timing"
    );
    let mut over = Vec::new();
    let mut rows = Vec::new();
    for row in ROWS {
        let spread = spreads[&format!("{}/{}", row.board, row.event)];
        let timed = timed[&format!("{}{TIMED}/{}", row.board, row.event)].median;
        let (floor, limit) = (shown(row.floor), shown(row.limit));
        println!(
            "{:<14} {:<22} {:>6} {:>6} {:>6} {:>6} {floor:>6} {limit:>7} {timed:>7}  {}",
            row.board,
            row.event,
            spread.median,
            spread.min,
            spread.p99,
            spread.max,
            row.others()
        );
        if row.is_over(spread.median) {
            over.push(format!("{}/{}", row.board, row.event));
        }
        rows.push(json!({
            "board": row.board, "name": row.event, "median": spread.median, "min": spread.min,
            "p99": spread.p99, "max": spread.max, "floor": row.floor, "limit": row.limit,
            "median_with_timing": timed,
            "peers": row.peers.iter().copied().collect::<BTreeMap<_, _>>(),
        }));
    }
    let boots = boots(&mut over)?;
    let codecs = codecs()?;
    let images = images()?;
    let shares = shares(&mut over)?;
    let report = json!({
        "compiler": compiler()?, "unit": "instructions", "rows": rows, "boots": boots, "codecs": codecs,
        "images": images, "shares": shares,
    });
    let path = root().join("target/bench.json");
    std::fs::write(&path, format!("{report:#}\n")).context("target/bench.json")?;
    svg::save(root().join("target/bench.svg"), &plot(&spreads)).context("target/bench.svg")?;
    spreads.append(&mut timed);
    if std::env::var_os("UPDATE").is_some() {
        accept(&spreads)?;
    }
    match growth(&spreads)? {
        None => println!("no baseline for this compiler"),
        Some(grown) => grown.iter().for_each(|line| println!("grown: {line}")),
    }
    over.iter().for_each(|key| println!("over its limit: {key}"));
    Ok(if over.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the default guest takes in the image, and from reset to its first instruction.
fn codecs() -> Result<Vec<Value>> {
    println!(
        "\n{:<16} {:<5} {:>11} {:>5} {:>14} {:>14} {:>14}",
        "board", "codec", "bytes", "of", "digests", "unpacking", "zeroing"
    );
    let mut rows = Vec::new();
    for cost in codecs::measure()? {
        println!(
            "{:<16} {:<5} {:>11} {:>4}% {:>14} {:>14} {:>14}",
            cost.board,
            cost.codec,
            cost.packed,
            cost.packed * 100 / cost.unpacked.max(1),
            cost.digests,
            cost.unpacking,
            cost.zeroing
        );
        rows.push(json!({
            "board": cost.board, "codec": cost.codec, "packed_bytes": cost.packed,
            "unpacked_bytes": cost.unpacked, "digests": cost.digests,
            "unpacking": cost.unpacking, "zeroing": cost.zeroing,
        }));
    }
    Ok(rows)
}

/// How often a stock kernel exits, and how many of all instructions the firmware takes.
fn shares(over: &mut Vec<String>) -> Result<Vec<Value>> {
    println!(
        "\n{:<14} {:<6} {:>15} {:>12} {:>12} {:>12} {:>9}  exits by reason",
        "4 vCPUs", "load", "instructions", "firmware", "per million", "OPAL", "exits"
    );
    let mut rows = Vec::new();
    let mut all = Vec::new();
    for board in share::boards() {
        all.extend(share::measure(board, WINDOW).context(board)?);
    }
    for share in all {
        let reasons: Vec<_> =
            share.exits.iter().map(|(name, count)| format!("{name} {count}")).collect();
        println!(
            "{:<14} {:<6} {:>15} {:>12} {:>12} {:>12} {:>9}  {}",
            share.board,
            share.load,
            share.executed.total(),
            share.executed.firmware,
            share.per_million(),
            share.executed.below,
            share.total(),
            reasons.join(", ")
        );
        over.extend(share.excess());
        rows.push(share.json());
    }
    Ok(rows)
}

/// From reset to the guest's first instruction.
fn boots(over: &mut Vec<String>) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for vcpus in ["1", "4"] {
        all.push(boots::power9("power9-bare", vcpus)?);
    }
    all.push(boots::power9("power9-opal", "1")?);
    for (form, interrupts) in boots::FORMS {
        all.push(boots::arm64(form, interrupts, "1")?);
    }
    let (peer, count) = boots::PEER;
    println!(
        "\nreset to guest; set-up is at most {}, not under skiboot; {peer} takes {count} in all\n\
         {:<26} {:>5} {:>10} {:>10} {:>10} {:>10} {:>10}",
        boots::MOST,
        "board",
        "vCPUs",
        "set-up",
        "digests",
        "unpacking",
        "zeroing",
        "report"
    );
    let mut rows = Vec::new();
    for boot in &all {
        let counts = boots::PHASES.map(|phase| format!(" {:>10}", boot.phases[phase])).concat();
        println!("{:<26} {:>5}{counts}", boot.name, boot.vcpus);
        if boot.is_over() {
            over.push(format!("set-up of {}", boot.name));
        }
        rows.push(json!({ "board": boot.name, "vcpus": boot.vcpus, "phases": boot.phases }));
    }
    Ok(rows)
}

/// Where an image's bytes go, and the RAM that the guest does not get.
fn images() -> Result<Vec<Value>> {
    println!("\nbytes of the default images by part, and of RAM that the firmware keeps");
    let mut rows = Vec::new();
    for name in share::boards() {
        let image = share::image(name)?;
        let seen = succeed(anchorite().args(["inspect", "--json"]).arg(&image.path))?;
        let seen: Value = serde_json::from_slice(&seen)?;
        let parts = seen["parts"].as_array().context("no parts")?.iter();
        let parts: BTreeMap<_, _> = parts
            .filter_map(|part| Some((part["name"].as_str()?, part["size"].as_u64()?)))
            .collect();
        let shown: Vec<_> = parts.iter().map(|(part, size)| format!("{part} {size}")).collect();
        let (size, kept) = (&seen["size"], &seen["ram_kept"]);
        println!("{name:<14} {size} in all, RAM kept {kept}: {}", shown.join(", "));
        rows.push(json!({ "board": name, "bytes": size, "ram_kept": kept, "parts": parts }));
    }
    Ok(rows)
}
