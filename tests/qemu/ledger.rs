// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ledger: what it counts, that it counts all, and the ways to read it.
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anchorite_tests::guest::{Ended, Guest};
use anchorite_tests::image::{default_image, power_off_image};
use anchorite_tests::monitor::Monitor;
use anchorite_tests::{anchorite, output};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

pub const TESTS: &[(&str, fn() -> Result<()>)] = &[
    ("ledger::a_busy_guest_makes_no_other_exits", a_busy_guest_makes_no_other_exits),
    ("ledger::all_ways_to_read_it_agree", all_ways_to_read_it_agree),
    ("ledger::it_counts_what_qemu_counts", it_counts_what_qemu_counts),
    ("ledger::counted_runs_repeat", counted_runs_repeat),
];

fn stats(arguments: &[&std::ffi::OsStr]) -> Result<Value> {
    let read = output(anchorite().arg("stats").arg("--json").args(arguments))?;
    ensure!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    Ok(serde_json::from_slice(&read.stdout)?)
}

fn live(guest: &Guest) -> Result<Value> {
    stats(&["--qmp".as_ref(), guest.qmp().as_ref()])
}

fn count(reading: &Value, name: &str) -> u64 {
    reading["exits"][name].as_u64().unwrap_or(0)
}

/// What a guest in steady state may ask for, and what OPAL does of its own.
const ALLOWED: &[&str] =
    &["h_cede", "h_put_term_char", "h_get_term_char", "opal-heartbeat", "opal-event"];

fn a_busy_guest_makes_no_other_exits() -> Result<()> {
    let mut guest = Guest::boot(&default_image()?.path, &[])?;
    // Timers, processes, system calls, page faults.
    guest.send(
        b"( while :; do sleep 0.01; : | cat; done & \
           dd if=/dev/zero of=/dev/null bs=1 count=100000000 2>/dev/null & wait ) &\n",
    )?;
    sleep(Duration::from_secs(2));
    let ticks = |guest: &mut Guest| -> Result<u64> {
        let line = guest.shell("grep -i 'LOC:' /proc/interrupts")?;
        Ok(line.split_whitespace().nth(1).context("no LOC: line")?.parse()?)
    };
    let timers_before = ticks(&mut guest)?;
    let before = live(&guest)?;
    sleep(Duration::from_secs(10));
    let after = live(&guest)?;
    let timers = ticks(&mut guest)? - timers_before;
    ensure!(timers > 500, "only {timers} timer interrupts: no load");
    let names = after["exits"].as_object().context("no exits")?.keys();
    for name in names.filter(|name| !ALLOWED.contains(&name.as_str())) {
        let more = count(&after, name) - count(&before, name);
        ensure!(more == 0, "{more} of {name} in 10 s\n{after:#}");
    }
    let all = after["total"].as_u64().context("no total")?;
    ensure!(all > before["total"].as_u64().context("no total")?);
    // From a busy shell: ^C-like, so that power-off comes through.
    guest.power_off()?;
    Ok(())
}

fn all_ways_to_read_it_agree() -> Result<()> {
    let guest = Guest::boot(&default_image()?.path, &[])?;
    let directory = tempfile::tempdir()?;
    let (raw, core) = (directory.path().join("raw"), directory.path().join("core"));
    let mut monitor = Monitor::connect(guest.qmp())?;
    monitor.execute("stop", &json!({}))?;
    const SIZE: u64 = 4 << 20;
    monitor.execute("pmemsave", &json!({ "val": 0, "size": SIZE, "filename": raw }))?;
    let to = format!("file:{}", core.display());
    let dump = json!({ "paging": false, "protocol": to, "begin": 0, "length": SIZE });
    monitor.execute("dump-guest-memory", &dump)?;
    // One client at a time.
    drop(monitor);
    let by_qmp = live(&guest)?;
    ensure!(by_qmp == live(&guest)?, "a stopped machine's ledger moves");
    for dump in [&raw, &core] {
        let by_dump = stats(&["--dump".as_ref(), dump.as_ref()])?;
        ensure!(by_dump == by_qmp, "{}: {by_dump:#}\n{by_qmp:#}", dump.display());
    }
    ensure!(by_qmp["end"]["state"] == "running", "{by_qmp:#}");
    let cpus = by_qmp["cpus"].as_array().context("no cpus")?;
    let sum: u64 = cpus.iter().filter_map(|cpu| cpu["total"].as_u64()).sum();
    ensure!(cpus.len() == 1 && by_qmp["total"] == sum && sum > 1000, "{by_qmp:#}");
    let mut monitor = Monitor::connect(guest.qmp())?;
    monitor.execute("cont", &json!({}))?;
    drop(monitor);
    guest.power_off()?;
    Ok(())
}

/// The second witness: QEMU's own log of every exception it delivers.
fn it_counts_what_qemu_counts() -> Result<()> {
    let image = default_image()?;
    let log = tempfile::NamedTempFile::new()?;
    let path = log.path().to_str().context("no UTF-8 path")?;
    let arguments = ["-d", "int", "-D", path].map(|word| ["--qemu-arg", word]).concat();
    let mut guest = Guest::boot(&image.path, &arguments)?;
    guest.shell("sleep 2")?;
    guest.run("devmem 0x90000000")?;
    guest.power_off().and_then(|ended| {
        let counted = ended
            .report
            .lines()
            .find_map(|line| line.strip_prefix("anchorite: ")?.split_once(" exit"))
            .context("no total in the report")?;
        let counted: u64 = counted.0.replace(',', "").parse()?;
        let seen = entries(log.path())?;
        ensure!(counted == seen, "the ledger has {counted}, QEMU's log {seen}");
        Ok(())
    })
}

/// How often QEMU's log shows an entry into hypervisor state, in lines such as
/// `Raise exception at 000000000000a1b4 => HDECR (67) error=00`.
fn entries(log: &Path) -> Result<u64> {
    let mut count = 0;
    for line in BufReader::new(File::open(log)?).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
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

/// Same image, same instructions: the console, where skiboot's stamps show each microsecond and the
/// kernel's too, and the report with the ledger in it are the same to the last byte.
fn counted_runs_repeat() -> Result<()> {
    let image = power_off_image()?;
    let run = || -> Result<Ended> {
        let guest = Guest::start(&image.path, &["--icount"])?;
        let ended = guest.end_within(Duration::from_secs(240))?;
        ended.expect(0, "the guest powered off")?;
        Ok(ended)
    };
    let first = run()?;
    for _ in 0..2 {
        let again = run()?;
        ensure!(again.report == first.report, "{}\nand then\n{}", first.report, again.report);
        let mut lines = first.console.lines().zip(again.console.lines());
        if let Some((one, two)) = lines.find(|(one, two)| one != two) {
            bail!("the consoles differ:\n{one}\n{two}");
        }
        ensure!(again.console == first.console, "one console goes on");
    }
    Ok(())
}
