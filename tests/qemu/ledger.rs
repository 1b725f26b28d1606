// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ledger: what it counts, that it counts all, and the ways to read it.
use std::thread::sleep;
use std::time::Duration;

use anchorite_tests::guest::{Ended, Guest};
use anchorite_tests::image::{default_image, power_off_image};
use anchorite_tests::monitor::Monitor;
use anchorite_tests::stats::QemuLog;
use anchorite_tests::{Tests, stats, wait_until};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

pub const TESTS: Tests = &[
    ("ledger::a_busy_guest_makes_no_other_exits", a_busy_guest_makes_no_other_exits),
    ("ledger::all_ways_to_read_it_agree", all_ways_to_read_it_agree),
    ("ledger::it_counts_what_qemu_counts", it_counts_what_qemu_counts),
    ("ledger::counted_runs_repeat", counted_runs_repeat),
];

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
    let before = stats::live(&guest)?;
    sleep(Duration::from_secs(10));
    wait_until("500 timer interrupts", || Ok(ticks(&mut guest)? - timers_before > 500))?;
    let after = stats::live(&guest)?;
    stats::only_allowed(&before, &after)?;
    ensure!(stats::total(&after)? > stats::total(&before)?);
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
    let by_qmp = stats::live(&guest)?;
    ensure!(by_qmp == stats::live(&guest)?, "a stopped machine's ledger moves");
    for dump in [&raw, &core] {
        let by_dump = stats::read(&["--dump".as_ref(), dump.as_ref()])?;
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
    let log = QemuLog::new()?;
    let mut guest = Guest::boot(&image.path, &log.arguments())?;
    guest.shell("sleep 2")?;
    guest.run("devmem 0x90000000")?;
    log.agrees(&guest.power_off()?)
}

/// Same image, same instructions: the console, where skiboot's stamps show each microsecond and the
/// kernel's too, and the report with the ledger in it are the same to the last byte.
fn counted_runs_repeat() -> Result<()> {
    let image = power_off_image()?;
    let run = || -> Result<Ended> {
        let guest = Guest::start(&image.path, &["--icount"])?;
        let ended = guest.end()?;
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
