// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lines on a probe's console: `probe NAME ok`, or `probe NAME FAIL …`.
use core::cell::Cell;
use core::fmt;

use crate::say;

#[path = "say.rs"]
mod say;

/// A probe under way: it is ok unless something was not as wanted.
pub struct Probe {
    name: &'static str,
    wrong: Cell<u32>,
}

/// Differences of one probe that are printed.
const SHOWN: u32 = 6;

impl Probe {
    /// Runs a probe and prints its verdict.
    pub fn run(name: &'static str, body: impl FnOnce(&Self)) {
        let probe = Self { name, wrong: Cell::new(0) };
        body(&probe);
        match probe.wrong.get() {
            0 => say!("probe {name} ok"),
            n => say!("probe {name} FAIL got={n} differences want=0"),
        }
    }

    /// What came, against what should have.
    pub fn equal(&self, what: &dyn fmt::Display, got: u64, want: u64) {
        if got != want {
            self.wrong.set(self.wrong.get() + 1);
            if self.wrong.get() <= SHOWN {
                say!("probe {} FAIL got={got:#x} want={want:#x} in {what}", self.name);
            }
        }
    }

    /// A condition.
    pub fn holds(&self, what: &dyn fmt::Display, condition: bool) {
        self.equal(what, u64::from(condition), 1);
    }
}
