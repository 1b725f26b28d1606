// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A POWER9 guest that starts another kernel: in order, and when it crashes. The arm64 board's does
//! so in `arm64.rs`, where it has a boot.
use anchorite_tests::Tests;
use anchorite_tests::guest::Guest;
use anchorite_tests::image::image;
use anchorite_tests::kexec::{self, CRASH_MEMORY, PPC64EL};
use anyhow::{Context, Result, ensure};

pub const TESTS: Tests = &[("kexec::one_kernel_starts_the_next", one_kernel_starts_the_next)];

fn one_kernel_starts_the_next() -> Result<()> {
    let initrd = PPC64EL.initrd("debian-6.12")?;
    let initrd = initrd.to_str().context("no UTF-8 path")?;
    let arguments = ["--vcpus", "4", "--initrd", initrd];
    let image = image("kexec-4", &[&arguments, PPC64EL.options].concat())?;
    let mut guest = Guest::boot(&image.path, &[])?;
    kexec::restart(&mut guest, CRASH_MEMORY)?;
    ensure!(guest.shell("nproc")? == "4");
    kexec::crash(&mut guest, 2)?;
    guest.power_off()?;
    Ok(())
}
