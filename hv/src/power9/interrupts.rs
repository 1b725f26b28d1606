// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's interrupt sources and event queues, as the H_INT family configures them.
//!
//! XIVE delivers without exits once configured; this module only checks what the guest asks for
//! and remembers it, so that it can be read back and reset. Priority 7 is the firmware's.
use anchorite_spec::manifest::VCPUS;

use super::board::{HardwareError, Power9, Route};
use super::context::GuestContext;
use super::hcall::{HcallError, HcallResult, done};
use super::vcpu::Vcpu;
use crate::mem::{Gpa, Hpa};

/// The priority that masks a source.
pub const MASKED: u8 = 0xff;
/// Sources that a guest may have at most.
pub const SOURCES: usize = 256;
/// Priorities that a guest may use: 0 to 6.
pub const PRIORITIES: usize = 7;
/// Every ESB and TIMA page is this large, as a power of two.
pub const PAGE_SHIFT: u64 = 16;
/// The only event queue size that the guest's tree offers, as a power of two.
pub const QUEUE_SHIFT: u64 = 16;

/// How a source begins, and what masking it by its priority leaves: its number is that of the source.
const fn reset_route(lisn: u32) -> Assignment {
    Assignment { server: 0, priority: MASKED, eisn: lisn, masked: false }
}

/// Where a source goes, and whether it is masked there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Assignment {
    server: u8,
    priority: u8,
    masked: bool,
    eisn: u32,
}
const _: () = assert!(VCPUS <= 1 << 8, "a server's number is a byte");

impl Assignment {
    /// What the interrupt controller is told.
    const fn effective(self) -> Route {
        let priority = if self.masked { MASKED } else { self.priority };
        Route { priority, ..self.route() }
    }

    /// What the guest is told.
    const fn route(self) -> Route {
        Route { server: self.server as u32, priority: self.priority, eisn: self.eisn }
    }
}

/// An event queue that the guest gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Where, in guest real space.
    pub guest: u64,
    /// The guest's flags.
    pub flags: u64,
}

/// What the guest configured.
pub struct Interrupts {
    sources: u32,
    /// Of the sources that no longer are as they began.
    assignment: [Option<Assignment>; SOURCES],
    queue: [[Option<Queue>; PRIORITIES]; VCPUS],
}

impl Interrupts {
    /// `sources` masked sources and no queues.
    #[must_use]
    pub fn new(sources: u32) -> Self {
        let sources = sources.min(SOURCES as u32);
        Self { sources, assignment: [None; SOURCES], queue: [[None; PRIORITIES]; VCPUS] }
    }

    fn assignment(&self, lisn: u32) -> Assignment {
        self.assignment[lisn as usize].unwrap_or(reset_route(lisn))
    }

    fn source(&self, lisn: u64, blame: HcallError) -> Result<u32, HcallError> {
        if lisn < u64::from(self.sources) { Ok(lisn as u32) } else { Err(blame) }
    }

    /// Server and priority were checked.
    fn queue(&mut self, server: u32, priority: u8) -> &mut Option<Queue> {
        &mut self.queue[server as usize][usize::from(priority)]
    }
}

fn no_flags_but(flags: u64, known: u64) -> Result<(), HcallError> {
    if flags & !known == 0 { Ok(()) } else { Err(HcallError::Parameter) }
}

fn server<M>(v: &Vcpu<M>, number: u64, blame: HcallError) -> Result<u32, HcallError> {
    v.shared.server(number).map(|index| index as u32).ok_or(blame)
}

fn priority(number: u64, blame: HcallError) -> Result<u8, HcallError> {
    if number < PRIORITIES as u64 { Ok(number as u8) } else { Err(blame) }
}

/// H_INT_GET_SOURCE_INFO(flags, lisn): characteristics, management page, trigger page, page shift.
pub fn get_source_info<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    no_flags_but(ctx.gpr[4], 0)?;
    let lisn = v.shared.interrupts.lock().source(ctx.gpr[5], HcallError::P2)?;
    let trigger = v.machine.esb_trigger_page(lisn).0;
    ctx.gpr[4] = 0;
    ctx.gpr[5] = trigger + (1 << PAGE_SHIFT);
    ctx.gpr[6] = trigger;
    ctx.gpr[7] = PAGE_SHIFT;
    done()
}

const SET_EISN: u64 = 2;
const MASK: u64 = 1;

/// H_INT_SET_SOURCE_CONFIG(flags, lisn, server, priority, eisn): priority 0xff takes the assignment
/// away, the flag masks the source and keeps it.
pub fn set_source_config<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    let [flags, lisn, target, prio, eisn] = [4, 5, 6, 7, 8].map(|n| ctx.gpr[n]);
    no_flags_but(flags, SET_EISN | MASK)?;
    let mut interrupts = v.shared.interrupts.lock();
    let lisn = interrupts.source(lisn, HcallError::P2)?;
    let assignment = if prio == u64::from(MASKED) {
        reset_route(lisn)
    } else {
        let server = server(v, target, HcallError::P3)?;
        let priority = priority(prio, HcallError::P4)?;
        let eisn = if flags & SET_EISN == 0 {
            interrupts.assignment(lisn).eisn
        } else if eisn >> 31 == 0 {
            eisn as u32
        } else {
            return Err(HcallError::P5);
        };
        Assignment { server: server as u8, priority, eisn, masked: flags & MASK != 0 }
    };
    v.machine.route_source(lisn, assignment.effective()).map_err(|_| HcallError::Hardware)?;
    interrupts.assignment[lisn as usize] = Some(assignment);
    done()
}

/// H_INT_GET_SOURCE_CONFIG(flags, lisn): server, priority, eisn.
pub fn get_source_config<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    no_flags_but(ctx.gpr[4], 0)?;
    let interrupts = v.shared.interrupts.lock();
    let lisn = interrupts.source(ctx.gpr[5], HcallError::P2)?;
    let route = interrupts.assignment(lisn).route();
    ctx.gpr[4] = u64::from(route.server);
    ctx.gpr[5] = u64::from(route.priority);
    ctx.gpr[6] = u64::from(route.eisn);
    done()
}

/// H_INT_GET_QUEUE_INFO(flags, server, priority): the queue's notification page, of which there is
/// none (all ones), and the page's size as a power of two. Every event of a queue is notified.
pub fn get_queue_info<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    no_flags_but(ctx.gpr[4], 0)?;
    server(v, ctx.gpr[5], HcallError::P2)?;
    priority(ctx.gpr[6], HcallError::P3)?;
    ctx.gpr[4] = u64::MAX;
    ctx.gpr[5] = PAGE_SHIFT;
    done()
}

const ALWAYS_NOTIFY: u64 = 1;

/// H_INT_SET_QUEUE_CONFIG(flags, server, priority, page, size): size 0 takes the queue away.
pub fn set_queue_config<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    let [flags, target, prio, page, size] = [4, 5, 6, 7, 8].map(|n| ctx.gpr[n]);
    no_flags_but(flags, ALWAYS_NOTIFY)?;
    let server = server(v, target, HcallError::P2)?;
    let priority = priority(prio, HcallError::P3)?;
    let memory: Option<(Hpa, u32)> = match size {
        0 => None,
        QUEUE_SHIFT => {
            let bytes = 1 << QUEUE_SHIFT;
            if !page.is_multiple_of(bytes) {
                return Err(HcallError::P4);
            }
            let host = v.shared.memory.translate(Gpa(page), bytes).map_err(|_| HcallError::P4)?;
            Some((host, QUEUE_SHIFT as u32))
        }
        _ => return Err(HcallError::P5),
    };
    let mut interrupts = v.shared.interrupts.lock();
    v.machine.set_queue(server, priority, memory).map_err(|_| HcallError::Hardware)?;
    *interrupts.queue(server, priority) = memory.map(|_| Queue { guest: page, flags });
    done()
}

const DEBUG: u64 = 1;

/// H_INT_GET_QUEUE_CONFIG(flags, server, priority): flags (with the generation in bit 62 on
/// request), page (all ones without a queue), size, and on request the next index.
pub fn get_queue_config<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    let [flags, target, prio] = [4, 5, 6].map(|n| ctx.gpr[n]);
    no_flags_but(flags, DEBUG)?;
    let server = server(v, target, HcallError::P2)?;
    let priority = priority(prio, HcallError::P3)?;
    let mut interrupts = v.shared.interrupts.lock();
    let queue = *interrupts.queue(server, priority);
    let (generation, index) = match queue {
        Some(_) if flags & DEBUG != 0 => {
            v.machine.queue_state(server, priority).map_err(|_| HcallError::Hardware)?
        }
        _ => (0, 0),
    };
    ctx.gpr[4] = queue.map_or(0, |q| q.flags) | u64::from(generation) << 1;
    ctx.gpr[5] = queue.map_or(u64::MAX, |q| q.guest);
    ctx.gpr[6] = queue.map_or(0, |_| QUEUE_SHIFT);
    ctx.gpr[7] = u64::from(index);
    done()
}

const ESB_STORE: u64 = 1;

/// H_INT_ESB(flags, lisn, offset, data): one 8-byte access to the source's management page.
pub fn esb<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    let [flags, lisn, offset, data] = [4, 5, 6, 7].map(|n| ctx.gpr[n]);
    no_flags_but(flags, ESB_STORE)?;
    let lisn = v.shared.interrupts.lock().source(lisn, HcallError::P2)?;
    if offset >= 1 << PAGE_SHIFT || !offset.is_multiple_of(8) {
        return Err(HcallError::P3);
    }
    ctx.gpr[4] = if flags & ESB_STORE != 0 {
        v.machine.esb_store(lisn, offset, data);
        u64::MAX
    } else {
        v.machine.esb_load(lisn, offset)
    };
    done()
}

/// H_INT_SYNC(flags, lisn).
pub fn sync<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    no_flags_but(ctx.gpr[4], 0)?;
    let lisn = v.shared.interrupts.lock().source(ctx.gpr[5], HcallError::P2)?;
    v.machine.sync_source(lisn).map_err(|_| HcallError::Hardware)?;
    done()
}

/// Load from here on a management page: PQ becomes 01, the source is off.
const ESB_OFF: u64 = 0xd00;

/// H_INT_RESET(flags): every source masked and off, as at first, every queue taken away.
pub fn reset<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    no_flags_but(ctx.gpr[4], 0)?;
    clear(v).map_err(|_| HcallError::Hardware)?;
    done()
}

/// Puts all sources and queues as they are at first. Once it is done the interrupt controller writes
/// no event of before, neither to a queue's memory nor to a core.
///
/// # Errors
/// When the interrupt controller refuses.
pub fn clear<M: Power9>(v: &mut Vcpu<M>) -> Result<(), HardwareError> {
    let mut interrupts = v.shared.interrupts.lock();
    for lisn in 0..interrupts.sources {
        let at_first = reset_route(lisn);
        if interrupts.assignment(lisn) != at_first {
            v.machine.route_source(lisn, at_first.effective())?;
            interrupts.assignment[lisn as usize] = None;
        }
        // The guest switches its sources on by itself, with no exit that would tell.
        v.machine.esb_load(lisn, ESB_OFF);
        // What it had triggered before is in its queue, before that is taken away.
        v.machine.sync_source(lisn)?;
    }
    for server in 0..v.shared.vcpus as u32 {
        for priority in 0..PRIORITIES as u8 {
            if interrupts.queue(server, priority).is_some() {
                v.machine.set_queue(server, priority, None)?;
                *interrupts.queue(server, priority) = None;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fake::{RAM, call, code, vcpu};
    use super::*;

    #[test]
    fn sources_are_described_and_bounded() {
        let mut v = vcpu();
        let page = 0x6_0100_0000_0000 + 3 * 0x2_0000;
        assert_eq!(call(&mut v, &[0x3a8, 0, 3]), [0, 0, page + 0x1_0000, page, 16]);
        assert_eq!(code(&mut v, &[0x3a8, 0, 4]), -55);
        assert_eq!(code(&mut v, &[0x3a8, 1, 0]), -4);
    }

    #[test]
    fn routes_are_checked_kept_and_reset() {
        let mut v = vcpu();
        assert_eq!(code(&mut v, &[0x3ac, 2, 1, 0, 6, 16]), 0);
        let route = Route { server: 0, priority: 6, eisn: 16 };
        assert_eq!(v.machine.routes, [(1, route)]);
        assert_eq!(call(&mut v, &[0x3b0, 0, 1])[..4], [0, 0, 6, 16]);
        assert_eq!(code(&mut v, &[0x3ac, 0, 1, 0, 0xff, 0]), 0);
        assert_eq!(call(&mut v, &[0x3b0, 0, 1])[..4], [0, 0, 0xff, 1], "as at first");
        assert_eq!(call(&mut v, &[0x3b0, 0, 2])[..4], [0, 0, 0xff, 2], "as at first");
        assert_eq!(code(&mut v, &[0x3ac, 2 | 1, 1, 0, 6, 16]), 0);
        assert_eq!(call(&mut v, &[0x3b0, 0, 1])[..4], [0, 0, 6, 16], "assigned, and masked");
        let masked = Route { priority: MASKED, ..route };
        assert_eq!(v.machine.routes.last(), Some(&(1, masked)));
        assert_eq!(code(&mut v, &[0x3ac, 0, 1, 0, 6, 99]), 0);
        assert_eq!(v.machine.routes.last(), Some(&(1, route)), "number kept without its flag");
        for (args, expected) in [
            ([4, 1, 0, 6, 16], -4),
            ([2, 4, 0, 6, 16], -55),
            ([2, 1, 1, 6, 16], -56),
            ([2, 1, 0, 7, 16], -57),
            ([2, 1, 0, 6, 1 << 31], -58),
        ] {
            let [a, b, c, d, e] = args;
            assert_eq!(code(&mut v, &[0x3ac, a, b, c, d, e]), expected, "{args:x?}");
        }
        v.machine.hardware_fails = true;
        assert_eq!(code(&mut v, &[0x3ac, 2, 1, 0, 5, 17]), -1);
        assert_eq!(call(&mut v, &[0x3b0, 0, 1])[..4], [0, 0, 6, 16], "a failure changes nothing");
    }

    #[test]
    fn queues_lie_in_guest_ram_or_are_refused() {
        let mut v = vcpu();
        let page = RAM.0 + 0x1_0000;
        assert_eq!(code(&mut v, &[0x3b8, 1, 0, 6, page, 16]), 0);
        assert_eq!(call(&mut v, &[0x3bc, 0, 0, 6]), [0, 1, page, 16, 0]);
        assert_eq!(call(&mut v, &[0x3bc, 1, 0, 6]), [0, 1 | 2, page, 16, 5]);
        assert_eq!(call(&mut v, &[0x3b4, 0, 0, 6])[..3], [0, u64::MAX, 16]);
        for (args, expected) in [
            ([2, 0, 6, page, 16], -4),
            ([1, 1, 6, page, 16], -55),
            ([1, 0, 7, page, 16], -56),
            ([1, 0, 6, page + 4096, 16], -57),
            ([1, 0, 6, RAM.0 + RAM.1, 16], -57),
            ([1, 0, 6, !0xffff, 16], -57),
            ([1, 0, 6, page, 12], -58),
        ] {
            let [a, b, c, d, e] = args;
            assert_eq!(code(&mut v, &[0x3b8, a, b, c, d, e]), expected, "{args:x?}");
        }
        assert_eq!(code(&mut v, &[0x3d0, 0]), 0);
        assert_eq!(v.machine.queues.last(), Some(&(0, 6, None)));
        assert_eq!(v.machine.esb, [0, 1, 2, 3].map(|lisn| (lisn, 0xd00, None)), "all are off");
        assert_eq!(v.machine.synced, [0, 1, 2, 3], "before their queues go");
        assert_eq!(call(&mut v, &[0x3bc, 0, 0, 6]), [0, 0, u64::MAX, 0, 0]);
    }

    #[test]
    fn event_state_accesses_stay_on_their_page() {
        let mut v = vcpu();
        assert_eq!(call(&mut v, &[0x3c8, 0, 1, 0x800, 0])[..2], [0, 3]);
        assert_eq!(call(&mut v, &[0x3c8, 1, 1, 0x400, 9])[..2], [0, u64::MAX]);
        assert_eq!(v.machine.esb, [(1, 0x800, None), (1, 0x400, Some(9))]);
        assert_eq!(code(&mut v, &[0x3c8, 0, 1, 0x1_0000, 0]), -56);
        assert_eq!(code(&mut v, &[0x3c8, 0, 1, 4, 0]), -56);
        assert_eq!(code(&mut v, &[0x3c8, 2, 1, 0, 0]), -4);
        assert_eq!(code(&mut v, &[0x3cc, 0, 9]), -55);
    }
}
