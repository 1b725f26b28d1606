// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a newcomer does first: `anchorite new` from a machine's tree, and what it wrote built and
//! booted, with nothing changed by hand.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anchorite_tests::guest::Guest;
use anchorite_tests::image::{Image, image_of, power_off_image};
use anchorite_tests::monitor::Monitor;
use anchorite_tests::{Tests, anchorite, succeed, wait_until};
use anyhow::{Context, Result, ensure};

pub const TESTS: Tests = &[
    ("new::arm64_from_qemus_tree", arm64_from_qemus_tree),
    ("new::power9_from_qemus_tree_and_skiboots", power9_from_qemus_tree_and_skiboots),
];

/// A start up to the guest's, on a machine with other things to do.
const START: Duration = Duration::from_secs(300);

/// The config that `anchorite new` makes of a tree, and its image.
fn from_tree(directory: &Path, name: &str, tree: &Path) -> Result<Image> {
    let config = directory.join(format!("{name}.toml"));
    let mut command = anchorite();
    command.args(["new", name, "--from-dtb"]).arg(tree).arg("--out").arg(&config);
    succeed(&mut command)?;
    image_of(&config, name, &[])
}

/// The guest has these CPUs, and nearly all of the memory that the machine has.
fn has_the_machine(mut guest: Guest, cpus: &str, mib: u64) -> Result<()> {
    ensure!(guest.shell("nproc")? == cpus);
    let total = guest.shell("awk '/MemTotal/ { print $2 }' /proc/meminfo")?;
    let total = total.parse::<u64>()? >> 10;
    ensure!(total > mib / 10 * 8, "{total} MiB of {mib}");
    guest.power_off()?;
    Ok(())
}

fn arm64_from_qemus_tree() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let tree = directory.path().join("tree");
    let machine = "virt,virtualization=on,gic-version=3,dumpdtb=";
    let mut qemu = Command::new("qemu-system-aarch64");
    qemu.arg("-M").arg(format!("{machine}{}", tree.display()));
    qemu.args(["-nic", "none", "-cpu", "cortex-a72", "-smp", "2", "-m", "1536M"]);
    succeed(&mut qemu)?;
    let image = from_tree(directory.path(), "new-arm64", &tree)?;
    has_the_machine(Guest::boot(&image.path, &[])?, "2", 1536)
}

/// Two chips with two cores and memory each, of which skiboot keeps some for itself.
const CHIPS: [&str; 2] = ["--qemu-arg=-smp", "--qemu-arg=4,sockets=2,cores=2"];
const CHIPS_MIB: u64 = 3072;

/// QEMU's own tree: in memory before the first instruction.
fn qemus(directory: &Path) -> Result<PathBuf> {
    const TREE: (u64, u64) = (0x100_0000, 0x10_0000);
    let image = power_off_image()?;
    let memory = format!("--qemu-arg={CHIPS_MIB}M");
    let waits = ["--qemu-arg=-S", "--qemu-arg=-m", &memory];
    let guest = Guest::start(&image.path, &[&CHIPS[..], &waits].concat())?;
    let tree = directory.join("qemus");
    wait_until("QEMU's monitor", || Ok(guest.qmp().exists()))?;
    fs::write(&tree, Monitor::connect(guest.qmp())?.memory(TREE.0, TREE.1)?)?;
    Ok(tree)
}

/// The tree that skiboot hands over, which a Linux there has as `/sys/firmware/fdt`. Skiboot says where
/// it is.
fn skiboots(directory: &Path, guest: &mut Guest) -> Result<PathBuf> {
    guest.expect("INIT: Starting kernel at ", START)?;
    guest.expect("fdt at ", START)?;
    let place = guest.expect(" bytes", START)?;
    let (at, size) = place.split_once(' ').context("no place and size")?;
    let at = u64::from_str_radix(at.trim_start_matches("0x"), 16)?;
    guest.expect("anchorite: guest entered", START)?;
    let tree = directory.join("skiboots");
    fs::write(&tree, Monitor::connect(guest.qmp())?.memory(at, size.parse()?)?)?;
    Ok(tree)
}

fn power9_from_qemus_tree_and_skiboots() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let image = from_tree(directory.path(), "new-qemus", &qemus(directory.path())?)?;
    let mut guest = Guest::start(&image.path, &CHIPS)?;
    let tree = skiboots(directory.path(), &mut guest)?;
    drop(guest);
    let image = from_tree(directory.path(), "new-skiboots", &tree)?;
    has_the_machine(Guest::boot(&image.path, &CHIPS)?, "4", CHIPS_MIB)
}
