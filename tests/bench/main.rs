// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `make bench`: one table of what exits cost, and `target/bench.json`. With `UPDATE=1` the medians
//! become the baseline from which growth is counted.
use std::process::ExitCode;

use anchorite_tests::bench::{ROWS, accept, compiler, growth, measure};
use anchorite_tests::root;
use anyhow::{Context, Result};
use serde_json::json;

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
    let report = json!({ "compiler": compiler()?, "unit": "instructions", "rows": rows });
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
