// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every board under attack, a hundred times as long as in `make test`, with a seed of its own, and restarted
//! in the middle of it twenty times as often.
use anchorite_tests::attack::{AGAIN, ARM64, ARM64_GUARDED, Board, LONG, POWER9_BARE, POWER9_OPAL};
use anchorite_tests::trial;
use libtest_mimic::Trial;

const BOARDS: [&Board; 4] = [&POWER9_OPAL, &POWER9_BARE, &ARM64, &ARM64_GUARDED];

/// How often a guest that is restarted in the middle of an attack ends in each way.
const ROUNDS: usize = 20;

/// Two tests for each.
pub fn trials() -> Vec<Trial> {
    let long = |board: &'static Board| {
        trial(format!("attack::{}", board.name), move || board.attack(LONG, 0))
    };
    let again = |board: &'static Board| {
        trial(format!("attack::again::{}", board.name), move || board.attack(AGAIN, ROUNDS))
    };
    BOARDS.iter().flat_map(|board| [long(board), again(board)]).collect()
}
