// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `make mutants`: one line for each mechanism, what was removed and which test caught it. Fails if a
//! removal survives its test, or if a test fails with nothing removed.
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anchorite_tests::mutants::{Outcome, Tree, lists};
use anyhow::{Result, ensure};

/// How long a test with nothing removed may take, without its build.
const MOST: Duration = Duration::from_secs(1800);
/// How long one may take at least that something was removed for.
const LEAST: Duration = Duration::from_secs(60);

fn main() -> Result<ExitCode> {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let wanted = |mechanism: &str| {
        let rest = mechanism.strip_prefix(filter.as_str());
        // "POWER9 1" is not "POWER9 18".
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    };
    let lists = lists()?;
    let mutants: Vec<_> =
        lists.iter().flat_map(|list| &list.mutant).filter(|m| wanted(&m.mechanism)).collect();
    ensure!(!mutants.is_empty(), "no mechanism is called {filter}");
    let tree = Tree::refreshed()?;

    println!("with nothing removed, which has to pass:");
    let mut limits = BTreeMap::new();
    for mutant in &mutants {
        if limits.contains_key(&mutant.test) {
            continue;
        }
        let (outcome, took) = tree.outcome(mutant, MOST)?;
        ensure!(outcome == Outcome::Passed, "{} fails with nothing removed", mutant.test);
        limits.insert(&mutant.test, LEAST + 3 * took);
        println!("  ok         {}", mutant.test);
    }
    println!("removed:");
    let mut bad = 0;
    for mutant in &mutants {
        let (verdict, by) = match tree.without(mutant, limits[&mutant.test]) {
            Ok(Outcome::Failed) => ("caught", format!("by {}", mutant.test)),
            Ok(Outcome::NoEnd) => ("caught", format!("by {}, which does not end", mutant.test)),
            Ok(Outcome::Passed) => ("SURVIVED", mutant.test.clone()),
            Err(error) => ("NOT TRIED", format!("{error:#}")),
        };
        bad += u32::from(verdict != "caught");
        println!("  {verdict:<10} {:<9} {}: {by}", mutant.mechanism, mutant.removed);
    }
    for absent in lists.iter().flat_map(|list| &list.absent).filter(|a| wanted(&a.mechanism)) {
        println!("  not there  {:<9} {}", absent.mechanism, absent.why);
    }
    println!("{} caught, {bad} not", mutants.len() as u32 - bad);
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
