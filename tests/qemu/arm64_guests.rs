// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an arm64 guest can have besides: a kernel in another form, memory in several ranges, and
//! devices that move data by themselves. Two boots show all of it.
use std::fs::File;
use std::io::Write;

use anchorite_tests::guest::Guest;
use anchorite_tests::image::{Image, kernel};
use anchorite_tests::{Tests, anchorite, output, root};
use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::arm64_boots::{Boot, DISK, DISK_AGAIN};

pub const TESTS: Tests = &[("arm64_guests::a_disk_outlives_the_run", a_disk_outlives_the_run)];

/// 128 + SIGBUS.
const BUS_ERROR: i32 = 135;

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

/// The board with devices: an ELF for a kernel, packed, and RAM in two ranges with a hole between
/// them, of which the guest has all that is behind the firmware's.
fn image(boot: &Boot, directory: &std::path::Path) -> Result<Image> {
    let elf = vmlinux(&std::fs::read(kernel("debian-6.12-arm64"))?)?;
    let path = directory.join("vmlinux.gz");
    // Stored, not squeezed: what counts is that it is unpacked.
    let mut packed = GzEncoder::new(File::create(&path)?, Compression::none());
    packed.write_all(&elf)?;
    packed.finish()?;
    let mut arguments = vec!["--guest", path.to_str().context("no UTF-8 path")?];
    for set in [
        "guest.its=trusted",
        "ram.0.size=1280MiB",
        "ram.1={base=\"2560MiB\",size=\"256MiB\"}",
        "guest.memory.0.size=256MiB",
        "guest.memory.1={name=\"more\",guest=\"2560MiB\",host=\"2560MiB\",size=\"256MiB\"}",
    ] {
        arguments.extend(["--set", set]);
    }
    let board = root().join("board-configs/qemu-arm64-virt-devices.toml");
    boot.image_of(&board, &arguments)
}

/// One wall is not proved, and says which devices are trusted.
fn the_trust_is_stated(image: &Image) -> Result<()> {
    let inspected = output(anchorite().args(["inspect", "--json"]).arg(&image.path))?;
    ensure!(inspected.status.code() == Some(1), "inspect: {}", inspected.status);
    let report: Value = serde_json::from_slice(&inspected.stdout)?;
    let walls = report["walls"].as_array().context("no walls")?;
    let open: Vec<_> = walls.iter().filter(|wall| wall["proved"] == false).collect();
    let why = open.first().and_then(|wall| wall["why"].as_str()).unwrap_or_default();
    ensure!(open.len() == 1 && open[0]["id"] == "masters", "{open:?}");
    let expected = "trusted to move data: gic-its, disk, net, all else in 0xa003000..0xa004000";
    ensure!(why == expected, "{why}");
    Ok(())
}

/// The guest has both ranges and uses both, and nothing between them or behind them.
fn memory_has_a_hole(guest: &mut Guest) -> Result<()> {
    let map = guest.shell("grep 'System RAM' /proc/iomem")?;
    let ranges: Vec<_> = map.lines().map(str::trim).collect();
    let expected = ["80000000-8fffffff : System RAM", "a0000000-afffffff : System RAM"];
    ensure!(ranges == expected, "{map}");
    guest.shell("mount -o remount,size=400m /tmp")?;
    guest.shell("dd if=/dev/zero of=/tmp/big bs=1M count=320 && rm /tmp/big")?;
    for address in ["0x90000000", "0x9fffff00", "0xb0000000"] {
        let (told, status) = guest.run(&format!("devmem {address}"))?;
        ensure!(status == BUS_ERROR, "devmem {address}: status {status}, {told}");
    }
    Ok(())
}

/// Its tables are the guest's, and so are those of each CPU.
fn the_its_is_there(guest: &mut Guest) -> Result<()> {
    let log = guest.shell("dmesg | grep -E 'ITS|LPI'")?;
    for words in ["ITS@0x0000000008080000: allocated", "CPU0: using allocated LPI pending table"] {
        ensure!(log.contains(words), "no {words:?} in\n{log}");
    }
    Ok(())
}

fn a_disk_outlives_the_run() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let image_for = |boot| image(boot, directory.path());
    let image = image_for(DISK)?;
    the_trust_is_stated(&image)?;
    let disk = directory.path().join("disk");
    File::create(&disk)?.set_len(48 << 20)?;
    let drive = ["--drive", disk.to_str().context("no UTF-8 path")?];

    let mut guest = DISK.run(&image, &drive)?;
    memory_has_a_hole(&mut guest)?;
    guest.shell("mke2fs /dev/vda && mount /dev/vda /mnt")?;
    guest.shell("dd if=/dev/urandom of=/mnt/noise bs=1M count=16")?;
    let written = guest.shell("sha256sum /mnt/noise")?;
    guest.shell("umount /mnt")?;
    guest.power_off()?;

    // Another machine, and an image of its own.
    let mut guest = DISK_AGAIN.run(&image_for(DISK_AGAIN)?, &drive)?;
    the_its_is_there(&mut guest)?;
    guest.shell("mount -o ro /dev/vda /mnt")?;
    ensure!(guest.shell("sha256sum /mnt/noise")? == written);
    guest.shell("ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up")?;
    guest.shell("ping -c 3 -W 10 10.0.2.2")?;
    guest.power_off()?;
    Ok(())
}
