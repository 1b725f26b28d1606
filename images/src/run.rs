// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite run`: boots an image in QEMU with the guest's console on standard input and output.
//!
//! The exit code is never taken from console text, which the guest can forge. QEMU keeps the
//! machine when the guest ends it; the firmware's epitaph is then read out of its memory.
use std::io::{self, Read, Write};
use std::process::{ChildStdin, ChildStdout, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anchorite_spec::epitaph::End;
use anchorite_spec::manifest::{ARCH_POWER9, BOOT_ARM64_IMAGE, BOOT_BARE, BOOT_FLAT};
use anchorite_spec::{Epitaph, Form, Ledger, Manifest};
use anyhow::{Context, Result};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::NamedTempFile;

use crate::exit::{self, Exit};
use crate::image::ImageFile;
use crate::last_words;
use crate::pack;
use crate::qemu::{self, Qemu, Started};
use crate::qmp::{Event, Qmp};
use crate::stats::{Memory, read_ledger};
use crate::terminal::{self, Keys, RawTerminal, Request};
use crate::{attach, cli, container, say};

/// The run took longer than the user allowed.
const TIMED_OUT: u8 = 124;
/// How long QEMU may take to exit, and the console to drain.
const GRACE: Duration = Duration::from_secs(5);
/// How often a machine is looked at that may have ended without stopping.
const LOOK: Duration = Duration::from_secs(2);

/// Runs the subcommand.
///
/// # Errors
///
/// The image is refused, or QEMU cannot be started.
pub fn run(args: &cli::RunArgs) -> Result<u8> {
    let file = exit::read(&args.image)?;
    let image = open(args, &file)?;
    let manifest = image.manifest;
    let form = started_as(&image);
    attach::check(args, &manifest)?;
    if args.print_command {
        say::line(qemu::line_for_people(args, &manifest, form, starts_as_is(&image, form)));
        return Ok(exit::OK);
    }
    // A whole partition is started as real boards start it.
    let flash = image.padding > 0;
    let packed =
        if flash { Some(temporary(&container::flash(&file))?) } else { in_form(&image, form)? };
    let path = packed.as_ref().map_or(args.image.as_path(), |file| file.path());
    let started = Started { form, file: path, flash };
    let deadline = match args.timeout {
        Some(seconds) => {
            let limit = Duration::try_from_secs_f64(seconds)
                .map_err(|_| Exit::usage(format!("--timeout {seconds} is no number of seconds")))?;
            Instant::now().checked_add(limit)
        }
        None => None,
    };
    attach::make_disks(args, &manifest)?;
    let (sender, happenings) = mpsc::channel();
    forward_signals(sender.clone())?;
    let terminal = RawTerminal::enter().context("cannot set up the terminal")?;
    if terminal.is_some() {
        say::aside(format_args!("anchorite: this is the guest's console; {}", terminal::HELP));
    }
    let session = Session::start(args, &manifest, &started, sender, terminal.is_some())?;
    session.watch(&happenings, deadline, terminal)
}

/// The form that the machine is given: the file's own, or for an ELF the one that its board is
/// started in.
fn started_as(image: &ImageFile<'_>) -> Form {
    match (image.form, image.manifest.boot) {
        (Some(form @ (Form::Arm64Image | Form::Raw)), _) => form,
        (_, BOOT_ARM64_IMAGE) => Form::Arm64Image,
        (_, BOOT_FLAT | BOOT_BARE) => Form::Raw,
        _ => Form::Elf,
    }
}

/// Whether the machine takes the file. Its header must be the form's, and of containers skiboot takes
/// its own off; a FIT is for U-Boot, which is not there.
fn starts_as_is(image: &ImageFile<'_>, form: Form) -> bool {
    image.form == Some(form) && (image.container == 0 || image.manifest.arch == ARCH_POWER9)
}

/// A file for the time of the run, if the machine does not take the image's own.
fn in_form(image: &ImageFile<'_>, form: Form) -> Result<Option<NamedTempFile>> {
    if starts_as_is(image, form) {
        return Ok(None);
    }
    temporary(&pack::stored(image, form)?).map(Some)
}

fn temporary(bytes: &[u8]) -> Result<NamedTempFile> {
    let mut file = NamedTempFile::with_prefix("anchorite-").context("cannot make a file")?;
    file.write_all(bytes).context("cannot write the packed image")?;
    Ok(file)
}

/// Reads the image and checks what must be right before the board can check anything itself.
fn open<'a>(args: &cli::RunArgs, file: &'a [u8]) -> Result<ImageFile<'a>> {
    let config = std::fs::read_to_string(&args.board)
        .map_err(|error| Exit::refused(format!("cannot read {}: {error}", args.board.display())))?;
    let name = toml::from_str::<toml::Table>(&config)
        .ok()
        .and_then(|table| Some(table.get("board")?.get("name")?.as_str()?.to_owned()));
    let Some(name) = name else {
        let board = args.board.display();
        return Err(Exit::refused(format!("{board} is no board config: it has no board.name")));
    };
    let image = ImageFile::read(file)?;
    image.verify_boot_critical()?;
    let manifest = &image.manifest;
    if manifest.board.as_str() != name {
        say::aside(format_args!(
            "anchorite: the image was built for board {}, {} describes {name}; the machine is \
             made as the image says",
            manifest.board.as_str(),
            args.board.display()
        ));
    }
    Ok(image)
}

/// What can happen while a machine runs.
enum Happening {
    /// QEMU said something, or closed the connection.
    Machine(Event),
    /// All output of the guest has been passed on.
    ConsoleClosed,
    /// Standard output does not take the console any more.
    OutputBroken(io::Error),
    /// The user asked to leave.
    Leave,
    /// A signal to us.
    Signal(i32),
}

fn forward_signals(sender: Sender<Happening>) -> Result<()> {
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot listen for signals")?;
    thread::spawn(move || {
        for signal in &mut signals {
            let _ = sender.send(Happening::Signal(signal));
        }
    });
    Ok(())
}

/// A running machine with its console connected.
struct Session<'a> {
    qemu: Qemu,
    qmp: Qmp,
    manifest: &'a Manifest,
    /// Look for an epitaph also while the machine runs. Not with instruction counting, where
    /// nothing from outside may touch the machine.
    look: bool,
}

/// Why watching ended.
enum Stop {
    /// The machine is paused for good, QEMU's reason.
    Paused(String),
    /// The epitaph is there, the machine goes on.
    Lingers,
    /// QEMU is gone or going.
    Gone,
    TimedOut,
    Left,
    Signal(i32),
    OutputBroken(io::Error),
}

impl<'a> Session<'a> {
    fn start(
        args: &cli::RunArgs,
        manifest: &'a Manifest,
        started: &Started<'_>,
        sender: Sender<Happening>,
        is_terminal: bool,
    ) -> Result<Self> {
        let program = qemu::program(args, manifest).display();
        let (mut qemu, lines) = Qemu::start(args, manifest, started).with_context(|| {
            format!(
                "cannot start QEMU ({program}); scripts/setup installs it, --qemu names another"
            )
        })?;
        let for_input = sender.clone();
        thread::spawn(move || pass_input(lines.input, is_terminal, &for_input));
        let for_output = sender.clone();
        thread::spawn(move || pass_output(lines.output, &for_output));
        let on_event = move |event| drop(sender.send(Happening::Machine(event)));
        // Who asked for a machine that waits (for a debugger) starts it himself.
        let waits = args.qemu_arg.iter().any(|argument| argument == "-S");
        let started = Qmp::start(lines.monitor, on_event).and_then(|mut qmp| {
            if !waits {
                qmp.execute("cont", json!({}))?;
            }
            Ok(qmp)
        });
        let qmp = started.with_context(|| {
            let status = qemu.wait(GRACE).map_or("does not answer".to_owned(), describe);
            format!("QEMU did not start the machine: it {status}; its own words are above")
        })?;
        Ok(Self { qemu, qmp, manifest, look: !args.icount })
    }

    /// Waits for the end and says what it was.
    fn watch(
        mut self,
        happenings: &Receiver<Happening>,
        deadline: Option<Instant>,
        terminal: Option<RawTerminal>,
    ) -> Result<u8> {
        let mut console_open = true;
        let stop = self.wait(happenings, deadline, &mut console_open);
        let last = match &stop {
            Stop::Paused(_) | Stop::Lingers => Some(self.read_last_words()),
            _ => None,
        };
        let status = self.quit(&stop);
        if console_open {
            drain(happenings);
        }
        drop(terminal);
        Ok(match stop {
            Stop::Paused(_) | Stop::Lingers | Stop::Gone => self.conclude(&stop, last, status),
            Stop::TimedOut => {
                say::aside("\nanchorite: timeout: the guest had not ended, the machine was killed");
                TIMED_OUT
            }
            Stop::Left => {
                say::aside("\nanchorite: left; the machine was killed");
                exit::FAILED
            }
            Stop::Signal(signal) => {
                say::aside(format_args!(
                    "\nanchorite: ended by signal {signal}; the machine was killed"
                ));
                u8::try_from(128 + signal).unwrap_or(exit::FAILED)
            }
            Stop::OutputBroken(error) => {
                say::aside(format_args!("anchorite: nobody takes the console any more ({error})"));
                exit::FAILED
            }
        })
    }

    fn wait(
        &mut self,
        happenings: &Receiver<Happening>,
        deadline: Option<Instant>,
        console_open: &mut bool,
    ) -> Stop {
        let mut ended_before = false;
        loop {
            let now = Instant::now();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            if left == Some(Duration::ZERO) {
                return Stop::TimedOut;
            }
            let patience = left.map_or(LOOK, |left| left.min(LOOK));
            match happenings.recv_timeout(patience) {
                Ok(Happening::Machine(Event::Shutdown(reason))) => return Stop::Paused(reason),
                Ok(Happening::Machine(Event::Panicked)) => {
                    return Stop::Paused("guest-panicked".to_owned());
                }
                Ok(Happening::Machine(Event::Closed)) => return Stop::Gone,
                Ok(Happening::Machine(Event::Other(_))) => {}
                Ok(Happening::ConsoleClosed) => *console_open = false,
                Ok(Happening::OutputBroken(error)) => return Stop::OutputBroken(error),
                Ok(Happening::Leave) => return Stop::Left,
                Ok(Happening::Signal(signal)) => return Stop::Signal(signal),
                Err(RecvTimeoutError::Disconnected) => return Stop::Gone,
                Err(RecvTimeoutError::Timeout) if self.look => {
                    let ended = self.epitaph().is_ok_and(|e| last_words::end(&e).is_some());
                    if ended && ended_before {
                        return Stop::Lingers;
                    }
                    ended_before = ended;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn epitaph(&mut self) -> Result<Epitaph> {
        self.qmp.read_value(self.manifest.epitaph)
    }

    fn read_last_words(&mut self) -> Result<(Epitaph, Option<Ledger>)> {
        let epitaph = self.epitaph()?;
        // The epitaph counts without a ledger; an early end has none.
        let ledger = read_ledger(&mut self.qmp, self.manifest.ledger).ok().flatten();
        Ok((epitaph, ledger))
    }

    /// Ends QEMU: in order after a pause, so that its logs are flushed; at once otherwise.
    fn quit(&mut self, stop: &Stop) -> Option<ExitStatus> {
        if !matches!(stop, Stop::Gone) {
            let _ = self.qmp.execute("quit", json!({}));
        }
        self.qemu.wait(GRACE)
    }

    /// The code of a run that ended by itself.
    fn conclude(
        &self,
        stop: &Stop,
        last: Option<Result<(Epitaph, Option<Ledger>)>>,
        status: Option<ExitStatus>,
    ) -> u8 {
        if let Some(Ok((epitaph, ledger))) = &last
            && let Some(end) = last_words::end(epitaph)
        {
            let report = last_words::report(end, epitaph, ledger.as_ref());
            say::aside(format_args!("\n{}", report.trim_end()));
            if matches!(stop, Stop::Lingers) {
                say::aside("anchorite: the machine did not stop by itself and was killed");
            }
            return end.exit_code();
        }
        say::aside("\nanchorite: the machine stopped without a word of the firmware's");
        match stop {
            Stop::Paused(reason) => say::aside(format_args!("  QEMU's reason: {reason}")),
            _ => say::aside(format_args!(
                "  QEMU {}",
                status.map_or("was killed".to_owned(), describe)
            )),
        }
        match last {
            Some(Err(error)) => say::aside(format_args!("  its memory cannot be read: {error:#}")),
            Some(Ok((epitaph, _))) => {
                let begun = End::from_u32(epitaph.end).map_or("nothing", End::name);
                say::aside(format_args!("  epitaph: state {}, it says {begun}", epitaph.state));
            }
            None => {}
        }
        for line in self.qemu.complaints() {
            say::aside(format_args!("  QEMU said: {line}"));
        }
        exit::FAILED
    }
}

/// Waits until the console's last bytes are out.
fn drain(happenings: &Receiver<Happening>) {
    let end = Instant::now() + GRACE;
    loop {
        match happenings.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(Happening::ConsoleClosed | Happening::OutputBroken(_)) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// How a process ended.
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (_, Some(signal)) => format!("was killed by signal {signal}"),
        _ => "ended".to_owned(),
    }
}

/// Standard input to the console. Its end is not the guest's end.
fn pass_input(mut console: ChildStdin, is_terminal: bool, happenings: &Sender<Happening>) {
    let mut keys = Keys::default();
    let mut buffer = [0; 4096];
    let mut guest = Vec::new();
    let mut input = io::stdin().lock();
    loop {
        let typed = match input.read(&mut buffer) {
            // The pipe stays open: even its hang-up would be an event for QEMU.
            Ok(0) => loop {
                thread::park();
            },
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        guest.clear();
        let request = if is_terminal {
            keys.split(typed, &mut guest)
        } else {
            guest.extend_from_slice(typed);
            None
        };
        if console.write_all(&guest).and_then(|()| console.flush()).is_err() {
            return;
        }
        match request {
            Some(Request::Leave) => {
                let _ = happenings.send(Happening::Leave);
                return;
            }
            Some(Request::Help) => say::aside(format_args!("\nanchorite: {}", terminal::HELP)),
            None => {}
        }
    }
}

/// The console to standard output, each piece as it comes.
fn pass_output(mut console: ChildStdout, happenings: &Sender<Happening>) {
    let mut buffer = [0; 65536];
    let mut output = io::stdout();
    loop {
        let count = match console.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let written = output.write_all(&buffer[..count]).and_then(|()| output.flush());
        if let Err(error) = written {
            let _ = happenings.send(Happening::OutputBroken(error));
            return;
        }
    }
    let _ = happenings.send(Happening::ConsoleClosed);
}
