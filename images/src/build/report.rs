// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Says what was built.
use std::fmt::Write;
use std::path::Path;

use anchorite_spec::Manifest;
use anchorite_spec::manifest::{CODEC_NONE, Part, SPACE_GUEST, SPACE_HOST, codec_name, part_name};
use serde_json::{Value, json};

use crate::config::units;
use crate::image::{digest, hex, parse_manifest};
use crate::inspect;
use crate::say;

/// Prints the report of an image.
///
/// # Errors
/// The image cannot be read back.
pub fn print(path: &Path, image: &[u8], json: bool) -> anyhow::Result<()> {
    let manifest = parse_manifest(image)?;
    let name = path.display().to_string();
    let not_proved = inspect::not_proved(image)?;
    if json {
        let mut report = as_json(&name, image, &manifest);
        report["not_proved"] = not_proved.into();
        say::line(report);
    } else {
        let mut text = String::new();
        write_text(&mut text, &name, image, &manifest)?;
        for wall in not_proved {
            writeln!(text, "  NOT PROVED  {wall}")?;
        }
        say::line(text.trim_end());
    }
    Ok(())
}

/// What a packed part takes of its content.
fn percent(part: &Part) -> u64 {
    part.size.saturating_mul(100) / part.unpacked_size.max(1)
}

fn parts(manifest: &Manifest) -> impl Iterator<Item = &Part> {
    manifest.parts.iter().filter(|part| part.kind != 0)
}

fn as_json(name: &str, image: &[u8], manifest: &Manifest) -> Value {
    let parts: Vec<Value> = parts(manifest)
        .map(|part| {
            json!({
                "name": part_name(part.kind), "offset": part.offset, "size": part.size,
                "dest": part.dest, "memory_size": part.memory_size,
                "codec": codec_name(part.codec), "unpacked_size": part.unpacked_size,
            })
        })
        .collect();
    json!({
        "ok": true,
        "image": name,
        "board": manifest.board.as_str(),
        "size": image.len(),
        "sha256": hex(&digest(image)),
        "build_id": hex(&manifest.build_id),
        "parts": parts,
    })
}

fn write_text(out: &mut String, name: &str, image: &[u8], manifest: &Manifest) -> std::fmt::Result {
    writeln!(out, "{name}: {} bytes for {}", image.len(), manifest.board.as_str())?;
    writeln!(out, "  sha256    {}", hex(&digest(image)))?;
    writeln!(out, "  build id  {}", hex(&manifest.build_id))?;
    writeln!(out, "  {:<11} {:>10} {:>10}  goes to", "part", "in file", "in memory")?;
    for part in parts(manifest) {
        let space = match part.space {
            SPACE_HOST => format!("host {:#x}", part.dest),
            SPACE_GUEST => format!("guest {:#x}", part.dest),
            _ => "where it lies".into(),
        };
        let codec = match part.codec {
            CODEC_NONE => String::new(),
            codec => format!(", {} ({}%)", codec_name(codec), percent(part)),
        };
        let (name, size, memory) = (part_name(part.kind), part.size, part.memory_size);
        writeln!(out, "  {name:<11} {size:>10} {memory:>10}  {space}{codec}")?;
    }
    writeln!(
        out,
        "  firmware keeps {} at {:#x}; the guest enters at {:#x}",
        units::size(manifest.firmware.size),
        manifest.firmware.base,
        manifest.guest_entry
    )
}
