// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client of QEMU's machine protocol (QMP), as far as reading memory and stopping QEMU need it.
//!
//! QMP is one JSON object a line. Events may come between a command and its answer, so one thread
//! reads all lines, passes events on as they come, and keeps answers for whoever asked.
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::stats::Memory;

/// How long QEMU may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What QEMU says without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The guest stopped the machine, or QEMU was told to: the reason in QEMU's words.
    Shutdown(String),
    /// QEMU noticed that the guest cannot go on: a checkstop.
    Panicked,
    /// The connection ended.
    Closed,
    /// Any other event.
    Other(String),
}

/// A connection after its handshake.
pub struct Qmp {
    stream: UnixStream,
    answers: Receiver<Value>,
}

impl Qmp {
    /// Connects to a QMP server on a Unix socket.
    ///
    /// # Errors
    ///
    /// Nobody listens there, or who listens does not greet: QEMU serves one client at a time.
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)
            .with_context(|| format!("cannot connect to the QMP socket {}", path.display()))?;
        Self::start(stream, |_| ()).with_context(|| {
            format!(
                "{} does not answer as QMP (QEMU serves one client of a socket at a time)",
                path.display()
            )
        })
    }

    /// Shakes hands on a connected stream. `on_event` is called on the reading thread.
    ///
    /// # Errors
    ///
    /// The other side is silent, gone, or does not speak QMP.
    pub fn start(stream: UnixStream, on_event: impl Fn(Event) + Send + 'static) -> Result<Self> {
        let (sender, answers) = mpsc::channel();
        let reader = BufReader::new(stream.try_clone()?);
        thread::spawn(move || {
            for line in reader.lines() {
                let Ok(line) = line else { break };
                let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
                if let Some(name) = value.get("event").and_then(Value::as_str) {
                    on_event(event(name, &value));
                } else if sender.send(value).is_err() {
                    // Nobody asks any more: the main thread is on its way out.
                    return;
                }
            }
            on_event(Event::Closed);
        });
        let mut qmp = Self { stream, answers };
        if qmp.answer()?.get("QMP").is_none() {
            bail!("no QMP greeting");
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and returns what it returned.
    ///
    /// # Errors
    ///
    /// QEMU refused the command, is gone, or did not answer in time.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.stream.write_all(line.as_bytes()).context("QEMU is gone")?;
        let mut answer = self.answer()?;
        match answer.get_mut("return") {
            Some(value) => Ok(value.take()),
            None => {
                let text = answer.pointer("/error/desc").and_then(Value::as_str).unwrap_or("?");
                Err(anyhow!("QEMU refused {command}: {text}"))
            }
        }
    }

    fn answer(&mut self) -> Result<Value> {
        self.answers.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => anyhow!("QEMU does not answer"),
            RecvTimeoutError::Disconnected => anyhow!("QEMU closed the connection"),
        })
    }
}

impl Memory for Qmp {
    /// Through a file, because QMP has no command that answers with memory. The machine runs on.
    fn read(&mut self, address: u64, size: usize) -> Result<Vec<u8>> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let file = directory.path().join("memory");
        let arguments = json!({ "val": address, "size": size, "filename": file });
        self.execute("pmemsave", arguments)?;
        let bytes = std::fs::read(&file).context("QEMU saved memory where it cannot be read")?;
        if bytes.len() != size {
            bail!("QEMU saved {} bytes of {size} at {address:#x}", bytes.len());
        }
        Ok(bytes)
    }
}

fn event(name: &str, value: &Value) -> Event {
    match name {
        "SHUTDOWN" => {
            let reason = value.pointer("/data/reason").and_then(Value::as_str);
            Event::Shutdown(reason.unwrap_or("?").to_owned())
        }
        "GUEST_PANICKED" => Event::Panicked,
        _ => Event::Other(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::thread;

    use serde_json::json;

    use super::{Event, Qmp};

    /// Plays QEMU: sends the greeting, then for each command received the next script entry.
    fn play(script: &'static [&'static str]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut lines = BufReader::new(theirs.try_clone().unwrap()).lines();
            writeln!(&theirs, r#"{{"QMP": {{"capabilities": []}}}}"#).unwrap();
            for entry in script {
                lines.next().unwrap().unwrap();
                writeln!(&theirs, "{entry}").unwrap();
            }
        });
        ours
    }

    #[test]
    fn events_between_command_and_answer_are_passed_on() {
        let stream = play(&[
            r#"{"return": {}}"#,
            "{\"event\": \"RESUME\"}\n{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \
             \"reason\": \"guest-shutdown\"}}\n{\"return\": {\"running\": false}}",
        ]);
        let (sender, events) = mpsc::channel();
        let mut qmp = Qmp::start(stream, move |event| drop(sender.send(event))).unwrap();
        let status = qmp.execute("query-status", json!({})).unwrap();
        assert_eq!(status, json!({ "running": false }));
        assert_eq!(events.recv().unwrap(), Event::Other("RESUME".into()));
        assert_eq!(events.recv().unwrap(), Event::Shutdown("guest-shutdown".into()));
        assert_eq!(events.recv().unwrap(), Event::Closed);
    }

    #[test]
    fn refusals_and_silence_are_errors() {
        let stream = play(&[r#"{"return": {}}"#, r#"{"error": {"class": "E", "desc": "no"}}"#]);
        let mut qmp = Qmp::start(stream, |_| ()).unwrap();
        let refused = qmp.execute("quit", json!({})).unwrap_err();
        assert_eq!(refused.to_string(), "QEMU refused quit: no");
        assert!(qmp.execute("quit", json!({})).is_err());
    }
}
