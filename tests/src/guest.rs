// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest under `anchorite run`, typed at through a pipe.
use std::ffi::OsString;
use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::{anchorite, board};

/// A boot to the shell, on a machine with other things to do.
const BOOT: Duration = Duration::from_secs(300);
/// One command in the shell.
const COMMAND: Duration = Duration::from_secs(120);
/// From the last command, or the start, to the end of the run.
const END: Duration = Duration::from_secs(300);
/// How much of the console a failure shows.
const SHOWN_LINES: usize = 40;

/// How a run ended.
pub struct Ended {
    /// Exit code of `anchorite run`.
    pub code: i32,
    /// All of the console.
    pub console: String,
    /// What was said beside it.
    pub report: String,
}

/// A pipe's content so far, filled by a thread of its own.
#[derive(Default)]
struct Stream {
    state: Mutex<(Vec<u8>, bool)>,
    more: Condvar,
}

/// A run. Dropping it ends it.
pub struct Guest {
    child: Child,
    input: Option<ChildStdin>,
    console: Arc<Stream>,
    report: Arc<Stream>,
    readers: Vec<JoinHandle<()>>,
    /// How far the console has been looked at.
    seen: usize,
    commands: u32,
    qmp: PathBuf,
    _directory: tempfile::TempDir,
}

impl Guest {
    /// Starts a run with these further arguments.
    ///
    /// # Errors
    ///
    /// `anchorite` cannot be started.
    pub fn start(image: &Path, arguments: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let qmp = directory.path().join("qmp");
        let mut line: Vec<OsString> = vec!["run".into(), "--board".into(), board().into()];
        line.extend(["--image".into(), image.into(), "--qmp".into(), qmp.clone().into()]);
        // A test that hangs beyond its own limits still ends.
        if !arguments.contains(&"--timeout") {
            line.extend(["--timeout".into(), "600".into()]);
        }
        let mut child = anchorite()
            .args(line)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start anchorite; `make tools` builds it")?;
        let console = Arc::new(Stream::default());
        let report = Arc::new(Stream::default());
        let readers = vec![
            collect(child.stdout.take().context("no stdout")?, &console),
            collect(child.stderr.take().context("no stderr")?, &report),
        ];
        let input = child.stdin.take();
        Ok(Self {
            child,
            input,
            console,
            report,
            readers,
            seen: 0,
            commands: 0,
            qmp,
            _directory: directory,
        })
    }

    /// Starts a run and waits for the shell.
    ///
    /// # Errors
    ///
    /// The shell does not come.
    pub fn boot(image: &Path, arguments: &[&str]) -> Result<Self> {
        let mut guest = Self::start(image, arguments)?;
        guest.await_shell()?;
        Ok(guest)
    }

    /// Waits for the shell of a kernel that has just started, and makes it quiet.
    ///
    /// # Errors
    ///
    /// The shell does not come.
    pub fn await_shell(&mut self) -> Result<()> {
        self.expect("anchorite-shell: ready", BOOT)?;
        self.expect("# ", BOOT)?;
        // Without echo the shell's line editor keeps quiet as well.
        self.send(b"stty -echo\n")?;
        self.shell("dmesg -n 1")?;
        Ok(())
    }

    /// Types a line that ends the guest, which then begins again for the `count`-th time: to the shell
    /// of its new life.
    ///
    /// # Errors
    ///
    /// It does not, or not for the reason given.
    pub fn restart(&mut self, line: &str, count: u64, after: &str) -> Result<()> {
        self.send(format!("{line}\n").as_bytes())?;
        self.expect(&format!("@restart count={count} after={after}\r"), BOOT)?;
        self.await_shell()
    }

    /// The socket of `--qmp`.
    #[must_use]
    pub fn qmp(&self) -> &Path {
        &self.qmp
    }

    /// Bytes to the console.
    ///
    /// # Errors
    ///
    /// The run has ended.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let input = self.input.as_mut().context("the console's input was closed")?;
        input
            .write_all(bytes)
            .and_then(|()| input.flush())
            .map_err(|error| anyhow!("cannot type: {error}\n{}", tail(&self.console.text(0))))
    }

    /// Ends standard input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Waits for a text on the console, from where the last one ended.
    ///
    /// # Errors
    ///
    /// It does not come in time, or the run ends first.
    pub fn expect(&mut self, text: &str, patience: Duration) -> Result<String> {
        let found = self.console.wait(patience, |bytes| {
            let from = &bytes[self.seen..];
            let at = from.windows(text.len()).position(|window| window == text.as_bytes())?;
            Some((self.seen + at, self.seen + at + text.len()))
        });
        let Some((start, end)) = found else {
            let (console, report) = (self.console.text(0), self.report.text(0));
            bail!("no {text:?} in {patience:?}; the console:\n{}\n{report}", tail(&console));
        };
        let before = self.console.text_between(self.seen, start);
        self.seen = end;
        Ok(before)
    }

    /// Takes exactly this many raw bytes of the console, from where the last text ended.
    ///
    /// # Errors
    ///
    /// They do not come in time.
    pub fn take(&mut self, count: usize, patience: Duration) -> Result<Vec<u8>> {
        let end = self.seen + count;
        let bytes = self
            .console
            .wait(patience, |bytes| bytes.get(self.seen..end).map(<[u8]>::to_vec))
            .with_context(|| {
                let got = self.console.len() - self.seen;
                format!("{got} of {count} bytes came in {patience:?}")
            })?;
        self.seen = end;
        Ok(bytes)
    }

    /// Runs a command in the shell: its output and exit status.
    ///
    /// # Errors
    ///
    /// It does not end in time.
    pub fn run(&mut self, command: &str) -> Result<(String, i32)> {
        self.commands += 1;
        let n = self.commands;
        // The marks are put together by the shell, so that an echo of the line is none.
        self.send(format!("echo '<'{n}'>'; {command}; echo '<'/{n}:$?'>'\n").as_bytes())?;
        self.expect(&format!("<{n}>"), COMMAND)?;
        let output = self.expect(&format!("</{n}:"), COMMAND)?;
        let status = self.expect(">", COMMAND)?;
        let status = status.parse().with_context(|| format!("no exit status: {status:?}"))?;
        Ok((output.replace('\r', "").trim().to_owned(), status))
    }

    /// Runs a command that must succeed: its output.
    ///
    /// # Errors
    ///
    /// It fails, or does not end in time.
    pub fn shell(&mut self, command: &str) -> Result<String> {
        let (output, status) = self.run(command)?;
        if status != 0 {
            bail!("`{command}` ended with status {status}: {output}");
        }
        Ok(output)
    }

    /// Has each of these CPUs, the last of which is the guest's last, leave and come back, this many
    /// times.
    ///
    /// # Errors
    ///
    /// One does not.
    pub fn replug(&mut self, cpus: Range<u32>, times: usize) -> Result<()> {
        for cpu in cpus.clone().cycle().take(cpus.len() * times) {
            let state = format!("/sys/devices/system/cpu/cpu{cpu}/online");
            for (online, count) in [(0, cpus.end - 1), (1, cpus.end)] {
                self.shell(&format!("echo {online} >{state}"))?;
                // Of all CPUs, not of those that this shell may still run on.
                let seen = self.shell("grep -c '^processor' /proc/cpuinfo")?;
                ensure!(seen == count.to_string(), "{seen} CPUs with CPU {cpu} = {online}");
            }
        }
        Ok(())
    }

    /// Whether the run goes on.
    ///
    /// # Errors
    ///
    /// Nobody knows.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for the run to end.
    ///
    /// # Errors
    ///
    /// It does not.
    pub fn end(self) -> Result<Ended> {
        self.end_within(END)
    }

    /// Waits this long for the run to end.
    ///
    /// # Errors
    ///
    /// It does not.
    pub fn end_within(mut self, patience: Duration) -> Result<Ended> {
        let limit = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > limit {
                let console = self.console.text(0);
                bail!("no end in {patience:?}; the console:\n{}", tail(&console));
            }
            thread::sleep(Duration::from_millis(20));
        };
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        Ok(Ended {
            code: code.unwrap_or(-1),
            console: self.console.text(0),
            report: self.report.text(0),
        })
    }

    /// What else there is to say when something failed that only looked on: how the run ended, if it did,
    /// and the last lines.
    #[must_use]
    pub fn explain(self, error: &anyhow::Error) -> anyhow::Error {
        match self.end_within(Duration::from_secs(5)) {
            Ok(ended) => {
                let Ended { code, console, report } = ended;
                anyhow!("{error:#}; exit code {code}\n{report}\nthe console:\n{}", tail(&console))
            }
            Err(running) => anyhow!("{error:#}; {running}"),
        }
    }

    /// Has the guest's kernel panic, from its shell.
    ///
    /// # Errors
    ///
    /// The run does not end with exit code 10, or the panic's words are not on the console.
    pub fn panic(mut self) -> Result<Ended> {
        self.send(b"echo c >/proc/sysrq-trigger\n")?;
        let ended = self.end()?;
        ended.expect(10, "the guest panicked")?;
        if !ended.console.contains("Kernel panic - not syncing") {
            bail!("no panic on the console:\n{}", tail(&ended.console));
        }
        Ok(ended)
    }

    /// Powers the guest off from its shell.
    ///
    /// # Errors
    ///
    /// The run does not end with exit code 0.
    pub fn power_off(mut self) -> Result<Ended> {
        self.send(b"poweroff\n")?;
        let ended = self.end()?;
        ended.expect(0, "the guest powered off")?;
        Ok(ended)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The ticks, of which there are so many a second, of a phase of a debug boot.
    ///
    /// # Errors
    ///
    /// It is not told, or in other ticks.
    pub fn boot_ticks(&self, phase: &str, hz: Option<u64>) -> Result<u64> {
        let start = format!("@boot phase={phase} ticks=");
        let line = self.console.lines().find_map(|line| line.strip_prefix(&start));
        let (ticks, said) = line.and_then(|line| line.split_once(" hz=")).context(start)?;
        let said: u64 = said.trim_end().parse()?;
        ensure!(hz.is_none_or(|hz| hz == said), "{said}");
        Ok(ticks.parse()?)
    }

    /// Checks that the console has some text.
    ///
    /// # Errors
    ///
    /// It has not; the error has the console.
    pub fn says(&self, text: &str) -> Result<()> {
        ensure!(self.console.contains(text), "{text:?} is not on the console:\n{}", self.console);
        Ok(())
    }

    /// Checks the exit code and that the report says why.
    ///
    /// # Errors
    ///
    /// They are others.
    pub fn expect(&self, code: i32, report: &str) -> Result<()> {
        if self.code != code || !self.report.contains(report) {
            bail!(
                "exit code {}, {code} and {report:?} expected\n{}\nthe console:\n{}",
                self.code,
                self.report,
                tail(&self.console)
            );
        }
        Ok(())
    }
}

fn collect(mut pipe: impl Read + Send + 'static, stream: &Arc<Stream>) -> JoinHandle<()> {
    let stream = Arc::clone(stream);
    thread::spawn(move || {
        let mut buffer = [0; 16384];
        loop {
            let count = pipe.read(&mut buffer).unwrap_or(0);
            let mut state = stream.lock();
            state.0.extend_from_slice(&buffer[..count]);
            state.1 = count == 0;
            stream.more.notify_all();
            if state.1 {
                return;
            }
        }
    })
}

impl Stream {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<u8>, bool)> {
        self.state.lock().unwrap_or_else(|error| error.into_inner())
    }

    fn len(&self) -> usize {
        self.lock().0.len()
    }

    fn text(&self, from: usize) -> String {
        String::from_utf8_lossy(&self.lock().0[from..]).into_owned()
    }

    fn text_between(&self, from: usize, to: usize) -> String {
        String::from_utf8_lossy(&self.lock().0[from..to]).into_owned()
    }

    /// Waits until `look` finds something; `None` after `patience` or at the stream's end.
    fn wait<T>(&self, patience: Duration, look: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let limit = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&state.0) {
                return Some(found);
            }
            let left = limit.saturating_duration_since(Instant::now());
            if state.1 || left.is_zero() {
                return None;
            }
            state = self.more.wait_timeout(state, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }
}

/// The console's last lines, made harmless.
fn tail(console: &str) -> String {
    let shown = |line: &str| line.chars().take(200).flat_map(char::escape_default).collect();
    let lines: Vec<String> = console.lines().map(shown).collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
