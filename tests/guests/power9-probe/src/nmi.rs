// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Routines of the guest's own for machine checks and system resets, as LoPAR's FWNMI option has
//! them. Once they are registered, nothing but a restart takes them away: the last probes.
use crate::board::{RAM_END, SCRATCH};
use crate::calls::{get_be32, rtas_at};
use crate::hcall::{self, code};
use crate::low::{CHECK_ROUTINE, NMI, RESET_ROUTINE, RESETS};
use crate::report::Probe;
use crate::trap::{self, R3};
use crate::{rtas, say};

const BUFFER: u64 = SCRATCH + 0x100;
/// A real address that is nobody's.
const HOLE: u64 = RAM_END + 0x1238;

fn call(token: u32, inputs: &[u32]) -> u64 {
    u64::from(rtas_at(BUFFER, token, inputs, 1))
}

fn refused() -> u64 {
    u64::from(rtas::PARAMETER as u32)
}

fn get_be64(address: u64) -> u64 {
    u64::from(get_be32(address)) << 32 | u64::from(get_be32(address + 4))
}

/// All of them.
pub fn run() {
    let [reset, check] = [RESET_ROUTINE, CHECK_ROUTINE].map(|at| at as u32);
    Probe::run("nmi-routines-are-registered", |p| {
        p.equal(&"interlock before", call(rtas::NMI_INTERLOCK, &[]), refused());
        for routines in [
            [reset, check + 2],
            [reset + 1, check],
            [32 << 20, check],
            [reset, 32 << 20],
            [u32::MAX, u32::MAX],
        ] {
            let status = call(rtas::NMI_REGISTER, &routines);
            p.equal(&format_args!("{routines:x?}"), status, refused());
        }
        trap::load(HOLE, 8);
        p.equal(&"before: the vector", NMI.get(), 0);
        p.equal(&"register", call(rtas::NMI_REGISTER, &[reset, check]), 0);
        p.equal(&"register again", call(rtas::NMI_REGISTER, &[reset, check]), 0);
    });
    Probe::run("machine-checks-come-with-an-error-log", |p| {
        for (store, address) in [(false, HOLE), (true, HOLE + 0x1_0000), (false, 1 << 40)] {
            NMI.set(0);
            let outcome = if store { trap::store(address, 8, 0) } else { trap::load(address, 8) };
            let area = NMI.get();
            p.equal(&"vector", outcome.trap.vector, 0x200);
            p.equal(&"r3 is given back", outcome.r3, R3);
            p.equal(&"where", outcome.trap.srr0, trap::code_address());
            p.equal(&"data address", outcome.trap.dar, address);
            p.equal(&"interrupts off, real mode", outcome.trap.msr & 0x8030, 0);
            p.holds(&"an area in RAM", area != 0 && area % 16 == 0 && area < RAM_END - 72);
            if area == 0 {
                return;
            }
            p.equal(&"r3", get_be64(area), R3);
            log(p, area + 8, 3, address);
            p.equal(&"interlock", call(rtas::NMI_INTERLOCK, &[]), 0);
        }
        NMI.set(0);
        let outcome = trap::call(HOLE & !3, 0, 0, trap::MSR);
        p.equal(&"vector of a fetch", outcome.trap.vector, 0x200);
        if NMI.get() != 0 {
            log(p, NMI.get() + 8, 1, HOLE & !3);
        }
        p.equal(&"interlock", call(rtas::NMI_INTERLOCK, &[]), 0);
        p.equal(&"interlock, though nothing is held", call(rtas::NMI_INTERLOCK, &[]), 0);
    });
    Probe::run("system-resets-come-to-their-routine", |p| {
        for round in 1..=3 {
            NMI.set(0);
            let before = RESETS.get();
            p.equal(&"code", code(hcall::SIGNAL_RESET, &[0]), 0);
            p.equal(&"it came", RESETS.get() - before, 1);
            let area = NMI.get();
            p.holds(&format_args!("area {area:#x}, {round}"), area != 0 && area < RAM_END - 16);
            p.equal(&"the call's r3", get_be64(area), 0);
            p.equal(&"no error log", get_be64(area + 8), 0);
        }
    });
}

/// A second machine check while the first one's log is in use: this does not return.
pub fn nested() {
    let [reset, check] = [RESET_ROUTINE, CHECK_ROUTINE].map(|at| at as u32);
    call(rtas::NMI_REGISTER, &[reset, check]);
    trap::load(HOLE, 8);
    say!("probe first machine check served");
    trap::load(HOLE, 8);
    say!("probe nested-machine-check FAIL got=0x1 want=0x0 in the second one");
}

/// The error log (LoPAR 7.3.2.2): version 6, one MC section.
fn log(p: &Probe, at: u64, detail: u32, address: u64) {
    let summary = get_be32(at);
    let field = |what: &str, got: u32, want: u32| p.equal(&what, got.into(), want.into());
    field("version", summary >> 24, 6);
    field("severity: a synchronous error", summary >> 21 & 7, 3);
    field("disposition: not recovered", summary >> 19 & 3, 2);
    field("extended", summary >> 18 & 1, 1);
    field("initiator: the CPU", summary >> 12 & 15, 1);
    field("length", get_be32(at + 4), 56);
    field("valid, big-endian", get_be32(at + 8) >> 24 & 0x82, 0x82);
    field("platform event log", get_be32(at + 8) >> 8 & 15, 14);
    field("company", get_be32(at + 20), u32::from_be_bytes(*b"IBM\0"));
    field("section", get_be32(at + 24) >> 16, u32::from_be_bytes(*b"\0\0MC"));
    field("its length", get_be32(at + 24) & 0xffff, 40);
    field("processor", get_be32(at + 36), 0);
    let kind = get_be32(at + 40);
    field("type: uncorrectable error", kind >> 24, 0);
    field("by what, both addresses known", kind >> 16 & 0xff, detail | 0x60);
    p.equal(&"effective address", get_be64(at + 48), address);
    p.equal(&"logical address", get_be64(at + 56), address);
}
