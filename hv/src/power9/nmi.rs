// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Firmware-assisted non-maskable interrupts (LoPAR 7.3.14, the FWNMI option).
//!
//! A guest may name routines of its own for machine checks and system resets (ibm,nmi-register).
//! From then on these get, in r3, the real address of a save area in RTAS's memory: the interrupted
//! r3, and after a machine check an error log that says what was wrong. Each vCPU has an area of its
//! own, so that none waits for another's; a machine check's stays in use until ibm,nmi-interlock,
//! and a second one before that is fatal, as LoPAR has it. Without routines both come to the
//! architecture's vectors.
use anchorite_spec::manifest::{PART_RTAS, VCPUS};
use anchorite_spec::{End, Manifest, Range};

use super::board::Power9;
use super::context::GuestContext;
use super::inject;
use super::vcpu::Vcpu;
use crate::core::Action;
use crate::mem::{Gpa, GuestSlice};

/// The routines that the guest registered, by guest real address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routines {
    /// For system resets.
    pub system_reset: u64,
    /// For machine checks.
    pub machine_check: u64,
}

/// What is known of a guest's non-maskable interrupts.
pub struct Nmi {
    rtas: Range,
    routines: Option<Routines>,
    /// Whose error log is in use.
    held: [bool; VCPUS],
}

/// Where the save areas begin in RTAS's memory, behind its code; one after another by vCPU.
const AREAS: u64 = 0x400;
const AREA: u64 = 0x100;
/// A system reset's place in a vCPU's area; the machine check's is at its start.
const RESET: u64 = 0x80;

impl Nmi {
    /// Nothing is registered.
    #[must_use]
    pub fn new(manifest: &Manifest) -> Self {
        let part = manifest.part(PART_RTAS);
        let rtas = part.map_or(Range::default(), |part| Range::new(part.dest, part.memory_size));
        Self { rtas, routines: None, held: [false; VCPUS] }
    }

    /// As [`Self::new`] has it, for a guest that begins anew.
    pub fn forget(&mut self) {
        (self.routines, self.held) = (None, [false; VCPUS]);
    }

    /// A vCPU that starts holds no log of its last life.
    pub fn release(&mut self, vcpu: usize) -> bool {
        core::mem::take(&mut self.held[vcpu])
    }

    /// Keeps the routines; false without memory for the save areas.
    pub fn register(&mut self, routines: Routines) -> bool {
        if self.rtas.size < AREAS + AREA * VCPUS as u64 {
            return false;
        }
        self.routines = Some(routines);
        true
    }

    /// The routines, if any.
    #[must_use]
    pub fn routines(&self) -> Option<Routines> {
        self.routines
    }

    fn area(&self, vcpu: usize) -> Gpa {
        Gpa(self.rtas.base + AREAS + AREA * vcpu as u64)
    }
}

/// What failed in a machine check, as an error log's MC section names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    kind: u8,
    detail: u8,
    /// The effective address, if it is known.
    effective: Option<u64>,
    /// The guest real address, if it is known.
    logical: Option<u64>,
}

/// An uncorrectable error: memory did not answer.
const UNCORRECTABLE: u8 = 0;
const IN_FETCH: u8 = 1;
const IN_FETCH_WALK: u8 = 2;
const IN_DATA: u8 = 3;
const IN_DATA_WALK: u8 = 4;
const SLB: u8 = 1;
const SLB_PARITY: u8 = 0;
const SLB_MULTIHIT: u8 = 1;
const ERAT: u8 = 2;
const TLB: u8 = 4;
const MULTIHIT: u8 = 2;
const UNKNOWN: u8 = 6;

impl Cause {
    /// A load or store that memory did not answer.
    #[must_use]
    pub const fn data(effective: u64, logical: u64) -> Self {
        Self {
            kind: UNCORRECTABLE,
            detail: IN_DATA,
            effective: Some(effective),
            logical: Some(logical),
        }
    }

    /// An instruction fetch that memory did not answer.
    #[must_use]
    pub const fn fetch(effective: u64, logical: u64) -> Self {
        Self { detail: IN_FETCH, ..Self::data(effective, logical) }
    }

    /// What POWER9 says in SRR1 and DSISR (POWER9 Processor User's Manual, "Machine Check
    /// Interrupts").
    #[must_use]
    pub fn of_core(srr1: u64, nip: u64, dar: u64, dsisr: u64) -> Self {
        const DATA_SIDE: u64 = 1 << (63 - 42);
        let cause = |kind, detail, effective| Self { kind, detail, effective, logical: None };
        if srr1 & DATA_SIDE != 0 {
            const CAUSES: [(u64, u8, u8, bool); 8] = [
                (0x8000, UNCORRECTABLE, IN_DATA, false),
                (0x4000, UNCORRECTABLE, IN_DATA_WALK, true),
                (0x0800, ERAT, MULTIHIT, true),
                (0x0400, TLB, MULTIHIT, true),
                (0x0080, SLB, SLB_MULTIHIT, true),
                (0x0100, SLB, SLB_PARITY, true),
                // Real addresses that nobody answers.
                (0x0048, UNCORRECTABLE, IN_DATA, true),
                (0x0030, UNCORRECTABLE, IN_DATA_WALK, true),
            ];
            let found = CAUSES.iter().find(|(bits, ..)| dsisr & bits != 0);
            return found.map_or(cause(UNKNOWN, 0, None), |(_, kind, detail, known)| {
                cause(*kind, *detail, known.then_some(dar))
            });
        }
        let (kind, detail) = match srr1 & 0x081c_0000 {
            0x0004_0000 | 0x001c_0000 | 0x080c_0000 => (UNCORRECTABLE, IN_FETCH),
            0x0018_0000 | 0x0810_0000 => (UNCORRECTABLE, IN_FETCH_WALK),
            0x0008_0000 => (SLB, SLB_PARITY),
            0x000c_0000 => (SLB, SLB_MULTIHIT),
            0x0010_0000 => (ERAT, MULTIHIT),
            0x0014_0000 => (TLB, MULTIHIT),
            _ => return cause(UNKNOWN, 0, None),
        };
        cause(kind, detail, Some(nip))
    }
}

/// Bytes of an error log behind its first word: the version 6 header and the MC section.
const EXTENDED: u32 = 16 + 40;

/// Writes the error log (LoPAR 7.3.2.2; version 6, platform event log, one MC section).
fn write_log(log: &GuestSlice, at: usize, vcpu: usize, cause: Cause) {
    /// Version 6, a synchronous error, not recovered, more follows, begun by a CPU.
    const SUMMARY: u32 = 0x0600_0000 | 0x0060_0000 | 0x0010_0000 | 0x0004_0000 | 0x1000;
    // Valid, new, big-endian; PowerPC format, platform event log; the company.
    const HEADER: [u32; 4] = [0x8600_8e00, 0, 0, u32::from_be_bytes(*b"IBM\0")];
    /// Section "MC", its length, version 1.
    const SECTION: [u32; 2] = [0x4d43 << 16 | 40, 0x0100_0000];
    let effective = match (cause.effective, cause.kind) {
        (None, _) => 0,
        (Some(_), UNCORRECTABLE) => 0x40,
        (Some(_), _) => 0x80,
    };
    let logical = if cause.logical.is_some() { 0x20 } else { 0 };
    let kind = [cause.kind, cause.detail | effective | logical, 0, 0];
    let [effective, logical] = [cause.effective, cause.logical].map(|a| a.unwrap_or(0));
    let high = |address: u64| (address >> 32) as u32;
    let words = [
        SUMMARY,
        EXTENDED,
        HEADER[0],
        HEADER[1],
        HEADER[2],
        HEADER[3],
        SECTION[0],
        SECTION[1],
        0,
        vcpu as u32,
        u32::from_be_bytes(kind),
        0,
        high(effective),
        effective as u32,
        high(logical),
        logical as u32,
    ];
    for (n, word) in words.into_iter().enumerate() {
        log.write_be32(at + 4 * n, word);
    }
}

/// Sends the guest from the vector that it is at to `routine`, the interrupted r3 in its area.
fn divert(ctx: &mut GuestContext, routine: u64, area: &GuestSlice, at: Gpa) {
    area.write(0, &ctx.gpr[3].to_be_bytes());
    ctx.gpr[3] = at.0;
    ctx.nip = routine;
}

/// After a machine check was raised in the guest: to its routine, if it has one.
pub fn machine_check<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext, cause: Cause) -> Action {
    let mut nmi = v.shared.nmi.lock();
    let Some(routines) = nmi.routines else { return Action::Resume };
    let at = nmi.area(v.index);
    // The builder placed RTAS's memory in guest RAM.
    let Ok(area) = v.shared.memory.view(at, RESET as usize) else { return Action::Resume };
    if core::mem::replace(&mut nmi.held[v.index], true) {
        v.last_words.push(b"a second machine check before ibm,nmi-interlock");
        return Action::End(End::GuestPanic);
    }
    write_log(&area, 8, v.index, cause);
    divert(ctx, routines.machine_check, &area, at);
    Action::Resume
}

/// Raises a system reset in the guest, at its routine if it has one.
pub fn system_reset<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) {
    inject::system_reset(&mut v.machine, ctx);
    let nmi = v.shared.nmi.lock();
    let Some(routines) = nmi.routines else { return };
    let at = Gpa(nmi.area(v.index).0 + RESET);
    let Ok(area) = v.shared.memory.view(at, 16) else { return };
    // No error log: its first word says that there is none.
    area.write(8, &[0; 8]);
    divert(ctx, routines.system_reset, &area, at);
}

#[cfg(test)]
mod tests {
    use super::super::board::StorageFault;
    use super::super::fake::{Fake, RTAS, context, served, vcpu, vcpu_of};
    use super::super::regs::{storage, vector};
    use super::*;

    const ROUTINES: Routines = Routines { system_reset: 0x1000, machine_check: 0x2000 };

    fn words<const N: usize>(v: &Vcpu<Fake>, at: u64) -> [u32; N] {
        let view = v.shared.memory.view(Gpa(at), 4 * N).expect("RAM");
        core::array::from_fn(|n| view.read_be32(4 * n))
    }

    fn fault(v: &mut Vcpu<Fake>, number: u64) -> (Action, GuestContext) {
        let (hdar, asdr) = (0xc000_0000_1234_5678, 0x8_0000_5000);
        v.machine.fault = StorageFault { hdar, hdsisr: storage::NO_TRANSLATION, asdr };
        let mut ctx = context(number);
        ctx.gpr[3] = 0x1122_3344_5566_7788;
        (served(v, &mut ctx), ctx)
    }

    #[test]
    fn without_routines_the_vectors_are_the_architectures() {
        let mut v = vcpu();
        let (_, ctx) = fault(&mut v, vector::HDSI);
        assert_eq!((ctx.nip, ctx.gpr[3]), (0x200, 0x1122_3344_5566_7788));
        let (_, ctx) = fault(&mut v, vector::SYSTEM_RESET);
        assert_eq!((ctx.nip, ctx.gpr[3]), (0x100, 0x1122_3344_5566_7788));
    }

    #[test]
    fn a_hole_is_told_in_an_error_log() {
        let mut v = vcpu_of(2);
        v.index = 1;
        assert!(v.shared.nmi.lock().register(ROUTINES));
        let (action, ctx) = fault(&mut v, vector::HDSI);
        let area = RTAS + 0x500;
        assert_eq!((action, ctx.nip, ctx.gpr[3]), (Action::Resume, 0x2000, area));
        assert_eq!(v.machine.srr.0, 0x4000, "where it was");
        assert_eq!(words(&v, area), [0x1122_3344, 0x5566_7788]);
        // Summary: version 6, severity 3, disposition 2, extended, initiator 1.
        assert_eq!(words(&v, area + 8), [0x0674_1000, 56]);
        assert_eq!(words(&v, area + 16), [0x8600_8e00, 0, 0, 0x4942_4d00]);
        assert_eq!(words(&v, area + 32), [0x4d43_0028, 0x0100_0000, 0, 1]);
        // Uncorrectable, by a load or store, both addresses known.
        assert_eq!(words(&v, area + 48), [0x0063_0000, 0]);
        assert_eq!(words(&v, area + 56), [0xc000_0000, 0x1234_5678, 0x8, 0x0000_5678]);
    }

    #[test]
    fn a_second_machine_check_before_the_interlock_is_fatal() {
        let mut v = vcpu();
        assert!(v.shared.nmi.lock().register(ROUTINES));
        assert_eq!(fault(&mut v, vector::HISI).0, Action::Resume);
        assert!(v.shared.nmi.lock().release(0));
        assert_eq!(fault(&mut v, vector::HISI).0, Action::Resume);
        assert_eq!(fault(&mut v, vector::HDSI).0, Action::End(End::GuestPanic));
        assert_eq!(v.last_words.as_bytes(), b"a second machine check before ibm,nmi-interlock");
    }

    #[test]
    fn a_system_reset_keeps_r3_and_holds_nothing() {
        let mut v = vcpu();
        assert!(v.shared.nmi.lock().register(ROUTINES));
        for _ in 0..2 {
            let (action, ctx) = fault(&mut v, vector::SYSTEM_RESET);
            let area = RTAS + 0x480;
            assert_eq!((action, ctx.nip, ctx.gpr[3]), (Action::Resume, 0x1000, area));
            assert_eq!(words(&v, area), [0x1122_3344, 0x5566_7788, 0, 0]);
        }
        v.shared.nmi.lock().forget();
        assert_eq!(fault(&mut v, vector::SYSTEM_RESET).1.nip, 0x100);
    }

    #[test]
    fn what_the_core_reports_is_named() {
        let data = |dsisr| Cause::of_core(1 << 21, 0x4000, 0x77, dsisr);
        let named = |cause: Cause| (cause.kind, cause.detail, cause.effective);
        assert_eq!(named(data(0x8000)), (UNCORRECTABLE, IN_DATA, None));
        assert_eq!(named(data(0x0080)), (SLB, SLB_MULTIHIT, Some(0x77)));
        assert_eq!(named(data(0x0040)), (UNCORRECTABLE, IN_DATA, Some(0x77)));
        assert_eq!(named(data(0x0200)), (UNKNOWN, 0, None));
        let fetch = |srr1| Cause::of_core(srr1, 0x4000, 0, u64::MAX);
        assert_eq!(named(fetch(0x0004_0000)), (UNCORRECTABLE, IN_FETCH, Some(0x4000)));
        assert_eq!(named(fetch(0x0010_0000)), (ERAT, MULTIHIT, Some(0x4000)));
        assert_eq!(named(fetch(0)), (UNKNOWN, 0, None));
        // One that the core raised comes with what it said.
        let mut v = vcpu();
        assert!(v.shared.nmi.lock().register(ROUTINES));
        v.machine.dar_dsisr = (0x99, 0x0400);
        let mut ctx = context(vector::MACHINE_CHECK);
        ctx.msr |= 1 << 21;
        assert_eq!((served(&mut v, &mut ctx), ctx.nip), (Action::Resume, 0x2000));
        assert_eq!(words(&v, RTAS + 0x400 + 48), [0x0482_0000, 0, 0, 0x99]);
    }
}
