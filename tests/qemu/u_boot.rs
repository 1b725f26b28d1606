// SPDX-License-Identifier: Apache-2.0 OR MIT
//! U-Boot starts packed images from a disk, as it would start a kernel: Debian's U-Boot for QEMU's
//! `virt`, at EL2.
use std::fs;
use std::path::Path;
use std::time::Duration;

use anchorite_tests::guest::Guest;
use anchorite_tests::image::{Image, image_of};
use anchorite_tests::{Tests, arm64_board, root};
use anyhow::{Context, Result, ensure};

use crate::arm64_boots::NOTHING_ELSE;

pub const TESTS: Tests = &[
    ("u_boot::bootm_starts_a_fit_that_is_whole", bootm_starts_a_fit_that_is_whole),
    ("u_boot::booti_starts_an_image", booti_starts_an_image),
];

/// One command of U-Boot's, on a machine with other things to do.
const COMMAND: Duration = Duration::from_secs(120);
const PROMPT: &str = "\n=> ";

/// Packs an image in a form, as a file on the disk.
fn pack(image: &Image, format: &str, disk: &Path) -> Result<Vec<u8>> {
    let path = disk.join(format);
    image.pack(format, &path)?;
    Ok(fs::read(path)?)
}

/// U-Boot in the machine's flash, to its prompt, with a directory as its disk's one partition.
fn u_boot(image: &Image, disk: &Path, cpu: &str) -> Result<Guest> {
    let u_boot = root().join("target/guests/u-boot-arm64/u-boot.bin");
    ensure!(u_boot.exists(), "there is no {}; `make guests` fetches it", u_boot.display());
    let u_boot = format!("--qemu-arg={}", u_boot.display());
    let disk = disk.to_str().context("no UTF-8 path")?;
    let drive = format!("--qemu-arg=if=none,id=disk,format=raw,readonly=on,file=fat:{disk}");
    let device = "--qemu-arg=virtio-blk-device,drive=disk";
    let machine = ["--qemu-arg=-drive", &drive, "--qemu-arg=-device", device];
    // With something in flash, QEMU does not start the image itself.
    let start = ["--cpu", cpu, "--qemu-arg=-bios", &u_boot];
    let mut guest = Guest::start(&image.path, &[&start[..], &machine].concat())?;
    guest.expect("Hit any key to stop autoboot", COMMAND)?;
    // If that comes too late, U-Boot finds nothing that it would boot by itself, and asks too.
    guest.send(b" ")?;
    guest.expect(PROMPT, COMMAND)?;
    Ok(guest)
}

/// One command, to the next prompt: what it says.
fn command(guest: &mut Guest, line: &str) -> Result<String> {
    guest.send(format!("{line}\r").as_bytes())?;
    guest.expect(PROMPT, COMMAND)
}

fn load(guest: &mut Guest, file: &str) -> Result<()> {
    let said = command(guest, &format!("load virtio 0:1 $loadaddr {file}"))?;
    ensure!(said.contains("bytes read"), "load {file}: {said}");
    Ok(())
}

/// From the command that starts the guest to its end.
fn run(mut guest: Guest, line: &str, cpus: &str) -> Result<()> {
    guest.send(format!("{line}\r").as_bytes())?;
    guest.expect("Starting kernel ...", COMMAND)?;
    guest.await_shell()?;
    ensure!(guest.shell("nproc")? == cpus);
    guest.power_off()?;
    Ok(())
}

fn bootm_starts_a_fit_that_is_whole() -> Result<()> {
    const BOOTM: &str = "bootm $loadaddr - $fdt_addr";
    let image = NOTHING_ELSE.image(&[])?;
    let disk = tempfile::tempdir()?;
    let mut fit = pack(&image, "fit", disk.path())?;
    let middle = fit.len() / 2;
    fit[middle] ^= 1;
    fs::write(disk.path().join("changed"), fit)?;
    let mut guest = u_boot(&image, disk.path(), NOTHING_ELSE.cpu)?;
    load(&mut guest, "changed")?;
    let refused = command(&mut guest, BOOTM)?;
    ensure!(refused.contains("Bad Data Hash"), "{refused}");
    load(&mut guest, "fit")?;
    run(guest, BOOTM, "1")
}

fn booti_starts_an_image() -> Result<()> {
    let image = image_of(&arm64_board(), "u-boot", &["--vcpus", "4"])?;
    let disk = tempfile::tempdir()?;
    pack(&image, "arm64-image", disk.path())?;
    let mut guest = u_boot(&image, disk.path(), "cortex-a72")?;
    load(&mut guest, "arm64-image")?;
    run(guest, "booti $loadaddr - $fdt_addr", "4")
}
