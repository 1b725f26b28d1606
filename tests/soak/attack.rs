// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every board under attack, a hundred times as long as in `make test`, with a seed of its own.
use anchorite_tests::attack::{ARM64, ARM64_GUARDED, Board, LONG, POWER9_BARE, POWER9_OPAL};
use anchorite_tests::trial;
use libtest_mimic::Trial;

const BOARDS: [&Board; 4] = [&POWER9_OPAL, &POWER9_BARE, &ARM64, &ARM64_GUARDED];

/// One test for each.
pub fn trials() -> Vec<Trial> {
    let trial = |board: &&'static Board| {
        let board = *board;
        trial(format!("attack::{}", board.name), move || board.attack(LONG))
    };
    BOARDS.iter().map(trial).collect()
}
