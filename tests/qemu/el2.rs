// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What arm64's firmware makes of the processor that it finds.
use std::time::Duration;

use anchorite_tests::arm64_board;
use anchorite_tests::guest::Guest;
use anchorite_tests::image::{Image, image_of};
use anyhow::Result;

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
    for (image, cpu, code, words) in [
        (&wanted, "max", 0, "the guest powered off"),
        (&named, "neoverse-v1", 0, "the guest powered off"),
        (&wanted, "cortex-a72", 13, "FEAT_S2FWB"),
        (&named, "neoverse-n1", 13, "the image is for"),
    ] {
        let run = Guest::start(&image.path, &["--cpu", cpu])?;
        run.end_within(Duration::from_secs(120))?.expect(code, words)?;
    }
    Ok(())
}
