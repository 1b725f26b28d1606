// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What it takes from reset to the guest's first instruction, phase by phase, with a guest that asks to
//! be powered off and nothing else. Counted: a tick of `max`'s counter is an instruction under QEMU's
//! `-icount`, and 64 ticks of POWER9's timebase are 125.
use std::collections::BTreeMap;
use std::path::Path;

use anchorite_spec::rtas::POWER_OFF;
use anyhow::{Context, Result};

use crate::guest::{Ended, Guest};
use crate::image::image_of;
use crate::{arm64_board, bare_board, board};

/// Instructions that set-up may take: all but digests, unpacking and zeroing. Not under skiboot.
pub const MOST: u64 = 100_000;
/// Who else was measured, from reset to its guest.
pub const PEER: (&str, u64) = ("Bao", 333_551);
/// What `firmware.debug_boot` tells of; `signature` is 0 here.
pub const PHASES: [&str; 5] = ["set-up", "digests", "unpacking", "zeroing", "report"];

/// How arm64 boots: the form, and the kind of interrupts.
pub const FORMS: [(&str, &str); 4] =
    [("arm64-image", "direct"), ("flat", "direct"), ("elf", "direct"), ("arm64-image", "guarded")];

/// A boot.
pub struct Boot {
    /// The board, with the form or the kind of interrupts where there are several.
    pub name: String,
    /// How many vCPUs.
    pub vcpus: &'static str,
    /// Whether [`MOST`] holds for it.
    pub limited: bool,
    /// Instructions by phase.
    pub phases: BTreeMap<&'static str, u64>,
    /// The whole run.
    pub ended: Ended,
}

impl Boot {
    /// Whether set-up takes more than it may.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.limited && self.phases["set-up"] > MOST
    }
}

/// A POWER9 board.
///
/// # Errors
///
/// The image does not build, does not end well, or does not say what its boot took.
pub fn power9(name: &str, vcpus: &'static str) -> Result<Boot> {
    // RTAS power-off: lis r3, 0; ori r3, r3, 0xf000; li r4, 0x14; sc 1; b .; and what r4 points to: the
    // token, two inputs and one output, their words.
    let code = [0x3c60_0000_u32, 0x6063_f000, 0x3880_0014, 0x4400_0022, 0x4800_0000];
    let call = [POWER_OFF, 2, 1, u32::MAX, u32::MAX, 0];
    let words: Vec<u8> = code.iter().chain(&call).flat_map(|word| word.to_be_bytes()).collect();
    let config = if name == "power9-bare" { bare_board() } else { board() };
    let ended = boot(&config, name, vcpus, &words, &["guest.load=0"], &["--icount"])?;
    finish(name, vcpus, ended, (512_000_000, 125, 64))
}

/// arm64 in a form, with a kind of interrupts.
///
/// # Errors
///
/// As [`power9`].
pub fn arm64(form: &str, interrupts: &str, vcpus: &'static str) -> Result<Boot> {
    // PSCI SYSTEM_OFF: movz x0, #0x0008; movk x0, #0x8400, lsl #16; hvc #0
    let off = [0xd280_0100_u32, 0xf2b0_8000, 0xd400_0002].map(u32::to_le_bytes);
    let name = format!("arm64-{form}-{interrupts}");
    let set = [
        "guest.load=1GiB",
        &format!("board.boot={form}"),
        &format!("guest.interrupts={interrupts}"),
    ];
    let run = ["--icount", "--cpu", "max"];
    let ended = boot(&arm64_board(), &name, vcpus, off.as_flattened(), &set, &run)?;
    finish(&name, vcpus, ended, (1_000_000_000, 1, 1))
}

/// What is packed and zeroed does not matter to set-up, so it is little.
fn boot(
    config: &Path,
    name: &str,
    vcpus: &str,
    code: &[u8],
    set: &[&str],
    run: &[&str],
) -> Result<Ended> {
    let directory = tempfile::tempdir()?;
    let kernel = directory.path().join("kernel");
    std::fs::write(&kernel, code)?;
    let kernel = kernel.to_str().context("no UTF-8 path")?;
    let mut arguments = vec!["--guest", kernel, "--vcpus", vcpus];
    let all = [
        "firmware.debug_boot=true",
        "guest.format=raw",
        "guest.initrd=",
        "guest.compression=none",
        "guest.memory.0.size=4MiB",
    ];
    for set in all.iter().chain(set) {
        arguments.extend(["--set", set]);
    }
    let image = image_of(config, &format!("boots-{name}-{vcpus}"), &arguments)?;
    let ended = Guest::start(&image.path, run)?.end()?;
    ended.expect(0, "the guest powered off")?;
    Ok(ended)
}

fn finish(
    name: &str,
    vcpus: &'static str,
    ended: Ended,
    (hz, instructions, ticks): (u64, u64, u64),
) -> Result<Boot> {
    let phase = |phase| Ok((phase, ended.boot_ticks(phase, Some(hz))? * instructions / ticks));
    let phases = PHASES.into_iter().map(phase).collect::<Result<_>>()?;
    Ok(Boot { name: name.to_owned(), vcpus, limited: name != "power9-opal", phases, ended })
}
