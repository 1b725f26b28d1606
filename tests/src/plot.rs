// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `target/bench.svg`: what each event takes, beside its floor, its limit and others, in bars whose
//! length is the logarithm of the instructions.
use std::collections::BTreeMap;

use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Text};

use crate::bench::{ROWS, Row, Spread};

const BAR: u64 = 12;
/// Where bars begin, and pixels for each power of ten.
const LEFT: u64 = 200;
const DECADE: f64 = 150.0;
const WIDTH: u64 = 960;

/// One row's bars: a name, instructions, a colour.
fn bars(row: &Row, spread: Spread) -> Vec<(String, u64, &'static str)> {
    let mut bars = vec![("Anchorite".to_owned(), spread.median, "#1f6f4a")];
    bars.extend(row.floor.map(|floor| ("floor".to_owned(), floor, "#b8d8c8")));
    bars.extend(row.peers.iter().map(|(name, count)| ((*name).to_owned(), *count, "#9a9a9a")));
    bars
}

fn length(instructions: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a length in pixels")]
    let instructions = instructions as f64;
    // An event without an instruction of anybody's has a bar too thin to be one.
    (instructions + 1.0).log10() * DECADE
}

fn label(x: u64, y: u64, text: impl Into<String>) -> Text {
    Text::new(text).set("x", x).set("y", y).set("font-size", 10)
}

/// The plot of all rows.
#[must_use]
pub fn plot(spreads: &BTreeMap<String, Spread>) -> Document {
    let mut all = Group::new().set("font-family", "sans-serif");
    let mut y = 24;
    all = all.add(label(8, 14, "instructions per event, logarithmic; QEMU -icount, not cycles"));
    for row in ROWS {
        let spread = spreads[&format!("{}/{}", row.board, row.event)];
        let top = y;
        all = all.add(label(8, y + 10, format!("{} {}", row.board, row.event)));
        for (name, count, colour) in bars(row, spread) {
            let bar = Rectangle::new().set("x", LEFT).set("y", y).set("height", BAR - 2);
            all = all.add(bar.set("width", length(count)).set("fill", colour));
            // The limit's mark stands beside the first bar.
            let limit = row.limit.filter(|_| y == top).unwrap_or(0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pixels")]
            let end = LEFT + length(count.max(limit)) as u64 + 6;
            all = all.add(label(end, y + 9, format!("{count} {name}")));
            y += BAR;
        }
        if let Some(limit) = row.limit {
            #[expect(clippy::cast_precision_loss, reason = "a place in pixels")]
            let x = LEFT as f64 + length(limit);
            let line =
                Line::new().set("x1", x).set("x2", x).set("y1", top).set("y2", top + BAR - 2);
            all = all.add(line.set("stroke", "#c03020").set("stroke-width", 2));
        }
        y += 6;
    }
    all = all.add(label(8, y + 12, "red: at most so many"));
    let y = y + 20;
    Document::new().set("viewBox", (0, 0, WIDTH, y)).set("width", WIDTH).set("height", y).add(all)
}
