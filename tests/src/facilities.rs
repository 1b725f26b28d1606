// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What of the processor is the guest's, tried by a program in the user space of a stock kernel
//! (`guests/*-user`): performance counters, and on POWER9 what a program has besides.
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::guest::Guest;
use crate::initramfs;
use crate::kexec::Arch;
use crate::probe::build_guest;
use crate::root;

/// The program in the guest.
const PROGRAM: &str = "bin/facilities";

/// How many probes it has: of performance counters, and on POWER9 of the other facilities.
pub const ARM64: usize = 3;
/// See [`ARM64`].
pub const POWER9: usize = ARM64 + 5;

/// An initramfs with the program.
///
/// # Errors
///
/// It cannot be built.
pub fn initrd(arch: &Arch) -> Result<PathBuf> {
    let name = if arch.name == "ppc64el" { "power9-user" } else { "arm64-user" };
    build_guest(name)?;
    let program = initramfs::fetched(&root().join("target/test-guests").join(name))?;
    initramfs::with(arch.name, name, &[], &[(PROGRAM.to_owned(), program)])
}

/// Runs the program. Each of its probes says that all is well, and the kernel has had the interrupts
/// of a counter, which `/proc/interrupts` has in the lines of this `name`.
///
/// # Errors
///
/// Something is not as it should be.
pub fn work(guest: &mut Guest, name: &str, arguments: &str, probes: usize) -> Result<()> {
    let before = interrupts(guest, name)?;
    let said = guest.shell(&format!("/{PROGRAM} {arguments}"))?;
    println!("{said}");
    let fine = said.lines().filter(|line| line.ends_with(" ok")).count();
    ensure!(!said.contains("FAIL") && fine == probes, "{said}");
    said.lines().last().filter(|line| *line == "probe ends").context("it did not end")?;
    let came = interrupts(guest, name)? - before;
    ensure!(came >= 10, "{came} interrupts of a counter");
    Ok(())
}

fn interrupts(guest: &mut Guest, name: &str) -> Result<u64> {
    let lines = guest.shell(&format!("grep {name} /proc/interrupts"))?;
    Ok(lines.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).sum())
}
