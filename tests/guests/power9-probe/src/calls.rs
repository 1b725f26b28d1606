// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every hypercall's success and its error codes, as LoPAR lists them.
use core::ptr;

use crate::board::{ISLAND, ISLAND_END, NO_SERVER, RAM_END, SCRATCH, SOURCES};
use crate::hcall::*;
use crate::report::Probe;
use crate::{mmu, rtas, say};

/// Calls and the code that each must return.
fn expect(probe: &Probe, number: u64, rows: &[(&[u64], u64)]) {
    for (args, want) in rows {
        probe.equal(&format_args!("{number:#x}{args:x?}"), code(number, args), *want);
    }
}

/// A big-endian word in scratch RAM.
#[expect(unsafe_code, reason = "writes scratch RAM")]
pub fn put_be32(address: u64, value: u32) {
    // SAFETY: callers name scratch RAM.
    unsafe { ptr::write_volatile(address as *mut u32, value.to_be()) };
}

/// Reads one.
#[expect(unsafe_code, reason = "reads scratch RAM")]
pub fn get_be32(address: u64) -> u32 {
    // SAFETY: callers name scratch RAM.
    u32::from_be(unsafe { ptr::read_volatile(address as *const u32) })
}

/// All of them.
pub fn run() {
    Probe::run("hcall-unknown", |p| {
        for number in [0, 1, 3, 4, 8, 0x50, 0x55, 0xdd, 0x29c, 0x488, 0x48c, 0x7ffc, 0xf004, 0xf001]
        {
            p.equal(&format_args!("{number:#x}"), code(number, &[]), FUNCTION);
        }
        for number in [u64::MAX, 1 << 63, 1 << 32 | CEDE, 0xffff_ffff_ffff_fffc] {
            p.equal(&format_args!("{number:#x}"), code(number, &[]), FUNCTION);
        }
    });
    Probe::run("hcall-terminal", |p| {
        expect(
            p,
            PUT_TERM_CHAR,
            &[
                (&[0, 0], 0),
                (&[0x7100_0000, 0], 0),
                (&[0, 17, 0, 0], PARAMETER),
                (&[0, u64::MAX, 0, 0], PARAMETER),
                (&[0, 1 << 32, 0, 0], PARAMETER),
                (&[1, 1, 0, 0], PARAMETER),
                (&[1 << 32, 1, 0, 0], PARAMETER),
            ],
        );
        expect(p, GET_TERM_CHAR, &[(&[0], 0), (&[0x7100_0000], 0), (&[5], PARAMETER)]);
    });
    Probe::run("hcall-set-mode", |p| {
        expect(
            p,
            SET_MODE,
            &[
                (&[1, 4, 0, 0], 0),
                (&[3, 3, 0, 0], 0),
                (&[0, 3, 0, 0], 0),
                (&[1, 4, 1, 0], P3),
                (&[1, 4, 0, 1], P4),
                (&[3, 3, 1, 0], P3),
                (&[3, 3, 0, 1], P4),
                (&[0, 0, 0, 0], P2),
                (&[0, 6, 0, 0], P2),
                (&[0, u64::MAX, 0, 0], P2),
                (&[0, 1 << 32 | 4, 0, 0], P2),
                (&[0, 1, 3, 0], P3),
                (&[0, 1, 0x1003, 0], P3),
                (&[0, 1, 0, 1], P4),
                (&[1, 1, 0, 0], unsupported_flag(63)),
                (&[0, 1, 0, 0], 0),
                (&[1, 3, 0, 0], unsupported_flag(63)),
            ],
        );
        // LoPAR: the code names the flag that is not supported, the bit's IBM number added.
        expect(
            p,
            SET_MODE,
            &[
                (&[2, 4, 0, 0], unsupported_flag(62)),
                (&[1 << 63, 4, 0, 0], unsupported_flag(0)),
                (&[2, 3, 0, 0], unsupported_flag(62)),
            ],
        );
    });
    areas();
    Probe::run("hcall-prod-confer", |p| {
        expect(
            p,
            PROD,
            &[(&[NO_SERVER], PARAMETER), (&[u64::MAX], PARAMETER), (&[1 << 32], PARAMETER)],
        );
        expect(
            p,
            CONFER,
            &[
                (&[0, 0], 0),
                (&[u64::MAX, 0], 0),
                (&[NO_SERVER, 0], PARAMETER),
                (&[1 << 32, 0], PARAMETER),
            ],
        );
        // The cede after a prod returns at once, with no interrupt pending.
        expect(p, PROD, &[(&[0], 0)]);
        expect(p, CEDE, &[(&[], 0)]);
        crate::trap::interrupts(false);
    });
    Probe::run("hcall-random", |p| {
        let [first, second] = [0; 2].map(|_| hcall(RANDOM, &[]));
        p.equal(&"code", first[0], 0);
        p.holds(&"two differ", first[1] != second[1]);
    });
    Probe::run("hcall-cpu-characteristics", |p| {
        let [code, characteristics, behaviour, ..] = hcall(CHARACTERISTICS, &[]);
        p.equal(&"code", code, 0);
        say!("cpu-characteristics {characteristics:#x} {behaviour:#x}");
    });
    Probe::run("hcall-capacity", |p| {
        let [code, entitled, unallocated, aggregation, platform, ..] = hcall(GET_PPP, &[]);
        p.equal(&"code", code, 0);
        p.holds(&"whole processors", entitled > 0 && entitled % 100 == 0);
        p.equal(&"nothing is left over", unallocated, 0);
        p.equal(&"in no pool", aggregation, 0xffff);
        p.equal(&"capped", platform >> 16, 1 << 32);
        p.holds(&"the platform's processors", platform & 0xffff >= entitled / 100);
        expect(
            p,
            SET_PPP,
            &[
                (&[entitled, 0], 0),
                (&[entitled + 1, 0], CONSTRAINED),
                (&[entitled, 255], CONSTRAINED),
                (&[entitled, 256], PARAMETER),
                (&[0, u64::MAX], PARAMETER),
            ],
        );
        expect(p, POLL_PENDING, &[(&[], 0)]);
        let [first, second] = [0; 2].map(|_| hcall(PURR, &[]));
        p.equal(&"code", first[0], 0);
        p.holds(&"it only grows", second[1] >= first[1]);
    });
    process_table();
    Probe::run("hcall-rpt-invalidate", |p| {
        expect(
            p,
            RPT_INVALIDATE,
            &[
                (&[1, 1, 2, u64::MAX, 0, u64::MAX], 0),
                (&[1, 2, 6, 1, 0, 0x1000], 0),
                (&[1, 7, 14, 15, 0, 0], 0),
                (&[1, 8, 2, 1, 0, 0], P2),
                (&[1, 1, 0x10, 1, 0, 0], P3),
                (&[1, 1, 1, 1, 0, 0], P3),
                (&[1 << 32, 1, 2, 1, 0, 0], PARAMETER),
                (&[1, 1, 2, 0x10, 0, 0], P4),
                (&[1, 1, 2, 1, 1, 0], P5),
            ],
        );
    });
    sources_and_queues();
    rtas();
}

fn areas() {
    const REGISTER_FIRST: u64 = 1 << 45;
    let vpa = SCRATCH + 0x1000;
    let call = |function: u64, server: u64, address: u64| {
        code(REGISTER_VPA, &[function << 45, server, address])
    };
    Probe::run("hcall-register-vpa", |p| {
        let check = |what: &str, got: u64, want: u64| p.equal(&what, got, want);
        put_be32(vpa + 4, 640 << 16);
        check("a log before the area", call(2, 0, vpa), RESOURCE);
        check("a shadow before the area", call(3, 0, vpa), RESOURCE);
        check("server", call(1, NO_SERVER, vpa), PARAMETER);
        check("server, wide", call(1, 1 << 32, vpa), PARAMETER);
        check("flags", code(REGISTER_VPA, &[REGISTER_FIRST | 1, 0, vpa]), PARAMETER);
        for address in [
            vpa + 8,
            vpa + 64,
            RAM_END,
            RAM_END - 64,
            ISLAND - 128,
            ISLAND_END,
            u64::MAX & !127,
            1 << 63 | vpa,
            0xc000_0000_0000_0000 | vpa,
            vpa | 1 << 60,
        ] {
            check("address", call(1, 0, address), PARAMETER);
        }
        put_be32(vpa + 0xf80 + 4, 640 << 16);
        check("over a page's end", call(1, 0, vpa + 0xf80), PARAMETER);
        put_be32(vpa + 4, 639 << 16);
        check("too short", call(1, 0, vpa), PARAMETER);
        put_be32(vpa + 4, 640 << 16);
        check("right", call(1, 0, vpa), 0);
        let last = RAM_END - 0x280;
        put_be32(last + 4, 640 << 16);
        check("RAM's last bytes", call(1, 0, last), 0);
        put_be32(ISLAND + 4, 0x1000 << 16);
        check("the island", call(1, 0, ISLAND), 0);
        check("again", call(1, 0, vpa), 0);
        let log = SCRATCH + 0x2000;
        put_be32(log + 4, 47);
        check("a log too short", call(2, 0, log), PARAMETER);
        put_be32(log + 4, u32::MAX);
        check("a log beyond RAM", call(2, 0, log), PARAMETER);
        put_be32(log + 4, 4096);
        check("a log", call(2, 0, log), 0);
        check("the area under it", call(5, 0, 0), RESOURCE);
        check("no log", call(6, 0, 0), 0);
        put_be32(log + 4, 128);
        check("a shadow", call(3, 0, log), 0);
        check("the area under it", call(5, 0, 0), RESOURCE);
        check("no shadow", call(7, 0, 0), 0);
        for function in [0, 4] {
            check("no function", call(function, 0, vpa), PARAMETER);
        }
        let before = get_be32(vpa + 0x100);
        check("prod", code(PROD, &[0]), 0);
        check("cede", code(CEDE, &[]), 0);
        crate::trap::interrupts(false);
        p.holds(&"the count is even while the guest runs", get_be32(vpa + 0x100) % 2 == 0);
        p.holds(&"it only grows", get_be32(vpa + 0x100) >= before);
        check("no area", call(5, 0, 0), 0);
        check("no area twice", call(5, 0, 0), 0);
    });
}

fn process_table() {
    let order = 0;
    Probe::run("hcall-process-table", |p| {
        let table = mmu::process_table();
        expect(
            p,
            PROC_TBL,
            &[
                (&[0, table, 0, order], PARAMETER),
                (&[0x1a, table, 0, order], PARAMETER),
                (&[1 << 32 | 0x1d, table, 0, order], PARAMETER),
                (&[0x1d, table + 0x800, 0, order], P2),
                (&[0x1d, 1 << 60 | table, 0, order], P2),
                (&[0x1d, table, 1, order], P3),
                (&[0x1d, table, 0, 25], P4),
                (&[0x1d, table, 0, u64::MAX], P4),
            ],
        );
        p.equal(&"register", mmu::start(), 0);
        expect(p, PROC_TBL, &[(&[0x10, 0, 0, 0], 0)]);
        p.equal(&"register again", mmu::register(), 0);
    });
}

fn sources_and_queues() {
    let queue = SCRATCH + 0x1_0000;
    Probe::run("hcall-source-info", |p| {
        expect(
            p,
            SOURCE_INFO,
            &[(&[1, 0], PARAMETER), (&[0, SOURCES], P2), (&[0, u64::MAX], P2), (&[0, 1 << 32], P2)],
        );
        for lisn in 0..SOURCES {
            let [code, flags, eoi, trigger, shift, ..] = hcall(SOURCE_INFO, &[0, lisn]);
            let page = crate::board::ESB + lisn * 0x2_0000;
            p.equal(&"code", code, 0);
            p.holds(&"no H_INT_ESB, no LSI", flags & 0xc == 0);
            p.equal(&"trigger page", trigger, page);
            p.equal(&"management page", eoi, page + 0x1_0000);
            p.equal(&"page size", shift, 16);
        }
    });
    Probe::run("hcall-queue-config", |p| {
        expect(
            p,
            SET_QUEUE,
            &[
                (&[2, 0, 6, queue, 16], PARAMETER),
                (&[1, NO_SERVER, 6, queue, 16], P2),
                (&[1, 1 << 32, 6, queue, 16], P2),
                (&[1, 0, 7, queue, 16], P3),
                (&[1, 0, 8, queue, 16], P3),
                (&[1, 0, 0xff, queue, 16], P3),
                (&[1, 0, 1 << 32, queue, 16], P3),
                (&[1, 0, 6, queue + 8, 16], P4),
                (&[1, 0, 6, queue + 0x1000, 16], P4),
                (&[1, 0, 6, RAM_END, 16], P4),
                (&[1, 0, 6, RAM_END - 0x8000, 16], P4),
                (&[1, 0, 6, ISLAND - 0x1_0000, 16], P4),
                (&[1, 0, 6, ISLAND_END, 16], P4),
                (&[1, 0, 6, u64::MAX & !0xffff, 16], P4),
                (&[1, 0, 6, 1 << 60 | queue, 16], P4),
                (&[1, 0, 6, crate::board::ESB, 16], P4),
                (&[1, 0, 6, crate::board::TIMA, 16], P4),
                (&[1, 0, 6, queue, 12], P5),
                (&[1, 0, 6, queue, 64], P5),
                (&[1, 0, 6, queue, u64::MAX], P5),
            ],
        );
        for page in [queue, RAM_END - 0x1_0000, ISLAND, ISLAND_END - 0x1_0000] {
            expect(p, SET_QUEUE, &[(&[1, 0, 6, page, 16], 0)]);
            let [code, flags, base, size, index, ..] = hcall(GET_QUEUE, &[0, 0, 6]);
            p.equal(&"code", code, 0);
            p.equal(&"flags", flags, 1);
            p.equal(&"page", base, page);
            p.equal(&"size", size, 16);
            p.equal(&"index", index, 0);
        }
        expect(
            p,
            GET_QUEUE,
            &[(&[2, 0, 6], PARAMETER), (&[0, NO_SERVER, 6], P2), (&[0, 0, 7], P3)],
        );
        expect(
            p,
            QUEUE_INFO,
            &[(&[0, 0, 6], 0), (&[1, 0, 6], PARAMETER), (&[0, NO_SERVER, 6], P2), (&[0, 0, 7], P3)],
        );
        p.equal(&"generation", hcall(GET_QUEUE, &[1, 0, 6])[1], 1 | 2);
        expect(p, SET_QUEUE, &[(&[1, 0, 6, 0, 0], 0)]);
        let [_, flags, base, size, ..] = hcall(GET_QUEUE, &[0, 0, 6]);
        p.equal(&"no flags", flags, 0);
        p.equal(&"no page", base, u64::MAX);
        p.equal(&"no size", size, 0);
        let [_, page, size, ..] = hcall(QUEUE_INFO, &[0, 0, 6]);
        p.equal(&"no notification page", page, u64::MAX);
        p.equal(&"its size", size, 16);
    });
    Probe::run("hcall-source-config", |p| {
        expect(
            p,
            SET_SOURCE,
            &[
                (&[4, 0, 0, 6, 1], PARAMETER),
                (&[2, SOURCES, 0, 6, 1], P2),
                (&[2, u64::MAX, 0, 6, 1], P2),
                (&[2, 1 << 32, 0, 6, 1], P2),
                (&[2, 0, NO_SERVER, 6, 1], P3),
                (&[2, 0, 0, 6, 1 << 31], P5),
                (&[2, 0, 0, 6, u64::MAX], P5),
                (&[2, 0, 0, 7, 1], P4),
                (&[2, 0, 0, 0x106, 1], P4),
                (&[2, 0, 0, 0x1ff, 1], P4),
                (&[2, 3, 0, 5, 0x7fff_fffe], 0),
            ],
        );
        p.equal(&"kept", hcall(GET_SOURCE, &[0, 3])[3], 0x7fff_fffe);
        expect(p, SET_SOURCE, &[(&[0, 3, 0, 4, 9], 0)]);
        p.equal(&"number without its flag", hcall(GET_SOURCE, &[0, 3])[3], 0x7fff_fffe);
        p.equal(&"priority", hcall(GET_SOURCE, &[0, 3])[2], 4);
        expect(p, SET_SOURCE, &[(&[0, 3, 0, 0xff, 0], 0)]);
        let [code, server, priority, number, ..] = hcall(GET_SOURCE, &[0, 3]);
        p.equal(&"code", code, 0);
        p.equal(&"server", server, 0);
        p.equal(&"no priority", priority, 0xff);
        p.equal(&"its number is the source's", number, 3);
        expect(p, SET_SOURCE, &[(&[3, 3, 0, 4, 0x77], 0)]);
        p.equal(&"assigned though masked", hcall(GET_SOURCE, &[0, 3])[2], 4);
        expect(p, SET_SOURCE, &[(&[0, 3, 0, 0xff, 0], 0)]);
        expect(p, GET_SOURCE, &[(&[1, 0], PARAMETER), (&[0, SOURCES], P2)]);
    });
    Probe::run("hcall-esb-sync-reset", |p| {
        expect(
            p,
            ESB,
            &[
                (&[0, 0, 0x800, 0], 0),
                (&[2, 0, 0x800, 0], PARAMETER),
                (&[0, SOURCES, 0x800, 0], P2),
                (&[0, 0, 0x1_0000, 0], P3),
                (&[0, 0, 0xffff, 0], P3),
                (&[0, 0, u64::MAX & !7, 0], P3),
                (&[0, 0, 0x804, 0], P3),
            ],
        );
        for offset in (0..0x1_0000).step_by(8) {
            expect(p, ESB, &[(&[0, 15, offset, 0], 0), (&[1, 15, offset, offset], 0)]);
        }
        expect(p, SYNC, &[(&[0, 0], 0), (&[1, 0], PARAMETER), (&[0, SOURCES], P2)]);
        // Off is 01: what a partition begins with, and what H_INT_RESET leaves.
        p.equal(&"state at first", hcall(ESB, &[0, 2, 0x800, 0])[1] & 3, 1);
        hcall(ESB, &[0, 2, 0xf00, 0]);
        expect(p, SET_SOURCE, &[(&[2, 2, 0, 5, 0x1234], 0)]);
        expect(p, SET_QUEUE, &[(&[1, 0, 5, queue, 16], 0)]);
        expect(p, RESET, &[(&[1], PARAMETER), (&[0], 0)]);
        p.equal(&"state after the reset", hcall(ESB, &[0, 2, 0x800, 0])[1] & 3, 1);
        let [_, server, priority, number, ..] = hcall(GET_SOURCE, &[0, 2]);
        p.equal(&"server after it", server, 0);
        p.equal(&"priority after it", priority, 0xff);
        p.equal(&"number after it", number, 2);
        p.equal(&"queue after it", hcall(GET_QUEUE, &[0, 0, 5])[3], 0);
    });
}

/// One call through the buffer at `at`: status.
pub fn rtas_at(at: u64, token: u32, inputs: &[u32], outputs: u32) -> u32 {
    let head = [token, inputs.len() as u32, outputs];
    for (n, word) in head.iter().chain(inputs).enumerate() {
        put_be32(at + 4 * n as u64, *word);
    }
    let status = at + 4 * (3 + inputs.len() as u64);
    put_be32(status, 0x7777);
    code(RTAS, &[at]);
    crate::coverage::service(token, get_be32(status));
    get_be32(status)
}

const REFUSED: u64 = -3_i32 as u32 as u64;

fn rtas() {
    let buffer = SCRATCH + 0x100;
    let call = |token, inputs: &[u32], outputs| u64::from(rtas_at(buffer, token, inputs, outputs));
    Probe::run("rtas-services", |p| {
        let clock = call(rtas::GET_TIME_OF_DAY, &[], 8);
        p.equal(&"clock", clock, 0);
        p.holds(&"year", (2020..2100).contains(&get_be32(buffer + 16)));
        let date = [2031, 2, 28, 23, 59, 58, 0];
        p.equal(&"set clock", call(rtas::SET_TIME_OF_DAY, &date, 1), 0);
        call(rtas::GET_TIME_OF_DAY, &[], 8);
        p.equal(&"it runs from there", u64::from(get_be32(buffer + 16)), 2031);
        for date in [
            [2031, 2, 30, 0, 0, 0, 0],
            [0; 7],
            [u32::MAX; 7],
            [2031, 13, 1, 0, 0, 0, 0],
            [2031, 1, 1, 24, 0, 0, 0],
            [2031, 1, 1, 0, 60, 0, 0],
            [9999, 1, 1, 0, 0, 0, u32::MAX],
        ] {
            p.equal(&"no date", call(rtas::SET_TIME_OF_DAY, &date, 1), REFUSED);
        }
        p.equal(&"parameter", call(rtas::GET_SYSTEM_PARAMETER, &[20, 0, 4096], 1), REFUSED);
        p.equal(&"unknown", call(999, &[], 1), REFUSED);
        p.equal(&"character", call(rtas::DISPLAY_CHARACTER, &[10], 1), 0);
        for service in &rtas::SERVICES {
            for (inputs, outputs) in
                [(service.inputs + 1, service.outputs), (service.inputs, service.outputs + 1)]
            {
                let status = call(service.token, &[0; 8][..inputs], outputs as u32);
                p.equal(&format_args!("{}, wrong count", service.name), status, REFUSED);
            }
        }
    });
    Probe::run("rtas-buffers", |p| {
        // Outputs that would lie behind RAM: refused as a whole, nothing is read or written there.
        for at in [RAM_END - 4, RAM_END - 12, RAM_END - 16, RAM_END, 0xffff_fff0, 0xffff_fffc] {
            for (n, word) in [rtas::GET_TIME_OF_DAY, 0, 8].into_iter().enumerate() {
                if at + 4 * n as u64 + 4 <= RAM_END {
                    put_be32(at + 4 * n as u64, word);
                }
            }
            p.holds(&format_args!("{at:#x}"), code(RTAS, &[at]) != 0);
        }
        for (inputs, outputs) in
            [(17, 0), (0, 17), (u32::MAX, 1), (1, u32::MAX), (1 << 30, 1 << 30)]
        {
            put_be32(buffer, rtas::GET_TIME_OF_DAY);
            put_be32(buffer + 4, inputs);
            put_be32(buffer + 8, outputs);
            p.holds(&format_args!("{inputs} in, {outputs} out"), code(RTAS, &[buffer]) != 0);
        }
        // RAM's last bytes, and an odd address: both are the guest's own.
        let status = rtas_at(RAM_END - 44, rtas::GET_TIME_OF_DAY, &[], 8);
        p.equal(&"RAM's last bytes", u64::from(status), 0);
        let status = rtas_at(buffer + 1, rtas::GET_TIME_OF_DAY, &[], 8);
        p.equal(&"an odd address", u64::from(status), 0);
    });
}
