// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The image file: what its report says, that it repeats, and that the machine has what it says.
use std::fs;
use std::time::Duration;

use anchorite_spec::manifest::MAP_BOOT_LEAF;
use anchorite_tests::guest::Guest;
use anchorite_tests::image::{build, default_image, power_off_image};
use anchorite_tests::monitor::Monitor;
use anchorite_tests::{Tests, anchorite, board, live, output, succeed};
use anyhow::{Result, ensure};
use serde_json::Value;

pub const TESTS: Tests = &[
    ("image::the_walls_are_proved", the_walls_are_proved),
    ("image::the_same_inputs_give_the_same_bytes", the_same_inputs_give_the_same_bytes),
    ("image::live_tables_are_the_files", live_tables_are_the_files),
    ("image::the_command_can_be_printed", the_command_can_be_printed),
];

fn the_walls_are_proved() -> Result<()> {
    let image = default_image()?;
    let report = succeed(anchorite().arg("inspect").arg("--json").arg(&image.path))?;
    let report: Value = serde_json::from_slice(&report)?;
    let text = report.to_string();
    ensure!(!text.contains("NOT PROVED"), "{report:#}");
    Ok(())
}

fn the_same_inputs_give_the_same_bytes() -> Result<()> {
    let image = default_image()?;
    let directory = tempfile::tempdir()?;
    let again = directory.path().join("again.elf");
    build(&again, &[])?;
    ensure!(fs::read(again)? == **image.bytes, "two builds differ");
    Ok(())
}

fn live_tables_are_the_files() -> Result<()> {
    let image = default_image()?;
    let leaves = image.manifest.mappings().filter(|mapping| mapping.kind == MAP_BOOT_LEAF);
    let pages: u64 = leaves.map(|leaf| leaf.size >> 16).sum();
    let guest = Guest::boot(&image.path, &[])?;
    let filled = live::tables(&mut Monitor::connect(guest.qmp())?, &image)?;
    ensure!(filled > 0 && filled <= pages, "{filled} leaves filled for {pages} pages");
    guest.power_off()?;
    Ok(())
}

fn the_command_can_be_printed() -> Result<()> {
    let image = power_off_image()?;
    let mut command = anchorite();
    command.arg("run").arg("--board").arg(board()).arg("--image").arg(&image.path);
    let printed = output(command.args(["--print-command", "--cpu", "power9_v2.2"]))?;
    ensure!(printed.status.success());
    let line = String::from_utf8(printed.stdout)?;
    ensure!(line.contains("-cpu power9_v2.2") && line.lines().count() == 1, "{line}");
    // Pasted into a shell, it boots.
    let line = format!("{} -no-shutdown >\"$0\" 2>&1 </dev/null", line.trim());
    let log = tempfile::NamedTempFile::new()?;
    let mut shell = std::process::Command::new("timeout")
        .args(["300", "sh", "-c", &line])
        .arg(log.path())
        .spawn()?;
    let limit = std::time::Instant::now() + Duration::from_secs(290);
    let booted = loop {
        let console = String::from_utf8_lossy(&fs::read(log.path())?).into_owned();
        if console.contains("@end status=powered-off") {
            break true;
        }
        if std::time::Instant::now() > limit {
            eprintln!("{console}");
            break false;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    // The shell's own `kill`: a small system has no other. `timeout` passes the signal on.
    let kill = format!("kill {}", shell.id());
    let ended = std::process::Command::new("sh").args(["-c", &kill]).status();
    shell.wait()?;
    ended?;
    ensure!(booted, "the printed command does not boot");
    Ok(())
}
