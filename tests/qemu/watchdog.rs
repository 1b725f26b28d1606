// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware's watchdog: silent guests are found, and others are not. With instructions counted as
//! time, so that no host is too slow; who sleeps takes none.
use anchorite_tests::Tests;
use anchorite_tests::guest::Guest;
use anchorite_tests::image::Image;
use anchorite_tests::probe::build;
use anchorite_tests::watchdog::{BOARDS, Board, idle};
use anyhow::{Result, ensure};

pub const TESTS: Tests = &[
    ("watchdog::a_guest_that_spins_is_restarted", a_guest_that_spins_is_restarted),
    ("watchdog::a_guest_without_a_cpu_has_ended", a_guest_without_a_cpu_has_ended),
    ("watchdog::calls_feed_it_and_nothing_else", calls_feed_it_and_nothing_else),
    ("watchdog::a_guest_that_sleeps_lives", a_guest_that_sleeps_lives),
    ("watchdog::linux_idles", linux_idles),
];

/// A probe on a board, under a watchdog of these seconds.
fn probe(board: &Board, how: &str, seconds: u32, watchdog: &str, more: &[&str]) -> Result<Image> {
    let name = format!("{}-{how}", board.name);
    let watchdog = format!("firmware.watchdog={{timeout={seconds},{watchdog}}}");
    let cmdline = format!("silent={how}");
    let arguments = ["--set", &watchdog, "--cmdline", &cmdline];
    build(board.probe, &name, &[&arguments[..], board.config, more].concat())
}

/// All CPUs spin with interrupts off, in each life; then the budget is spent. Here time is the host's:
/// what spins takes much of it otherwise.
fn a_guest_that_spins_is_restarted() -> Result<()> {
    for board in BOARDS {
        let image = probe(board, "spin", 2, "action=\"restart\",budget=1", board.cpus)?;
        let ended = Guest::start(&image.path, board.run)?.end()?;
        ended.expect(15, "the guest was restarted as often as the config allows")?;
        let said = "anchorite: the watchdog has seen no sign of life for 2 s: restart";
        for (text, times) in [(said, 2), ("@restart count=1 after=silence", 1), ("@restart ", 1)] {
            let found = ended.console.matches(text).count();
            ensure!(found == times, "{}: {found} times {text:?}", board.name);
        }
        ensure!(
            ended.console.contains("all CPUs fall silent"),
            "{}\n{}",
            board.name,
            ended.console
        );
    }
    Ok(())
}

/// All CPUs go off, at once or nearly: none is left on which a watchdog could look. The end is that of
/// a panic, and so may be a restart.
fn a_guest_without_a_cpu_has_ended() -> Result<()> {
    let boards = BOARDS.iter().map(|board| (board, board.name, board.config));
    for (board, name, config) in boards.chain([(&BOARDS[2], "watchdog-direct", &[][..])]) {
        let restart = ["--set", "guest.on_panic=restart", "--set", "guest.restart_budget=2"];
        let arguments = [&["--cmdline", "silent=off"], &restart[..], config, board.cpus].concat();
        let image = build(board.probe, &format!("{name}-off"), &arguments)?;
        let ended = Guest::start(&image.path, board.run)?.end()?;
        ended.expect(15, "the guest was restarted as often as the config allows")?;
        let lives = ended.console.matches("all CPUs go off").count();
        let restarts = ended.console.matches("after=guest-panic").count();
        ensure!((lives, restarts) == (3, 2), "{name}\n{}", ended.console);
    }
    Ok(())
}

fn calls_feed_it_and_nothing_else() -> Result<()> {
    for (board, (action, code, status)) in BOARDS.iter().zip([
        ("power-off", 16, "silence"),
        ("stop", 11, "policy-stop"),
        ("power-off", 16, "silence"),
    ]) {
        let watchdog = format!("progress=\"ping\",action=\"{action}\"");
        let image = probe(board, "ping", 1, &watchdog, &[])?;
        let ended = Guest::start(&image.path, &[&["--icount"], board.run].concat())?.end()?;
        ended.expect(code, &format!("the watchdog has seen no call for 1 s: {action}"))?;
        ensure!(!ended.console.contains(" FAIL "), "{}", ended.console);
        let alive = ended.console.matches("alive for 4").count();
        ensure!(alive == 1, "{}: {alive} times alive\n{}", board.name, ended.console);
        let end = format!("@end status={status} code={code}");
        ensure!(ended.console.contains(&end), "{}: no {end}", board.name);
    }
    Ok(())
}

/// Its timer is too far away to be a sign of life, and that it sleeps on is one.
fn a_guest_that_sleeps_lives() -> Result<()> {
    for board in BOARDS {
        let image = probe(board, "sleep", 1, "action=\"stop\"", &[])?;
        let ended = Guest::start(&image.path, &[&["--icount"], board.run].concat())?.end()?;
        ended.expect(0, "the guest powered off")?;
        ensure!(ended.console.contains("alive for 4"), "{}\n{}", board.name, ended.console);
    }
    Ok(())
}

/// A minute of the guest's time without anything to do; `make soak` has all boards.
fn linux_idles() -> Result<()> {
    idle(&BOARDS[1], &["--icount"], 5, 60)
}
