// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Stock kernels to a shell and a clean end.
use std::fs;
use std::time::Duration;

use anchorite_tests::guest::Guest;
use anchorite_tests::image::{default_image, image, kernel, power_off_image};
use anyhow::{Context, Result, ensure};

pub const TESTS: &[(&str, fn() -> Result<()>)] = &[
    ("boot::linux_6_12", linux_6_12),
    ("boot::linux_6_1", linux_6_1),
    ("boot::behind_a_container_header", behind_a_container_header),
    ("boot::the_shell_can_be_worked_in", the_shell_can_be_worked_in),
];

fn linux_6_12() -> Result<()> {
    to_shell_and_off(Guest::boot(&default_image()?.path, &[])?, "6.12.")
}

fn linux_6_1() -> Result<()> {
    let kernel = kernel("debian-6.1-ppc64el");
    let image = image("linux-6.1", &["--guest", kernel.to_str().context("no UTF-8 path")?])?;
    to_shell_and_off(Guest::boot(&image.path, &[])?, "6.1.")
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
    let mut guest = Guest::boot(&default_image()?.path, &[])?;
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
    let mut container = vec![0; 4096];
    container[0..4].copy_from_slice(&0x1708_2011_u32.to_be_bytes());
    container[4..6].copy_from_slice(&1_u16.to_be_bytes());
    container[6..14].copy_from_slice(&(4096 + image.bytes.len() as u64).to_be_bytes());
    // The software header's payload size, with no software key before it.
    container[945..953].copy_from_slice(&(image.bytes.len() as u64).to_be_bytes());
    container.extend_from_slice(&image.bytes);
    let file = image.variant(&container)?;
    let ended = Guest::start(&file, &[])?.end()?;
    ended.expect(0, "the guest powered off")?;
    ensure!(fs::metadata(&file)?.len() == container.len() as u64, "the run changed its image");
    Ok(())
}
