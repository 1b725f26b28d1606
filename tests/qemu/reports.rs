// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fault reports: what one screen says of each class of fault on each board, that the config line which
//! it names removes the fault, and what becomes of the guest by policy.
//!
//! Screens are compared with `tests/reports/BOARD-FAULT.txt`, in which what differs from build to build
//! stands as `#`; `UPDATE=1` writes them anew.
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;

use anchorite_tests::guest::{Ended, Guest};
use anchorite_tests::probe::{BARE, build};
use anchorite_tests::{Tests, anchorite, root, succeed};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub const TESTS: Tests = &[
    ("reports::power9", power9),
    ("reports::power9_under_skiboot", power9_under_skiboot),
    ("reports::arm64", arm64),
    ("reports::entered_in_the_wrong_byte_order", entered_in_the_wrong_byte_order),
    ("reports::logs_are_named", logs_are_named),
    ("reports::the_ninth_is_only_counted", the_ninth_is_only_counted),
    ("reports::policies", policies),
];

/// A board and how its probe is built and run.
struct Board {
    name: &'static str,
    probe: &'static str,
    build: &'static [&'static str],
    run: &'static [&'static str],
    /// A fault of an instruction, whatever the config says.
    instruction: &'static str,
    /// Entries that its config has in its lists of memory and devices.
    entries: [usize; 2],
}

const POWER9: Board = Board {
    name: "power9",
    probe: "power9-probe",
    build: &BARE,
    run: &[],
    instruction: "instruction",
    entries: [2, 0],
};
const SKIBOOT: Board = Board { name: "power9-opal", build: &[], ..POWER9 };
const ARM64: Board = Board {
    name: "arm64",
    probe: "arm64-probe",
    build: &[],
    run: &["--cpu", "max"],
    instruction: "call",
    entries: [3, 2],
};

/// What a run with one fault said.
struct Said {
    ended: Ended,
    /// The report, if there is one: its lines.
    report: Vec<String>,
}

impl Board {
    /// Has the probe make a fault, under a config with these changes.
    fn make(&self, fault: &str, more: &[&str]) -> Result<Said> {
        let cmdline = format!("fault={fault};");
        let arguments = [&["--cmdline", &cmdline], self.build, more].concat();
        let name = format!("report-{}-{fault}-{}", self.name, more.join("-").replace('/', "_"));
        let digest = name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31) + u32::from(byte));
        let image =
            build(self.probe, &format!("report-{}-{fault}-{digest:08x}", self.name), &arguments)?;
        let ended = Guest::start(&image.path, self.run)?.end()?;
        let lines: Vec<String> = ended.console.lines().map(str::to_owned).collect();
        let first = |line: &String| {
            line.starts_with("anchorite: guest ") && !line.contains("guest entered")
        };
        let last = lines.iter().position(|line| line.starts_with("@fault "));
        let first = lines.iter().position(first).zip(last);
        let report = first.map_or(Vec::new(), |(first, last)| lines[first..=last].to_vec());
        Ok(Said { ended, report })
    }

    /// The report of a fault is as it was, and what it names removes the fault.
    fn explains(&self, fault: &str, more: &[&str]) -> Result<()> {
        let said = self.make(fault, more)?;
        said.ended.expect(0, "the guest powered off")?;
        ensure!(!said.report.is_empty(), "{fault}: no report in {}", said.ended.console);
        self.compare(fault, &said.report)?;
        // One screen, and its line for tools.
        ensure!(said.report.len() <= 25, "{fault}: {} lines", said.report.len());
        let wide = said.report[1..said.report.len() - 1].iter().find(|line| line.len() > 96);
        ensure!(wide.is_none(), "{fault}: {wide:?}");
        let Some(cure) = self.cure(&said.report)? else { return Ok(()) };
        let cured = self.make(fault, &[more, &["--set", &cure]].concat())?;
        cured.ended.expect(0, "the guest powered off")?;
        ensure!(cured.report.is_empty(), "{fault}: {cure} does not help: {}", cured.ended.console);
        Ok(())
    }

    fn compare(&self, fault: &str, report: &[String]) -> Result<()> {
        let path = root().join(format!("tests/reports/{}-{fault}.txt", self.name));
        let text = report.iter().map(|line| normal(line) + "\n").collect::<String>();
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(path.parent().context("no directory")?)?;
            fs::write(&path, &text)?;
        }
        let known = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        ensure!(text == known, "{} differs:\n{text}", path.display());
        Ok(())
    }

    /// What a report names as `--set KEY=VALUE`.
    fn cure(&self, report: &[String]) -> Result<Option<String>> {
        let marker = "to allow it, in the board config:";
        let at =
            report.iter().position(|line| line.starts_with(marker)).context("names nothing")?;
        let line = report[at].trim_start_matches(marker).trim_start();
        if line.starts_with("none: ") {
            return Ok(None);
        }
        if !line.is_empty() {
            let (key, value) = line.split_once(" = ").context("no line of TOML")?;
            return Ok(Some(format!("{key}={value}")));
        }
        let lines: Vec<&str> =
            report[at + 1..report.len() - 1].iter().map(String::as_str).collect();
        let (list, fields) = lines.split_first().context("no lines")?;
        let entry = match *list {
            "[[guest.memory]]" => self.entries[0],
            "[[guest.device]]" => self.entries[1],
            other => anyhow::bail!("{other}"),
        };
        let key = list.trim_matches(['[', ']']);
        Ok(Some(format!("{key}.{entry}={{ {} }}", fields.join(", "))))
    }
}

/// A line of a report without what differs from build to build: registers, code and table addresses.
fn normal(line: &str) -> String {
    let counts = ["last exits:", "without a frame, in all:"];
    if let Some(head) = counts.iter().find(|head| line.starts_with(**head)) {
        return format!("{head} #");
    }
    let mut text = String::new();
    let mut hide = false;
    for word in line.split_inclusive(' ') {
        let bare = word.trim_end();
        let (name, value) = bare.split_once('=').unwrap_or(("", bare));
        let kept = ["guest", "n", "cpu", "cause", "class", "reason", "access", "answer"];
        let register = bare.len() == 16 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = value.starts_with("0x") && value.len() > 2;
        if register || hide || number && !name.is_empty() && !kept.contains(&name) {
            let tail = if word.ends_with(' ') { " " } else { "" };
            let after = bare.trim_start_matches(|c| !matches!(c, ',' | ':'));
            let equals = if name.is_empty() { String::new() } else { format!("{name}=") };
            text += &format!("{equals}#{after}{tail}");
        } else {
            text += word;
        }
        hide = matches!(bare, "pc" | "msr" | "esr");
    }
    text
}

fn power9() -> Result<()> {
    for fault in ["memory", "store", "translated", "walk", "fetch", "instruction", "register"] {
        POWER9.explains(fault, &[])?;
    }
    Ok(())
}

fn power9_under_skiboot() -> Result<()> {
    SKIBOOT.explains("device", &[])
}

fn arm64() -> Result<()> {
    for fault in ["memory", "store", "device", "walk", "fetch", "register", "call"] {
        ARM64.explains(fault, &[])?;
    }
    ARM64.explains("pair", &["--set", "guest.interrupts=guarded"])?;
    ARM64.explains("instruction", &["--set", "guest.hide=[\"sve\"]"])?;
    ARM64.explains("key", &["--set", "guest.hide=[\"pauth\"]"])
}

/// A guest that is entered in the other byte order than it is written in does not reach its second
/// instruction.
fn entered_in_the_wrong_byte_order() -> Result<()> {
    let board =
        Board { name: "power9", probe: "power9-bench", build: &[], entries: [1, 0], ..POWER9 };
    let wrong = ["--set", "guest.endian=big"];
    let stop = ["--set", "guest.on_fault.instruction=stop"];
    let said = board.make("entry", &[wrong, stop].concat())?;
    said.ended.expect(11, "stopped by the board config's policy: guest instruction")?;
    let cure = board.cure(&said.report)?;
    ensure!(cure.as_deref() == Some("guest.endian=\"little\""), "{:?}", said.report);
    let cure = cure.context("names nothing")?;
    let cured = board.make("entry", &[&wrong[..], &stop, &["--set", &cure]].concat())?;
    cured.ended.expect(0, "the guest powered off")?;
    ensure!(cured.report.iter().all(|line| !line.contains("class=instruction")), "{cure}");
    Ok(())
}

/// `anchorite fault` finds what a guest's and the firmware's own console say, and names the places: by
/// an ELF, and by a list like a kernel's.
fn logs_are_named() -> Result<()> {
    for (board, family) in [(SKIBOOT, "power9"), (ARM64, "arm64")] {
        let said = board.make("memory", &[])?;
        let found = fault(&said.ended.console, &[])?;
        let [report] = &found[..] else { anyhow::bail!("{found:#?}") };
        ensure!(
            report["values"]["class"] == "hole" && report["of_firmware"] == false,
            "{report:#}"
        );
        ensure!(!report["config"].as_array().context("no config")?.is_empty(), "{report:#}");
        let pc = report["places"]["pc"]["address"].as_u64().context("no pc")?;
        let mut map = tempfile::NamedTempFile::new_in(root().join("target/tmp"))?;
        writeln!(map, "{:016x} T before\n{:016x} t here\n{:016x} T behind", 16, pc - 8, pc + 4)?;
        let found = fault(&said.ended.console, &["--symbols".as_ref(), map.path().as_os_str()])?;
        ensure!(found[0]["places"]["pc"]["symbol"] == "here+0x8", "{found:#?}");

        let dies = [board.build, &["--set", "firmware.debug_fault=exception"]].concat();
        let image = build(board.probe, &format!("fault-{}", board.name), &dies)?;
        let ended = Guest::start(&image.path, board.run)?.end()?;
        ended.expect(12, "the firmware failed: exception")?;
        let firmware = |family| root().join("target/firmware").join(family).join("body.elf");
        let with = |body: &Path| {
            let image = image.path.as_os_str();
            let more = ["--firmware".as_ref(), body.as_os_str(), "--image".as_ref(), image];
            fault(&ended.console, &more)
        };
        let found = with(&firmware(family))?;
        let [last] = &found[..] else { anyhow::bail!("{found:#?}") };
        ensure!(last["of_firmware"] == true && last["values"]["code"] == "12", "{last:#}");
        let symbol = last["places"]["pc"]["symbol"].as_str().unwrap_or_default();
        ensure!(symbol.starts_with("body::"), "{last:#}");
        let other = if family == "arm64" { "power9" } else { "arm64" };
        let refused = with(&firmware(other)).err().context("another firmware's names")?;
        ensure!(refused.to_string().contains("is not the firmware of"), "{refused}");
    }
    Ok(())
}

/// What `anchorite fault` finds in a log.
fn fault(log: &str, arguments: &[&OsStr]) -> Result<Vec<Value>> {
    let mut file = tempfile::NamedTempFile::new_in(root().join("target/tmp"))?;
    file.write_all(log.as_bytes())?;
    let mut command = anchorite();
    command.args(["fault", "--json"]).arg(file.path()).args(arguments);
    let found: Value = serde_json::from_slice(&succeed(&mut command)?)?;
    Ok(found["reports"].as_array().context("no reports")?.clone())
}

fn the_ninth_is_only_counted() -> Result<()> {
    for board in [POWER9, ARM64] {
        let said = board.make("memory;times=20", &[])?;
        said.ended.expect(0, "the guest powered off")?;
        let console = &said.ended.console;
        ensure!(console.matches("anchorite: guest load at guest ").count() == 8, "{console}");
        ensure!(console.matches("@fault class=hole ").count() == 8, "{console}");
        ensure!(console.matches("anchorite: 16 faults so far of class hole").count() == 1);
        ensure!(console.matches("faults so far").count() == 1, "{console}");
        ensure!(console.matches("fault=memory;").count() == 20, "{console}");
    }
    Ok(())
}

/// What the config says becomes of a guest that makes a fault of a class, does; and of another class not.
fn policies() -> Result<()> {
    for board in [POWER9, ARM64] {
        let with = |fault: &str, class: &str, policy: &str, more: &[&str]| {
            let set = format!("guest.on_fault.{class}={policy}");
            board.make(fault, &[&["--set", &set], more].concat())
        };
        let stopped = with("memory", "hole", "stop", &[])?;
        stopped.ended.expect(11, "stopped by the board config's policy: guest load at guest")?;
        ensure!(stopped.report[0].ends_with(": stopped by policy"), "{:?}", stopped.report);
        ensure!(stopped.ended.console.contains("@end status=policy-stop code=11"));
        ensure!(!stopped.ended.console.contains("fault=memory;"), "the guest went on");
        let off = with("register", "register", "power-off", &[])?;
        off.ended.expect(0, "the guest powered off")?;
        ensure!(off.report[0].ends_with(": powered off by policy"), "{:?}", off.report);
        ensure!(!off.ended.console.contains("fault=register;"), "the guest went on");
        let twice = ["--set", "guest.restart_budget=2"];
        let again = with(board.instruction, "instruction", "restart", &twice)?;
        again.ended.expect(15, "the guest was restarted as often as the config allows")?;
        let lines =
            again.ended.console.lines().filter(|line| line.starts_with("anchorite: guest "));
        let by_policy = lines.filter(|line| line.ends_with(": restarted by policy"));
        ensure!(by_policy.count() == 3, "{}", again.ended.console);
        ensure!(again.ended.console.contains("@restart count=2 after=policy-stop"));
        let other = with("memory", "permission", "stop", &[])?;
        other.ended.expect(0, "the guest powered off")?;
        ensure!(other.report[0].contains(" injected"), "{:?}", other.report);
    }
    Ok(())
}
