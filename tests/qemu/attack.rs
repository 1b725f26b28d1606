// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every board under attack by a guest on four CPUs, which is restarted in the middle of it. `make soak`
//! does a hundred times as much.
use anchorite_tests::Tests;
use anchorite_tests::attack::{ARM64, ARM64_GUARDED, POWER9_BARE, POWER9_OPAL, SHORT};

/// How often each way to restart is used.
const ROUNDS: usize = 1;

pub const TESTS: Tests = &[
    ("attack::power9_under_skiboot", || POWER9_OPAL.attack(SHORT, ROUNDS)),
    ("attack::power9_without_skiboot", || POWER9_BARE.attack(SHORT, ROUNDS)),
    ("attack::arm64_direct", || ARM64.attack(SHORT, ROUNDS)),
    ("attack::arm64_guarded", || ARM64_GUARDED.attack(SHORT, ROUNDS)),
];
