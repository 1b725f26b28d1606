// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The arm64 board: stock kernels to a shell, faults that the guest survives, exits that are counted
//! and exits that are not made, and machines that are not the board.
use std::time::Duration;

use anchorite_tests::guest::Guest;
use anchorite_tests::image::{Image, image_of, kernel};
use anchorite_tests::{anchorite, arm64_board, output};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub const TESTS: &[(&str, fn() -> Result<()>)] = &[
    ("arm64::four_cpus_with_every_feature", four_cpus_with_every_feature),
    ("arm64::linux_6_1_on_an_old_core", linux_6_1_on_an_old_core),
    ("arm64::a_loaded_guest_makes_no_exits", a_loaded_guest_makes_no_exits),
    ("arm64::it_counts_what_qemu_counts", it_counts_what_qemu_counts),
    ("arm64::another_machine_is_refused", another_machine_is_refused),
    ("arm64::sizes_of_guest_addresses", sizes_of_guest_addresses),
    ("arm64::deaths_leave_words", deaths_leave_words),
];

/// 128 + SIGBUS.
const BUS_ERROR: i32 = 135;
const FOUR: [&str; 2] = ["--vcpus", "4"];
const OFF: &str = "console=ttyAMA0 rdinit=/bin/busybox -- poweroff -f";

fn image(name: &str, arguments: &[&str]) -> Result<Image> {
    image_of(&arm64_board(), name, arguments)
}

/// A guest that powers off as its first act.
fn power_off(name: &str, arguments: &[&str]) -> Result<Image> {
    image(name, &[&["--cmdline", OFF], arguments].concat())
}

fn four_cpus_with_every_feature() -> Result<()> {
    let mut guest = Guest::boot(&image("arm64-four", &FOUR)?.path, &["--cpu", "max"])?;
    ensure!(guest.shell("uname -r")?.starts_with("6.12."));
    ensure!(guest.shell("nproc")? == "4");
    // A hole, the first byte behind RAM, and firmware memory by its host address.
    for access in ["0x20000000 32", "0x80000000 64 0", "0x200000000"] {
        let (output, status) = guest.run(&format!("devmem {access}"))?;
        ensure!(status == BUS_ERROR, "devmem {access}: status {status}, {output}");
        ensure!(guest.shell("echo alive")? == "alive");
    }
    // A CPU leaves and comes back, from whatever CPU that runs on.
    for cpu in 1..4 {
        let state = format!("/sys/devices/system/cpu/cpu{cpu}/online");
        guest.shell(&format!("echo 0 >{state}"))?;
        ensure!(guest.shell("nproc")? == "3");
        guest.shell(&format!("echo 1 >{state}"))?;
    }
    ensure!(guest.shell("nproc")? == "4");
    let ended = guest.power_off()?;
    ensure!(ended.console.contains("@end status=powered-off"), "no @end line");
    Ok(())
}

fn linux_6_1_on_an_old_core() -> Result<()> {
    let kernel = kernel("debian-6.1-arm64");
    let image = image("arm64-6.1", &["--guest", kernel.to_str().context("no UTF-8 path")?])?;
    let mut guest = Guest::boot(&image.path, &["--cpu", "cortex-a53"])?;
    ensure!(guest.shell("uname -r")?.starts_with("6.1."));
    let year: u32 = guest.shell("date +%Y")?.parse()?;
    ensure!(year >= 2025, "the clock is in {year}");
    guest.power_off()?;
    Ok(())
}

fn total(guest: &Guest) -> Result<u64> {
    let read = output(anchorite().args(["stats", "--json", "--qmp"]).arg(guest.qmp()))?;
    ensure!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let reading: Value = serde_json::from_slice(&read.stdout)?;
    reading["total"].as_u64().context("no total")
}

fn a_loaded_guest_makes_no_exits() -> Result<()> {
    let mut guest = Guest::boot(&image("arm64-four", &FOUR)?.path, &["--cpu", "cortex-a72"])?;
    let before = total(&guest)?;
    std::thread::sleep(Duration::from_secs(10));
    ensure!(total(&guest)? == before, "an idle guest made exits");
    // Timers, and interrupts from CPU to CPU.
    guest.send(
        b"for n in 1 2 3 4; do ( while :; do sleep 0.01; echo x | cat >/dev/null; done ) & done\n",
    )?;
    let ticks = |guest: &mut Guest| -> Result<u64> {
        let text = guest.shell("grep -E 'arch_timer|IPI' /proc/interrupts")?;
        let numbers = text.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        Ok(numbers.sum())
    };
    let first = ticks(&mut guest)?;
    std::thread::sleep(Duration::from_secs(10));
    let more = ticks(&mut guest)? - first;
    ensure!(more > 500, "only {more} interrupts: no load");
    ensure!(total(&guest)? == before, "a loaded guest made exits");
    guest.power_off()?;
    Ok(())
}

fn it_counts_what_qemu_counts() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("log");
    let file = format!("--qemu-arg={}", log.display());
    let more = ["--cpu", "neoverse-n1", "--qemu-arg=-d", "--qemu-arg=int", "--qemu-arg=-D", &file];
    let image = power_off("arm64-off-four", &FOUR)?;
    let ended = Guest::start(&image.path, &more)?.end_within(Duration::from_secs(120))?;
    ended.expect(0, "the guest powered off")?;
    let log = std::fs::read_to_string(&log)?;
    let seen = log.lines().filter(|line| line.ends_with("from EL1 to EL2")).count();
    let told = format!("anchorite: {seen} exits");
    ensure!(seen > 0 && ended.report.contains(&told), "QEMU saw {seen}\n{}", ended.report);
    Ok(())
}

fn another_machine_is_refused() -> Result<()> {
    let image = power_off("arm64-off", &[])?;
    for (arguments, words) in [
        (["-smp", "2"], "the machine has 2 CPUs"),
        (["-machine", "virtualization=off"], "at EL1, not at EL2"),
        (["-machine", "secure=on"], "at EL3, not at EL2"),
        (["-machine", "gic-version=2"], "no GICv3"),
        (["-m", "1G"], "needs RAM"),
    ] {
        let more = arguments.map(|argument| format!("--qemu-arg={argument}"));
        let run = Guest::start(&image.path, &[&more[0], &more[1]])?;
        run.end_within(Duration::from_secs(60))?.expect(13, words)?;
    }
    Ok(())
}

fn sizes_of_guest_addresses() -> Result<()> {
    for (bits, cpu, code, words) in [
        ("39", "cortex-a53", 0, "the guest powered off"),
        ("43", "cortex-a72", 0, "the guest powered off"),
        ("44", "neoverse-n1", 0, "the guest powered off"),
        ("43", "cortex-a53", 13, "do not fit a processor with 40"),
    ] {
        let set = format!("guest.stage2.ipa_bits={bits}");
        let image = power_off(&format!("arm64-off-{bits}"), &["--set", &set])?;
        let run = Guest::start(&image.path, &["--cpu", cpu])?;
        run.end_within(Duration::from_secs(120))?.expect(code, words)?;
    }
    Ok(())
}

fn deaths_leave_words() -> Result<()> {
    for (fault, words) in
        [("assert", "asserted at the guest's exit"), ("exception", "exception 0x200")]
    {
        let set = format!("firmware.debug_fault={fault}");
        let image = power_off(&format!("arm64-{fault}"), &["--set", &set])?;
        let run = Guest::start(&image.path, &[])?;
        run.end_within(Duration::from_secs(60))?.expect(12, words)?;
    }
    Ok(())
}
