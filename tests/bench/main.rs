// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `make bench`: a table of what exits cost, one of what codecs cost, and `target/bench.json`. With
//! `UPDATE=1` the medians become the baseline from which growth is counted.
use std::process::ExitCode;

use anchorite_tests::bench::{ROWS, accept, compiler, growth, measure};
use anchorite_tests::{codecs, root};
use anyhow::{Context, Result};
use serde_json::{Value, json};

fn main() -> Result<ExitCode> {
    let spreads = measure()?;
    let shown = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    println!("Instructions per event, QEMU -icount; not cycles. {}", compiler()?);
    println!(
        "{:<14} {:<22} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7}  others",
        "board", "event", "median", "min", "p99", "max", "floor", "at most"
    );
    let mut over = Vec::new();
    let mut rows = Vec::new();
    for row in ROWS {
        let spread = spreads[&format!("{}/{}", row.board, row.event)];
        let (floor, limit) = (shown(row.floor), shown(row.limit));
        println!(
            "{:<14} {:<22} {:>6} {:>6} {:>6} {:>6} {floor:>6} {limit:>7}  {}",
            row.board, row.event, spread.median, spread.min, spread.p99, spread.max, row.peers
        );
        if row.is_over(spread.median) {
            over.push(format!("{}/{}", row.board, row.event));
        }
        rows.push(json!({
            "board": row.board, "name": row.event, "median": spread.median, "min": spread.min,
            "p99": spread.p99, "max": spread.max, "floor": row.floor, "limit": row.limit,
            "peers": row.peers,
        }));
    }
    let codecs = codecs()?;
    let report = json!({
        "compiler": compiler()?, "unit": "instructions", "rows": rows, "codecs": codecs,
    });
    let path = root().join("target/bench.json");
    std::fs::write(&path, format!("{report:#}\n")).context("target/bench.json")?;
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
