// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Says what was built.
use std::path::Path;

use anchorite_spec::manifest::{CODEC_ZSTD, SPACE_GUEST, SPACE_HOST, part_name};

use super::manifest::hex;
use crate::config::units;
use crate::image::{digest, parse_manifest};

/// Prints the report of an image.
///
/// # Errors
/// The image cannot be read back.
pub fn print(path: &Path, image: &[u8], json: bool) -> anyhow::Result<()> {
    let manifest = parse_manifest(image)?;
    let parts = manifest.parts.iter().filter(|part| part.kind != 0);
    if json {
        let parts: Vec<_> = parts
            .map(|part| {
                serde_json::json!({
                    "name": part_name(part.kind), "offset": part.offset, "size": part.size,
                    "dest": part.dest, "memory_size": part.memory_size,
                })
            })
            .collect();
        let report = serde_json::json!({
            "ok": true,
            "image": path.display().to_string(),
            "board": manifest.board.as_str(),
            "size": image.len(),
            "sha256": hex(&digest(image)),
            "build_id": hex(&manifest.build_id),
            "parts": parts,
        });
        println!("{report}");
        return Ok(());
    }
    println!("{}: {} bytes for {}", path.display(), image.len(), manifest.board.as_str());
    println!("  sha256    {}", hex(&digest(image)));
    println!("  build id  {}", hex(&manifest.build_id));
    println!("  {:<11} {:>10} {:>10}  goes to", "part", "in file", "in memory");
    for part in parts {
        let space = match part.space {
            SPACE_HOST => format!("host {:#x}", part.dest),
            SPACE_GUEST => format!("guest {:#x}", part.dest),
            _ => "where it lies".into(),
        };
        let codec = if part.codec == CODEC_ZSTD { ", zstd" } else { "" };
        println!(
            "  {:<11} {:>10} {:>10}  {space}{codec}",
            part_name(part.kind),
            part.size,
            part.memory_size
        );
    }
    println!(
        "  firmware keeps {} at {:#x}; the guest enters at {:#x}",
        units::size(manifest.firmware.size),
        manifest.firmware.base,
        manifest.guest_entry
    );
    Ok(())
}
