// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite inspect --svg`: guest and host memory side by side, and what leads where.
//!
//! Addresses ascend downwards, not to scale: a kilobyte of registers is as easy to see as RAM.
use anchorite_spec::manifest::{
    MAP_BOOT_LEAF, MAP_DEVICE, MAP_RAM, MAP_WITHIN, Mapping, SPACE_GUEST, part_name,
};
use anchorite_spec::{Manifest, Range};
use svg::Document;
use svg::node::element::{Polygon, Rectangle, Text};

use super::{Inspected, claims, clean};
use crate::config::platform::Platform;
use crate::config::units;

const WIDTH: u32 = 340;
const BETWEEN: u32 = 220;
const MARGIN: u32 = 20;
const TOP: u32 = 70;
const LINE: u32 = 16;
/// Between blocks that do not touch.
const GAP: u32 = 14;

/// Somebody's addresses.
struct Block {
    range: Range,
    lines: Vec<String>,
    fill: &'static str,
    y: u32,
}

impl Block {
    fn new(name: &str, range: Range, fill: &'static str) -> Self {
        let place = format!("{} ({})", units::range(range), units::size(range.size));
        Self { range, lines: vec![clean(name), place], fill, y: 0 }
    }

    fn height(&self) -> u32 {
        LINE * self.lines.len() as u32 + 10
    }
}

/// The picture.
#[must_use]
pub fn draw(image: &Inspected<'_>) -> String {
    let manifest = &image.manifest;
    let shown = || manifest.mappings().filter(|mapping| mapping.kind != MAP_WITHIN);
    let mut guest: Vec<Block> = shown().map(|mapping| guest_block(manifest, mapping)).collect();
    let mut host: Vec<Block> = shown().map(host_block).collect();
    host.extend(firmware_blocks(manifest));
    let bottom = stack(&mut guest).max(stack(&mut host));

    let (left, right) = (MARGIN, MARGIN + WIDTH + BETWEEN);
    let mut document = Document::new()
        .set("viewBox", (0, 0, right + WIDTH + MARGIN, bottom + MARGIN))
        .set("font-family", "monospace")
        .set("font-size", 12)
        .add(text(left, 28, &format!("{}: what the guest reaches", board(manifest))))
        .add(text(left, 54, "guest addresses"))
        .add(text(right, 54, "the machine's addresses"));
    for mapping in shown() {
        let at = |blocks: &[Block], range: Range| {
            let block = blocks.iter().find(|block| block.range == range)?;
            Some((block.y, block.y + block.height()))
        };
        let ends = at(&guest, claims::guest(mapping)).zip(at(&host, claims::host(mapping)));
        if let Some(((a, b), (c, d))) = ends {
            let (from, to) = (left + WIDTH, right);
            let points = format!("{from},{a} {to},{c} {to},{d} {from},{b}");
            let link = Polygon::new().set("points", points).set("fill", fill(mapping));
            document = document.add(link.set("fill-opacity", "0.4"));
        }
    }
    for (x, block) in guest.iter().map(|b| (left, b)).chain(host.iter().map(|b| (right, b))) {
        let shape = Rectangle::new().set("x", x).set("y", block.y).set("width", WIDTH);
        let shape = shape.set("height", block.height()).set("stroke", "#333");
        document = document.add(shape.set("fill", block.fill));
        for (line, y) in block.lines.iter().zip((block.y + LINE..).step_by(LINE as usize)) {
            document = document.add(text(x + 8, y, line));
        }
    }
    document.to_string()
}

/// Puts blocks one below the other; the end of the last.
fn stack(blocks: &mut [Block]) -> u32 {
    blocks.sort_by_key(|block| block.range.base);
    let (mut y, mut end) = (TOP, None);
    for block in blocks {
        if end.is_some_and(|end| end != block.range.base) {
            y += GAP;
        }
        block.y = y;
        y += block.height();
        end = block.range.end();
    }
    y
}

fn text(x: u32, y: u32, words: &str) -> Text {
    Text::new(words).set("x", x).set("y", y)
}

fn board(manifest: &Manifest) -> String {
    clean(manifest.board.as_str())
}

fn fill(mapping: &Mapping) -> &'static str {
    match mapping.kind {
        MAP_RAM => "#cfe8cf",
        MAP_DEVICE => "#d6e4f5",
        MAP_BOOT_LEAF => "#e6daf2",
        _ => "#fff",
    }
}

/// A mapping as the guest sees it, with what the image puts there.
fn guest_block(manifest: &Manifest, mapping: &Mapping) -> Block {
    let range = claims::guest(mapping);
    let mut block = Block::new(mapping.name.as_str(), range, fill(mapping));
    let parts = manifest.parts.iter().filter(|part| part.kind != 0 && part.space == SPACE_GUEST);
    let mut held: Vec<_> = parts.filter(|p| range.contains(Range::new(p.dest, 1))).collect();
    held.sort_by_key(|part| part.dest);
    let size = |bytes: u64| format!("{} KiB", bytes.div_ceil(1 << 10));
    block.lines.extend(held.iter().map(|part| {
        format!("  {:#x}  {}, {}", part.dest, part_name(part.kind), size(part.memory_size))
    }));
    block
}

fn host_block(mapping: &Mapping) -> Block {
    let mut block = Block::new(mapping.name.as_str(), claims::host(mapping), fill(mapping));
    if mapping.kind == MAP_BOOT_LEAF {
        block.lines.push("  somewhere in it, as the machine picks".into());
    }
    block
}

/// What the guest does not reach.
fn firmware_blocks(manifest: &Manifest) -> Vec<Block> {
    const FIRMWARE: &str = "#f6d5c9";
    const OTHERS: &str = "#eee";
    let names = Platform::numbered(manifest.arch, manifest.boot).names;
    let mut own = Block::new("the firmware", manifest.firmware, FIRMWARE);
    let mut held = claims::pieces(manifest);
    held.sort_by_key(|(_, range)| range.base);
    let line = |(name, range): &(&str, Range)| {
        format!("  {:#x}  {name}, {} bytes", range.base, range.size)
    };
    own.lines.extend(held.iter().map(line));
    let mut blocks = vec![
        own,
        Block::new(names[0], manifest.vectors, FIRMWARE),
        Block::new(names[1], manifest.load_window, OTHERS),
    ];
    blocks.extend(manifest.earlier().map(|range| Block::new(names[2], range, OTHERS)));
    blocks.retain(|block| !block.range.is_empty());
    blocks
}
