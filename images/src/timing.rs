// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long exits took, out of a machine's RAM: what `anchorite stats` tells of a machine whose board
//! config has `firmware.timing`.
//!
//! The vCPUs write on while their records are copied, and nothing says in what order memory is: the
//! check in each record tells a torn copy, and it is copied again.
use std::collections::BTreeMap;

use anchorite_spec::ledger::{CPUS, SLOTS};
use anchorite_spec::timing::{
    EXITS_WORDS, Exits, Phase, SPENT_WORDS, Spent, Times, class_from, is_whole,
};
use anchorite_spec::{ExitReason, Ledger};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use zerocopy::FromBytes;

use crate::stats::{Memory, grouped, sum};

/// How often a record is copied before it is said to be written all the time.
const TRIES: u32 = 500;

/// What was read; also what `--json` has of it. All times are in ticks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timing {
    /// What times are in.
    unit: String,
    /// Ticks per second.
    hz: u64,
    /// By vCPU.
    cpus: Vec<Cpu>,
    /// By reason, of all vCPUs.
    exits: BTreeMap<String, Reason>,
    /// Records that were written during every try to copy them: not told above.
    never_calm: Vec<String>,
}

/// One vCPU's.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Cpu {
    cpu: usize,
    /// When it was first counted.
    started: u64,
    /// How far it is accounted for: to its last exit's vector.
    until: u64,
    /// Between the two: the sum of `phases`.
    elapsed: u64,
    /// By [`Phase`].
    phases: BTreeMap<String, u64>,
    /// By reason.
    exits: BTreeMap<String, Reason>,
}

/// Exits for one reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Reason {
    count: u64,
    total: u64,
    /// Not known of a window between two readings.
    min: Option<u64>,
    mean: f64,
    max: Option<u64>,
    /// How many took at least so many ticks, and less than twice as many; the last class has no end.
    histogram: BTreeMap<u64, u64>,
}

impl Timing {
    /// Reads all records; `None` if the firmware takes no time.
    ///
    /// # Errors
    ///
    /// The memory cannot be read.
    pub fn take<M: Memory>(memory: &mut M, ledger: &Ledger) -> Result<Option<Self>> {
        if ledger.timing == 0 {
            return Ok(None);
        }
        let cpus = (ledger.cpus as usize).min(CPUS);
        let size = size_of::<Times>();
        let mut timing = Self {
            unit: "ticks".into(),
            hz: ledger.timebase_hz,
            cpus: (0..cpus).map(|cpu| Cpu { cpu, ..Cpu::default() }).collect(),
            exits: BTreeMap::new(),
            never_calm: Vec::new(),
        };
        for index in 0..cpus {
            let base = ledger.timing.wrapping_add((index * size) as u64);
            // All at once first: most records are calm.
            let bytes = memory.read(base, size)?;
            let mut record = |at: usize, len: usize| -> Result<Option<Vec<u8>>> {
                let mut copy = bytes[at..at + len].to_vec();
                for _ in 0..TRIES {
                    if is_whole(&words(&copy)) {
                        return Ok(Some(copy));
                    }
                    copy = memory.read(base.wrapping_add(at as u64), len)?;
                }
                Ok(None)
            };
            let Timing { cpus, never_calm, .. } = &mut timing;
            let cpu = &mut cpus[index];
            match record(0, SPENT_WORDS * 8)? {
                Some(copy) => cpu.account(&Spent::read_from_bytes(&copy).ok().context("size")?),
                None => never_calm.push(format!("cpu {index}: phases")),
            }
            for slot in 0..SLOTS {
                let name = ExitReason::from_slot(slot).map(ExitReason::name);
                let name = name.map_or_else(|| format!("slot-{slot}"), str::to_owned);
                match record((SPENT_WORDS + slot * EXITS_WORDS) * 8, EXITS_WORDS * 8)? {
                    Some(copy) => {
                        let exits = Exits::read_from_bytes(&copy).ok().context("size")?;
                        if exits.count > 0 {
                            cpu.exits.insert(name, Reason::new(&exits));
                        }
                    }
                    None => never_calm.push(format!("cpu {index}: {name}")),
                }
            }
        }
        timing.merge();
        Ok(Some(timing))
    }

    /// What was added since an earlier reading.
    ///
    /// # Errors
    ///
    /// That is none of the same machine's.
    pub fn since(&self, earlier: &Self) -> Result<Self> {
        ensure!(self.hz == earlier.hz && self.cpus.len() == earlier.cpus.len(), "another machine");
        let mut window = self.clone();
        for (cpu, before) in window.cpus.iter_mut().zip(&earlier.cpus) {
            ensure!(cpu.started == before.started, "another run");
            let less = |now: u64, then: u64| now.checked_sub(then).context("a later reading");
            cpu.started = before.until;
            cpu.elapsed = less(cpu.until, before.until)?;
            for (name, ticks) in &mut cpu.phases {
                *ticks = less(*ticks, before.phases.get(name).copied().unwrap_or(0))?;
            }
            for (name, reason) in &mut cpu.exits {
                let Some(then) = before.exits.get(name) else { continue };
                reason.count = less(reason.count, then.count)?;
                reason.total = less(reason.total, then.total)?;
                (reason.min, reason.max) = (None, None);
                for (from, count) in &mut reason.histogram {
                    *count = less(*count, then.histogram.get(from).copied().unwrap_or(0))?;
                }
                reason.histogram.retain(|_, count| *count > 0);
                reason.set_mean();
            }
            cpu.exits.retain(|_, reason| reason.count > 0);
        }
        window.never_calm.extend(earlier.never_calm.iter().map(|what| format!("{what}, before")));
        window.merge();
        Ok(window)
    }

    fn merge(&mut self) {
        self.exits = BTreeMap::new();
        for (name, reason) in self.cpus.iter().flat_map(|cpu| &cpu.exits) {
            match self.exits.get_mut(name) {
                Some(all) => all.add(reason),
                None => drop(self.exits.insert(name.clone(), reason.clone())),
            }
        }
    }

    /// Lines for people.
    pub fn text(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "time, in {} of {} Hz, to each CPU's last exit",
            self.unit,
            grouped(self.hz)
        )];
        for cpu in &self.cpus {
            lines.push(format!("cpu {}: {} ticks", cpu.cpu, grouped(cpu.elapsed)));
            for phase in Phase::ALL {
                let ticks = cpu.phases.get(phase.name()).copied().unwrap_or(0);
                let share = ticks as f64 * 100.0 / cpu.elapsed.max(1) as f64;
                lines.push(format!("  {:>18}  {share:>9.5} %  {}", grouped(ticks), phase.name()));
            }
        }
        let mut reasons: Vec<_> = self.exits.iter().collect();
        reasons.sort_by_key(|(name, reason)| (std::cmp::Reverse(reason.total), *name));
        if !reasons.is_empty() {
            lines.push(format!(
                "  {:>14} {:>12} {:>14} {:>14} {:>18}",
                "exits", "min", "mean", "max", "total"
            ));
        }
        for (name, reason) in reasons {
            let known = |value: Option<u64>| value.map_or_else(|| "-".into(), grouped);
            lines.push(format!(
                "  {:>14} {:>12} {:>14.1} {:>14} {:>18}  {name}",
                grouped(reason.count),
                known(reason.min),
                reason.mean,
                known(reason.max),
                grouped(reason.total)
            ));
            let classes: Vec<String> = reason
                .histogram
                .iter()
                .map(|(from, n)| format!("{from}+: {}", grouped(*n)))
                .collect();
            lines.push(format!("  {:>14} {}", "", classes.join(", ")));
        }
        lines.extend(self.never_calm.iter().map(|what| format!("never calm, not told: {what}")));
        lines
    }
}

impl Cpu {
    fn account(&mut self, spent: &Spent) {
        (self.started, self.until) = (spent.started, spent.until);
        self.elapsed = spent.until.wrapping_sub(spent.started);
        let named = Phase::ALL.iter().zip(spent.ticks);
        self.phases = named.map(|(phase, ticks)| (phase.name().to_owned(), ticks)).collect();
    }
}

impl Reason {
    fn new(exits: &Exits) -> Self {
        let classes = exits.histogram.iter().enumerate().filter(|(_, count)| **count > 0);
        let mut reason = Self {
            count: exits.count,
            total: exits.total,
            min: Some(exits.least()),
            mean: 0.0,
            max: Some(exits.longest),
            histogram: classes.map(|(class, count)| (class_from(class), *count)).collect(),
        };
        reason.set_mean();
        reason
    }

    fn add(&mut self, other: &Self) {
        self.count = sum([self.count, other.count]);
        self.total = sum([self.total, other.total]);
        self.min = self.min.zip(other.min).map(|(one, two)| one.min(two));
        self.max = self.max.zip(other.max).map(|(one, two)| one.max(two));
        for (from, count) in &other.histogram {
            let all = self.histogram.entry(*from).or_default();
            *all = sum([*all, *count]);
        }
        self.set_mean();
    }

    fn set_mean(&mut self) {
        self.mean = self.total as f64 / self.count.max(1) as f64;
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).filter_map(|word| u64::read_from_bytes(word).ok()).collect()
}

#[cfg(test)]
mod tests {
    use anchorite_spec::timing::{Timing as Records, check};
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    /// Memory at 0x1000, some of whose records are torn in the first copies.
    struct Busy {
        records: Box<Records>,
        torn: u32,
        reads: u32,
    }

    impl Memory for Busy {
        fn read(&mut self, address: u64, size: usize) -> Result<Vec<u8>> {
            let at = usize::try_from(address - 0x1000)?;
            let mut bytes = self.records.as_bytes()[at..at + size].to_vec();
            self.reads += 1;
            // The first vCPU's second reason, alone or with all others: its total lags behind.
            let total =
                if size == EXITS_WORDS * 8 { 16 } else { (SPENT_WORDS + EXITS_WORDS + 2) * 8 };
            if address < 0x1000 + size_of::<Times>() as u64 && self.torn > 0 {
                self.torn -= 1;
                bytes[total] ^= 1;
            }
            Ok(bytes)
        }
    }

    fn machine(torn: u32) -> (Busy, Ledger) {
        let mut records: Box<Records> = Box::new(<Records as FromZeros>::new_zeroed());
        for (cpu, times) in records.iter_mut().enumerate().take(2) {
            let n = cpu as u64 + 1;
            times.spent.started = 100;
            times.spent.until = 100 + 60 * n;
            times.spent.ticks = [10 * n; 6];
            times.spent.check = check(&words(times.spent.as_bytes()));
            let exits = &mut times.exits[1];
            (exits.count, exits.total, exits.longest, exits.shortest) = (3, 12 * n, 6 * n, !n);
            (exits.histogram[1], exits.histogram[3]) = (1, 2);
            exits.check = check(&words(exits.as_bytes()));
        }
        let ledger = Ledger { timing: 0x1000, ..Ledger::new(2, 1000) };
        (Busy { records, torn, reads: 0 }, ledger)
    }

    fn take(machine: &mut Busy, ledger: &Ledger) -> Timing {
        Timing::take(machine, ledger).unwrap().expect("timed")
    }

    #[test]
    fn a_torn_record_is_read_again_and_one_that_always_is_named() {
        let (mut calm, ledger) = machine(0);
        let all = take(&mut calm, &ledger);
        assert_eq!(calm.reads, 2, "one for each vCPU");
        let name = ExitReason::ALL[1].name();
        let expected = Reason {
            count: 6,
            total: 36,
            min: Some(1),
            mean: 6.0,
            max: Some(12),
            histogram: [(1, 2), (4, 4)].into(),
        };
        assert_eq!(all.exits[name], expected);
        assert_eq!(all.cpus[1].phases.values().sum::<u64>(), all.cpus[1].elapsed);
        let (mut busy, ledger) = machine(7);
        let again = take(&mut busy, &ledger);
        assert_eq!((again.exits[name].clone(), busy.reads), (expected, 2 + 7));
        let (mut never, ledger) = machine(u32::MAX);
        let rest = take(&mut never, &ledger);
        assert_eq!(rest.never_calm, [format!("cpu 0: {name}")]);
        assert_eq!(rest.exits[name].count, 3, "the other's");
        assert!(rest.text().iter().any(|line| line.starts_with("never calm, not told: cpu 0")));
    }

    #[test]
    fn a_window_has_what_was_added() {
        let (mut first, ledger) = machine(0);
        let before = take(&mut first, &ledger);
        let times = &mut first.records[0];
        (times.spent.until, times.spent.ticks[0]) = (200, 50);
        times.spent.check = check(&words(times.spent.as_bytes()));
        let exits = &mut times.exits[1];
        (exits.count, exits.total, exits.histogram[3]) = (5, 22, 4);
        exits.check = check(&words(exits.as_bytes()));
        let after = take(&mut first, &ledger);
        let before: Timing = serde_json::from_value(serde_json::json!(before)).unwrap();
        let window = after.since(&before).unwrap();
        assert_eq!((window.cpus[0].elapsed, window.cpus[0].phases["guest"]), (40, 40));
        let reason = &window.exits[ExitReason::ALL[1].name()];
        assert_eq!((reason.count, reason.total, reason.min), (2, 10, None));
        assert_eq!(reason.histogram, [(4, 2)].into());
        assert!(window.text().iter().any(|line| line.contains("100.00000 %  guest")));
        assert!(before.since(&after).is_err(), "the wrong way round");
    }
}
