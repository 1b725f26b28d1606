// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One screen that explains a fault of the guest's: what, where, why the tables stopped it, what the
//! guest did before, and what the board config would have to say for it to be allowed.
//!
//! A handler answers the fault and leaves a [`Fault`] behind; the screen is written once all registers
//! have been stored. Beside it stand `@fault` lines of `key=value` for tools. A guest that owns the
//! console can forge either, so nothing is decided by them: counts are in the ledger, and how a run
//! ends is in the epitaph.
use anchorite_spec::ledger::Row;
use anchorite_spec::manifest::{
    ON_FAULT_POWER_OFF, ON_FAULT_RESTART, ON_FAULT_STOP, SPARE_AS_GUEST,
};
use anchorite_spec::{End, ExitReason};

use super::report::Reach;
use super::text::Out;

/// Kinds of faults: each is reported, and answered by the config, by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An access to nothing.
    Hole,
    /// An access that the region does not allow.
    Permission,
    /// An instruction that the guest does not have.
    Instruction,
    /// A register or facility that the guest does not have.
    Register,
    /// No fault: something that happened to it.
    Event,
}

impl Class {
    /// Every class of faults, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Hole, Self::Permission, Self::Instruction, Self::Register];

    /// As configs and reports call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hole => "hole",
            Self::Permission => "permission",
            Self::Instruction => "instruction",
            Self::Register => "register",
            Self::Event => "event",
        }
    }
}

/// What the guest wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To load from an address.
    Load,
    /// To store to it.
    Store,
    /// To execute what is there.
    Fetch,
    /// Its processor, to read the guest's own tables there.
    Walk,
    /// To execute an instruction; the cause is its word, or a syndrome.
    Instruction,
    /// To use a register or a facility; the cause is its number, or a syndrome.
    Register,
    /// To call what is no service: the cause is the syndrome, with the immediate.
    Call,
    /// Nothing: a system reset came.
    SystemReset,
    /// Nothing: a machine check came.
    MachineCheck,
    /// Nothing: a maintenance interrupt came.
    Maintenance,
    /// Nothing: a soft-patch interrupt came.
    SoftPatch,
    /// Nothing: an interrupt or SError came to the firmware.
    Asynchronous,
}

impl Access {
    /// As reports call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Store => "store",
            Self::Fetch => "instruction fetch",
            Self::Walk => "walk of its own tables",
            Self::Instruction => "instruction that it does not have",
            Self::Register => "register that it does not have",
            Self::Call => "call with an immediate",
            Self::SystemReset => "system reset",
            Self::MachineCheck => "machine check",
            Self::Maintenance => "maintenance interrupt",
            Self::SoftPatch => "soft-patch interrupt",
            Self::Asynchronous => "interrupt or SError at EL2",
        }
    }
}

/// What the board config would have to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cure {
    /// A device, or memory, at the address.
    Region,
    /// That the guest begins little-endian.
    LittleEndian,
    /// That it begins big-endian.
    BigEndian,
    /// That nothing is hidden from it that the processor has.
    HideNothing,
    /// That its interrupts are not guarded.
    DirectInterrupts,
    /// Nothing: registers hold no instructions.
    NoCode,
    /// Nothing: stores there are filtered.
    Filtered,
    /// Nothing: the guest's own tables do not allow it.
    OwnTables,
    /// Nothing: there is no such thing.
    Unknown,
    /// Nothing: no guest has it.
    Withheld,
}

impl Cure {
    /// The config's line, or that there is none, and why.
    const fn line(self) -> &'static str {
        match self {
            Self::Region => "",
            Self::LittleEndian => " guest.endian = \"little\"",
            Self::BigEndian => " guest.endian = \"big\"",
            Self::HideNothing => " guest.hide = []",
            Self::DirectInterrupts => " guest.interrupts = \"direct\"",
            Self::NoCode => " none: registers hold no instructions",
            Self::Filtered => " none: stores there are filtered, and must be of one register",
            Self::OwnTables => " none: the guest's own tables do not allow it",
            Self::Unknown => " none: the processor does not know it",
            Self::Withheld => " none: no guest is given it",
        }
    }
}

/// What becomes of a guest that makes a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It gets the architecture's own fault.
    Inject,
    /// It begins again.
    Restart,
    /// The run ends.
    End(End),
}

impl Policy {
    /// The policy that a manifest has as a number.
    #[must_use]
    pub const fn from_manifest(number: u8) -> Self {
        match number {
            ON_FAULT_RESTART => Self::Restart,
            ON_FAULT_STOP => Self::End(End::PolicyStop),
            ON_FAULT_POWER_OFF => Self::End(End::PoweredOff),
            _ => Self::Inject,
        }
    }

    /// What a report says of it, and how the run ends by it or begins again; `None` if the guest goes
    /// on with the architecture's fault.
    #[must_use]
    pub const fn outcome(self) -> Option<(&'static str, End)> {
        match self {
            Self::Inject => None,
            Self::Restart => Some(("restarted by policy", End::PolicyStop)),
            Self::End(End::PoweredOff) => Some(("powered off by policy", End::PoweredOff)),
            Self::End(end) => Some(("stopped by policy", end)),
        }
    }
}

/// What a handler knows of a fault.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Its class.
    pub class: Class,
    /// What the guest wanted.
    pub access: Access,
    /// What would allow it.
    pub cure: Cure,
    /// What the processor says of the cause.
    pub cause: u64,
    /// The address that the guest used.
    pub address: u64,
    /// The guest address that it led to; [`NOWHERE`] if it led to none.
    pub guest: u64,
}

/// [`Told::guest`]: nowhere.
pub const NOWHERE: u64 = u64::MAX;

/// A fault that was answered and is to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What its handler knew.
    pub told: Told,
    /// How many of the class there have been in this life of the guest's, this one included.
    pub number: u32,
    /// The exit.
    pub reason: ExitReason,
    /// What the guest got.
    pub answer: &'static str,
    /// Where the guest was.
    pub pc: u64,
    /// Its machine state there.
    pub state: u64,
    /// The register that answering it may have changed.
    pub first: u64,
}

/// Entries of a [`Trail`].
pub const TRAIL: usize = 16;

/// The exits before: those with a frame, of which each leaves its reason and place here. Calls that
/// are answered without a frame cost what they cost, and are only counted.
#[derive(Clone, Debug)]
pub struct Trail {
    places: [u64; TRAIL],
    reasons: [Option<ExitReason>; TRAIL],
    next: usize,
}

impl Default for Trail {
    fn default() -> Self {
        Self::new()
    }
}

impl Trail {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { places: [0; TRAIL], reasons: [None; TRAIL], next: 0 }
    }

    /// An exit, and where the guest was.
    #[inline]
    pub fn push(&mut self, reason: Option<ExitReason>, pc: u64) {
        let at = self.next % TRAIL;
        (self.places[at], self.reasons[at]) = (pc, reason);
        self.next = self.next.wrapping_add(1);
    }

    /// The oldest first.
    fn exits(&self) -> impl Iterator<Item = (u64, ExitReason)> {
        let in_order = (0..TRAIL).map(|n| self.next.wrapping_add(n) % TRAIL);
        in_order.filter_map(|at| Some((self.places[at], self.reasons[at]?)))
    }
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// There is nothing to walk: translation is off.
    Off,
    /// At a leaf, which leads to this address.
    Leaf(u64),
    /// At an entry that is not valid.
    Invalid,
    /// At an address that is no memory of the tables' owner.
    Outside(u64),
    /// At an entry that says what the processor does not accept.
    Malformed,
}

/// What some bits of an entry say: a mask, their value, the name.
pub type Bits = (u64, u64, &'static str);

/// The most entries that a walk meets: the process's, and four levels.
pub const STEPS: usize = 5;

/// The entries that a walk met, and why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The level of the first entry.
    pub first: u32,
    /// The entries.
    pub entries: [u64; STEPS],
    /// How many.
    pub len: usize,
    /// Why it ended.
    pub stop: Stop,
}

impl Walk {
    /// One whose first entry will be of this level.
    #[must_use]
    pub const fn new(first: u32) -> Self {
        Self { first, entries: [0; STEPS], len: 0, stop: Stop::Off }
    }

    /// An entry was read.
    pub fn met(&mut self, entry: u64) {
        if let Some(slot) = self.entries.get_mut(self.len) {
            *slot = entry;
            self.len += 1;
        }
    }

    /// It ends here.
    #[must_use]
    pub const fn ends(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }
}

/// Writes a walk: each entry with its level, the last with its bits named.
#[inline(never)]
pub fn put_walk(page: &mut Out, walk: &Walk, bits: &[Bits]) {
    let mut level = walk.first;
    let mut last = 0;
    for entry in walk.entries.iter().take(walk.len) {
        page.f("\tL%d=%x", &[], &[level.into(), *entry]);
        (level, last) = (level + 1, *entry);
    }
    let (end, address) = match walk.stop {
        Stop::Off => (" off\n", 0),
        Stop::Leaf(address) => {
            for (_, _, name) in bits.iter().filter(|(mask, value, _)| last & mask == *value) {
                page.f(" %s", &[name], &[]);
            }
            ("\t-> %x\n", address)
        }
        Stop::Invalid => ("\tinvalid, stops here\n", 0),
        Stop::Outside(address) => ("\tstops: no RAM at %x\n", address),
        Stop::Malformed => ("\tmalformed, stops here\n", 0),
    };
    page.f(end, &[], &[address]);
}

/// What stands beside a [`Fault`] in its report.
pub struct Scene<'a> {
    /// The vCPU.
    pub cpu: usize,
    /// The machine's general-purpose registers: a letter.
    pub letter: &'static str,
    /// These.
    pub gpr: &'a [u64],
    /// Others, with their names.
    pub others: &'a [(&'static str, u64)],
    /// What the guest can reach.
    pub reach: &'a Reach,
    /// The exits before.
    pub trail: &'a Trail,
    /// The vCPU's counts.
    pub row: &'a Row,
    /// Reasons of calls that are answered without a frame.
    pub lean: &'static [ExitReason],
}

/// Writes the first line of a report: what it was, where, and what the guest got. `space`: what guest
/// addresses are called; beside the place stands a register.
#[inline(never)]
pub fn head(
    page: &mut Out,
    fault: &Fault,
    reach: &Reach,
    space: &str,
    cpu: usize,
    beside: (&str, u64),
) {
    let told = &fault.told;
    page.f("guest %s", &[told.access.name()], &[]);
    if told.guest == NOWHERE {
        page.f(" %x", &[], &[told.cause]);
    } else {
        page.f(" at guest %s %x (", &[space], &[told.guest]);
        page.push(reach.name_at(told.guest));
        page.f(")", &[], &[]);
    }
    let numbers = [cpu as u64, fault.pc, beside.1];
    page.f(", cpu %d, pc %x, %s %x: %s\n", &[beside.0, fault.answer], &numbers);
}

/// Writes the registers of a report.
#[inline(never)]
pub fn registers(page: &mut Out, fault: &Fault, scene: &Scene<'_>) {
    let texts = [fault.told.class.name(), fault.reason.name()];
    page.f("%s %d: %s, cause %x", &texts, &[fault.number.into(), fault.told.cause]);
    for (name, value) in scene.others {
        page.f("\t%s=%x", &[name], &[*value]);
    }
    for (n, values) in (0..).step_by(4).zip(scene.gpr.chunks(4)) {
        page.f("\n%s%d", &[scene.letter], &[n]);
        for value in values {
            page.f(" %h", &[], &[*value]);
        }
    }
    page.f("\n", &[], &[]);
}

/// Writes the rest of a report: the region, the exits before, what would allow it, and a line for tools.
#[inline(never)]
pub fn rest(page: &mut Out, fault: &Fault, scene: &Scene<'_>) {
    let told = &fault.told;
    if told.guest != NOWHERE {
        scene.reach.around(told.guest).put(page);
    }
    page.f("last exits:", &[], &[]);
    let mut exits = scene.trail.exits().peekable();
    let mut same = 1;
    while let Some((pc, reason)) = exits.next() {
        if exits.peek().is_some_and(|(_, next)| *next == reason) {
            same += 1;
            continue;
        }
        page.f("\t%d %s@%p", &[reason.name()], &[same, pc]);
        same = 1;
    }
    page.f("\nwithout a frame, in all:", &[], &[]);
    for reason in scene.lean {
        let count = scene.row.count[reason.slot()];
        if count != 0 {
            page.f("\t%d %s", &[reason.name()], &[count]);
        }
    }
    cure(page, told, scene.reach);
    let texts = [
        told.class.name(),
        fault.reason.name(),
        told.access.name(),
        fault.answer,
        if told.guest == NOWHERE { "\n" } else { " address=%x guest=%x\n" },
    ];
    let numbers = [fault.number.into(), scene.cpu as u64, fault.pc, fault.state, told.cause];
    page.f(
        "@fault class=%s reason=%s access=\"%s\" answer=\"%s\" n=%d cpu=%d pc=%x state=%x cause=%x",
        &texts,
        &numbers,
    );
    page.f(texts[4], &[], &[told.address, told.guest]);
}

/// Writes the config's lines that would have allowed it.
#[inline(never)]
fn cure(page: &mut Out, told: &Told, reach: &Reach) {
    let Told { access, cure, guest, .. } = *told;
    page.f("\nto allow it, in the board config:%s\n", &[cure.line()], &[]);
    if cure != Cure::Region {
        return;
    }
    // What is executed or walked is memory, and what follows memory closely is likely meant to be. Of
    // either the smallest region.
    let by_use = matches!(access, Access::Fetch | Access::Walk);
    let (least, region) = match reach.spare != 0 && (by_use || reach.around(guest).is_near_memory())
    {
        true => (
            0x1_0000,
            "[[guest.memory]]\nname = \"new\"\nguest = \"%x\"\nhost = \"%x\"\nsize = \"64KiB\"\n",
        ),
        false => (
            0x1000,
            "[[guest.device]]\nname = \"new\"\n\
             mmio = { guest = \"%x\", host = \"%x\", size = \"4KiB\" }\n",
        ),
    };
    let base = guest & !(least - 1);
    let host = if least == 0x1000 || reach.spare == SPARE_AS_GUEST { base } else { reach.spare };
    page.f(region, &[], &[base, host]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trail_keeps_the_last() {
        let mut trail = Trail::new();
        assert_eq!(trail.exits().count(), 0);
        (0..20).for_each(|pc| trail.push(Some(ExitReason::Hdsi), pc));
        let pcs: Vec<u64> = trail.exits().map(|(pc, _)| pc).collect();
        assert_eq!(pcs, (4..20).collect::<Vec<_>>());
    }
}
