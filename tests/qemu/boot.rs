// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Stock kernels to a shell and a clean end.
use std::fs;
use std::time::Duration;

use anchorite_spec::manifest::{CODEC_LZ4, CODEC_NONE, PART_INITRD, PART_KERNEL};
use anchorite_tests::guest::Guest;
use anchorite_tests::image::{Image, default_image, image, kernel, power_off_image};
use anchorite_tests::kexec::PPC64EL;
use anchorite_tests::{Tests, facilities, told};
use anyhow::{Context, Result, ensure};

pub const TESTS: Tests = &[
    ("boot::linux_6_12", linux_6_12),
    ("boot::linux_6_1_packed_with_lz4", linux_6_1_packed_with_lz4),
    ("boot::linux_stored_as_it_is", linux_stored_as_it_is),
    ("boot::behind_a_container_header", behind_a_container_header),
    ("boot::from_a_flash_partition", from_a_flash_partition),
    ("boot::the_shell_can_be_worked_in", the_shell_can_be_worked_in),
];

/// skiboot reads the flash through small windows: a minute of the machine's time.
const FLASH: Duration = Duration::from_secs(600);

fn linux_6_12() -> Result<()> {
    to_shell_and_off(Guest::boot(&default_image()?.path, &[])?, "6.12.")
}

/// Larger than a BOOTKERNEL partition, which real boards have it in.
const NO_FLASH: [&str; 2] = ["--set", "firmware.flash.size=64MiB"];

fn linux_6_1_packed_with_lz4() -> Result<()> {
    let kernel = kernel("debian-6.1-ppc64el");
    let kernel = ["--guest", kernel.to_str().context("no UTF-8 path")?];
    let codec = ["--set", "guest.compression=lz4"];
    let image = image("linux-6.1-lz4", &[kernel, codec, NO_FLASH].concat())?;
    packed_with(&image, CODEC_LZ4)?;
    to_shell_and_off(Guest::boot(&image.path, &[])?, "6.1.")
}

fn linux_stored_as_it_is() -> Result<()> {
    let off = ["--cmdline", "console=hvc0 rdinit=/bin/busybox -- poweroff -f"];
    let codec = ["--set", "guest.compression=none"];
    let image = image("linux-none", &[off, codec, NO_FLASH].concat())?;
    packed_with(&image, CODEC_NONE)?;
    Guest::start(&image.path, &[])?.end()?.expect(0, "the guest powered off")
}

/// Both of the guest's files are packed so.
fn packed_with(image: &Image, codec: u32) -> Result<()> {
    for kind in [PART_KERNEL, PART_INITRD] {
        let (part, _) = image.part(kind)?;
        ensure!(part.codec == codec, "codec {}", part.codec);
    }
    Ok(())
}

fn to_shell_and_off(mut guest: Guest, version: &str) -> Result<()> {
    let release = guest.shell("uname -r")?;
    ensure!(release.starts_with(version), "{release}");
    ensure!(guest.shell("nproc")? == "1");
    // Unpatched, and told what it runs on.
    let cpuinfo = guest.shell("cat /proc/cpuinfo")?;
    ensure!(cpuinfo.contains("POWER9") && cpuinfo.contains("Radix"), "{cpuinfo}");
    let ended = guest.power_off()?;
    ensure!(ended.console.contains("@end status=powered-off"), "no @end line");
    Ok(())
}

fn the_shell_can_be_worked_in() -> Result<()> {
    let initrd = facilities::initrd(&PPC64EL)?;
    let image = image("facilities", &["--initrd", initrd.to_str().context("no UTF-8 path")?])?;
    let mut guest = Guest::boot(&image.path, &[])?;
    told::digests(&mut guest, &image.path)?;
    facilities::work(&mut guest, "PMI:", "", facilities::POWER9)?;
    // Job control and ^C, a pipeline, files, the clock.
    guest.send(b"sh -c 'echo be\"\"gun; exec sleep 1000'\n")?;
    guest.expect("begun", Duration::from_secs(60))?;
    guest.send(b"\x03")?;
    let (_, status) = guest.run("false")?;
    ensure!(status == 1);
    ensure!(guest.shell("seq 100 | tail -n 1 | tee /tmp/x; cat /tmp/x")? == "100\n100");
    let year: u32 = guest.shell("date +%Y")?.parse()?;
    ensure!(year >= 2025, "the clock is in {year}");
    let before: f64 = uptime(&mut guest)?;
    guest.shell("sleep 2")?;
    let passed = uptime(&mut guest)? - before;
    ensure!((1.9..20.0).contains(&passed), "sleep 2 took {passed} s of the guest's time");
    guest.power_off()?;
    Ok(())
}

fn uptime(guest: &mut Guest) -> Result<f64> {
    let text = guest.shell("cat /proc/uptime")?;
    Ok(text.split(' ').next().context("no uptime")?.parse()?)
}

/// As it stands in a real board's flash: the image starts 4 KiB after a header, so that skiboot
/// enters it at another address.
fn behind_a_container_header() -> Result<()> {
    let image = power_off_image()?;
    let file = packed(&image, "stb")?;
    let size = fs::metadata(&file)?.len();
    ensure!(size == 4096 + image.bytes.len() as u64, "{size} bytes");
    let ended = Guest::start(&file, &[])?.end()?;
    ended.expect(0, "the guest powered off")?;
    ensure!(fs::metadata(&file)?.len() == size, "the run changed its image");
    Ok(())
}

/// Out of the machine's flash, with nothing else given: skiboot finds the partition, reads the
/// container in it through the BMC and starts what it holds.
fn from_a_flash_partition() -> Result<()> {
    let file = packed(&power_off_image()?, "pnor")?;
    ensure!(fs::metadata(&file)?.len() == 16 << 20, "the partition is not whole");
    let ended = Guest::start(&file, &[])?.end_within(FLASH)?;
    ended.expect(0, "the guest powered off")
}

fn packed(image: &Image, format: &str) -> Result<tempfile::TempPath> {
    let file = tempfile::NamedTempFile::new()?.into_temp_path();
    image.pack(format, &file)?;
    Ok(file)
}
