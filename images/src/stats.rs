// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite stats`: the exit ledger out of a running machine's RAM, or out of a dump of it.
//!
//! Nothing but memory is needed: the anchor at its fixed address leads to the ledger. A running
//! machine is not stopped, so that two readings bracket a window.
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anchorite_spec::anchor::{self, Anchor};
use anchorite_spec::epitaph::{self, End, Epitaph};
use anchorite_spec::ledger::{self, Ledger, Row};
use anchorite_spec::phases::Phases;
use anchorite_spec::{ExitReason, Range};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zerocopy::FromBytes;

use crate::exit::Exit;
use crate::qmp::Qmp;
use crate::timing::Timing;
use crate::{cli, say};

/// A machine's memory by host real address.
pub trait Memory {
    /// Reads `size` bytes.
    ///
    /// # Errors
    ///
    /// The bytes are not there, or whoever has them does not answer.
    fn read(&mut self, address: u64, size: usize) -> Result<Vec<u8>>;

    /// Reads one value of plain data.
    ///
    /// # Errors
    ///
    /// As [`Memory::read`].
    fn read_value<T: FromBytes>(&mut self, address: u64) -> Result<T>
    where
        Self: Sized,
    {
        let bytes = self.read(address, size_of::<T>())?;
        T::read_from_bytes(&bytes).map_err(|_| anyhow::anyhow!("short read at {address:#x}"))
    }
}

/// Runs the subcommand.
///
/// # Errors
///
/// The memory cannot be read or holds no ledger.
pub fn stats(args: &cli::StatsArgs) -> Result<u8> {
    let mut reading = match (&args.qmp, &args.dump) {
        (Some(socket), _) => Reading::take(&mut Qmp::connect(socket)?)?,
        (None, Some(file)) => Reading::take(&mut Dump::open(file)?)?,
        (None, None) => return Err(Exit::usage("give --qmp SOCKET or --dump FILE")),
    };
    if let Some(file) = &args.since {
        let refuse = |what: &dyn std::fmt::Display| {
            let file = file.display();
            Exit::refused(format!(
                "{file} is no earlier reading of this run (`stats --json`): {what}"
            ))
        };
        let text = std::fs::read(file).map_err(|error| refuse(&error))?;
        let earlier = serde_json::from_slice(&text).map_err(|error| refuse(&error))?;
        reading.subtract(&earlier).map_err(|error| refuse(&error))?;
    }
    if args.json {
        say::line(format_args!("{:#}", reading.json()));
    } else {
        print!("{}", reading.text());
    }
    Ok(0)
}

/// What one reading found.
pub struct Reading {
    ledger: Ledger,
    epitaph: Epitaph,
    timing: Option<Timing>,
}

impl Reading {
    /// Follows the anchor.
    ///
    /// # Errors
    ///
    /// There is no anchor, or it leads to no ledger.
    pub fn take<M: Memory>(memory: &mut M) -> Result<Self> {
        let found = anchor::ADDRESSES.into_iter().find_map(|address| {
            let anchor: Anchor = memory.read_value(address).ok()?;
            (anchor.is_valid() && anchor.own_address == address).then_some(anchor)
        });
        let Some(anchor) = found else {
            return Err(Exit::refused(
                "no Anchorite firmware in this memory (nothing that leads to a ledger where an \
                 anchor may be); the machine may not have reached it yet, and a raw dump must begin \
                 at address 0",
            ));
        };
        let ledger = read_ledger(memory, anchor.ledger)?
            .with_context(|| format!("no ledger at {:#x}, where the anchor says", anchor.ledger))?;
        let timing = Timing::take(memory, &ledger)?;
        Ok(Self { ledger, epitaph: memory.read_value(anchor.epitaph)?, timing })
    }

    /// Leaves what was added since an earlier reading, as [`Self::json`] has it.
    fn subtract(&mut self, earlier: &Value) -> Result<()> {
        let cpus = earlier["cpus"].as_array().context("no `cpus`")?;
        ensure!(cpus.len() == self.rows().len(), "another number of CPUs");
        for (row, cpu) in self.ledger.row.iter_mut().zip(cpus) {
            for (slot, count) in row.count.iter_mut().enumerate() {
                let before = cpu["exits"][slot_name(slot)].as_u64().unwrap_or(0);
                *count = count.checked_sub(before).context("its counts are higher")?;
            }
        }
        if let Some(timing) = &mut self.timing {
            let earlier = Timing::deserialize(&earlier["timing"]).context("`timing`")?;
            *timing = timing.since(&earlier)?;
        }
        Ok(())
    }

    fn rows(&self) -> &[Row] {
        rows(&self.ledger)
    }

    fn total(&self) -> u64 {
        sum(self.rows().iter().flat_map(|row| row.count))
    }

    fn json(&self) -> Value {
        let cpus: Vec<Value> = (0..)
            .zip(self.rows())
            .map(|(cpu, row): (u32, _)| {
                let total = sum(row.count);
                json!({ "cpu": cpu, "total": total, "exits": exits(&[*row]) })
            })
            .collect();
        let state = match self.epitaph.state {
            _ if self.epitaph.magic != epitaph::MAGIC => "running",
            _ if self.epitaph.is_complete() => "ended",
            _ => "ending",
        };
        let end = End::from_u32(self.epitaph.end).filter(|_| state != "running");
        json!({
            "timebase_hz": self.ledger.timebase_hz,
            "boot_ticks": ticks(&self.ledger.phases),
            "restarts": self.ledger.restarts,
            "restart_ticks": ticks(&self.ledger.restart),
            "last_life": last_life(&self.ledger),
            "cpus": cpus,
            "total": self.total(),
            "exits": exits(self.rows()),
            "timing": self.timing,
            "end": {
                "state": state,
                "status": end.map(End::name),
                "exit_code": end.map(End::exit_code),
            },
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("{} exits", grouped(self.total()))];
        for (cpu, row) in self.rows().iter().enumerate() {
            if self.rows().len() > 1 {
                let total = sum(row.count);
                lines.push(format!("cpu {cpu}: {} exits", grouped(total)));
            }
            lines.extend(table(&[*row], usize::MAX));
        }
        let last = format!("last of {} restarts", grouped(self.ledger.restarts));
        for (what, phases) in [("boot", &self.ledger.phases), (last.as_str(), &self.ledger.restart)]
        {
            if phases.is_closed() {
                let hz = self.ledger.timebase_hz;
                lines.push(format!("{what}, in ticks of {} Hz", grouped(hz)));
                let phases = phases.list();
                lines.extend(
                    phases.map(|(phase, n)| format!("  {:>14}  {}", grouped(n), phase.name())),
                );
            }
        }
        let last = told(&self.ledger);
        lines.extend((!last.is_empty()).then(|| format!("last life: {last}")));
        lines.extend(self.timing.iter().flat_map(Timing::text));
        lines.join("\n") + "\n"
    }
}

/// How the guest's last life ended, as the firmware says it; empty in the first life.
fn told(ledger: &Ledger) -> String {
    let text = ledger.last_life.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).replace(|letter: char| letter.is_control(), "?")
}

/// The same by key, or `None` in the first life.
fn last_life(ledger: &Ledger) -> Option<Map<String, Value>> {
    let told = told(ledger);
    let (pairs, words) = told.split_once(" words=")?;
    let pairs = pairs.split(' ').filter_map(|pair| pair.split_once('='));
    let mut map: Map<_, _> = pairs
        .map(|(key, value)| {
            let number = value.parse::<u64>();
            (key.to_owned(), number.map_or_else(|_| json!(value), |number| json!(number)))
        })
        .collect();
    map.insert("words".into(), json!(words));
    Some(map)
}

/// Ticks by phase, of a record that was closed.
fn ticks(phases: &Phases) -> Option<Map<String, Value>> {
    let list = phases.list().map(|(phase, ticks)| (phase.name().to_owned(), json!(ticks)));
    phases.is_closed().then(|| list.collect())
}

/// Reads the ledger at an address; `None` if there is none.
///
/// # Errors
///
/// As [`Memory::read`].
pub fn read_ledger<M: Memory>(memory: &mut M, address: u64) -> Result<Option<Ledger>> {
    let ledger: Ledger = memory.read_value(address)?;
    let sane = ledger.magic == ledger::MAGIC
        && ledger.cpus as usize <= ledger::CPUS
        && ledger.row_bytes as usize == size_of::<Row>();
    Ok(sane.then_some(ledger))
}

/// All of them together. A file may claim more than there is room for.
#[must_use]
pub fn sum(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

/// The rows in use.
#[must_use]
pub fn rows(ledger: &Ledger) -> &[Row] {
    &ledger.row[..(ledger.cpus as usize).min(ledger::CPUS)]
}

fn slot_name(slot: usize) -> String {
    ExitReason::from_slot(slot).map_or_else(|| format!("slot-{slot}"), |r| r.name().to_owned())
}

/// Counts by name over some rows: every known reason, also those at 0.
fn exits(rows: &[Row]) -> Map<String, Value> {
    (0..ledger::SLOTS)
        .map(|slot| (slot, sum(rows.iter().map(|row| row.count[slot]))))
        .filter(|(slot, count)| *slot < ExitReason::ALL.len() || *count > 0)
        .map(|(slot, count)| (slot_name(slot), json!(count)))
        .collect()
}

/// The reasons that occurred in some rows, the most frequent first, as lines for people.
#[must_use]
pub fn table(rows: &[Row], most: usize) -> Vec<String> {
    let mut counts: Vec<(u64, usize)> = (0..ledger::SLOTS)
        .map(|slot| (sum(rows.iter().map(|row| row.count[slot])), slot))
        .filter(|(count, _)| *count > 0)
        .collect();
    counts.sort_by_key(|(count, slot)| (std::cmp::Reverse(*count), *slot));
    let rest = sum(counts.iter().skip(most).map(|(count, _)| *count));
    let mut lines: Vec<String> = counts
        .iter()
        .take(most)
        .map(|(count, slot)| format!("  {:>14}  {}", grouped(*count), slot_name(*slot)))
        .collect();
    if rest > 0 {
        lines.push(format!("  {:>14}  others", grouped(rest)));
    }
    lines
}

/// A number with its thousands apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A file with a machine's memory: raw from address 0, or an ELF core as QEMU's
/// `dump-guest-memory` writes it (of either byte order: the header follows the CPU's endianness of
/// the moment).
struct Dump {
    file: File,
    /// Where each range of memory stands in the file.
    segments: Vec<(Range, u64)>,
}

impl Dump {
    fn open(path: &Path) -> Result<Self> {
        let refuse = |what: &dyn std::fmt::Display| {
            Exit::refused(format!("cannot read the dump {}: {what}", path.display()))
        };
        let file = File::open(path).map_err(|error| refuse(&error))?;
        let size = file.metadata().map_err(|error| refuse(&error))?.len();
        let mut magic = [0; 4];
        let is_elf = file.read_exact_at(&mut magic, 0).is_ok() && magic == *b"\x7fELF";
        let segments = if is_elf {
            elf_segments(&file).map_err(|error| refuse(&error))?
        } else {
            vec![(Range::new(0, size), 0)]
        };
        Ok(Self { file, segments })
    }
}

impl Memory for Dump {
    fn read(&mut self, address: u64, size: usize) -> Result<Vec<u8>> {
        let wanted = Range::new(address, size as u64);
        let Some((range, offset)) = self.segments.iter().find(|(range, _)| range.contains(wanted))
        else {
            return Err(Exit::refused(format!("the dump does not hold address {address:#x}")));
        };
        let mut bytes = vec![0; size];
        let cut =
            |why: &dyn std::fmt::Display| Exit::refused(format!("the dump is cut off: {why}"));
        let at = offset.checked_add(address - range.base);
        let at = at.ok_or_else(|| cut(&"it would have to be longer than files can be"))?;
        self.file.read_exact_at(&mut bytes, at).map_err(|error| cut(&error))?;
        Ok(bytes)
    }
}

/// The PT_LOAD segments of an ELF64 core, by physical address.
fn elf_segments(file: &File) -> Result<Vec<(Range, u64)>> {
    const PT_LOAD: u64 = 1;
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).context("the ELF header is cut off")?;
    if header[4] != 2 {
        bail!("not a 64-bit ELF");
    }
    let big_endian = match header[5] {
        1 => false,
        2 => true,
        _ => bail!("no byte order"),
    };
    let number = |bytes: &[u8]| {
        let shift_in = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if big_endian {
            bytes.iter().fold(0, shift_in)
        } else {
            bytes.iter().rev().fold(0, shift_in)
        }
    };
    let (table, entry_size, count) =
        (number(&header[32..40]), number(&header[54..56]), number(&header[56..58]));
    if entry_size < 56 {
        bail!("no program headers");
    }
    let mut segments = Vec::new();
    for index in 0..count {
        let mut entry = [0; 56];
        let at = index
            .checked_mul(entry_size)
            .and_then(|offset| offset.checked_add(table))
            .context("program headers out of range")?;
        file.read_exact_at(&mut entry, at).context("the program headers are cut off")?;
        if number(&entry[0..4]) == PT_LOAD {
            let range = Range::new(number(&entry[24..32]), number(&entry[32..40]));
            segments.push((range, number(&entry[8..16])));
        }
    }
    Ok(segments)
}

#[cfg(test)]
pub mod tests {
    use std::io::Write;

    use anchorite_spec::anchor::{Anchor, POWER9_ADDRESS};
    use anchorite_spec::epitaph::{self, End, Epitaph};
    use anchorite_spec::phases::Phase;
    use anchorite_spec::{ExitReason, Ledger};
    use serde_json::json;
    use zerocopy::IntoBytes;

    use super::{Dump, Reading, grouped, table};
    use crate::last_words;

    const LEDGER: u64 = 0x1000;
    const EPITAPH: u64 = 0x3000;

    fn memory() -> Vec<u8> {
        let mut ledger = Ledger::new(2, 512_000_000);
        ledger.phases.add(Phase::Digests, 700);
        ledger.phases.close(1000);
        ledger.restarts = 3;
        ledger.restart.add(Phase::Unpacking, 90);
        ledger.restart.close(100);
        let told = b"after=guest-panic restarts=3 cpu=1 pc=0x10 state=0x2 words=a=b \x1b[2J";
        ledger.last_life[..told.len()].copy_from_slice(told);
        ledger.row[0].count[ExitReason::HCede.slot()] = 5000;
        ledger.row[0].count[ExitReason::Hdsi.slot()] = 1;
        ledger.row[1].count[ExitReason::HCede.slot()] = 7;
        let epitaph = Epitaph {
            magic: epitaph::MAGIC,
            end: End::PoweredOff as u32,
            state: epitaph::STATE_COMPLETE,
            ..Epitaph::EMPTY
        };
        let anchor = Anchor::new(POWER9_ADDRESS, 0x2000, LEDGER, EPITAPH);
        let mut memory = vec![0; 0x4000];
        for (address, bytes) in [
            (POWER9_ADDRESS, anchor.as_bytes()),
            (LEDGER, ledger.as_bytes()),
            (EPITAPH, epitaph.as_bytes()),
        ] {
            let start = usize::try_from(address).unwrap();
            memory[start..start + bytes.len()].copy_from_slice(bytes);
        }
        memory
    }

    fn reading(file: &[u8]) -> anyhow::Result<Reading> {
        let mut dump = tempfile::NamedTempFile::new().unwrap();
        dump.write_all(file).unwrap();
        Reading::take(&mut Dump::open(dump.path())?)
    }

    /// A core of `memory`, its bytes at file offset 0x100, with a header of either byte order.
    fn core(memory: &[u8], big_endian: bool) -> Vec<u8> {
        let mut file = vec![0; 0x100];
        let mut put = |at: usize, size: usize, value: u64| {
            let bytes = if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
            let from = if big_endian { 8 - size } else { 0 };
            file[at..at + size].copy_from_slice(&bytes[from..from + size]);
        };
        put(32, 8, 64);
        put(54, 2, 56);
        put(56, 2, 1);
        put(64, 4, 1);
        put(64 + 8, 8, 0x100);
        put(64 + 32, 8, memory.len() as u64);
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, if big_endian { 2 } else { 1 }]);
        file.extend_from_slice(memory);
        file
    }

    /// Dumps in every form.
    pub fn samples() -> Vec<Vec<u8>> {
        let memory = memory();
        vec![core(&memory, false), core(&memory, true), memory]
    }

    /// What a dump tells in every way in which something is told.
    pub fn told(file: &[u8]) -> anyhow::Result<String> {
        let mut reading = reading(file)?;
        let json = reading.json();
        let end = last_words::end(&reading.epitaph);
        let last = end.map(|end| last_words::report(end, &reading.epitaph, Some(&reading.ledger)));
        let text = reading.text();
        reading.subtract(&json)?;
        assert_eq!(reading.json()["total"], 0, "since itself");
        Ok(format!("{} {text}{last:?}", json["end"]))
    }

    #[test]
    fn a_dump_reads_alike_in_every_form() {
        let memory = memory();
        let raw = reading(&memory).unwrap().json();
        assert_eq!(raw["total"], 5008);
        assert_eq!(raw["cpus"][1]["exits"]["h_cede"], 7);
        assert_eq!(raw["exits"]["h_cede"], 5007);
        assert_eq!(raw["exits"]["hisi"], 0);
        assert_eq!(raw["timebase_hz"], 512_000_000);
        assert_eq!(raw["boot_ticks"]["set-up"], 300);
        assert_eq!(raw["boot_ticks"]["digests"], 700);
        assert_eq!((&raw["restarts"], &raw["restart_ticks"]["set-up"]), (&3.into(), &10.into()));
        let told = "after=guest-panic restarts=3 cpu=1 pc=0x10 state=0x2 words=a=b ?[2J";
        assert!(reading(&memory).unwrap().text().contains(told), "control characters are shown");
        assert_eq!(
            raw["last_life"],
            json!({
                "after": "guest-panic", "restarts": 3, "cpu": 1, "pc": "0x10", "state": "0x2",
                "words": "a=b ?[2J",
            })
        );
        assert_eq!(raw["end"]["status"], "powered-off");
        for big_endian in [false, true] {
            assert_eq!(reading(&core(&memory, big_endian)).unwrap().json(), raw);
        }
    }

    #[test]
    fn memory_without_a_valid_anchor_is_refused() {
        let mut memory = memory();
        memory[POWER9_ADDRESS as usize + 8] ^= 1;
        for file in [&memory[..], &[0; 0x4000], b"", b"\x7fELF"] {
            let error = reading(file).err().expect("refused");
            assert_eq!(crate::exit::code(&error), 1, "{error}");
        }
    }

    #[test]
    fn people_see_the_most_frequent_first() {
        let text = reading(&memory()).unwrap().text();
        assert!(text.starts_with("5,008 exits\ncpu 0: 5,001 exits\n           5,000  h_cede\n"));
        let row = Ledger::EMPTY.row[0];
        assert!(table(&[row], 3).is_empty());
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
    }
}
