// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whose instructions a machine executes: a plugin in QEMU counts each by where in RAM it lies.
use std::io::Read;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anchorite_spec::Manifest;
use anchorite_spec::manifest::MAP_RAM;
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;

use crate::guest::Guest;
use crate::monitor::Monitor;
use crate::{output, root};

/// Executed instructions, of all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// From guest RAM.
    pub guest: u64,
    /// From the memory of the firmware that was there earlier and is still called: skiboot.
    pub below: u64,
    /// From anywhere else, which is this firmware's.
    pub firmware: u64,
}

impl Executed {
    /// What came to it since an earlier reading.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            guest: self.guest - before.guest,
            below: self.below - before.below,
            firmware: self.firmware - before.firmware,
        }
    }

    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.guest + self.below + self.firmware
    }
}

/// The plugin of one run.
pub struct Counter {
    argument: String,
    directory: tempfile::TempDir,
}

impl Counter {
    /// Builds the plugin, once.
    ///
    /// # Errors
    ///
    /// The build fails.
    pub fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let plugin = plugin()?.display();
        let socket = directory.path().join("counts");
        let argument = format!("--qemu-arg={plugin},socket={}", socket.display());
        Ok(Self { argument, directory })
    }

    /// What has a run count.
    #[must_use]
    pub fn arguments(&self) -> [&str; 2] {
        ["--qemu-arg=-plugin", &self.argument]
    }

    /// The counts so far.
    ///
    /// # Errors
    ///
    /// QEMU does not say where it keeps the machine's memory, or the plugin what it counted.
    pub fn read(&self, guest: &Guest, manifest: &Manifest) -> Result<Executed> {
        let mut monitor = Monitor::connect(guest.qmp())?;
        let mut kept = |base: u64, size: u64| -> Result<Range<u64>> {
            let command = json!({ "command-line": format!("gpa2hva {base:#x}") });
            let answer = monitor.execute("human-monitor-command", &command)?;
            let answer = answer.as_str().unwrap_or_default().trim();
            let host = answer.rsplit_once(" is 0x").with_context(|| answer.to_owned())?.1;
            let host = u64::from_str_radix(host, 16)?;
            Ok(host..host + size)
        };
        let ram = manifest.mappings().filter(|mapping| mapping.kind == MAP_RAM);
        let ram: Vec<_> = ram.map(|m| kept(m.host, m.size)).collect::<Result<_>>()?;
        let below: Vec<_> =
            manifest.earlier().map(|r| kept(r.base, r.size)).collect::<Result<_>>()?;
        let mut executed = Executed::default();
        let mut text = String::new();
        UnixStream::connect(self.directory.path().join("counts"))?.read_to_string(&mut text)?;
        for line in text.lines() {
            let (at, count) = line.split_once(' ').with_context(|| line.to_owned())?;
            let (at, count): (u64, u64) = (at.parse()?, count.parse()?);
            let within = |ranges: &[Range<u64>]| ranges.iter().any(|range| range.contains(&at));
            match () {
                () if within(&ram) => executed.guest += count,
                () if within(&below) => executed.below += count,
                () => executed.firmware += count,
            }
        }
        ensure!(executed.total() > 0, "nothing was counted");
        Ok(executed)
    }
}

fn plugin() -> Result<&'static PathBuf> {
    static PLUGIN: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let built = PLUGIN.get_or_init(|| {
        const BUILD: &str = ". target/toolchain.sh && [ -z \"$HOST_RUSTC\" ] || export \
                             RUSTC=\"$HOST_RUSTC\"; \"$HOST_CARGO\" build --quiet --release \
                             --target-dir target -p anchorite-counter";
        let built = output(Command::new("sh").args(["-c", BUILD]).current_dir(root()));
        let built = built.map_err(|error| format!("{error:#}"))?;
        let errors = String::from_utf8_lossy(&built.stderr).into_owned();
        let plugin = root().join("target/release/libanchorite_counter.so");
        if built.status.success() { Ok(plugin) } else { Err(errors) }
    });
    built.as_ref().map_err(|error| anyhow!("{error}"))
}
