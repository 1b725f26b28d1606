// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which of the codes that each call can return have come. At the end all must have that a guest can
//! bring about, and none may have come that the tables do not know.
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::report::Probe;
use crate::{papr, rtas};

/// By row of the table, a bit for each of its codes.
static HCALLS: [AtomicU64; papr::SERVED.len()] = [const { AtomicU64::new(0) }; papr::SERVED.len()];
static SERVICES: [AtomicU64; rtas::SERVICES.len()] =
    [const { AtomicU64::new(0) }; rtas::SERVICES.len()];
/// A call and a code that its row lacks: the first one.
static STRANGE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

fn strange(call: u64, code: i64) {
    if STRANGE[0].compare_exchange(0, call, Relaxed, Relaxed).is_ok() {
        STRANGE[1].store(code as u64, Relaxed);
    }
}

/// Notes what a hypercall returned.
pub fn hcall(number: u64, code: u64) {
    let code = code as i64;
    let Some(row) = papr::SERVED.iter().position(|call| call.number == number) else {
        if code != papr::FUNCTION && number != crate::hcall::RTAS {
            strange(number, code);
        }
        return;
    };
    let call = &papr::SERVED[row];
    match call.codes.iter().position(|known| *known == papr::family(code)) {
        Some(bit) => {
            HCALLS[row].fetch_or(1 << bit, Relaxed);
        }
        None if call.returns(code) => {}
        None => strange(number, code),
    }
}

/// Notes the status that a service returned.
pub fn service(token: u32, status: u32) {
    let status = status as i32;
    let row = (token as usize).wrapping_sub(1);
    let Some(service) = rtas::SERVICES.get(row) else {
        if status != rtas::PARAMETER {
            strange(token.into(), status.into());
        }
        return;
    };
    match service.statuses.iter().position(|known| *known == status) {
        Some(bit) => {
            SERVICES[row].fetch_or(1 << bit, Relaxed);
        }
        None if service.machine.contains(&status) => {}
        None => strange(token.into(), status.into()),
    }
}

/// Nothing has come that no table knows.
pub fn none_strange() {
    Probe::run("no-code-but-those-documented", |p| {
        let [call, code] = [0, 1].map(|n| STRANGE[n].load(Relaxed));
        p.equal(&format_args!("code {code:#x} of a call"), call, 0);
    });
}

/// All that a guest can bring about has come. Some codes take several CPUs.
pub fn run() {
    none_strange();
    Probe::run("every-documented-code-came", |p| {
        for (call, seen) in papr::SERVED.iter().zip(&HCALLS) {
            for (bit, code) in call.codes.iter().enumerate() {
                let what = format_args!("{} of {}", papr::code_name(*code), call.name);
                p.holds(&what, seen.load(Relaxed) & 1 << bit != 0);
            }
        }
        for (service, seen) in rtas::SERVICES.iter().zip(&SERVICES) {
            for (bit, status) in service.statuses.iter().enumerate() {
                let what = format_args!("status {status} of {}", service.name);
                p.holds(&what, seen.load(Relaxed) & 1 << bit != 0);
            }
        }
    });
    Probe::run("refused-calls", |p| {
        let refused = papr::REFUSED.iter().flat_map(|refused| refused.calls);
        for (number, name) in refused {
            p.equal(name, crate::hcall::code(*number, &[]), crate::hcall::FUNCTION);
        }
    });
}
