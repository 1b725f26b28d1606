// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hypercalls that are answered without a frame: what a guest asks for often, and numbers that nobody
//! serves.
//!
//! The vectors find the call's function by its number and call it with the guest's r3 to r9 and the
//! context. PAPR lets a hypercall change what a Rust function may change, so nothing of that is kept.
//! Such a call looks at none of the flags by which other vCPUs reach this one: whoever sets one also
//! kicks, and a kick that the firmware has not taken takes the guest out before its next instruction.
//! [`super::hcall::serve`] has the same answers.
#![expect(unsafe_code, reason = "finds the vCPU by its context")]

use anchorite_spec::ExitReason;

use super::board::Power9;
use super::context::GuestContext;
use super::hcall::{Handler, HcallError, HcallResult, SLOTS, calls};
use super::vcpu::Vcpu;

/// A call's answer: of its number, its first six arguments and the context; r3 afterwards.
pub type Light = extern "C" fn(u64, u64, u64, u64, u64, u64, u64, &mut GuestContext) -> i64;

/// By number / 4; then all numbers that have no place but the RTAS stub's. `None` takes a frame.
pub type Calls = [Option<Light>; SLOTS + 1];

/// The place of numbers that have no own.
pub const UNKNOWN: usize = SLOTS;

/// Reasons of calls that are answered so.
pub const LEAN: [ExitReason; 7] = [
    ExitReason::HPutTermChar,
    ExitReason::HCede,
    ExitReason::HConfer,
    ExitReason::HProd,
    ExitReason::HPollPending,
    ExitReason::HSetMode,
    ExitReason::HcallUnknown,
];

/// The calls for a machine.
#[must_use]
pub const fn table<M: Power9>() -> Calls {
    let mut table: Calls = [Some(unknown::<M> as Light); SLOTS + 1];
    let calls = calls::<M>();
    let mut i = 0;
    while i < calls.len() {
        table[(calls[i].number / 4) as usize] = match calls[i].handler {
            Handler::Light(_, light) => Some(light),
            Handler::Full(_) => None,
        };
        i += 1;
    }
    table
}

extern "C" fn unknown<M: Power9>(
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    ctx: &mut GuestContext,
) -> i64 {
    answer(ctx, ExitReason::HcallUnknown, |_: &mut Vcpu<M>, _| Err(HcallError::Function))
}

/// Counts a call and answers it.
#[inline(always)]
pub fn answer<M: Power9>(
    ctx: &mut GuestContext,
    reason: ExitReason,
    answer: impl FnOnce(&mut Vcpu<M>, &mut GuestContext) -> HcallResult,
) -> i64 {
    // SAFETY: whoever made the context put the vCPU there, of the type that its table of calls is for.
    // A vCPU's exits do not nest, and only its own core serves them.
    let v = unsafe { &mut *(ctx.vcpu as *mut Vcpu<M>) };
    v.count(reason);
    match answer(v, ctx) {
        Ok(_) => 0,
        Err(error) => error.code(),
    }
}

#[cfg(test)]
mod tests {
    use anchorite_spec::papr;

    use super::super::fake::{Fake, hcall, total, vcpu};
    use super::super::hcall::{H_RTAS, serve};
    use super::*;
    use crate::core::Action;

    const ARGS: [[u64; 4]; 9] = [
        [0; 4],
        [1, 0, 0, 0],
        [u64::MAX; 4],
        [1, 4, 0, 0],
        [2, 4, 0, 0],
        [0, 1, 0x1000, 0],
        [0, 3, 0, 0],
        [0, 1, 0x4100_0000_0000_0000, 0],
        [0, 16, u64::from_be_bytes(*b"01234567"), u64::from_be_bytes(*b"89abcdef")],
    ];

    /// Everything that a guest could tell a difference by.
    fn state(v: &Vcpu<Fake>) -> impl PartialEq + std::fmt::Debug {
        let m = &v.machine;
        let machine = (m.output.clone(), m.lpcr, m.ciabr, m.idled, m.kicked.clone(), m.srr);
        (machine, v.row.count, v.reason)
    }

    #[test]
    fn the_answers_are_those_of_the_other_way() {
        for number in papr::SERVED.iter().map(|call| call.number).chain([0x150, 0xf004]) {
            let slot = (number as usize / 4).min(UNKNOWN);
            let Some(light) = table::<Fake>()[slot] else { continue };
            for args in ARGS {
                let [r4, r5, r6, r7] = args;
                let mut ctx = hcall(&[number, r4, r5, r6, r7]);
                let mut full = vcpu();
                assert_eq!(serve(&mut full, &mut ctx), Action::Resume);
                let mut v = vcpu();
                let mut own = hcall(&[]);
                own.vcpu = &raw mut v as u64;
                let code = light(number, r4, r5, r6, r7, 0, 0, &mut own);
                assert_eq!(code, ctx.gpr[3] as i64, "{number:#x} {args:x?}");
                assert_eq!(own.msr, ctx.msr, "{number:#x}");
                assert!(own.gpr.iter().all(|gpr| *gpr == 0), "{number:#x} writes no register");
                assert_eq!(state(&v), state(&full), "{number:#x} {args:x?}");
                assert_eq!(total(&v), 1);
            }
        }
    }

    #[test]
    fn what_returns_more_than_a_code_takes_a_frame() {
        let table = table::<Fake>();
        let light = |number: u64| table[(number / 4) as usize].is_some();
        let served = papr::SERVED.iter().map(|call| call.number);
        let found: Vec<u64> = served.filter(|number| light(*number)).collect();
        assert_eq!(found, [0x58, 0xe0, 0xe4, 0xe8, 0x1d8, 0x31c]);
        let reason = |call: super::super::hcall::Hcall<Fake>| match call.handler {
            Handler::Light(..) => Some(call.reason),
            Handler::Full(_) => None,
        };
        let reasons =
            calls::<Fake>().into_iter().filter_map(reason).chain([ExitReason::HcallUnknown]);
        assert_eq!(reasons.collect::<Vec<_>>(), LEAN, "what reports call so");
        assert!(light(0x150) && light(0) && table[UNKNOWN].is_some(), "nobody serves these");
        assert!(H_RTAS / 4 > UNKNOWN as u64, "the vectors look for it behind the table");
    }
}
