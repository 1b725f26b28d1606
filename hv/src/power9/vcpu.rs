// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the firmware knows about its guest between exits: what all vCPUs share, and each one's own.
//!
//! Each vCPU has a core to itself. One vCPU reaches another by a flag in its [`Seat`] and then, if it
//! may be in the guest or asleep, by [`Power9::kick`], which takes it out of either; it looks at its
//! flags at the end of every exit. A kick that comes late is one exit too many and harms nobody.
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use anchorite_spec::ledger::Row;
use anchorite_spec::manifest::VCPUS;
use anchorite_spec::{ExitReason, Manifest};

use super::board::Power9;
use super::context::{GuestContext, PPR_MEDIUM};
use super::interrupts::Interrupts;
use super::lock::Lock;
use super::nmi::Nmi;
use super::regs::{lpcr, msr};
use super::watchdog::{self, Watchdogs};
use crate::core::ConsoleTail;
use crate::core::fault::{Fault, Trail};
use crate::core::report::{Reach, Reports};
use crate::core::text::Text;
use crate::core::watchdog::{Seen, Watchdog};
use crate::mem::{Gpa, GuestCounter, GuestMemory, TableMemory};

/// Where a vCPU is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits in the firmware until it is started.
    Stopped,
    /// It was asked to start there, with that in r3.
    Starting {
        /// Guest real address.
        entry: u64,
        /// r3.
        argument: u64,
    },
    /// It runs, or is idle.
    Running,
    /// It waits in the firmware for H_PROD.
    Joined,
}

impl State {
    /// Whether a vCPU in this state waits to be started.
    #[must_use]
    pub const fn is_stopped(self) -> bool {
        matches!(self, Self::Stopped)
    }

    /// Whether a vCPU in this state will do anything by itself.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Running)
    }
}

/// The areas that a vCPU shares with its guest besides its virtual processor area, by guest real
/// address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Areas {
    /// The dispatch trace log.
    pub dispatch_log: Option<Gpa>,
    /// The SLB shadow buffer.
    pub slb_shadow: Option<Gpa>,
}

/// A vCPU as the others see it.
pub struct Seat {
    /// H_PROD came; the next wait ends at once.
    pub prodded: AtomicBool,
    /// It waits, or is about to: H_PROD has to kick it.
    pub waits: AtomicBool,
    /// H_SIGNAL_SYS_RESET came.
    pub reset: AtomicBool,
    /// It is to come out of the guest, for a restart or for good: a join ends. Nothing that the guest
    /// does uses it up.
    pub pulled: AtomicBool,
    /// The guest begins again: what is left of its last life on this core is to go, by its own doing.
    pub renew: AtomicBool,
    /// In its virtual processor area, if one was registered: how often it has ceded, and come back.
    /// Registered and withdrawn with `areas` locked.
    pub yields: GuestCounter,
    /// Areas that were registered for it besides.
    pub areas: Lock<Areas>,
}

impl Seat {
    /// Whether something came that ends a join.
    fn is_called(&self) -> bool {
        [&self.prodded, &self.reset, &self.pulled].iter().any(|flag| flag.load(Ordering::SeqCst))
    }
}

/// What all vCPUs share.
pub struct Shared {
    /// Guest RAM.
    pub memory: GuestMemory,
    /// What the guest can reach.
    pub reach: Reach,
    /// The tables that say so.
    pub tables: TableMemory,
    /// Host real address of their root.
    pub root: u64,
    /// Guest real address of the guest's first instruction.
    pub entry: u64,
    /// How many vCPUs there are.
    pub vcpus: usize,
    /// The vCPUs.
    pub seats: [Seat; VCPUS],
    /// Where each is in its life.
    pub states: Lock<[State; VCPUS]>,
    /// The guest's interrupt sources and queues.
    pub interrupts: Lock<Interrupts>,
    /// Its routines for machine checks and system resets.
    pub nmi: Lock<Nmi>,
    /// Its watchdogs.
    pub watchdogs: Lock<Watchdogs>,
    /// When the next of them expires, in timebase ticks, or [`watchdog::NEVER`].
    pub watchdog_due: AtomicU64,
    /// The firmware's watchdog.
    pub watchdog: Watchdog,
    /// Timebase ticks in a second.
    pub timebase_hz: u64,
    /// The machine's cores.
    pub cores: u32,
    /// The console, and the end of what the guest wrote to it. Held for a whole line or call, so that
    /// no two are mixed.
    pub console: Lock<ConsoleTail>,
    /// Reports so far.
    pub reports: Reports,
    /// vCPUs begin little-endian.
    pub little_endian: bool,
    /// The bits of LPCR that the guest decides, for all its vCPUs: [`MODE`].
    mode: AtomicU64,
}

/// LPCR's bits that the guest decides: the byte order of its interrupts, whether they keep
/// translation on, and whether it executes tlbie itself.
const MODE: u64 = lpcr::ILE | lpcr::AIL_3 | lpcr::GTSE;

impl Shared {
    /// The guest that `manifest` describes: its first vCPU about to start, the others stopped.
    #[must_use]
    pub fn new(manifest: &Manifest, memory: GuestMemory, tables: TableMemory) -> Self {
        let little_endian = manifest.guest_little_endian != 0;
        let seat = || Seat {
            prodded: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            pulled: AtomicBool::new(false),
            renew: AtomicBool::new(false),
            yields: GuestCounter::NONE,
            areas: Lock::new(Areas::default()),
        };
        Self {
            memory,
            reach: Reach::new(manifest),
            tables,
            root: manifest.table_root,
            entry: manifest.guest_entry,
            vcpus: (manifest.vcpus as usize).min(VCPUS),
            seats: [(); VCPUS].map(|()| seat()),
            states: Lock::new(first_states(manifest)),
            interrupts: Lock::new(Interrupts::new(manifest.xive_sources as u32)),
            nmi: Lock::new(Nmi::new(manifest)),
            watchdogs: Lock::new(Watchdogs::default()),
            watchdog_due: AtomicU64::new(watchdog::NEVER),
            watchdog: Watchdog::new(manifest),
            timebase_hz: manifest.timebase_hz,
            cores: manifest.cores,
            console: Lock::new(ConsoleTail::new()),
            reports: Reports::new(manifest),
            little_endian,
            mode: AtomicU64::new(first_mode(little_endian)),
        }
    }

    /// All as [`Self::new`] has it but for the vCPUs' states: each is stopped, and waits in the
    /// firmware. Interrupts are as [`super::interrupts::clear`] left them.
    pub fn begin_again(&self) {
        for seat in &self.seats {
            for flag in [&seat.prodded, &seat.waits, &seat.reset, &seat.pulled] {
                flag.store(false, Ordering::SeqCst);
            }
            let mut areas = seat.areas.lock();
            seat.yields.place(None, 0);
            *areas = Areas::default();
        }
        self.nmi.lock().forget();
        *self.watchdogs.lock() = Watchdogs::default();
        self.watchdog_due.store(watchdog::NEVER, Ordering::SeqCst);
        *self.console.lock() = ConsoleTail::new();
        self.reports.begin_again();
        self.mode.store(first_mode(self.little_endian), Ordering::SeqCst);
    }

    /// The first vCPU is about to start, as at first; whoever asks kicks it.
    pub fn start_first(&self, manifest: &Manifest, now: u64) {
        self.watchdog.begin(now, self.timebase_hz);
        *self.states.lock() = first_states(manifest);
    }

    /// Whether all vCPUs but this one wait to be started.
    #[must_use]
    pub fn others_stopped(&self, index: usize) -> bool {
        let states = *self.states.lock();
        states.into_iter().enumerate().all(|(other, state)| other == index || state.is_stopped())
    }

    /// The vCPU that the guest calls by this server number.
    #[must_use]
    pub fn server(&self, number: u64) -> Option<usize> {
        usize::try_from(number).ok().filter(|index| *index < self.vcpus)
    }
}

/// The first vCPU about to start, the others stopped.
fn first_states(manifest: &Manifest) -> [State; VCPUS] {
    let mut states = [State::Stopped; VCPUS];
    states[0] = State::Starting { entry: manifest.guest_entry, argument: manifest.guest_tree };
    states
}

/// [`MODE`] before the guest has decided anything.
const fn first_mode(little_endian: bool) -> u64 {
    let order = if little_endian { lpcr::ILE } else { 0 };
    lpcr::GUEST & MODE | order
}

/// One vCPU. Only its own core touches it.
pub struct Vcpu<M> {
    /// Its number, which is its server number.
    pub index: usize,
    /// The core and what is underneath.
    pub machine: M,
    /// What all share.
    pub shared: &'static Shared,
    /// Its own among the seats.
    seat: &'static Seat,
    /// Its row of the ledger.
    pub row: &'static mut Row,
    /// The exit being served.
    pub reason: Option<ExitReason>,
    /// When the core's timer comes for a watchdog's sake, or [`watchdog::NEVER`].
    pub timer: u64,
    /// What it has seen for the firmware's watchdog.
    pub seen: Seen,
    /// Timebase ticks that the exit being served was asleep, if anybody counts them.
    pub slept: u64,
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
            seat: &shared.seats[index],
            row,
            reason: None,
            timer: watchdog::NEVER,
            seen: Seen::NOTHING,
            slept: 0,
            last_words,
            fault: None,
            trail: Trail::new(),
        }
    }

    /// Counts an exit.
    pub fn count(&mut self, reason: ExitReason) {
        self.reason = Some(reason);
        self.row.count[reason.slot()] += 1;
    }

    /// Its own seat.
    #[must_use]
    pub const fn seat(&self) -> &'static Seat {
        self.seat
    }
}

impl<M: Power9> Vcpu<M> {
    /// Changes [`MODE`] for all vCPUs: this one at once, the others before their next instruction
    /// after the kick.
    pub fn change_mode(&mut self, clear: u64, set: u64) {
        let change = |mode: u64| Some(mode & !clear | set);
        let old = self.shared.mode.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change);
        if old.is_ok_and(|old| change(old) != Some(old)) {
            self.kick_others(State::is_active);
        }
        self.follow_mode();
    }

    /// Takes over what another vCPU has changed.
    pub fn follow_mode(&mut self) {
        let mode = self.shared.mode.load(Ordering::Relaxed);
        if self.machine.lpcr() & MODE != mode {
            self.machine.update_lpcr(MODE, mode);
        }
    }

    /// Kicks all other vCPUs whose state is `wanted`.
    fn kick_others(&mut self, wanted: fn(State) -> bool) {
        let states = *self.shared.states.lock();
        for (other, state) in states.into_iter().enumerate().take(self.shared.vcpus) {
            if other != self.index && wanted(state) {
                self.machine.kick(other);
            }
        }
    }

    /// Has the vCPU's present wait, or else its next one, end.
    #[inline]
    pub fn prod(&mut self, target: usize) {
        if target == self.index {
            return self.seat.prodded.store(true, Ordering::Relaxed);
        }
        let seat = &self.shared.seats[target];
        seat.prodded.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if seat.waits.load(Ordering::Relaxed) {
            self.machine.kick(target);
        }
    }

    /// Sleeps with `sleep` unless H_PROD has come; whether it came, before or meanwhile.
    ///
    /// Who prods sets the flag and then asks whether this vCPU waits; who waits says so and then
    /// looks at the flag: one of the two sees the other.
    #[inline]
    pub fn wait(&mut self, sleep: impl FnOnce(&mut M)) -> bool {
        let seat = self.seat();
        seat.waits.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !seat.prodded.load(Ordering::Relaxed) {
            sleep(&mut self.machine);
        }
        seat.waits.store(false, Ordering::Relaxed);
        // A second one that comes right here is one with the first.
        let prodded = seat.prodded.load(Ordering::Acquire);
        if prodded {
            seat.prodded.store(false, Ordering::Relaxed);
        }
        prodded
    }

    /// Asks a stopped vCPU to start; false if it is not stopped.
    pub fn start(&mut self, target: usize, entry: u64, argument: u64) -> bool {
        let mut states = self.shared.states.lock();
        if states[target] != State::Stopped {
            return false;
        }
        let seat = &self.shared.seats[target];
        seat.prodded.store(false, Ordering::Relaxed);
        seat.reset.store(false, Ordering::Relaxed);
        self.shared.nmi.lock().release(target);
        states[target] = State::Starting { entry, argument };
        drop(states);
        self.machine.kick(target);
        true
    }

    /// Stops this vCPU, unless no other would be left to start it again: then false.
    pub fn stop(&mut self) -> bool {
        let mut states = self.shared.states.lock();
        let Some(other) = self.other_active(&states) else { return false };
        states[self.index] = State::Stopped;
        drop(states);
        self.leave_watchdog(other);
        true
    }

    /// Takes this vCPU out of use for a guest that begins again: it is to wait for its start.
    pub fn leave(&mut self) {
        self.shared.states.lock()[self.index] = State::Stopped;
    }

    /// Removes what is left on this core of the guest's last life. It waits for its start meanwhile,
    /// and no source is on.
    pub fn renew(&mut self) {
        self.machine.renew_interrupts();
        self.timer = watchdog::NEVER;
        self.machine.set_timer(watchdog::NEVER);
        self.reason = None;
        self.last_words.clear();
        (self.fault, self.trail) = (None, Trail::new());
        self.seat().renew.store(false, Ordering::SeqCst);
    }

    /// Waits until this vCPU is asked to start, and makes `ctx` its first state: the architecture's
    /// for a started CPU (LoPAR 7.3.8, start-cpu), real mode with interrupts off.
    pub fn await_start(&mut self, ctx: &mut GuestContext) {
        self.machine.forget_guest();
        let (entry, argument) = loop {
            if self.seat().renew.load(Ordering::SeqCst) {
                self.renew();
            }
            let mut states = self.shared.states.lock();
            if let State::Starting { entry, argument } = states[self.index] {
                states[self.index] = State::Running;
                break (entry, argument);
            }
            drop(states);
            self.machine.park();
        };
        self.follow_mode();
        self.seen = self.shared.watchdog.start(self.machine.timebase());
        self.watch();
        self.follow_watchdog();
        self.machine.clear_registers();
        ctx.pending_reset = 0;
        ctx.gpr = [0; 32];
        ctx.gpr[3] = argument;
        (ctx.lr, ctx.ctr, ctx.xer, ctx.cr, ctx.cfar) = (0, 0, 0, 0, 0);
        ctx.ppr = PPR_MEDIUM;
        ctx.nip = entry;
        ctx.msr = msr::SF | msr::ME;
        if self.shared.little_endian {
            ctx.msr |= msr::LE;
        }
    }

    /// Waits as H_JOIN asks: for H_PROD or a reset, deaf to everything else. False when no other vCPU
    /// would be left running.
    ///
    /// Who was called out of it counts as running from then on, however long it takes to come: what
    /// called it is used up only once its state says so.
    pub fn join(&mut self) -> bool {
        let seat = self.seat();
        let mut states = self.shared.states.lock();
        let Some(other) = self.other_active(&states) else { return false };
        if seat.prodded.swap(false, Ordering::SeqCst) {
            // Without having been seen as joined, on which another vCPU would act.
            return true;
        }
        states[self.index] = State::Joined;
        drop(states);
        self.leave_watchdog(other);
        // As in [`Self::wait`].
        seat.waits.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while !seat.is_called() {
            self.machine.park();
        }
        seat.waits.store(false, Ordering::Relaxed);
        let mut states = self.shared.states.lock();
        states[self.index] = State::Running;
        seat.prodded.store(false, Ordering::SeqCst);
        drop(states);
        self.watch();
        true
    }

    /// A vCPU besides this one that will do something by itself, or has been called out of a join.
    fn other_active(&self, states: &[State; VCPUS]) -> Option<usize> {
        let mut others = (0..self.shared.vcpus).filter(|other| *other != self.index);
        others.find(|other| match states[*other] {
            State::Joined => self.shared.seats[*other].is_called(),
            state => state.is_active(),
        })
    }

    /// Has the vCPU take a system reset, whatever it is doing; one that is stopped stays so.
    pub fn signal_reset(&mut self, target: usize) {
        if self.shared.states.lock()[target] == State::Stopped {
            return;
        }
        self.shared.seats[target].reset.store(true, Ordering::SeqCst);
        if target != self.index {
            self.machine.kick(target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, RAM, code as call, context, hcall, vcpu_of};
    use super::super::hcall;
    use super::super::regs::vector;
    use super::*;
    use zerocopy::FromZeros;

    const TRIES: u32 = 3;

    /// Has `meanwhile` happen when the vCPU has slept a few times.
    fn later(v: &mut Vcpu<Fake>, meanwhile: impl Fn(&'static Shared) + 'static) {
        let shared = v.shared;
        let mut sleeps = 0;
        v.machine.meanwhile = Some(Box::new(move || {
            sleeps += 1;
            if sleeps == TRIES {
                meanwhile(shared);
            }
        }));
    }

    #[test]
    fn a_stopped_vcpu_starts_as_the_architecture_says() {
        let mut v = vcpu_of(2);
        v.shared.states.lock()[1] = State::Running;
        assert!(v.stop());
        later(&mut v, |shared| {
            shared.mode.store(lpcr::GUEST & MODE | lpcr::ILE, Ordering::Relaxed);
            shared.states.lock()[0] = State::Starting { entry: 0x8000, argument: 7 };
        });
        let mut ctx = context(vector::SYSTEM_CALL);
        (ctx.pending_reset, ctx.lr, ctx.gpr[9]) = (0x100, 5, 5);
        v.await_start(&mut ctx);
        assert_eq!((ctx.nip, ctx.msr, ctx.gpr[3]), (0x8000, msr::SF | msr::ME, 7));
        assert_eq!((ctx.pending_reset, ctx.lr, ctx.gpr[9]), (0, 0, 0));
        assert_eq!((v.machine.parked, v.machine.forgot), (TRIES, 1));
        assert_eq!(v.machine.lpcr & lpcr::ILE, lpcr::ILE, "interrupts as the others have them");
        assert_eq!(v.shared.states.lock()[0], State::Running);
    }

    #[test]
    fn a_guest_that_begins_again_finds_nothing_of_its_last_life() {
        let mut v = vcpu_of(3);
        *v.shared.states.lock() = [State::Running, State::Stopped, State::Joined, State::Stopped];
        assert!(!v.shared.others_stopped(0));
        v.shared.states.lock()[2] = State::Starting { entry: 0, argument: 0 };
        assert!(!v.shared.others_stopped(0));
        v.shared.states.lock()[2] = State::Stopped;
        assert!(v.shared.others_stopped(0));
        assert_eq!(call(&mut v, &[0x31c, 1, 4, 0, 0]), 0);
        assert_eq!(call(&mut v, &[0x45c, 0x101, 1, 10]), 0);
        let seat = &v.shared.seats[1];
        let flags = [&seat.prodded, &seat.waits, &seat.reset, &seat.pulled];
        for flag in flags {
            flag.store(true, Ordering::SeqCst);
        }
        seat.yields.place(v.shared.memory.view(Gpa(RAM.0), 0x104).ok(), 0x100);
        v.shared.console.lock().push(b"Kernel panic");
        v.follow_watchdog();
        v.last_words.push(b"of the last life");

        v.leave();
        v.shared.begin_again();
        assert!(!flags.iter().any(|flag| flag.load(Ordering::SeqCst)));
        assert!(!seat.yields.is_placed());
        assert!(v.shared.console.lock().last_line_with(b"panic", &mut [0; 16]).is_none());
        assert_eq!(v.shared.watchdog_due.load(Ordering::SeqCst), watchdog::NEVER);
        assert_eq!(call(&mut v, &[0x45c, 0x200, 1]), -63, "no watchdog runs");

        let mut manifest = Manifest::new_zeroed();
        (manifest.guest_entry, manifest.guest_tree) = (0x400, 0x500);
        v.seat().renew.store(true, Ordering::SeqCst);
        let mut parked = 0;
        let shared = v.shared;
        v.machine.meanwhile = Some(Box::new(move || {
            parked += 1;
            if parked == TRIES {
                shared.start_first(&manifest, 0);
            }
        }));
        let mut ctx = context(vector::SYSTEM_CALL);
        v.await_start(&mut ctx);
        assert_eq!((ctx.nip, ctx.gpr[3], ctx.gpr[14]), (0x400, 0x500, 0));
        assert_eq!((v.machine.renewed, v.machine.cleared), (1, 1));
        assert!(!v.seat().renew.load(Ordering::SeqCst), "said when it is done");
        assert_eq!((v.timer, v.machine.timer), (watchdog::NEVER, watchdog::NEVER));
        assert!(v.last_words.as_bytes().is_empty() && v.reason.is_none());
        assert_eq!(v.machine.lpcr & MODE, lpcr::GUEST & MODE, "big-endian, its own tlbie");
        assert_eq!(v.shared.states.lock()[..3], [State::Running, State::Stopped, State::Stopped]);
        assert_eq!(v.row.count[ExitReason::HSetMode.slot()], 1, "the ledger counts on");
    }

    #[test]
    fn the_last_vcpu_cannot_stop() {
        let mut v = vcpu_of(3);
        v.shared.states.lock()[1] = State::Joined;
        assert!(!v.stop());
        assert_eq!(v.shared.states.lock()[0], State::Running);
        v.shared.states.lock()[2] = State::Starting { entry: 0, argument: 0 };
        assert!(v.stop());
    }

    #[test]
    fn who_was_called_out_of_a_join_is_one_that_runs() {
        let seat = |shared: &'static Shared| &shared.seats[1];
        let calls: [fn(&Seat) -> &AtomicBool; 2] = [|seat| &seat.prodded, |seat| &seat.reset];
        for flag in calls {
            let mut v = vcpu_of(2);
            v.shared.states.lock()[1] = State::Joined;
            assert!(!v.stop());
            flag(seat(v.shared)).store(true, Ordering::SeqCst);
            assert!(v.stop());
        }
        // A prod is used up by the join that it ends.
        let mut v = vcpu_of(2);
        v.shared.states.lock()[1] = State::Running;
        later(&mut v, |shared| shared.seats[0].prodded.store(true, Ordering::SeqCst));
        assert_eq!(call(&mut v, &[0x298]), 0);
        assert!(!v.seat().is_called());
    }

    #[test]
    fn a_vcpu_is_started_once() {
        let mut v = vcpu_of(2);
        v.shared.seats[1].prodded.store(true, Ordering::Relaxed);
        assert!(v.start(1, 0x100, 2));
        assert!(!v.start(1, 0x200, 3));
        let started = State::Starting { entry: 0x100, argument: 2 };
        assert_eq!((v.shared.states.lock()[1], &v.machine.kicked[..]), (started, &[1][..]));
        assert!(!v.shared.seats[1].prodded.load(Ordering::Relaxed), "a prod of its last life");
    }

    #[test]
    fn a_prod_ends_one_wait_whenever_it_comes() {
        let mut v = vcpu_of(2);
        assert_eq!(call(&mut v, &[0xe8, 1]), 0);
        assert!(v.machine.kicked.is_empty(), "it does not wait");
        v.shared.seats[1].waits.store(true, Ordering::Relaxed);
        assert_eq!(call(&mut v, &[0xe8, 1]), 0);
        assert_eq!(v.machine.kicked, [1]);
        assert_eq!(call(&mut v, &[0xe8, 2]), -4);
        // One that comes during the wait is spent by it.
        let shared = v.shared;
        v.machine.meanwhile =
            Some(Box::new(|| shared.seats[0].prodded.store(true, Ordering::SeqCst)));
        assert_eq!((call(&mut v, &[0xe0]), v.machine.idled), (0, 1));
        v.machine.meanwhile = None;
        assert_eq!((call(&mut v, &[0xe0]), v.machine.idled), (0, 2));
        assert!(!v.shared.seats[0].waits.load(Ordering::Relaxed));
    }

    #[test]
    fn joining_waits_for_a_prod() {
        let mut v = vcpu_of(2);
        assert_eq!(call(&mut v, &[0x298]), 18, "no other runs");
        v.shared.states.lock()[1] = State::Running;
        let mut ctx = hcall(&[0x298]);
        ctx.msr |= msr::EE;
        let _ = hcall::serve(&mut v, &mut ctx);
        assert_eq!((ctx.gpr[3] as i64, v.machine.parked), (-5, 0));
        later(&mut v, |shared| {
            assert_eq!(shared.states.lock()[0], State::Joined);
            assert!(shared.seats[0].waits.load(Ordering::SeqCst));
            shared.seats[0].prodded.store(true, Ordering::SeqCst);
        });
        assert_eq!((call(&mut v, &[0x298]), v.machine.parked), (0, TRIES));
        assert_eq!(v.shared.states.lock()[0], State::Running);
        // A prod that came before is enough.
        v.shared.seats[0].prodded.store(true, Ordering::SeqCst);
        assert_eq!((call(&mut v, &[0x298]), v.machine.parked), (0, TRIES));
    }

    #[test]
    fn a_signalled_reset_reaches_whoever_is_not_stopped() {
        let mut v = vcpu_of(4);
        *v.shared.states.lock() = [State::Running, State::Running, State::Stopped, State::Joined];
        assert_eq!(call(&mut v, &[0x380, -2_i64 as u64]), 0);
        assert_eq!(v.machine.kicked, [1, 3]);
        let pending = |n: usize| v.shared.seats[n].reset.load(Ordering::Relaxed);
        assert_eq!([0, 1, 2, 3].map(pending), [false, true, false, true]);
        assert_eq!(call(&mut v, &[0x380, 4]), -4);
        // Its own comes at the end of the call, counted as the call and nothing else.
        let mut ctx = hcall(&[0x380, -1_i64 as u64]);
        let (after, before) = (ctx.nip, v.row.count.iter().sum::<u64>());
        let _ = super::super::exits::serve(&mut v, &mut ctx);
        assert_eq!((ctx.nip, v.machine.srr.0, ctx.gpr[3]), (0x100, after, 0));
        assert_eq!(v.row.count.iter().sum::<u64>(), before + 1);
        assert!(!v.shared.seats[0].reset.load(Ordering::Relaxed));
    }

    #[test]
    fn a_reset_ends_a_join() {
        let mut v = vcpu_of(2);
        v.shared.states.lock()[1] = State::Running;
        later(&mut v, |shared| shared.seats[0].reset.store(true, Ordering::SeqCst));
        let mut ctx = hcall(&[0x298]);
        let _ = super::super::exits::serve(&mut v, &mut ctx);
        assert_eq!((ctx.nip, v.machine.parked), (0x100, TRIES));
    }

    #[test]
    fn a_restart_ends_a_join_when_its_kick_is_all_that_is_left() {
        let mut v = vcpu_of(2);
        v.shared.states.lock()[1] = State::Running;
        v.shared.seats[0].prodded.store(true, Ordering::SeqCst);
        assert_eq!(call(&mut v, &[0xe0]), 0, "a cede uses a prod up");
        later(&mut v, |shared| shared.seats[0].pulled.store(true, Ordering::SeqCst));
        assert_eq!((call(&mut v, &[0x298]), v.machine.parked), (0, TRIES));
        assert_eq!(v.shared.states.lock()[0], State::Running, "until it has come out");
    }

    #[test]
    fn a_vcpu_that_starts_has_the_watchdogs_time() {
        let mut v = vcpu_of(2);
        v.shared.states.lock()[1] = State::Running;
        v.shared.watchdog_due.store(77, Ordering::SeqCst);
        assert!(v.stop());
        // The other one has left to it what it was to take over, and stops before it has come.
        later(&mut v, |shared| {
            shared.states.lock()[0] = State::Starting { entry: 0x8000, argument: 7 };
        });
        v.await_start(&mut context(vector::SYSTEM_CALL));
        assert_eq!((v.timer, v.machine.timer), (77, 77));
    }

    #[test]
    fn what_one_vcpu_sets_for_all_the_others_follow() {
        let mut v = vcpu_of(3);
        v.shared.states.lock()[2] = State::Running;
        assert_eq!(call(&mut v, &[0x31c, 1, 4, 0, 0]), 0);
        assert_eq!(v.machine.kicked, [2], "who is stopped follows when it starts");
        assert_eq!(call(&mut v, &[0x31c, 1, 4, 0, 0]), 0);
        assert_eq!(v.machine.kicked, [2], "nothing changed");
        // Another vCPU clears GTSE; this one's next exit brings it.
        v.shared.mode.store(lpcr::ILE, Ordering::SeqCst);
        let _ = super::super::exits::serve(&mut v, &mut hcall(&[0x300]));
        assert_eq!(v.machine.lpcr & MODE, lpcr::ILE);
    }
}
