// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A stock kernel on POWER9 under load: what it asks the firmware for meanwhile, and CPUs that leave
//! and come back.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::guest::Guest;
use crate::image::Image;
use crate::stats::{self, QemuLog, count};
use crate::wait_until;

/// A shell's line that loads this many CPUs: with timers, processes, pipes, page faults, and with
/// them interrupts from CPU to CPU.
#[must_use]
pub fn on(cpus: u32) -> String {
    format!(
        "for n in $(seq {cpus}); do \
         ( while :; do sleep 0.01; echo x | cat >/dev/null; done ) 2>/dev/null & done"
    )
}

/// A shell's line that leaves none of this many CPUs without work.
#[must_use]
pub fn spinning(cpus: u32) -> String {
    format!("for n in $(seq {cpus}); do ( while :; do :; done ) & done")
}

/// A window without exits but those allowed, then every CPU out and in twice, all under load; and to a
/// clean end.
///
/// # Errors
///
/// One of these is not so.
pub fn survives(mut guest: Guest, version: &str, cpus: u32, window: Duration) -> Result<()> {
    under(&mut guest, version, cpus, window)?;
    let ended = guest.power_off()?;
    ensure!(ended.console.contains("@end status=powered-off"), "no @end line");
    Ok(())
}

/// The same, and the whole run agrees with QEMU's log.
///
/// # Errors
///
/// As [`survives`], or they differ.
pub fn survives_counted(image: &Image, version: &str, cpus: u32, window: Duration) -> Result<()> {
    let log = QemuLog::new()?;
    // A log of every interrupt costs the guest time.
    let arguments = [&log.arguments()[..], &["--timeout", "3600"]].concat();
    let mut guest = Guest::boot(&image.path, &arguments)?;
    under(&mut guest, version, cpus, window)?;
    log.agrees(&guest.power_off()?)
}

/// A run in which CPUs come and go, against QEMU's log.
///
/// # Errors
///
/// They differ.
pub fn counted(image: &Image) -> Result<()> {
    let log = QemuLog::new()?;
    let mut guest = Guest::boot(&image.path, &log.arguments())?;
    guest.replug(0..4, 1)?;
    log.agrees(&guest.power_off()?)
}

fn under(guest: &mut Guest, version: &str, cpus: u32, window: Duration) -> Result<()> {
    ensure!(guest.shell("uname -r")?.starts_with(version));
    ensure!(guest.shell("nproc")? == cpus.to_string());
    uses_scv(guest)?;
    guest.shell(&on(cpus))?;
    quiet_window(guest, cpus, window)?;
    // A kernel keeps its last CPU.
    if cpus == 1 {
        return Ok(());
    }
    guest.replug(0..cpus, 2)?;
    let reading = stats::live(guest)?;
    for name in ["rtas_stop_self", "rtas_start_cpu"] {
        ensure!(count(&reading, name) >= 2 * u64::from(cpus), "{name}: {reading:#}");
    }
    Ok(())
}

/// The kernel has interrupts with translation on, and so `scv`, by which the C library of whatever
/// this shell runs makes its system calls.
fn uses_scv(guest: &mut Guest) -> Result<()> {
    const AT_HWCAP2: &str = "000000000000001a";
    const SCV: u64 = 0x0010_0000;
    let words = guest.shell("od -A n -v -t x8 /proc/self/auxv")?;
    let mut words = words.split_whitespace();
    words.find(|word| *word == AT_HWCAP2).context("no AT_HWCAP2")?;
    let capabilities = u64::from_str_radix(words.next().context("no value")?, 16)?;
    ensure!(capabilities & SCV != 0, "no scv in AT_HWCAP2 = {capabilities:#x}");
    let refused = guest.run("dmesg | grep 'relocation on exceptions'")?;
    ensure!(refused.1 != 0, "{}", refused.0);
    Ok(())
}

/// The guest's own count of timer interrupts and of those that its CPUs send each other.
fn interrupts(guest: &mut Guest) -> Result<(u64, u64)> {
    let mut sum = |name: &str| -> Result<u64> {
        let line = guest.shell(&format!("grep '{name}' /proc/interrupts || echo none"))?;
        let words = line.split_whitespace().skip(1);
        Ok(words.map_while(|word| word.parse::<u64>().ok()).sum())
    };
    Ok((sum("LOC:")?, sum("IPI")?))
}

fn quiet_window(guest: &mut Guest, cpus: u32, window: Duration) -> Result<()> {
    let timers_before = interrupts(guest)?;
    let before = stats::live(guest)?;
    std::thread::sleep(window);
    wait_until("500 timer interrupts and 100 IPIs", || {
        let (timers, ipis) = interrupts(guest)?;
        let enough = cpus == 1 || ipis - timers_before.1 > 100;
        Ok(timers - timers_before.0 > 500 && enough)
    })?;
    let after = stats::live(guest)?;
    stats::only_allowed(&before, &after)?;
    let rows = after["cpus"].as_array().context("no cpus")?;
    let ceded = |row: &Value| count(row, "h_cede") > 0;
    ensure!(rows.len() == cpus as usize && rows.iter().all(ceded), "{after:#}");
    Ok(())
}
