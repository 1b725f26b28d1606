// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ledger as `anchorite stats` tells it, and what QEMU's own log says to it.
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Command;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::guest::{Ended, Guest};
use crate::{anchorite, succeed};

/// One reading.
///
/// # Errors
///
/// There is no ledger.
pub fn read(arguments: &[&OsStr]) -> Result<Value> {
    let read = succeed(anchorite().arg("stats").arg("--json").args(arguments))?;
    Ok(serde_json::from_slice(&read)?)
}

/// A running guest's.
///
/// # Errors
///
/// As [`read`].
pub fn live(guest: &Guest) -> Result<Value> {
    read(&["--qmp".as_ref(), guest.qmp().as_ref()])
}

/// The exits of a reason, in a reading or in one CPU's row of it.
#[must_use]
pub fn count(reading: &Value, name: &str) -> u64 {
    reading["exits"][name].as_u64().unwrap_or(0)
}

/// All exits.
///
/// # Errors
///
/// The reading has no total.
pub fn total(reading: &Value) -> Result<u64> {
    reading["total"].as_u64().context("no total")
}

/// What a guest in steady state may ask for, and what OPAL does of its own.
pub const ALLOWED: &[&str] =
    &["h_cede", "h_put_term_char", "h_get_term_char", "opal-heartbeat", "opal-event"];

/// Checks that between two readings a POWER9 guest made no other exits than it may.
///
/// # Errors
///
/// It did.
pub fn only_allowed(before: &Value, after: &Value) -> Result<()> {
    let names = after["exits"].as_object().context("no exits")?.keys();
    for name in names.filter(|name| !ALLOWED.contains(&name.as_str())) {
        let more = count(after, name) - count(before, name);
        ensure!(more == 0, "{more} of {name}\n{after:#}");
    }
    Ok(())
}

/// QEMU's log of every exception that it delivers (`-d int`), counted while it is written: a minute
/// under load is gigabytes.
pub struct QemuLog {
    arguments: [String; 4],
    _directory: tempfile::TempDir,
    reader: JoinHandle<Result<u64>>,
}

impl QemuLog {
    /// A pipe with a reader.
    ///
    /// # Errors
    ///
    /// No pipe can be made.
    pub fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let pipe = directory.path().join("log");
        succeed(Command::new("mkfifo").arg(&pipe))?;
        let arguments = ["-d", "int", "-D", &pipe.to_string_lossy()];
        Ok(Self {
            arguments: arguments.map(|word| format!("--qemu-arg={word}")),
            _directory: directory,
            reader: thread::spawn(move || entries(File::open(pipe)?)),
        })
    }

    /// What has a run write to it.
    #[must_use]
    pub fn arguments(&self) -> [&str; 4] {
        self.arguments.each_ref().map(String::as_str)
    }

    /// Checks the report of the run that has ended against it.
    ///
    /// # Errors
    ///
    /// They differ.
    pub fn agrees(self, ended: &Ended) -> Result<()> {
        let counted = ended
            .report
            .lines()
            .find_map(|line| line.strip_prefix("anchorite: ")?.split_once(" exit"))
            .context("no total in the report")?;
        let counted: u64 = counted.0.replace(',', "").parse()?;
        let seen = self.reader.join().map_err(|_| anyhow!("the log's reader panicked"))??;
        ensure!(seen > 0, "QEMU's log is empty");
        ensure!(counted == seen, "the ledger has {counted}, QEMU's log {seen}\n{}", ended.report);
        Ok(())
    }
}

/// How often QEMU's log shows an entry into hypervisor state or EL2, in lines such as
/// `Raise exception at 000000000000a1b4 => HDECR (67) error=00` and `...from EL1 to EL2`.
fn entries(log: impl Read) -> Result<u64> {
    let mut count = 0;
    for line in BufReader::new(log).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        count += u64::from(line.contains("...from EL") && line.ends_with("to EL2"));
        let Some((_, raised)) = line.split_once(" => ") else { continue };
        let name = raised.split(' ').next().unwrap_or_default();
        // A system call's error is its level: 1 calls the hypervisor.
        let hypercall = name == "SYSCALL" && raised.ends_with("error=01");
        count += u64::from(hypercall || HYPERVISOR.contains(&name));
    }
    Ok(count)
}

/// QEMU's names of the other interrupts that enter hypervisor state whoever is interrupted.
const HYPERVISOR: &[&str] =
    &["HDSI", "HISI", "HDECR", "HV_EMU", "HV_FU", "HVIRT", "SDOOR_HV", "HV_MAINT", "MCHECK"];
