// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The POWER9 board without skiboot: the same guests, the same ends, and a second start of the same
//! machine.
use std::time::Duration;

use anchorite_tests::guest::Guest;
use anchorite_tests::image::{Image, image_of, kernel};
use anchorite_tests::kexec::PPC64EL;
use anchorite_tests::{Tests, bare_board, boots, facilities, load};
use anyhow::{Context, Result, ensure};

use crate::{console, smp};

pub const TESTS: Tests = &[
    ("bare::linux_6_12_on_four_cpus", linux_6_12_on_four_cpus),
    ("bare::linux_6_1_on_one_cpu", linux_6_1_on_one_cpu),
    ("bare::it_counts_what_qemu_counts", it_counts_what_qemu_counts),
    ("bare::ends_have_their_codes", ends_have_their_codes),
    ("bare::set_up_takes_few_instructions", set_up_takes_few_instructions),
];

const LIMIT: Duration = Duration::from_secs(120);

fn image(name: &str, arguments: &[&str]) -> Result<Image> {
    image_of(&bare_board(), name, arguments)
}

fn linux_6_12_on_four_cpus() -> Result<()> {
    let guest = Guest::boot(&image("bare-four", &smp::FOUR)?.path, &[])?;
    load::survives(guest, "6.12.", 4, smp::WINDOW)
}

fn linux_6_1_on_one_cpu() -> Result<()> {
    let kernel = kernel("debian-6.1-ppc64el");
    let kernel = kernel.to_str().context("no UTF-8 path")?;
    let initrd = facilities::initrd(&PPC64EL)?;
    let initrd = initrd.to_str().context("no UTF-8 path")?;
    let image = image("bare-6.1", &["--guest", kernel, "--initrd", initrd])?;
    let mut guest = Guest::boot(&image.path, &[])?;
    ensure!(guest.shell("uname -r")?.starts_with("6.1."));
    facilities::work(&mut guest, "PMI:", "", facilities::POWER9)?;
    let year: u32 = guest.shell("date +%Y")?.parse()?;
    ensure!(year >= 2025, "the clock is in {year}");
    console::both_ways_at_once(&mut guest, Some(console::SYSRQ))?;
    let ended = guest.power_off()?;
    ensure!(!ended.console.contains("OPAL"), "there is an OPAL");
    Ok(())
}

fn it_counts_what_qemu_counts() -> Result<()> {
    load::counted(&image("bare-four", &smp::FOUR)?)
}

fn ends_have_their_codes() -> Result<()> {
    let reboot = "console=hvc0 rdinit=/bin/busybox -- reboot -f";
    let run = Guest::start(&image("bare-reboot", &["--cmdline", reboot])?.path, &[])?;
    run.end_within(LIMIT)?.expect(0, "the guest asked for a reboot")?;
    let fault = image("bare-assert", &["--set", "firmware.debug_fault=assert"])?;
    Guest::start(&fault.path, &[])?.end_within(LIMIT)?.expect(12, "asserted at")?;
    let more = ["--qemu-arg=-smp", "--qemu-arg=2"];
    let run = Guest::start(&image("bare", &[])?.path, &more)?;
    run.end_within(LIMIT)?.expect(13, "the machine has 2 cores")?;
    Ok(())
}

/// From the loader's first instruction to the guest's, without digests, unpacking and zeroing.
fn set_up_takes_few_instructions() -> Result<()> {
    for vcpus in ["1", "4"] {
        let boot = boots::power9("power9-bare", vcpus)?;
        println!("set-up with {vcpus} vCPUs: {} instructions", boot.phases["set-up"]);
        ensure!(!boot.is_over() && boot.phases["set-up"] > 10_000, "{vcpus}: {:?}", boot.phases);
        for phase in ["digests", "unpacking", "zeroing"] {
            ensure!(boot.phases[phase] > 0, "{phase}");
        }
    }
    Ok(())
}
