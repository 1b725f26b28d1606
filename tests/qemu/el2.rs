// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What arm64's firmware makes of the processor that it finds.
use std::time::Duration;

use anchorite_tests::arm64_board;
use anchorite_tests::guest::Guest;
use anchorite_tests::image::{Image, image_of};
use anyhow::Result;

use crate::probe;

pub const TESTS: &[(&str, fn() -> Result<()>)] =
    &[("el2::write_back_is_forced_where_the_processor_can", forced_write_back)];

/// A guest that powers off as its first act.
fn power_off(name: &str, set: &str) -> Result<Image> {
    let off = "console=ttyAMA0 rdinit=/bin/busybox -- poweroff -f";
    image_of(&arm64_board(), name, &["--cmdline", off, "--set", set])
}

fn forced_write_back() -> Result<()> {
    let wanted = power_off("arm64-fwb", "guest.stage2.fwb=true")?;
    let named = power_off("arm64-v1", "board.cpu=neoverse-v1")?;
    for (image, cpu, words) in
        [(&wanted, "cortex-a72", "FEAT_S2FWB"), (&named, "neoverse-n1", "the image is for")]
    {
        let run = Guest::start(&image.path, &["--cpu", cpu])?;
        run.end_within(Duration::from_secs(60))?.expect(13, words)?;
    }
    // With it, by the config's word and by the processor's name; Debian's boot on `max` has it too.
    probe::walls("fwb", "max", &["--set", "guest.stage2.fwb=true"])?;
    probe::walls("v1", "neoverse-v1", &["--set", "board.cpu=neoverse-v1"])
}
