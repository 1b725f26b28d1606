// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What each codec makes of the default guest, and what its boot costs in instructions.
use std::path::Path;
use std::time::Duration;

use anchorite_spec::manifest::{PART_INITRD, PART_KERNEL};
use anyhow::{Context, Result};

use crate::guest::Guest;
use crate::image::image_of;
use crate::{arm64_board, board};

/// From the start to the guest's first instruction, under a machine that counts.
const BOOT: Duration = Duration::from_secs(300);

/// A codec on a board.
pub struct Cost {
    /// The board.
    pub board: &'static str,
    /// The codec, as configs write it.
    pub codec: &'static str,
    /// Bytes of kernel and initrd in the image.
    pub packed: u64,
    /// Their bytes unpacked.
    pub unpacked: u64,
    /// Instructions for the digests of the image.
    pub digests: u64,
    /// Instructions for the unpacking.
    pub unpacking: u64,
    /// Instructions for the zeroing, the unpacker's memory among it.
    pub zeroing: u64,
}

/// Every codec on both architectures.
///
/// # Errors
///
/// An image does not build or does not say what its boot takes.
pub fn measure() -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for codec in ["zstd", "lz4", "none"] {
        // 64 ticks of the timebase are 125 instructions, and flash matters not here.
        let more = ["--set", "firmware.flash.size=64MiB"];
        costs.push(cost("qemu-powernv9", &board(), codec, &more, &["--icount"], (125, 64))?);
        let run = ["--icount", "--cpu", "max"];
        costs.push(cost("qemu-arm64-virt", &arm64_board(), codec, &[], &run, (1, 1))?);
    }
    costs.sort_by_key(|cost| cost.board);
    Ok(costs)
}

fn cost(
    name: &'static str,
    board: &Path,
    codec: &'static str,
    more: &[&str],
    run: &[&str],
    (instructions, ticks): (u64, u64),
) -> Result<Cost> {
    let codec_set = format!("guest.compression={codec}");
    let set = ["--set", "firmware.debug_boot=true", "--set", &codec_set];
    let image = image_of(board, &format!("codec-{name}-{codec}"), &[&set, more].concat())?;
    let mut guest = Guest::start(&image.path, run)?;
    let mut phase = |name: &str| -> Result<u64> {
        guest.expect(&format!("@boot phase={name} ticks="), BOOT)?;
        let count: u64 = guest.expect(" hz=", BOOT)?.parse().context("ticks")?;
        Ok(count * instructions / ticks)
    };
    let (digests, unpacking, zeroing) = (phase("digests")?, phase("unpacking")?, phase("zeroing")?);
    let (mut packed, mut unpacked) = (0, 0);
    for kind in [PART_INITRD, PART_KERNEL] {
        let (part, _) = image.part(kind)?;
        (packed, unpacked) = (packed + part.size, unpacked + part.unpacked_size);
    }
    Ok(Cost { board: name, codec, packed, unpacked, digests, unpacking, zeroing })
}
