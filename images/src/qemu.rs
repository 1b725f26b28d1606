// SPDX-License-Identifier: Apache-2.0 OR MIT
//! QEMU as a child: its command line, derived from an image's manifest, and its process, which
//! never outlives us.
#![expect(
    unsafe_code,
    reason = "asks for a signal to the child when we die, between fork and exec"
)]
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anchorite_spec::manifest::ARCH_ARM64;
use anchorite_spec::{Form, Manifest};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::{attach, cli, say};

/// Where chip 0's memory ends: other chips' ranges stand above and are not set by `-m`.
const CHIP_SPAN: u64 = 1 << 42;
/// Where the RAM of QEMU's `virt` begins.
const VIRT_RAM: u64 = 1 << 30;

/// The CPU that an image is for, by its part number; the most capable if it is for any.
fn arm64_cpu(manifest: &Manifest) -> &'static str {
    match (manifest.pvr >> 4) & 0xfff {
        0xD03 => "cortex-a53",
        0xD08 => "cortex-a72",
        0xD0C => "neoverse-n1",
        0xD40 => "neoverse-v1",
        0xD47 => "cortex-a710",
        0xD49 => "neoverse-n2",
        _ => "max",
    }
}

/// QEMU's program.
pub fn program<'a>(args: &'a cli::RunArgs, manifest: &Manifest) -> &'a Path {
    let usual = match manifest.arch {
        ARCH_ARM64 => "qemu-system-aarch64",
        _ => "qemu-system-ppc64",
    };
    args.qemu.as_deref().unwrap_or(Path::new(usual))
}

/// What the machine is started with.
pub struct Started<'a> {
    /// How QEMU takes it.
    pub form: Form,
    /// The file.
    pub file: &'a Path,
    /// The file is the machine's flash, out of which it starts.
    pub flash: bool,
}

/// QEMU's program and the arguments that make it the image's machine, without console and control.
pub fn machine(args: &cli::RunArgs, manifest: &Manifest, started: &Started<'_>) -> Vec<OsString> {
    let ends = manifest.ram().filter_map(anchorite_spec::Range::end);
    let ram = ends.filter(|end| *end <= CHIP_SPAN).max().unwrap_or(0);
    let machine = match manifest.arch {
        ARCH_ARM64 => "virt,virtualization=on,gic-version=3",
        _ => "powernv9",
    };
    // Chip 0 begins at 0; Arm's RAM elsewhere.
    let ram = ram.saturating_sub(if manifest.arch == ARCH_ARM64 { VIRT_RAM } else { 0 });
    let program = program(args, manifest);
    let mut line = vec![program.as_os_str().to_owned()];
    let mut add = |arguments: &[&str]| line.extend(arguments.iter().map(OsString::from));
    add(&["-no-user-config", "-machine", machine]);
    if let Some(cpu) = &args.cpu {
        add(&["-cpu", cpu]);
    } else if manifest.arch == ARCH_ARM64 {
        add(&["-cpu", arm64_cpu(manifest)]);
    }
    add(&["-smp", &manifest.cores.max(1).to_string()]);
    add(&["-m", &format!("{}M", ram >> 20)]);
    add(&["-display", "none"]);
    if manifest.arch == ARCH_ARM64 {
        add(&["-vga", "none", "-nic", "none", "-parallel", "none"]);
    } else {
        // Of QEMU's default devices the board has the BMC alone. PCI bridges would have skiboot move
        // memory regions while its other CPUs write to the UART, and QEMU's TCG sometimes answers
        // such a write with a machine check, on which skiboot hangs or resets the machine.
        add(&["-nodefaults", "-device", "ipmi-bmc-sim,id=bmc"]);
        add(&["-device", "isa-ipmi-bt,bmc=bmc,irq=10"]);
    }
    // A reset ends the run; what it should mean is written in the epitaph.
    add(&["-no-reboot"]);
    if args.icount {
        // Time is what was executed and nothing else: no host clock, no host randomness.
        add(&["-icount", "shift=0,sleep=off", "-seed", "1"]);
        add(&["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
    }
    line.extend(attach::arguments(args, manifest));
    if started.flash {
        line.push("-drive".into());
        line.push(option_with_path("if=mtd,format=raw,snapshot=on,file=", started.file, ""));
    } else {
        line.push(if started.form == Form::Raw { "-bios" } else { "-kernel" }.into());
        line.push(started.file.into());
    }
    if let Some(socket) = &args.qmp {
        line.push("-qmp".into());
        line.push(unix_server(socket));
    }
    line
}

/// A path inside an option of QEMU's, where a comma is doubled.
pub fn option_with_path(before: &str, path: &Path, after: &str) -> OsString {
    let mut option = before.as_bytes().to_vec();
    for byte in path.as_os_str().as_bytes() {
        option.extend(std::iter::repeat_n(*byte, if *byte == b',' { 2 } else { 1 }));
    }
    option.extend(after.as_bytes());
    OsString::from_vec(option)
}

/// A QMP server's address.
fn unix_server(socket: &Path) -> OsString {
    option_with_path("unix:", socket, ",server=on,wait=off")
}

/// The line for people to paste: the console on the terminal, QEMU's own keys. An image that is
/// `stored` in another form than it is started in is packed first, beside itself.
pub fn line_for_people(
    args: &cli::RunArgs,
    manifest: &Manifest,
    form: Form,
    stored: bool,
) -> String {
    let mut packed = args.image.clone().into_os_string();
    if !stored {
        packed.push(format!(".{}", form.name()));
    }
    // A partition as well: skiboot takes its container for a kernel's.
    let started = Started { form, file: Path::new(&packed), flash: false };
    let mut line = Vec::new();
    if let Some(cpu) = only_cpu(args) {
        line.extend(["taskset".into(), "--cpu-list".into(), cpu.to_string().into()]);
    }
    line.extend(machine(args, manifest, &started));
    line.extend(["-serial".into(), "mon:stdio".into()]);
    line.extend(args.qemu_arg.iter().map(OsString::from));
    let command = shell_line(&line);
    if stored {
        return command;
    }
    let own = std::env::current_exe().unwrap_or_else(|_| "anchorite".into());
    let pack = [
        own.as_os_str(),
        "pack".as_ref(),
        "--format".as_ref(),
        form.name().as_ref(),
        args.image.as_os_str(),
        "--out".as_ref(),
        &packed,
    ];
    format!("{} >/dev/null && {command}", shell_line(&pack))
}

fn shell_line(words: &[impl AsRef<OsStr>]) -> String {
    words.iter().map(|word| shell_word(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// The one host CPU that a counted run may use, if it is one: the one we are on.
///
/// QEMU moves the clock of a machine whose CPUs are idle from its main loop, by the time to the next
/// event, and when that loop runs beside the CPU's thread it takes that time from a count that the
/// thread has yet to update: runs drift apart by microseconds. On one host CPU they take turns.
fn only_cpu(args: &cli::RunArgs) -> Option<usize> {
    args.icount.then(sched_getcpu)
}

/// One word of a shell command, quoted if need be.
fn shell_word(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The guest's console, both ways, and QEMU's monitor.
pub struct Lines {
    /// What the guest reads.
    pub input: ChildStdin,
    /// What the guest writes.
    pub output: ChildStdout,
    /// A QMP connection.
    pub monitor: UnixStream,
}

/// A running QEMU. Dropping it kills it.
pub struct Qemu {
    child: Child,
    complaints: Arc<Mutex<Vec<String>>>,
    listener: Option<JoinHandle<()>>,
}

impl Qemu {
    /// Starts QEMU, its machine not yet running.
    ///
    /// With instruction counting, nothing outside may touch QEMU's main loop while the machine
    /// runs, or runs do not repeat: hence pipes for the console (a socket wakes the loop when its
    /// other end is read), a monitor that is connected and greeted before the machine starts, and
    /// one host CPU for all of QEMU's threads.
    ///
    /// # Errors
    ///
    /// The program cannot be executed.
    pub fn start(
        args: &cli::RunArgs,
        manifest: &Manifest,
        started: &Started<'_>,
    ) -> io::Result<(Self, Lines)> {
        let (monitor, monitor_end) = UnixStream::pair()?;
        let line = machine(args, manifest, started);
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        // Paused rather than gone at the end, so that the epitaph can be read.
        command.args(["-S", "-no-shutdown", "-monitor", "none"]);
        command.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        command.arg("-chardev").arg(socket_device("anchorite", &monitor_end)?);
        command.args(["-mon", "chardev=anchorite,mode=control"]);
        command.args(&args.qemu_arg);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its own group: ^C in the terminal is for us, who then end it in order.
        command.process_group(0);
        let only_cpu = only_cpu(args).map(|cpu| {
            let mut set = CpuSet::new();
            set.set(cpu);
            set
        });
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; this closure
        // makes two system calls, prctl and sched_setaffinity, and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                Ok(only_cpu.map_or(Ok(()), |set| sched_setaffinity(None, &set))?)
            });
        }
        let mut child = command.spawn()?;
        drop(monitor_end);
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let listener = child.stderr.take().map(|stderr| {
            let complaints = Arc::clone(&complaints);
            thread::spawn(move || listen(BufReader::new(stderr), &complaints))
        });
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok((Self { child, complaints, listener }, Lines { input, output, monitor }))
    }

    /// Waits for QEMU to exit by itself.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    if let Some(listener) = self.listener.take() {
                        let _ = listener.join();
                    }
                    return Some(status);
                }
                Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
                _ => return None,
            }
        }
    }

    /// The last lines that QEMU wrote to its standard error.
    pub fn complaints(&self) -> Vec<String> {
        self.complaints.lock().map_or_else(|_| Vec::new(), |lines| lines.clone())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connected socket as a character device, kept open across exec.
fn socket_device(id: &str, end: &UnixStream) -> io::Result<String> {
    fcntl_setfd(end.as_fd(), FdFlags::empty())?;
    Ok(format!("socket,id={id},fd={}", end.as_raw_fd()))
}

/// Passes QEMU's messages on, except the one that every run without a flash image has, and keeps
/// the last.
fn listen(stderr: impl BufRead, complaints: &Mutex<Vec<String>>) {
    const KEPT: usize = 20;
    for line in stderr.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.ends_with("warning: Could not find PNOR 'pnv-pnor.bin'") {
            continue;
        }
        say::aside(&line);
        if let Ok(mut kept) = complaints.lock() {
            if kept.len() == KEPT {
                kept.remove(0);
            }
            kept.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use super::{shell_word, unix_server};

    #[test]
    fn words_survive_a_shell_and_qemus_option_syntax() {
        assert_eq!(shell_word(OsStr::new("-m")), "-m");
        assert_eq!(shell_word(OsStr::new("a b'c")), r"'a b'\''c'");
        assert_eq!(shell_word(OsStr::new("")), "''");
        assert_eq!(unix_server(Path::new("/t/a,b")), "unix:/t/a,,b,server=on,wait=off");
    }
}
