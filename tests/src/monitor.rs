// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine seen from outside, through the QMP socket that `anchorite run --qmp` offers.
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A connection.
pub struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects and shakes hands.
    ///
    /// # Errors
    ///
    /// Nobody answers.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.line()?;
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Runs one command.
    ///
    /// # Errors
    ///
    /// QEMU refuses it or does not answer.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{line}")?;
        loop {
            let mut answer = self.line()?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("{command}: {error}");
            }
        }
    }

    /// Host real memory, while the machine runs.
    ///
    /// # Errors
    ///
    /// As [`Monitor::execute`].
    pub fn memory(&mut self, address: u64, size: u64) -> Result<Vec<u8>> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("memory");
        let arguments = json!({ "val": address, "size": size, "filename": file });
        self.execute("pmemsave", &arguments)?;
        Ok(std::fs::read(file)?)
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.stream.read_line(&mut line).context("QEMU does not answer")?;
        Ok(serde_json::from_str(&line)?)
    }
}
