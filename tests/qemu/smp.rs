// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Four vCPUs on POWER9: stock kernels, CPUs that leave and come back under load, and the exits that
//! they make meanwhile.
use std::time::Duration;

use anchorite_tests::guest::Guest;
use anchorite_tests::image::{Image, image, kernel};
use anchorite_tests::{Tests, load};
use anyhow::{Context, Result, ensure};

pub const TESTS: Tests = &[
    ("smp::linux_6_12_on_four_cpus", linux_6_12_on_four_cpus),
    ("smp::linux_6_1_on_four_cpus", linux_6_1_on_four_cpus),
    ("smp::it_counts_what_qemu_counts", it_counts_what_qemu_counts),
    ("smp::a_panic_stops_every_cpu", a_panic_stops_every_cpu),
    ("smp::vcpus_sit_where_the_config_says", vcpus_sit_where_the_config_says),
    ("smp::all_of_the_guest_on_a_second_chip", all_of_the_guest_on_a_second_chip),
];

pub const FOUR: [&str; 2] = ["--vcpus", "4"];
/// How long the exits under load are watched; `make soak` does it for longer.
pub const WINDOW: Duration = Duration::from_secs(10);

fn four() -> Result<Image> {
    image("four", &FOUR)
}

fn linux_6_12_on_four_cpus() -> Result<()> {
    load::survives(Guest::boot(&four()?.path, &[])?, "6.12.", 4, WINDOW)
}

fn linux_6_1_on_four_cpus() -> Result<()> {
    let kernel = kernel("debian-6.1-ppc64el");
    let kernel = kernel.to_str().context("no UTF-8 path")?;
    let image = image("four-6.1", &["--guest", kernel, "--vcpus", "4"])?;
    load::survives(Guest::boot(&image.path, &[])?, "6.1.", 4, WINDOW)
}

/// QEMU's own log, with CPUs that come and go, and a kernel that dies on one of four.
fn it_counts_what_qemu_counts() -> Result<()> {
    load::counted(&four()?)
}

fn a_panic_stops_every_cpu() -> Result<()> {
    let mut guest = Guest::boot(&four()?.path, &[])?;
    guest.shell(&load::on(4))?;
    guest.send(b"echo c >/proc/sysrq-trigger\n")?;
    let ended = guest.end()?;
    ended.expect(10, "sysrq triggered crash")?;
    let after = ended.console.split_once("@end status=guest-panic").context("no @end line")?;
    ensure!(!after.1.contains("Linux"), "the guest goes on:{}", after.1);
    Ok(())
}

/// Not on the machine's first CPUs, and not in their order, on one more CPU than needed.
fn vcpus_sit_where_the_config_says() -> Result<()> {
    let off = "console=hvc0 rdinit=/bin/busybox -- poweroff -f";
    let set = ["--set", "guest.vcpu=[{cpu=3},{cpu=1}]", "--cmdline", off];
    let image = image("two-of-four", &set)?;
    let ended = Guest::start(&image.path, &[])?.end()?;
    ended.expect(0, "the guest powered off")?;
    ensure!(ended.console.contains("smp: Brought up 1 node, 2 CPUs"), "not two CPUs");
    Ok(())
}

/// Memory and cores are the second chip's, the interrupt sources the first's. QEMU has the second
/// chip's memory right behind the first's; a chip's span apart, `check` and `inspect` are all that
/// can be tried.
fn all_of_the_guest_on_a_second_chip() -> Result<()> {
    let sets = [
        "ram=[{base=\"0\",size=\"1GiB\"},{base=\"0x42000000\",size=\"0x3e000000\"}]",
        "guest.memory=[{name=\"ram\",guest=\"0\",host=\"0x44000000\",size=\"512MiB\"}]",
        "guest.vcpu=[{cpu=2},{cpu=3}]",
    ];
    let mut arguments = vec!["--cmdline", "console=hvc0 rdinit=/bin/busybox -- poweroff -f"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", *set]));
    let image = image("second-chip", &arguments)?;
    let chips = ["--qemu-arg=-smp", "--qemu-arg=4,sockets=2,cores=2"];
    let ended = Guest::start(&image.path, &chips)?.end()?;
    ended.expect(0, "the guest powered off")?;
    ensure!(ended.console.contains("smp: Brought up 1 node, 2 CPUs"), "not two CPUs");
    Ok(())
}
