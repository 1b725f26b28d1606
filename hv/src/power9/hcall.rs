// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hypercalls: `sc 1` from supervisor state, number in r3, arguments from r4, as LoPAR (Linux on
//! Power Architecture Reference, ch. 14) defines them.
//!
//! One static table, indexed by number / 4, names for each call its handler and its ledger slot.
//! Handlers leave outputs in r4 and up; r3 becomes the return code here and nowhere else.
use anchorite_spec::{ExitReason, papr};

use super::board::Power9;
use super::context::GuestContext;
use super::light::{self, Light};
use super::regs::{lpcr, msr, program};
use super::vcpu::Vcpu;
use super::{capacity, escalation, inject, interrupts, rtas, watchdog};
use crate::core::Action;
use crate::mem::Gpa;

/// Why a hypercall did not succeed; each is one PAPR return code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HcallError {
    /// H_BUSY: try again.
    Busy,
    /// H_CONTINUE: every other vCPU has joined.
    Continue,
    /// H_HARDWARE: the machine underneath failed.
    Hardware,
    /// H_FUNCTION: not served.
    Function,
    /// H_PARAMETER: the first argument, or several together.
    Parameter,
    /// H_BAD_MODE: not with interrupts enabled.
    BadMode,
    /// H_NOOP: nothing was to be done.
    Noop,
    /// H_CONSTRAINED: not as much as was asked for.
    Constrained,
    /// H_RESOURCE: something that must come first is missing.
    Resource,
    /// H_P2: the second argument.
    P2,
    /// H_P3.
    P3,
    /// H_P4.
    P4,
    /// H_P5.
    P5,
    /// H_UNSUPPORTED_FLAG: the flag at this bit (IBM numbering) is not known.
    UnsupportedFlag(u8),
}

impl HcallError {
    /// The number that the guest finds in r3.
    #[must_use]
    #[inline(always)]
    pub const fn code(self) -> i64 {
        match self {
            Self::Busy => papr::BUSY,
            Self::Continue => papr::CONTINUE,
            Self::Hardware => papr::HARDWARE,
            Self::Function => papr::FUNCTION,
            Self::Parameter => papr::PARAMETER,
            Self::BadMode => papr::BAD_MODE,
            Self::Noop => papr::NOOP,
            Self::Constrained => papr::CONSTRAINED,
            Self::Resource => papr::RESOURCE,
            Self::P2 => papr::P2,
            Self::P3 => papr::P3,
            Self::P4 => papr::P4,
            Self::P5 => papr::P5,
            Self::UnsupportedFlag(bit) => papr::UNSUPPORTED_FLAG - bit as i64,
        }
    }
}

/// What a handler decides: H_SUCCESS with the given next step, or an error code.
pub type HcallResult = Result<Action, HcallError>;

/// H_SUCCESS, and the guest goes on.
///
/// # Errors
/// Never; the type is a handler's.
pub const fn done() -> HcallResult {
    Ok(Action::Resume)
}

/// How a call is answered.
pub enum Handler<M> {
    /// From the guest's registers and to them.
    Full(fn(&mut Vcpu<M>, &mut GuestContext) -> HcallResult),
    /// By a return code alone, without a frame ([`light`]).
    Light(Answer<M>, Light),
}

/// Answers from r4 to r7. Of the context only NIP and MSR are the guest's, and the run does not end.
pub type Answer<M> = fn(&mut Vcpu<M>, &mut GuestContext, [u64; 4]) -> HcallResult;

/// One row of the dispatch table.
pub struct Hcall<M> {
    /// PAPR's number.
    pub number: u64,
    /// The ledger slot.
    pub reason: ExitReason,
    /// What answers it.
    pub handler: Handler<M>,
}

/// How many calls are served.
pub const CALLS: usize = papr::SERVED.len();

/// The private number under which the guest's RTAS stub calls.
pub const H_RTAS: u64 = 0xf000;

/// Every call that is served, in numerical order: [`papr::SERVED`].
#[must_use]
pub const fn calls<M: Power9>() -> [Hcall<M>; CALLS] {
    macro_rules! call {
        ($number:literal, $reason:ident, $handler:path) => {
            Hcall { number: $number, reason: ExitReason::$reason, handler: Handler::Full($handler) }
        };
    }
    macro_rules! light {
        ($number:literal, $reason:ident, $answer:path) => {
            light!($number, $reason, $answer, $answer)
        };
        ($number:literal, $reason:ident, $answer:path, $framed:path) => {{
            extern "C" fn enter<M: Power9>(
                _: u64,
                r4: u64,
                r5: u64,
                r6: u64,
                r7: u64,
                _: u64,
                _: u64,
                ctx: &mut GuestContext,
            ) -> i64 {
                let args = [r4, r5, r6, r7];
                light::answer(ctx, ExitReason::$reason, |v: &mut Vcpu<M>, ctx| {
                    $answer(v, ctx, args)
                })
            }
            Hcall {
                number: $number,
                reason: ExitReason::$reason,
                handler: Handler::Light($framed, enter::<M>),
            }
        }};
    }
    [
        call!(0x54, HGetTermChar, get_term_char),
        light!(0x58, HPutTermChar, put_term_char),
        call!(0xdc, HRegisterVpa, register_vpa),
        light!(0xe0, HCede, cede, timed_cede),
        light!(0xe4, HConfer, confer),
        light!(0xe8, HProd, prod),
        call!(0xec, HGetPpp, capacity::get_ppp),
        call!(0xf0, HSetPpp, capacity::set_ppp),
        call!(0xf4, HPurr, capacity::purr),
        call!(0x1c8, HGetCpuCharacteristics, get_cpu_characteristics),
        light!(0x1d8, HPollPending, capacity::poll_pending),
        call!(0x298, HJoin, join),
        call!(0x300, HRandom, random),
        light!(0x31c, HSetMode, set_mode),
        call!(0x37c, HRegisterProcTbl, register_process_table),
        call!(0x380, HSignalSysReset, signal_system_reset),
        call!(0x3a8, HIntGetSourceInfo, interrupts::get_source_info),
        call!(0x3ac, HIntSetSourceConfig, interrupts::set_source_config),
        call!(0x3b0, HIntGetSourceConfig, interrupts::get_source_config),
        call!(0x3b4, HIntGetQueueInfo, interrupts::get_queue_info),
        call!(0x3b8, HIntSetQueueConfig, interrupts::set_queue_config),
        call!(0x3bc, HIntGetQueueConfig, interrupts::get_queue_config),
        call!(0x3c8, HIntEsb, interrupts::esb),
        call!(0x3cc, HIntSync, interrupts::sync),
        call!(0x3d0, HIntReset, interrupts::reset),
        call!(0x448, HRptInvalidate, rpt_invalidate),
        call!(0x45c, HWatchdog, watchdog::watchdog),
    ]
}

/// Numbers / 4 that may be PAPR's.
pub const SLOTS: usize = 0x488 / 4 + 1;

struct Table<M>(core::marker::PhantomData<M>);

impl<M: Power9> Table<M> {
    const INDEX: [u8; SLOTS] = {
        let calls = calls::<M>();
        let mut index = [u8::MAX; SLOTS];
        let mut i = 0;
        while i < calls.len() {
            index[(calls[i].number / 4) as usize] = i as u8;
            i += 1;
        }
        index
    };
    const CALLS: [Hcall<M>; CALLS] = calls();
}

/// Serves `sc 1`: counts it, runs its handler, sets r3.
pub fn serve<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    if ctx.msr & msr::PR != 0 {
        v.count(ExitReason::HcallProblemState);
        // The instruction itself is what was not allowed: SRR0 points at it.
        ctx.nip = ctx.nip.wrapping_sub(4);
        inject::program(&mut v.machine, ctx, program::PRIVILEGED);
        return Action::Resume;
    }
    let number = ctx.gpr[3];
    if number == H_RTAS {
        return rtas::serve(v, ctx);
    }
    let slot = if number.is_multiple_of(4) { (number / 4) as usize } else { usize::MAX };
    let index = Table::<M>::INDEX.get(slot).copied().unwrap_or(u8::MAX);
    let result = match Table::<M>::CALLS.get(usize::from(index)) {
        Some(call) => {
            v.count(call.reason);
            match call.handler {
                Handler::Full(handler) => handler(v, ctx),
                Handler::Light(answer, _) => {
                    let args = [4, 5, 6, 7].map(|n| ctx.gpr[n]);
                    answer(v, ctx, args)
                }
            }
        }
        None => {
            v.count(ExitReason::HcallUnknown);
            Err(HcallError::Function)
        }
    };
    match result {
        Ok(action) => {
            ctx.gpr[3] = 0;
            action
        }
        Err(error) => {
            debug_assert!(papr::served(number).is_none_or(|call| call.returns(error.code())));
            ctx.gpr[3] = error.code() as u64;
            Action::Resume
        }
    }
}

/// H_PUT_TERM_CHAR(terminal, length, data, data): at most 16 bytes, most significant first.
#[inline(always)]
fn put_term_char<M: Power9>(
    v: &mut Vcpu<M>,
    _: &mut GuestContext,
    [unit, len, high, low]: [u64; 4],
) -> HcallResult {
    if !is_terminal(unit) || len > 16 {
        return Err(HcallError::Parameter);
    }
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    let output = &bytes[..len as usize];
    let mut tail = v.shared.console.lock();
    if !v.machine.console_write(output) {
        return Err(HcallError::Busy);
    }
    tail.push(output);
    done()
}

/// H_GET_TERM_CHAR(terminal): length, then data as above.
fn get_term_char<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    if !is_terminal(ctx.gpr[4]) {
        return Err(HcallError::Parameter);
    }
    let mut bytes = [0; 16];
    let len = v.machine.console_read(&mut bytes);
    let (high, low) = bytes.split_at(8);
    ctx.gpr[4] = len as u64;
    ctx.gpr[5] = u64::from_be_bytes(high.try_into().unwrap_or_default());
    ctx.gpr[6] = u64::from_be_bytes(low.try_into().unwrap_or_default());
    done()
}

/// The guest tree's one virtual terminal; 0 means the partition's first.
fn is_terminal(unit: u64) -> bool {
    unit == 0 || unit == 0x7100_0000
}

const VPA_BYTES: usize = 640;
const AREA_SIZE_OFFSET: usize = 4;
const VPA_YIELD_COUNT: usize = 0x100;
const VPA_CEDE_LATENCY_HINT: usize = 0xb0;
const DISPATCH_ENTRY_BYTES: u32 = 48;

/// H_REGISTER_VPA(flags, server, address): registers or withdraws one of a vCPU's three areas.
fn register_vpa<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    let [flags, server, address] = [4, 5, 6].map(|n| ctx.gpr[n]);
    let function = flags >> 45 & 7;
    let server = v.shared.server(server).ok_or(HcallError::Parameter)?;
    if flags & !(7 << 45) != 0 {
        return Err(HcallError::Parameter);
    }
    let area = Gpa(address);
    let seat = &v.shared.seats[server];
    let mut areas = seat.areas.lock();
    match function {
        1 => {
            let size = area_size(v, area)? >> 16;
            if size < VPA_BYTES as u32 || !in_one_page(address, size) {
                return Err(HcallError::Parameter);
            }
            let area = shared_area(v, area, size)?;
            seat.yields.place(v.shared.memory.view(area, VPA_BYTES).ok(), VPA_YIELD_COUNT);
        }
        2 | 3 if !seat.yields.is_placed() => return Err(HcallError::Resource),
        2 => {
            let size = area_size(v, area)?;
            if size < DISPATCH_ENTRY_BYTES {
                return Err(HcallError::Parameter);
            }
            areas.dispatch_log = Some(shared_area(v, area, size)?);
        }
        3 => {
            let size = area_size(v, area)?;
            if size < 8 || !in_one_page(address, size) {
                return Err(HcallError::Parameter);
            }
            areas.slb_shadow = Some(shared_area(v, area, size)?);
        }
        5 if areas.dispatch_log.is_some() || areas.slb_shadow.is_some() => {
            return Err(HcallError::Resource);
        }
        5 => seat.yields.place(None, 0),
        6 => areas.dispatch_log = None,
        7 => areas.slb_shadow = None,
        _ => return Err(HcallError::Parameter),
    }
    done()
}

/// The big-endian word in which an area states its size: the VPA in the upper half, others whole.
fn area_size<M>(v: &Vcpu<M>, area: Gpa) -> Result<u32, HcallError> {
    let head = v.shared.memory.view(area, 8).map_err(|_| HcallError::Parameter)?;
    Ok(head.read_be32(AREA_SIZE_OFFSET))
}

fn in_one_page(address: u64, size: u32) -> bool {
    address % 4096 + u64::from(size) <= 4096
}

fn shared_area<M>(v: &Vcpu<M>, area: Gpa, size: u32) -> Result<Gpa, HcallError> {
    if area.0 == 0 || !area.0.is_multiple_of(128) {
        return Err(HcallError::Parameter);
    }
    v.shared.memory.view(area, size as usize).map_err(|_| HcallError::Parameter)?;
    Ok(area)
}

/// H_CEDE: external interrupts on, then idle until one is pending. The core's idle state ends at
/// once if one already is, so no wake-up can fall between the test and the sleep.
#[inline(always)]
fn cede<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext, _: [u64; 4]) -> HcallResult {
    cede_by(v, ctx, M::idle)
}

/// The same, and the sleep is counted: only images whose exits are timed get here by a frame.
fn timed_cede<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext, _: [u64; 4]) -> HcallResult {
    let mut slept = 0;
    v.slept = 0;
    let result = cede_by(v, ctx, |machine| {
        let since = machine.timebase();
        machine.idle();
        slept = machine.timebase().wrapping_sub(since);
    });
    v.slept += slept;
    result
}

#[inline(always)]
fn cede_by<M: Power9>(
    v: &mut Vcpu<M>,
    ctx: &mut GuestContext,
    sleep: impl FnOnce(&mut M),
) -> HcallResult {
    ctx.msr |= msr::EE;
    match v.seat().yields.bump_beside::<{ VPA_YIELD_COUNT - VPA_CEDE_LATENCY_HINT }>() {
        0 => {
            v.wait(sleep);
            v.seat().yields.bump();
        }
        _ => cede_off_thread(v),
    }
    done()
}

/// The rest of it with a cede latency hint. In a function of its own, so that the way without one needs
/// no stack.
#[cold]
#[inline(never)]
fn cede_off_thread<M: Power9>(v: &mut Vcpu<M>) {
    let since = v.machine.timebase();
    v.wait(escalation::idle_off_thread);
    v.slept = v.machine.timebase().wrapping_sub(since);
    v.seat().yields.bump();
}

/// H_PROD(server): the server's next, or present, H_CEDE returns.
#[inline(always)]
fn prod<M: Power9>(v: &mut Vcpu<M>, _: &mut GuestContext, [server, ..]: [u64; 4]) -> HcallResult {
    let target = v.shared.server(server).ok_or(HcallError::Parameter)?;
    v.prod(target);
    done()
}

/// H_CONFER(server or -1, yield count): vCPUs are pinned, there is no time to give away.
fn confer<M: Power9>(v: &mut Vcpu<M>, _: &mut GuestContext, [server, ..]: [u64; 4]) -> HcallResult {
    if server != u64::MAX {
        v.shared.server(server).ok_or(HcallError::Parameter)?;
    }
    done()
}

/// H_JOIN: waits for H_PROD, and for that alone; the last vCPU that still runs is told so instead.
fn join<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    if ctx.msr & msr::EE != 0 {
        return Err(HcallError::BadMode);
    }
    if v.join() { done() } else { Err(HcallError::Continue) }
}

/// H_SIGNAL_SYS_RESET(server, or -1 for all vCPUs, or -2 for all others).
fn signal_system_reset<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    const ALL: i64 = -1;
    const OTHERS: i64 = -2;
    match ctx.gpr[4] as i64 {
        ALL | OTHERS => {
            let own = v.index;
            for target in (0..v.shared.vcpus).filter(|target| *target != own) {
                v.signal_reset(target);
            }
            if ctx.gpr[4] as i64 == ALL {
                v.signal_reset(v.index);
            }
        }
        _ => {
            let target = v.shared.server(ctx.gpr[4]).ok_or(HcallError::Parameter)?;
            v.signal_reset(target);
        }
    }
    done()
}

/// H_GET_CPU_CHARACTERISTICS: characteristics, behaviour.
fn get_cpu_characteristics<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    (ctx.gpr[4], ctx.gpr[5]) = v.machine.cpu_characteristics();
    done()
}

/// H_RANDOM: 64 bits from the machine's generator.
fn random<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    ctx.gpr[4] = v.machine.random().ok_or(HcallError::Hardware)?;
    done()
}

/// H_SET_MODE(flags, resource, value, value).
#[inline(always)]
fn set_mode<M: Power9>(
    v: &mut Vcpu<M>,
    _: &mut GuestContext,
    [flags, resource, value1, value2]: [u64; 4],
) -> HcallResult {
    match resource {
        1 => set_ciabr(v, flags, value1, value2),
        3 | 4 if value1 != 0 => Err(HcallError::P3),
        3 | 4 if value2 != 0 => Err(HcallError::P4),
        3 => set_relocation(v, flags),
        4 => {
            known_flags(flags, 1)?;
            let set = if flags == 1 { lpcr::ILE } else { 0 };
            v.change_mode(lpcr::ILE, set);
            done()
        }
        _ => Err(HcallError::P2),
    }
}

/// Resource 3: whether interrupts keep translation on (3), or not (0). Other values have no meaning
/// on this processor.
fn set_relocation<M: Power9>(v: &mut Vcpu<M>, flags: u64) -> HcallResult {
    const KEPT: u64 = 3;
    known_flags(flags, if v.machine.can_relocate() { KEPT } else { 0 })?;
    match flags {
        0 => v.change_mode(lpcr::AIL_3, 0),
        KEPT => v.change_mode(0, lpcr::AIL_3),
        _ => known_flags(flags, 0)?,
    }
    done()
}

/// Blames the first flag that is not among the known ones.
const fn known_flags(flags: u64, known: u64) -> Result<(), HcallError> {
    match flags & !known {
        0 => Ok(()),
        unknown => Err(HcallError::UnsupportedFlag(unknown.leading_zeros() as u8)),
    }
}

/// Resource 1, the completed instruction address breakpoint: any privilege but hypervisor.
fn set_ciabr<M: Power9>(v: &mut Vcpu<M>, flags: u64, value1: u64, value2: u64) -> HcallResult {
    known_flags(flags, 0)?;
    if value2 != 0 {
        return Err(HcallError::P4);
    }
    if value1 & 3 == 3 {
        return Err(HcallError::P3);
    }
    v.machine.set_ciabr(value1);
    done()
}

const PROC_TBL_NEW: u64 = 0x18;
const PROC_TBL_DEREGISTER: u64 = 0x10;
const PROC_TBL_RADIX: u64 = 4;
const PROC_TBL_GTSE: u64 = 1;
const PARTITION_GUEST_RADIX: u64 = 1 << 63;

/// H_REGISTER_PROC_TBL(flags, base, page size, order): radix with the guest's own tlbie only.
fn register_process_table<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    let [flags, base, page_size, order] = [4, 5, 6, 7].map(|n| ctx.gpr[n]);
    if flags == PROC_TBL_DEREGISTER {
        v.machine.set_process_table(PARTITION_GUEST_RADIX);
        return done();
    }
    if flags & !PROC_TBL_GTSE != PROC_TBL_NEW | PROC_TBL_RADIX {
        return Err(HcallError::Parameter);
    }
    if order > 24 {
        return Err(HcallError::P4);
    }
    if base >> 60 != 0 || !base.is_multiple_of(4096) {
        return Err(HcallError::P2);
    }
    if page_size != 0 {
        return Err(HcallError::P3);
    }
    let gtse = if flags & PROC_TBL_GTSE != 0 { lpcr::GTSE } else { 0 };
    v.change_mode(lpcr::GTSE, gtse);
    v.machine.set_process_table(PARTITION_GUEST_RADIX | base | order);
    done()
}

const RPT_TARGETS: u64 = 1 | 2 | 4;
const RPT_TYPES: u64 = 2 | 4 | 8;
const RPT_PAGE_WALK_CACHE: u64 = 4;
const RPT_PROCESS_TABLE: u64 = 8;
const RPT_PAGE_SIZES: u64 = 0xf;

/// H_RPT_INVALIDATE(pid, targets, types, page sizes, start, end): forgets at least what was asked.
/// Types for a nested hypervisor are not known here.
fn rpt_invalidate<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    let [pid, targets, types, sizes, start, end] = [4, 5, 6, 7, 8, 9].map(|n| ctx.gpr[n]);
    let pid = u32::try_from(pid).map_err(|_| HcallError::Parameter)?;
    if targets & !RPT_TARGETS != 0 || targets == 0 {
        return Err(HcallError::P2);
    }
    if types & !RPT_TYPES != 0 || types == 0 {
        return Err(HcallError::P3);
    }
    if sizes != u64::MAX && sizes & !RPT_PAGE_SIZES != 0 {
        return Err(HcallError::P4);
    }
    if end < start {
        return Err(HcallError::P5);
    }
    let process_table = types & RPT_PROCESS_TABLE != 0;
    let walk_cache = process_table || types & RPT_PAGE_WALK_CACHE != 0;
    v.machine.invalidate(if process_table { None } else { Some(pid) }, walk_cache);
    done()
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, RAM, code as call, hcall, total, vcpu};
    use super::*;
    use anchorite_spec::ExitReason;

    fn outputs(v: &mut Vcpu<Fake>, args: &[u64]) -> GuestContext {
        let mut ctx = hcall(args);
        assert_eq!(serve(v, &mut ctx), Action::Resume);
        ctx
    }

    #[test]
    fn the_table_is_in_order_and_its_numbers_are_paprs() {
        let numbers = calls::<Fake>().map(|call| call.number);
        assert!(numbers.is_sorted());
        assert!(numbers.iter().eq(papr::SERVED.iter().map(|call| &call.number)));
        assert!(numbers.iter().all(|number| number.is_multiple_of(4) && *number <= 0x488));
    }

    #[test]
    fn unknown_numbers_are_refused_and_counted() {
        let mut v = vcpu();
        let refused = papr::REFUSED.iter().flat_map(|refused| refused.calls);
        let mut numbers = vec![0, 3, 0x484, 0x48c, 0xf080, 0xf004, u64::MAX];
        numbers.extend(refused.map(|(number, _)| number));
        let unique: std::collections::BTreeSet<_> = numbers.iter().collect();
        assert_eq!(unique.len(), numbers.len(), "each is refused for one reason");
        for &number in &numbers {
            assert_eq!(call(&mut v, &[number]), -2, "{number:#x}");
        }
        let counted = v.row.count[ExitReason::HcallUnknown.slot()];
        assert_eq!(counted, numbers.len() as u64);
        assert_eq!(total(&v), counted);
    }

    #[test]
    fn problem_state_gets_a_privileged_program_interrupt_at_the_instruction() {
        let mut v = vcpu();
        let mut ctx = hcall(&[0xe0]);
        ctx.msr |= msr::PR | msr::EE;
        let before = ctx.nip;
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        assert_eq!((ctx.nip, v.machine.srr.0), (0x700, before - 4));
        assert_eq!(v.machine.srr.1 & program::PRIVILEGED, program::PRIVILEGED);
        assert_eq!(ctx.msr & (msr::PR | msr::EE), 0);
        assert_eq!(v.machine.idled, 0);
    }

    #[test]
    fn the_terminal_takes_up_to_sixteen_bytes() {
        let mut v = vcpu();
        let word = u64::from_be_bytes(*b"abcdefgh");
        assert_eq!(call(&mut v, &[0x58, 0, 10, word, word]), 0);
        assert_eq!(v.machine.output, b"abcdefghab");
        assert_eq!(call(&mut v, &[0x58, 0x7100_0000, 17, word, word]), -4);
        assert_eq!(call(&mut v, &[0x58, 1, 1, word, word]), -4);
        v.machine.console_full = true;
        assert_eq!(call(&mut v, &[0x58, 0, 1, word, word]), 1);
    }

    #[test]
    fn the_terminal_gives_what_it_has() {
        let mut v = vcpu();
        v.machine.input.extend(b"0123456789abcdefXY");
        let ctx = outputs(&mut v, &[0x54, 0]);
        assert_eq!(ctx.gpr[3..5], [0, 16]);
        assert_eq!(ctx.gpr[5].to_be_bytes(), *b"01234567");
        assert_eq!(ctx.gpr[6].to_be_bytes(), *b"89abcdef");
        let ctx = outputs(&mut v, &[0x54, 0]);
        assert_eq!((ctx.gpr[4], ctx.gpr[5] >> 48), (2, u64::from(u16::from_be_bytes(*b"XY"))));
        assert_eq!(call(&mut v, &[0x54, 7]), -4);
    }

    #[test]
    fn cede_enables_interrupts_and_a_prod_is_not_lost() {
        let mut v = vcpu();
        assert_eq!(call(&mut v, &[0xe8, 0]), 0);
        let ctx = outputs(&mut v, &[0xe0]);
        assert_eq!((ctx.msr & msr::EE, v.machine.idled), (msr::EE, 0));
        assert_eq!((call(&mut v, &[0xe0]), v.machine.idled), (0, 1));
        assert_eq!(call(&mut v, &[0xe8, 1]), -4);
        assert_eq!(call(&mut v, &[0xe4, u64::MAX, 0]), 0);
        assert_eq!(call(&mut v, &[0xe4, 5, 0]), -4);
    }

    #[test]
    fn a_cede_latency_hint_takes_the_vcpu_off_its_thread() {
        let mut v = vcpu();
        let vpa = RAM.0 + 0x1000;
        let view = v.shared.memory.view(Gpa(vpa), 0x400).expect("RAM");
        view.write_be32(4, 640 << 16);
        assert_eq!(call(&mut v, &[0xdc, 1 << 45, 0, vpa]), 0);
        for (hint, off) in [(0, &[][..]), (1, &["pulled", "pushed"]), (0xff, &["pulled", "pushed"])]
        {
            view.write(0xb0, &[hint]);
            v.machine.off_thread.clear();
            let idled = v.machine.idled;
            assert_eq!(call(&mut v, &[0xe0]), 0);
            assert_eq!((&v.machine.off_thread[..], v.machine.idled), (off, idled + 1), "{hint}");
            // Not with something to do.
            assert_eq!(call(&mut v, &[0xe8, 0]), 0);
            v.machine.off_thread.clear();
            assert_eq!((call(&mut v, &[0xe0]), v.machine.off_thread.len()), (0, 0));
        }
        assert_eq!(call(&mut v, &[0xdc, 5 << 45, 0, 0]), 0);
        assert_eq!((call(&mut v, &[0xe0]), v.machine.off_thread.len()), (0, 0), "no area, no hint");
    }

    #[test]
    fn a_cede_with_a_frame_says_how_long_it_slept() {
        let mut v = vcpu();
        v.machine.nap = 77;
        assert_eq!((call(&mut v, &[0xe0]), v.slept), (0, 77));
        assert_eq!(call(&mut v, &[0xe8, 0]), 0);
        assert_eq!((call(&mut v, &[0xe0]), v.slept), (0, 0), "a prod had come");
    }

    #[test]
    fn a_registered_area_is_whole_and_counts_yields() {
        let mut v = vcpu();
        let vpa = RAM.0 + 0x1000;
        let register = |function: u64, address: u64| [0xdc, function << 45, 0, address];
        assert_eq!(call(&mut v, &register(1, vpa)), -4, "no size");
        let view = v.shared.memory.view(Gpa(vpa), 0x400).expect("RAM");
        view.write_be32(4, 640 << 16);
        assert_eq!(call(&mut v, &register(2, vpa)), -16, "no VPA yet");
        assert_eq!(call(&mut v, &register(1, vpa + 8)), -4, "misaligned");
        assert_eq!(call(&mut v, &register(1, RAM.0 + RAM.1)), -4, "outside");
        assert_eq!(call(&mut v, &[0xdc, 1 << 45, 1, vpa]), -4, "no such server");
        assert_eq!(call(&mut v, &register(1, vpa)), 0);
        call(&mut v, &[0xe0]);
        assert_eq!(view.read_be32(0x100), 2);
        assert_eq!(call(&mut v, &register(2, vpa)), -4, "longer than RAM");
        v.shared.memory.view(Gpa(vpa + 0x1000), 8).expect("RAM").write_be32(4, 48);
        assert_eq!(call(&mut v, &register(2, vpa + 0x1000)), 0);
        assert_eq!(call(&mut v, &register(5, 0)), -16, "the log is still registered");
        assert_eq!(call(&mut v, &register(6, 0)), 0);
        assert_eq!(call(&mut v, &register(5, 0)), 0);
        assert_eq!(call(&mut v, &register(4, 0)), -4);
    }

    #[test]
    fn modes() {
        let mut v = vcpu();
        assert_eq!(call(&mut v, &[0x31c, 3, 3, 0, 0]), 0);
        assert_eq!(v.machine.lpcr, lpcr::GUEST | lpcr::AIL_3);
        for (flags, code) in [(1, -319), (2, -318), (7, -317)] {
            assert_eq!(call(&mut v, &[0x31c, flags, 3, 0, 0]), code, "{flags}");
            assert_eq!(v.machine.lpcr, lpcr::GUEST | lpcr::AIL_3);
        }
        assert_eq!(call(&mut v, &[0x31c, 3, 3, 1, 0]), -56);
        assert_eq!(call(&mut v, &[0x31c, 3, 3, 0, 1]), -57);
        assert_eq!(call(&mut v, &[0x31c, 0, 3, 0, 0]), 0);
        v.machine.cannot_relocate = true;
        assert_eq!(call(&mut v, &[0x31c, 3, 3, 0, 0]), -318, "a core that does it wrongly");
        assert_eq!(call(&mut v, &[0x31c, 0, 3, 0, 0]), 0);
        assert_eq!(call(&mut v, &[0x31c, 1, 4, 0, 0]), 0);
        assert_eq!(v.machine.lpcr, lpcr::GUEST | lpcr::ILE);
        assert_eq!(call(&mut v, &[0x31c, 0, 4, 0, 0]), 0);
        assert_eq!(v.machine.lpcr, lpcr::GUEST);
        assert_eq!(call(&mut v, &[0x31c, 2, 4, 0, 0]), -318, "the flag's own bit");
        assert_eq!(call(&mut v, &[0x31c, 1 << 63 | 1, 4, 0, 0]), -256);
        assert_eq!(call(&mut v, &[0x31c, 1, 4, 1, 0]), -56);
        assert_eq!(call(&mut v, &[0x31c, 1, 4, 0, 1]), -57);
        assert_eq!(call(&mut v, &[0x31c, 0, 2, 0, 0]), -55, "no watchpoints");
        assert_eq!(call(&mut v, &[0x31c, 0, 1, 0x1003, 0]), -56, "hypervisor breakpoint");
        assert_eq!((call(&mut v, &[0x31c, 0, 1, 0x1001, 0]), v.machine.ciabr), (0, 0x1001));
    }

    #[test]
    fn process_tables() {
        let mut v = vcpu();
        let register = |flags, base, size, order| [0x37c, flags, base, size, order];
        assert_eq!(call(&mut v, &register(0x1d, 0x3fff_0000, 0, 12)), 0);
        assert_eq!(v.machine.process_table, 1 << 63 | 0x3fff_0000 | 12);
        assert_eq!(call(&mut v, &register(0x1c, 0, 0, 0)), 0);
        assert_eq!(v.machine.lpcr & lpcr::GTSE, 0);
        for (args, code) in [
            (register(0x1a, 0, 0, 12), -4),
            (register(0x1d, 0x10, 0, 12), -55),
            (register(0x1d, 1 << 60, 0, 12), -55),
            (register(0x1d, 0, 5, 12), -56),
            (register(0x1d, 0, 0, 25), -57),
            (register(0x1d, 0, 0, u64::MAX), -57),
        ] {
            assert_eq!(call(&mut v, &args), code, "{args:x?}");
        }
    }

    #[test]
    fn invalidation_on_behalf() {
        let mut v = vcpu();
        let call = |v: &mut _, args: [u64; 6]| {
            let [a, b, c, d, e, f] = args;
            call(v, &[0x448, a, b, c, d, e, f])
        };
        assert_eq!(call(&mut v, [7, 1, 2, u64::MAX, 0, u64::MAX]), 0);
        assert_eq!(call(&mut v, [7, 1, 6, 1, 0, 0x1000]), 0);
        assert_eq!(call(&mut v, [7, 5, 14, 1, 0, 0]), 0);
        let seen = [(Some(7), false), (Some(7), true), (None, true)];
        assert_eq!(v.machine.invalidated, seen);
        for (args, code) in [
            ([1 << 32, 1, 2, 1, 0, 0], -4),
            ([7, 0, 2, 1, 0, 0], -55),
            ([7, 8, 2, 1, 0, 0], -55),
            ([7, 1, 1, 1, 0, 0], -56),
            ([7, 1, 0, 1, 0, 0], -56),
            ([7, 1, 2, 0x10, 0, 0], -57),
            ([7, 1, 2, 1, 1, 0], -58),
        ] {
            assert_eq!(call(&mut v, args), code, "{args:x?}");
        }
    }

    #[test]
    fn random_and_characteristics() {
        let mut v = vcpu();
        assert_eq!(call(&mut v, &[0x300]), -1);
        v.machine.random = Some(0x1234);
        assert_eq!(outputs(&mut v, &[0x300]).gpr[3..5], [0, 0x1234]);
        assert_eq!(outputs(&mut v, &[0x1c8]).gpr[3..6], [0, 0x11, 0x22]);
    }
}
