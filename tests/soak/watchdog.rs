// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware's watchdog and a Linux that does nothing, in the host's time.
use anchorite_tests::trial;
use anchorite_tests::watchdog::{BOARDS, idle};
use libtest_mimic::Trial;

/// One test for each board.
pub fn trials() -> Vec<Trial> {
    let idles = |board| move || idle(board, &["--timeout", "1000"], 30, 90);
    BOARDS
        .iter()
        .map(|board| trial(format!("watchdog::idle::{}", board.name), idles(board)))
        .collect()
}
