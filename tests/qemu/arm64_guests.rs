// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an arm64 guest can be: kernels in other forms.
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use anchorite_tests::arm64_board;
use anchorite_tests::guest::Guest;
use anchorite_tests::image::{image_of, kernel};
use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

pub const TESTS: &[(&str, fn() -> Result<()>)] =
    &[("arm64_guests::a_packed_vmlinux_boots", a_packed_vmlinux_boots)];

const OFF: &str = "console=ttyAMA0 rdinit=/bin/busybox -- poweroff -f";

/// The ELF that an `Image` is made from, as far as headers go: linked where Linux is, with load
/// addresses that equal the link addresses.
fn vmlinux(image: &[u8]) -> Result<Vec<u8>> {
    const LINKED: u64 = 0xffff_8000_8000_0000;
    let memory_size = image.get(16..24).context("no header")?;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, values: &[u64]| {
        values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    };
    // Shared (Linux relocates itself), for arm64, version 1; entry, program headers at 64.
    halves(&mut file, &[3, 183, 1, 0]);
    words(&mut file, &[LINKED, 64, 0]);
    halves(&mut file, &[0, 0, 64, 56, 1, 0, 0, 0]);
    let size = image.len() as u64;
    words(&mut file, &[7 << 32 | 1, 0x1_0000, LINKED, LINKED, size]);
    file.extend_from_slice(memory_size);
    words(&mut file, &[0x1_0000]);
    file.resize(0x1_0000, 0);
    file.extend_from_slice(image);
    Ok(file)
}

fn a_packed_vmlinux_boots() -> Result<()> {
    let elf = vmlinux(&std::fs::read(kernel("debian-6.12-arm64"))?)?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("vmlinux.gz");
    // Stored, not squeezed: what counts is that it is unpacked.
    let mut packed = GzEncoder::new(File::create(&path)?, Compression::none());
    packed.write_all(&elf)?;
    packed.finish()?;
    let path = path.to_str().context("no UTF-8 path")?;
    let image = image_of(&arm64_board(), "arm64-vmlinux", &["--guest", path, "--cmdline", OFF])?;
    let run = Guest::start(&image.path, &["--cpu", "cortex-a72"])?;
    run.end_within(Duration::from_secs(120))?.expect(0, "the guest powered off")
}
