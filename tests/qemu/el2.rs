// SPDX-License-Identifier: Apache-2.0 OR MIT
//! arm64: what the firmware makes of the processor that it finds, and how runs end.
use anchorite_tests::guest::Guest;
use anchorite_tests::image::{Image, image_of};
use anchorite_tests::{Tests, arm64_board};
use anyhow::{Context, Result, ensure};

use crate::probe;

pub const TESTS: Tests = &[
    ("el2::write_back_is_forced_where_the_processor_can", forced_write_back),
    ("el2::the_last_words_are_the_last", the_last_words_are_the_last),
];

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
        run.end()?.expect(13, words)?;
    }
    // With it, by the config's word and by the processor's name; Debian's boot on `max` has it too.
    probe::walls("fwb", "max", &["--set", "guest.stage2.fwb=true"])?;
    probe::walls("v1", "neoverse-v1", &["--set", "board.cpu=neoverse-v1"])
}

/// Starts the second CPU, waits until that has written `x` sixteen times and powers off; the second
/// CPU writes for ever.
const NOISE: [u32; 22] = [
    0xd280_0060, // movz x0, #0x0003
    0xf2b8_8000, // movk x0, #0xc400, lsl #16
    0xd280_0021, // mov x1, #1
    0x1000_0162, // adr x2, second
    0xd280_0003, // mov x3, #0
    0xd400_0002, // hvc #0
    0x1000_01e4, // adr x4, written
    0xb940_0085, // ldr w5, [x4]
    0x7100_40bf, // cmp w5, #16
    0x54ff_ffc3, // b.lo -8
    0xd280_0100, // movz x0, #0x0008
    0xf2b0_8000, // movk x0, #0x8400, lsl #16
    0xd400_0002, // hvc #0
    0x1400_0000, // b .
    0xd2a1_2000, // second: movz x0, #0x0900, lsl #16
    0x5280_0f01, // mov w1, #'x'
    0x1000_00a2, // adr x2, written
    0xb900_0001, // str w1, [x0]
    0x1100_0463, // add w3, w3, #1
    0xb900_0043, // str w3, [x2]
    0x17ff_fffd, // b -12
    0x0000_0000, // written: .word 0
];

fn the_last_words_are_the_last() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let kernel = directory.path().join("noise");
    std::fs::write(&kernel, NOISE.map(u32::to_le_bytes).as_flattened())?;
    let sets = ["guest.initrd=", "guest.format=raw", "guest.load=1GiB"];
    let mut arguments = vec!["--vcpus", "2", "--guest", kernel.to_str().context("no UTF-8 path")?];
    arguments.extend(sets.iter().flat_map(|set| ["--set", *set]));
    let image = image_of(&arm64_board(), "arm64-noise", &arguments)?;
    let ended = Guest::start(&image.path, &[])?.end()?;
    ended.expect(0, "the guest powered off")?;
    let (noise, last) = ended.console.split_once("\r\n@exit").context("no last words")?;
    ensure!(noise.ends_with("xxxx"), "the second CPU kept quiet");
    let lines: Vec<&str> = last.lines().skip(1).collect();
    ensure!(lines.iter().all(|line| line.starts_with("@e")), "{lines:?}");
    ensure!(lines.last() == Some(&"@end status=powered-off code=0"), "{lines:?}");
    ensure!(ended.report.contains("1  stopped"), "{}", ended.report);
    Ok(())
}
