// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Four vCPUs on POWER9: stock kernels, CPUs that leave and come back under load, and the exits that
//! they make meanwhile.
use std::time::Duration;

use anchorite_tests::guest::Guest;
use anchorite_tests::image::{Image, image, kernel};
use anchorite_tests::stats::{self, count};
use anchorite_tests::{Tests, wait_until};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub const TESTS: Tests = &[
    ("smp::linux_6_12_on_four_cpus", linux_6_12_on_four_cpus),
    ("smp::linux_6_1_on_four_cpus", linux_6_1_on_four_cpus),
    ("smp::it_counts_what_qemu_counts", it_counts_what_qemu_counts),
    ("smp::a_panic_stops_every_cpu", a_panic_stops_every_cpu),
    ("smp::vcpus_sit_where_the_config_says", vcpus_sit_where_the_config_says),
    ("smp::all_of_the_guest_on_a_second_chip", all_of_the_guest_on_a_second_chip),
];

pub const FOUR: [&str; 2] = ["--vcpus", "4"];
/// On every CPU: timers, processes, pipes, and with them interrupts from CPU to CPU.
const LOAD: &str = "for n in 1 2 3 4; do \
    ( while :; do sleep 0.01; echo x | cat >/dev/null; done ) 2>/dev/null & done";

fn four() -> Result<Image> {
    image("four", &FOUR)
}

fn linux_6_12_on_four_cpus() -> Result<()> {
    loaded(Guest::boot(&four()?.path, &[])?, "6.12.")
}

fn linux_6_1_on_four_cpus() -> Result<()> {
    let kernel = kernel("debian-6.1-ppc64el");
    let kernel = kernel.to_str().context("no UTF-8 path")?;
    let image = image("four-6.1", &["--guest", kernel, "--vcpus", "4"])?;
    loaded(Guest::boot(&image.path, &[])?, "6.1.")
}

/// A window without exits but those allowed, then every CPU out and in twice, all under load.
pub fn loaded(mut guest: Guest, version: &str) -> Result<()> {
    ensure!(guest.shell("uname -r")?.starts_with(version));
    ensure!(guest.shell("nproc")? == "4");
    guest.shell(LOAD)?;
    quiet_window(&mut guest)?;
    guest.replug(0..4, 2)?;
    let reading = stats::live(&guest)?;
    for name in ["rtas_stop_self", "rtas_start_cpu"] {
        ensure!(count(&reading, name) >= 8, "{name}: {reading:#}");
    }
    let ended = guest.power_off()?;
    ensure!(ended.console.contains("@end status=powered-off"), "no @end line");
    Ok(())
}

/// The guest's own count of timer interrupts and of those that its CPUs send each other.
fn interrupts(guest: &mut Guest) -> Result<(u64, u64)> {
    let mut sum = |name: &str| -> Result<u64> {
        let line = guest.shell(&format!("grep '{name}' /proc/interrupts"))?;
        let words = line.split_whitespace().skip(1);
        Ok(words.map_while(|word| word.parse::<u64>().ok()).sum())
    };
    Ok((sum("LOC:")?, sum("IPI")?))
}

fn quiet_window(guest: &mut Guest) -> Result<()> {
    let timers_before = interrupts(guest)?;
    let before = stats::live(guest)?;
    std::thread::sleep(Duration::from_secs(10));
    wait_until("500 timer interrupts and 100 IPIs", || {
        let (timers, ipis) = interrupts(guest)?;
        Ok(timers - timers_before.0 > 500 && ipis - timers_before.1 > 100)
    })?;
    let after = stats::live(guest)?;
    stats::only_allowed(&before, &after)?;
    let rows = after["cpus"].as_array().context("no cpus")?;
    let ceded = |row: &Value| count(row, "h_cede") > 0;
    ensure!(rows.len() == 4 && rows.iter().all(ceded), "{after:#}");
    Ok(())
}

/// QEMU's own log, with CPUs that come and go, and a kernel that dies on one of four.
fn it_counts_what_qemu_counts() -> Result<()> {
    counted(&four()?)
}

/// A run in which CPUs come and go, against QEMU's log.
pub fn counted(image: &Image) -> Result<()> {
    let log = tempfile::NamedTempFile::new()?;
    let path = log.path().to_str().context("no UTF-8 path")?;
    let arguments = ["-d", "int", "-D", path].map(|word| ["--qemu-arg", word]).concat();
    let mut guest = Guest::boot(&image.path, &arguments)?;
    guest.replug(0..4, 1)?;
    guest.power_off().and_then(|ended| stats::agrees_with_qemu(&ended, log.path()))
}

fn a_panic_stops_every_cpu() -> Result<()> {
    let mut guest = Guest::boot(&four()?.path, &[])?;
    guest.shell(LOAD)?;
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
