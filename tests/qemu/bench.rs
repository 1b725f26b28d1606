// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What exits cost is what is promised, and has not grown. `make bench` shows the figures.
use std::time::Duration;

use anchorite_tests::Tests;
use anchorite_tests::bench::{ROWS, growth, measure};
use anchorite_tests::share;
use anyhow::{Result, ensure};

pub const TESTS: Tests = &[
    ("bench::what_exits_cost", what_exits_cost),
    ("bench::a_loaded_guest_stays_out", a_loaded_guest_stays_out),
];

/// Counted by QEMU, not by the firmware.
fn a_loaded_guest_stays_out() -> Result<()> {
    let shares = share::measure("power9-bare", Duration::from_secs(5))?;
    for share in &shares {
        ensure!(share.executed.firmware > 0, "{}: nothing was counted", share.load);
        ensure!(share.excess().is_none(), "{:?}\n{:#}", share.excess(), share.json());
    }
    Ok(())
}

fn what_exits_cost() -> Result<()> {
    let spreads = measure()?;
    for row in ROWS {
        let key = format!("{}/{}", row.board, row.event);
        let median = spreads[&key].median;
        let limit = row.limit.unwrap_or(u64::MAX);
        ensure!(!row.is_over(median), "{key}: {median} instructions, at most {limit} are allowed");
    }
    match growth(&spreads)? {
        Some(grown) => ensure!(
            grown.is_empty(),
            "more than 2 % above tests/bench/baseline.json; if that is meant, UPDATE=1 make bench \
             and say why in the commit:\n{}",
            grown.join("\n")
        ),
        None => println!("no baseline for this compiler: growth is not judged"),
    }
    Ok(())
}
