// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The arm64 board: stock kernels to a shell, faults that the guest survives, exits that are counted
//! and exits that are not made, and machines that are not the board.
use std::time::Duration;

use anchorite_spec::manifest::{PART_KERNEL, PART_LOADER};
use anchorite_tests::guest::Guest;
use anchorite_tests::image::{Image, image_of};
use anchorite_tests::kexec::{self, ARM64, CRASH_MEMORY};
use anchorite_tests::monitor::Monitor;
use anchorite_tests::probe::build;
use anchorite_tests::stats::QemuLog;
use anchorite_tests::{
    Tests, arm64_board, boots, facilities, live, restart, root, stats, told, wait_until,
};
use anyhow::{Context, Result, ensure};

use crate::arm64_boots::{CONSOLE, FEATURES, LOAD, NOTHING_ELSE, OLD_CORE};
use crate::{console, end};

pub const TESTS: Tests = &[
    ("arm64::four_cpus_with_every_feature", four_cpus_with_every_feature),
    ("arm64::linux_6_1_on_an_old_core", linux_6_1_on_an_old_core),
    ("arm64::a_loaded_guest_makes_no_exits", a_loaded_guest_makes_no_exits),
    ("arm64::64_kib_each_way_at_once", console_both_ways),
    ("arm64::linux_6_1_with_48_bits", linux_6_1_with_48_bits),
    ("arm64::another_machine_is_refused", another_machine_is_refused),
    ("arm64::changed_bytes_are_refused_on_the_board", changed_bytes_are_refused_on_the_board),
    ("arm64::guest_addresses_beyond_the_processor", guest_addresses_beyond_the_processor),
    ("arm64::set_up_takes_few_instructions", set_up_takes_few_instructions),
    ("arm64::processors_say_what_they_are", processors_say_what_they_are),
    ("arm64::hidden_features_are_gone", hidden_features_are_gone),
    ("arm64::deaths_leave_words", deaths_leave_words),
];

/// 128 + SIGBUS.
const BUS_ERROR: i32 = 135;
const OFF: &str = "console=ttyAMA0 rdinit=/bin/busybox -- poweroff -f";

/// A guest that powers off as its first act, of the board as it is.
fn power_off(name: &str, arguments: &[&str]) -> Result<Image> {
    image_of(&arm64_board(), name, &[&["--cmdline", OFF], arguments].concat())
}

fn four_cpus_with_every_feature() -> Result<()> {
    let log = QemuLog::new()?;
    let image =
        FEATURES.image(&[&["--set", "guest.stage2.fwb=true"], &restart::ALWAYS[..]].concat())?;
    let mut guest = FEATURES.run(&image, &log.arguments())?;
    // A hole, the first byte behind RAM, and firmware memory by its host address.
    for access in ["0x20000000 32", "0x80000000 64 0", "0x200000000"] {
        let (output, status) = guest.run(&format!("devmem {access}"))?;
        ensure!(status == BUS_ERROR, "devmem {access}: status {status}, {output}");
        ensure!(guest.shell("echo alive")? == "alive");
    }
    // CPUs leave and come back, from whatever CPU that runs on.
    guest.replug(1..4, 1)?;
    ensure!(guest.shell("nproc")? == "4");
    restart::debian(&mut guest, 4, 2)?;
    // Two tables side by side at the root, and all that hang on them: no leaf is filled in at boot.
    ensure!(image.manifest.arm64.root_tables == 2);
    live::untouched(&mut Monitor::connect(guest.qmp())?, &image)?;
    let ended = guest.power_off()?;
    ensure!(ended.console.contains("@end status=powered-off"), "no @end line");
    // All of it was counted.
    log.agrees(&ended)
}

fn linux_6_1_on_an_old_core() -> Result<()> {
    // From flash, where nothing of the image can be written.
    let initrd = facilities::initrd(&ARM64)?;
    let image = OLD_CORE.image(&["--initrd", initrd.to_str().context("no UTF-8 path")?])?;
    // QEMU has a counter of instructions if it counts them itself.
    let mut guest = OLD_CORE.run(&image, &["--icount"])?;
    facilities::work(&mut guest, "pmu", "instructions", facilities::ARM64)?;
    let year: u32 = guest.shell("date +%Y")?.parse()?;
    ensure!(year >= 2025, "the clock is in {year}");
    let ended = guest.power_off()?;
    let (loader, _) = image.part(PART_LOADER)?;
    let said = format!("started in flash: the loader at {:#x} cannot be wiped", loader.offset);
    ensure!(ended.console.contains(&said), "{}", ended.console);
    Ok(())
}

/// The UART is the guest's: what passes here passes through nothing of the firmware.
fn console_both_ways() -> Result<()> {
    let (mut guest, image) = CONSOLE.shell()?;
    told::digests(&mut guest, &image.path)?;
    console::both_ways_at_once(&mut guest, None)?;
    guest.power_off()?;
    Ok(())
}

fn linux_6_1_with_48_bits() -> Result<()> {
    // A panic that restarts; the loaded guest's is one that spins.
    let (mut guest, _) = NOTHING_ELSE.shell()?;
    guest.shell("echo 1 >/proc/sys/kernel/panic")?;
    guest.panic()?;
    Ok(())
}

fn total(guest: &Guest) -> Result<u64> {
    stats::total(&stats::live(guest)?)
}

fn a_loaded_guest_makes_no_exits() -> Result<()> {
    let initrd = ARM64.initrd("debian-6.1")?;
    let image = LOAD.image(&["--initrd", initrd.to_str().context("no UTF-8 path")?])?;
    let mut guest = LOAD.run(&image, &[])?;
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
    wait_until("500 interrupts", || Ok(ticks(&mut guest)? - first > 500))?;
    ensure!(total(&guest)? == before, "a loaded guest made exits");
    guest.shell("kill $(jobs -p)")?;
    starts_other_kernels(&mut guest)?;
    guest.panic()?;
    Ok(())
}

/// Another kernel, in order, and behind a crash of that one a third. What the others have left
/// behind is neither their panic nor their CPUs.
fn starts_other_kernels(guest: &mut Guest) -> Result<()> {
    kexec::restart(guest, CRASH_MEMORY)?;
    ensure!(guest.shell("nproc")? == "4");
    kexec::crash(guest, 2)?;
    ensure!(guest.shell("nproc")? == "1");
    guest.shell("echo 1 >/sys/devices/system/cpu/cpu1/online")?;
    ensure!(guest.shell("nproc")? == "2");
    Ok(())
}

fn another_machine_is_refused() -> Result<()> {
    let image = power_off("arm64-off", &[])?;
    let [flash, elf] = ["flat", "elf"].map(|boot| {
        power_off(&format!("arm64-off-{boot}"), &["--set", &format!("board.boot={boot}")])
    });
    let (flash, elf) = (flash?, elf?);
    for (image, arguments, words) in [
        (&image, ["-smp", "2"], "the machine has 2 CPUs"),
        (&image, ["-machine", "virtualization=off"], "at EL1, not at EL2"),
        (&flash, ["-machine", "virtualization=off"], "at EL1, not at EL2"),
        (&elf, ["-machine", "virtualization=off"], "at EL1, not at EL2"),
        // An `Image` is started at EL2 there.
        (&flash, ["-machine", "secure=on"], "at EL3, not at EL2"),
        (&elf, ["-machine", "secure=on"], "at EL3, not at EL2"),
        (&image, ["-machine", "gic-version=2"], "no GICv3"),
        (&image, ["-m", "1G"], "needs RAM"),
    ] {
        let more = arguments.map(|argument| format!("--qemu-arg={argument}"));
        let run = Guest::start(&image.path, &[&more[0], &more[1]])?;
        run.end()?.expect(13, words)?;
    }
    Ok(())
}

/// What `run` leaves to the board, the board refuses in every form.
fn changed_bytes_are_refused_on_the_board() -> Result<()> {
    for boot in ["arm64-image", "flat", "elf"] {
        let set = format!("board.boot={boot}");
        let image = power_off(&format!("arm64-off-{boot}"), &["--set", &set])?;
        let (kernel, _) = image.part(PART_KERNEL)?;
        let mut bytes = image.bytes.to_vec();
        bytes[usize::try_from(kernel.offset + kernel.size / 2)?] ^= 4;
        let changed = image.variant(&bytes)?;
        let ended = Guest::start(&changed, &[])?.end()?;
        ended.expect(14, "part kernel was changed after the build")?;
    }
    Ok(())
}

fn guest_addresses_beyond_the_processor() -> Result<()> {
    let image = power_off("arm64-off-43", &["--set", "guest.stage2.ipa_bits=43"])?;
    let run = Guest::start(&image.path, &["--cpu", "cortex-a53"])?;
    run.end()?.expect(13, "do not fit a processor with 40")
}

fn deaths_leave_words() -> Result<()> {
    for (fault, words) in [
        ("assert", "asserted at the guest's exit"),
        ("exception", "exception 0x200"),
        ("double", "exception 0x200"),
        ("serror", "exception 0x380, SError, uncontainable"),
    ] {
        let set = format!("firmware.debug_fault={fault}");
        let image = power_off(&format!("arm64-{fault}"), &["--set", &set])?;
        let ended = Guest::start(&image.path, &[])?.end()?;
        ended.expect(12, words)?;
        end::second_fault(&ended, fault == "double")?;
    }
    Ok(())
}

/// From the loader's first instruction to the guest's, without digests, unpacking and zeroing, in
/// each form, guarded too, and with one vCPU and four.
fn set_up_takes_few_instructions() -> Result<()> {
    for vcpus in ["1", "4"] {
        for (form, interrupts) in boots::FORMS {
            let boot = boots::arm64(form, interrupts, vcpus)?;
            let phases = &boot.phases;
            ensure!(!boot.is_over() && phases["set-up"] > 10_000, "{}: {phases:?}", boot.name);
            ensure!(phases.values().all(|count| *count > 0), "{}: {phases:?}", boot.name);
            for feature in ["name=sve verdict=given", "name=fgt verdict=hidden"] {
                ensure!(boot.ended.console.contains(&format!("@feature {feature} ")), "{feature}");
            }
        }
    }
    Ok(())
}

const HIDE: [&str; 2] = ["--set", "guest.hide=[\"pauth\", \"sve\", \"mte\", \"mops\"]"];

/// What the guest reads from the identification registers of a processor.
fn identity(image: &Image, cpu: &str) -> Result<Vec<String>> {
    let ended = Guest::start(&image.path, &["--cpu", cpu])?.end()?;
    ended.expect(0, "the guest powered off")?;
    let lines = ended.console.lines();
    Ok(lines.filter_map(|line| line.trim_end().strip_prefix("id ").map(str::to_owned)).collect())
}

/// QEMU's `max` has all that can be hidden: to Linux it has none of it, and no other field changes.
fn hidden_features_are_gone() -> Result<()> {
    // ID_AA64PFR0_EL1, PFR1, PFR2, ZFR0, SMFR0, ISAR1, ISAR2: the fields of these features.
    const FIELDS: [(&str, u64); 7] = [
        ("S3_0_C0_C4_0", 0xf << 32),
        ("S3_0_C0_C4_1", 0xf << 8 | 0xf << 24 | 0xf << 40 | 0xf << 52),
        ("S3_0_C0_C4_2", 0xfff),
        ("S3_0_C0_C4_4", u64::MAX),
        ("S3_0_C0_C4_5", u64::MAX),
        ("S3_0_C0_C6_1", 0xff << 4 | 0xff << 24),
        ("S3_0_C0_C6_2", 0xff << 8 | 0xf << 16),
    ];
    let all = identity(&build("arm64-probe", "arm64-ids", &["--cmdline", "ids"])?, "max")?;
    let arguments = [&["--cmdline", "ids"], &HIDE[..]].concat();
    let left = identity(&build("arm64-probe", "arm64-ids-hidden", &arguments)?, "max")?;
    let mut expected = Vec::new();
    for line in &all {
        let (name, value) = line.split_once(" 0x").context("no value")?;
        let mask = FIELDS.iter().find(|(field, _)| *field == name).map_or(0, |(_, mask)| *mask);
        let value = u64::from_str_radix(value, 16)?;
        ensure!(mask == 0 || value & mask != 0 || name == "S3_0_C0_C4_2", "{name} has none of it");
        if value & !mask != 0 {
            expected.push(format!("{name} {:#018x}", value & !mask));
        }
    }
    ensure!(left == expected, "{left:#?}\n{expected:#?}");

    let hidden = image_of(&arm64_board(), "arm64-hidden", &HIDE)?;
    let mut guest = Guest::boot(&hidden.path, &["--cpu", "max"])?;
    let features = guest.shell("grep -m1 Features /proc/cpuinfo")?;
    for gone in ["paca", "pacg", "sve", "sme", "mte", "mops"] {
        ensure!(!features.split(' ').any(|feature| feature == gone), "{gone} in {features}");
    }
    ensure!(features.contains(" atomics "), "{features}");
    guest.power_off()?;
    Ok(())
}

/// The identification registers of each processor that a config can name are, to the guest, what they
/// are in `tests/golden/arm64-id/`. `UPDATE=1` writes those files anew.
fn processors_say_what_they_are() -> Result<()> {
    let image = build("arm64-probe", "arm64-ids", &["--cmdline", "ids"])?;
    for cpu in
        ["cortex-a53", "cortex-a72", "cortex-a710", "neoverse-n1", "neoverse-n2", "neoverse-v1"]
    {
        let seen = identity(&image, cpu)?;
        let path = root().join(format!("tests/golden/arm64-id/{cpu}.txt"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, seen.join("\n") + "\n")?;
        }
        let golden = std::fs::read_to_string(&path)?;
        ensure!(golden.lines().eq(seen.iter()), "{cpu}: {seen:#?}\n{}", path.display());
    }
    Ok(())
}
