// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Restarts in place of a guest of our own, a few; Debian's are with its other boots. `make soak` has
//! more.
use anchorite_tests::Tests;
use anchorite_tests::restart::lives;
use anyhow::Result;

pub const TESTS: Tests = &[
    ("restart::an_arm64_guest_begins_as_at_first", an_arm64_guest_begins_as_at_first),
    ("restart::a_guarded_guest_begins_as_at_first", a_guarded_guest_begins_as_at_first),
];

/// Ten lives have every combination of what the guest does.
fn an_arm64_guest_begins_as_at_first() -> Result<()> {
    lives("arm64-probe", "lives", &["--cpu", "max"], &[], 10)
}

fn a_guarded_guest_begins_as_at_first() -> Result<()> {
    let set = ["--set", "guest.interrupts=guarded"];
    lives("arm64-probe", "lives=guarded", &["--cpu", "cortex-a53"], &set, 5)
}
