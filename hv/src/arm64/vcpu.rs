// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the firmware knows about its guest between exits: what all vCPUs share, and each one's own.
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use anchorite_spec::ledger::Row;
use anchorite_spec::manifest::{FORWARD, VCPUS};
use anchorite_spec::{ExitReason, Manifest, Range};
use spin::mutex::SpinMutex;

use super::board::Arm64;
use super::features::Hidden;
use super::gic::{FRAME, FRAMES, Frame};
use super::psci::{code, function};
use super::regs::MPIDR_AFFINITY;
use crate::core::fault::{Fault, Trail};
use crate::core::report::{Reach, Reports};
use crate::core::text::Text;
use crate::core::watchdog::{Seen, Watchdog};
use crate::mem::{GuestMemory, Hpa, TableMemory};

/// [`Seat::state`]: its CPU is off or on its way there.
pub const OFF: u32 = 0;
/// [`Seat::state`]: it has been asked to start.
pub const STARTING: u32 = 1;
/// [`Seat::state`]: it runs.
pub const ON: u32 = 2;

/// A vCPU as the others see it.
#[derive(Default)]
pub struct Seat {
    /// The affinity fields of its CPU's MPIDR_EL1.
    pub mpidr: u64,
    /// [`OFF`], [`STARTING`] or [`ON`]. Who moves it from off to starting owns the two fields below
    /// until it runs.
    pub state: AtomicU32,
    /// Guest physical address at which it starts.
    pub entry: AtomicU64,
    /// Its x0 then.
    pub argument: AtomicU64,
    /// It has said farewell ([`super::sdei`]).
    pub masked: AtomicBool,
}

/// What all vCPUs share. Nothing but the atomics changes after the first entry.
pub struct Shared {
    /// Guest RAM.
    pub memory: GuestMemory,
    /// What the guest can reach.
    pub reach: Reach,
    /// The tables that say so.
    pub tables: TableMemory,
    /// Host physical address of their root, the level at which it stands, bits of guest addresses.
    pub root: (u64, u32, u32),
    /// Held while a report is written.
    pub reporting: SpinMutex<()>,
    /// The vCPUs in use.
    pub seats: [Seat; VCPUS],
    /// How many.
    pub vcpus: usize,
    /// Reports so far.
    pub reports: Reports,
    /// EL2 keeps a timer interrupt for itself.
    pub guarded: bool,
    /// The guest is trusted with tables of the interrupt controller.
    pub lpis: bool,
    /// The firmware's watchdog.
    pub watchdog: Watchdog,
    /// Functions of the machine's firmware that it may call; 0 where unused.
    pub forward: [u32; FORWARD],
    /// Features of the CPU that the guest does not have.
    pub hidden: Hidden,
    /// The guest shuts down in order.
    pub orderly: AtomicBool,
    /// The redistributors' frames as the guest sees them.
    pub redistributors: Range,
    /// Host address of the first.
    pub redistributors_host: u64,
    /// The distributor, where host and guest see it; empty if stores to it are the guest's.
    pub distributor: Range,
}

/// A register of the interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GicPlace {
    /// The frame.
    pub frame: Frame,
    /// Bytes from the frame's first.
    pub offset: u64,
    /// Where the firmware finds it.
    pub host: Hpa,
}

impl Shared {
    /// The guest that `manifest` describes, on CPUs with these MPIDRs.
    #[must_use]
    pub fn new(
        manifest: &Manifest,
        memory: GuestMemory,
        tables: TableMemory,
        mpidr: &[u64; VCPUS],
    ) -> Self {
        let vcpus = (manifest.vcpus as usize).min(VCPUS);
        let span = FRAMES * vcpus as u64;
        let seats = mpidr.map(|mpidr| Seat { mpidr: mpidr & MPIDR_AFFINITY, ..Seat::default() });
        seats[0].state.store(ON, Ordering::Relaxed);
        Self {
            memory,
            reach: Reach::new(manifest),
            tables,
            root: (manifest.table_root, manifest.arm64.start_level, manifest.arm64.ipa_bits),
            reporting: SpinMutex::new(()),
            seats,
            vcpus,
            reports: Reports::new(manifest),
            guarded: manifest.arm64.guarded != 0,
            lpis: manifest.arm64.its != 0,
            watchdog: Watchdog::new(manifest),
            forward: manifest.arm64.forward,
            hidden: Hidden(manifest.arm64.hidden as u32),
            orderly: AtomicBool::new(false),
            redistributors: Range::new(manifest.arm64.redistributor_guest, span),
            redistributors_host: manifest.arm64.redistributor,
            distributor: match manifest.arm64.guarded {
                0 => Range::default(),
                _ => Range::new(manifest.arm64.distributor, FRAME),
            },
        }
    }

    /// All as before the first entry: the first vCPU on, the others off, nobody's farewell said. To be
    /// called when only the first vCPU's CPU is left.
    pub fn begin_again(&self) {
        for (index, seat) in self.seats.iter().enumerate() {
            seat.state.store(if index == 0 { ON } else { OFF }, Ordering::SeqCst);
            seat.masked.store(false, Ordering::SeqCst);
        }
        self.orderly.store(false, Ordering::SeqCst);
        self.reports.begin_again();
    }

    /// Whether all vCPUs but this one are off.
    #[must_use]
    pub fn others_off(&self, index: usize) -> bool {
        let mut others = (0..self.vcpus).filter(|other| *other != index);
        others.all(|other| self.seats[other].state.load(Ordering::SeqCst) == OFF)
    }

    /// The vCPU with these affinity fields.
    #[must_use]
    pub fn seat(&self, mpidr: u64) -> Option<usize> {
        self.seats[..self.vcpus].iter().position(|seat| seat.mpidr == mpidr)
    }

    /// Whether there are calls beyond those that the vectors know: of the machine's firmware, or the
    /// watchdog's.
    #[must_use]
    pub fn has_more_calls(&self) -> bool {
        self.watchdog.is_called() || self.forward.iter().any(|function| *function != 0)
    }

    /// Whether the guest may call this function of the machine's firmware.
    #[must_use]
    pub fn forwards(&self, function: u32) -> bool {
        function != 0 && self.forward.contains(&function)
    }

    /// What is at a guest physical address, if it belongs to the interrupt controller.
    #[must_use]
    pub fn gic(&self, guest: u64) -> Option<GicPlace> {
        let at = Range::new(guest, 1);
        if self.redistributors.contains(at) {
            let distance = guest - self.redistributors.base;
            let frame = if distance & FRAME == 0 { Frame::Control } else { Frame::Local };
            let host = Hpa(self.redistributors_host + distance);
            return Some(GicPlace { frame, offset: distance % FRAME, host });
        }
        self.distributor.contains(at).then(|| GicPlace {
            frame: Frame::Distributor,
            offset: guest - self.distributor.base,
            host: Hpa(guest),
        })
    }
}

/// One vCPU. Only its own CPU touches it.
pub struct Vcpu<M> {
    /// Its number.
    pub index: usize,
    /// The CPU and what is underneath.
    pub machine: M,
    /// What all share.
    pub shared: &'static Shared,
    /// Its row of the ledger.
    pub row: &'static mut Row,
    /// EL2 has a timer interrupt on this CPU, from the start or since the guest goes down.
    pub guarded: bool,
    /// Farewells since it was last in use ([`super::sdei`]).
    pub masks: u32,
    /// Rings of EL2's timer for which it has been spinning since.
    pub rings: u32,
    /// What it has seen for the firmware's watchdog.
    pub seen: Seen,
    /// The exit being served.
    pub reason: Option<ExitReason>,
    /// Aborts in a row after which the access was tried again.
    pub retries: u32,
    /// Text for the epitaph, once a handler has ended the run.
    pub last_words: &'static mut Text,
    /// A fault of the guest's that was answered and is to be explained.
    pub fault: Option<Fault>,
    /// The last exits.
    pub trail: Trail,
}

impl<M> Vcpu<M> {
    /// A vCPU before its first entry.
    #[must_use]
    pub fn new(
        index: usize,
        machine: M,
        shared: &'static Shared,
        row: &'static mut Row,
        last_words: &'static mut Text,
    ) -> Self {
        Self {
            index,
            machine,
            shared,
            row,
            guarded: shared.guarded,
            masks: 0,
            rings: 0,
            seen: Seen::NOTHING,
            reason: None,
            retries: 0,
            last_words,
            fault: None,
            trail: Trail::new(),
        }
    }

    /// What it knows of its guest is what a vCPU knows before its first entry.
    pub fn begin_again(&mut self) {
        self.guarded = self.shared.guarded;
        (self.masks, self.rings, self.retries) = (0, 0, 0);
        self.reason = None;
        self.last_words.clear();
        (self.fault, self.trail) = (None, Trail::new());
    }

    /// Counts an exit.
    pub fn count(&mut self, reason: ExitReason) {
        self.reason = Some(reason);
        self.row.count[reason.slot()] += 1;
    }
}

impl<M: Arm64> Vcpu<M> {
    /// Takes this CPU out of use at the guest's wish. Returns when the machine's firmware refuses, or, with
    /// `true`, when no CPU would be on that could turn another one on; the vCPU is then what it was.
    pub fn turn_off(&mut self) -> bool {
        self.go_off(|v| v.shared.others_off(v.index))
    }

    /// The same whatever the others do, for a guest that is stopped.
    pub fn leave(&mut self) {
        self.go_off(|_| false);
    }

    /// The one way out of use: returns `stays` of a vCPU that already counts as off, or false when the
    /// machine's firmware refuses.
    fn go_off(&mut self, stays: impl Fn(&Self) -> bool) -> bool {
        let seat = &self.shared.seats[self.index];
        if self.guarded {
            self.machine.keep_time(false);
        }
        // What it said before it left is forgotten when it comes back.
        let masks = core::mem::take(&mut self.masks);
        seat.masked.store(false, Ordering::SeqCst);
        let guarded = core::mem::replace(&mut self.guarded, self.shared.guarded);
        // Of several that leave at once the last to say so finds all others off.
        seat.state.store(OFF, Ordering::SeqCst);
        let stays = stays(self);
        if !stays {
            self.machine.firmware_call([function::CPU_OFF.into(), 0, 0, 0]);
        }
        seat.state.store(ON, Ordering::Release);
        self.masks = masks;
        seat.masked.store(masks != 0, Ordering::SeqCst);
        self.guarded = guarded;
        if guarded {
            self.machine.keep_time(true);
        }
        stays
    }

    /// Asks the machine's firmware whether a vCPU's CPU is really off.
    pub fn is_off(&mut self, vcpu: usize) -> bool {
        const LEVEL_0: u64 = 0;
        const OFF: u64 = 1;
        let info = (function::AFFINITY_INFO | function::LONG).into();
        self.machine.firmware_call([info, self.shared.seats[vcpu].mpidr, LEVEL_0, 0]) == OFF
    }

    /// Has the first vCPU's CPU come, if it is off: it finds what to do when it starts. To be tried
    /// again while it is on its way out.
    pub fn recall_first(&mut self) {
        let seat = &self.shared.seats[0];
        let taken = seat.state.compare_exchange(OFF, STARTING, Ordering::AcqRel, Ordering::Acquire);
        if taken.is_ok() && self.machine.start_cpu(0, seat.mpidr) != code::SUCCESS {
            seat.state.store(OFF, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{vcpu, vcpu_of};
    use super::*;
    use crate::core::fault::Class;

    #[test]
    fn who_leaves_is_off_and_who_may_not_is_what_it_was() {
        let mut v = vcpu_of(true);
        v.masks = 2;
        v.shared.seats[0].masked.store(true, Ordering::SeqCst);
        v.leave();
        assert_eq!(v.machine.calls, [[0x8400_0002, 0, 0, 0]]);
        // The machine's firmware came back: it has refused.
        assert_eq!((v.masks, &v.machine.timer[..]), (2, &[false, true][..]));
        assert_eq!(v.shared.seats[0].state.load(Ordering::SeqCst), ON);
        assert!(v.shared.seats[0].masked.load(Ordering::SeqCst));
    }

    #[test]
    fn the_first_cpu_is_recalled_until_it_starts() {
        let mut v = vcpu();
        v.recall_first();
        assert!(v.machine.started.is_empty(), "it runs");
        v.shared.seats[0].state.store(OFF, Ordering::SeqCst);
        v.machine.start_result = code::ALREADY_ON;
        v.recall_first();
        assert_eq!(v.shared.seats[0].state.load(Ordering::SeqCst), OFF, "it was still leaving");
        v.machine.start_result = code::SUCCESS;
        v.recall_first();
        v.recall_first();
        assert_eq!(v.machine.started.len(), 2);
        assert_eq!(v.shared.seats[0].state.load(Ordering::SeqCst), STARTING);
    }

    #[test]
    fn off_is_the_one_answer_that_counts() {
        let mut v = vcpu();
        for (answer, off) in [(0, false), (1, true), (2, false), (u64::MAX, false)] {
            v.machine.answer = answer;
            assert_eq!(v.is_off(1), off, "{answer:#x}");
        }
        assert_eq!(v.machine.calls[0], [0xc400_0004, 1, 0, 0]);
    }

    #[test]
    fn a_new_life_knows_nothing_of_the_last() {
        let mut v = vcpu();
        for seat in &v.shared.seats {
            seat.state.store(ON, Ordering::SeqCst);
            seat.masked.store(true, Ordering::SeqCst);
        }
        v.shared.orderly.store(true, Ordering::SeqCst);
        assert_eq!([(); 9].map(|()| v.shared.reports.count(Class::Event))[8], 9);
        (v.guarded, v.masks, v.rings, v.retries) = (true, 1, 2, 3);
        v.last_words.push(b"words");
        v.count(ExitReason::PsciSystemReset);
        v.shared.begin_again();
        v.begin_again();
        let states = v.shared.seats.each_ref().map(|seat| seat.state.load(Ordering::SeqCst));
        assert_eq!(states, [ON, OFF, OFF, OFF]);
        assert!(v.shared.seats.iter().all(|seat| !seat.masked.load(Ordering::SeqCst)));
        assert!(!v.shared.orderly.load(Ordering::SeqCst));
        assert_eq!(v.shared.reports.count(Class::Event), 1);
        assert_eq!((v.guarded, v.masks, v.rings, v.retries, v.reason), (false, 0, 0, 0, None));
        assert!(v.last_words.as_bytes().is_empty());
        assert_eq!(v.row.count[ExitReason::PsciSystemReset.slot()], 1, "the ledger counts on");
    }
}
