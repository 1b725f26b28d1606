// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packs what the firmware unpacks. The same bytes always give the same frame.
//!
//! Packing a kernel well takes seconds, and the kernel seldom changes: frames are kept by the digest
//! of their content. A kept frame is unpacked and compared before it is used.
use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use zstd::stream::raw::CParameter;

use crate::config::checked::Compression;
use crate::image::{digest, hex};

const LEVEL: i32 = 15;
/// The firmware keeps the window in guest RAM while it unpacks: 4 MiB.
const WINDOW_LOG: u32 = 22;

/// Packs bytes. `root` holds the kept frames.
///
/// # Errors
/// The packer failed.
pub fn pack(root: &Path, bytes: &[u8], how: Compression) -> anyhow::Result<Vec<u8>> {
    match how {
        Compression::None => return Ok(bytes.to_vec()),
        // Takes no longer than a look at a kept one.
        Compression::Lz4 => return Ok(lz4_flex::block::compress(bytes)),
        Compression::Zstd => {}
    }
    let dir = root.join("target/cache/zstd");
    let name = hex(&digest(bytes));
    let kept =
        dir.join(format!("{name}-{}-{LEVEL}-{WINDOW_LOG}", zstd::zstd_safe::version_string()));
    if let Some(frame) = std::fs::read(&kept).ok().filter(|frame| holds(frame, bytes)) {
        return Ok(frame);
    }
    let frame = compress(bytes).context("zstd failed")?;
    // Losing the copy costs only time.
    let _ = std::fs::create_dir_all(&dir).and_then(|()| super::output::write(&kept, &frame));
    Ok(frame)
}

fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
    encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
    encoder.include_contentsize(true)?;
    // One worker or many give the same bytes; none would give others.
    encoder.multithread(2)?;
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn holds(frame: &[u8], bytes: &[u8]) -> bool {
    let mut unpacked = Vec::with_capacity(bytes.len());
    zstd::Decoder::new(frame)
        .and_then(|decoder| decoder.take(bytes.len() as u64 + 1).read_to_end(&mut unpacked))
        .is_ok_and(|_| unpacked == bytes)
}
