// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The walls: memory that is not the guest's, and what only a hypervisor may do.
use crate::board::{ESB, ESB_END, HOST_SECRETS, ISLAND, ISLAND_END, RAM_END, TIMA};
use crate::hcall;
use crate::mmu::{ALIAS, WALK_TO_HOLE};
use crate::report::Probe;
use crate::trap::{
    self, HV, MSR, Outcome, PR, R3, RELOCATED, call, code_address, load, load_in, mfspr, mtspr,
    store, user, word, word_in,
};

/// SRR1: recoverable.
const RI: u64 = 2;
/// SRR1 of a machine check by a load or store (POWER9): bit 42.
const LOAD_STORE: u64 = 1 << (63 - 42);
/// SRR1 of a machine check by a fetch: bits 36 and 43 to 45.
const FETCH: u64 = 0x081c_0000;
/// Of these: an uncorrectable error.
const FETCH_UE: u64 = 0x0004_0000;
/// DSISR of a machine check: an uncorrectable error.
const UE: u64 = 0x8000;
const MACHINE_CHECK: u64 = 0x200;
const PROGRAM: u64 = 0x700;
const PRIVILEGED: u64 = 0x4_0000;
const SYSTEM_CALL: u64 = 0xc00;
const SC_1: u32 = 0x4400_0022;

/// A load or store that must have been a machine check.
fn no_data(p: &Probe, what: &str, address: u64, outcome: &Outcome) {
    let trap = outcome.trap;
    let check = |part: &str, got, want| {
        p.equal(&format_args!("{what} {address:#x}: {part}"), got, want);
    };
    check("vector", trap.vector, MACHINE_CHECK);
    check("SRR0", trap.srr0, code_address());
    check("SRR1", trap.srr1 & (LOAD_STORE | RI), LOAD_STORE | RI);
    check("DAR", trap.dar, address);
    check("DSISR", trap.dsisr, UE);
    check("r3", outcome.r3, R3);
    check("MSR in the vector", trap.msr, 0x8000_0000_0000_1001);
}

fn no_code(p: &Probe, what: &str, address: u64, outcome: &Outcome) {
    let trap = outcome.trap;
    let check = |part: &str, got, want| {
        p.equal(&format_args!("{what} {address:#x}: {part}"), got, want);
    };
    check("vector", trap.vector, MACHINE_CHECK);
    check("SRR0", trap.srr0, address);
    check("SRR1", trap.srr1 & (LOAD_STORE | FETCH | RI), FETCH_UE | RI);
}

fn allowed(p: &Probe, what: &str, address: u64, outcome: &Outcome) {
    p.equal(&format_args!("{what} {address:#x}: vector"), outcome.trap.vector, 0);
}

/// All of them.
pub fn run() {
    holes();
    translated();
    device_pages();
    state();
    registers();
    instructions();
    problem_state();
}

fn holes() {
    Probe::run("ram-edges", |p| {
        for address in [0, RAM_END - 8, ISLAND, ISLAND_END - 8] {
            allowed(p, "load", address, &load(address, 8));
        }
        for address in [RAM_END - 1, ISLAND, ISLAND_END - 1] {
            allowed(p, "store", address, &store(address, 1, 0x5a));
            p.equal(&"stored", load(address, 1).r3, 0x5a);
        }
        for address in [RAM_END, ISLAND - 1, ISLAND_END] {
            no_data(p, "load", address, &load(address, 1));
            no_data(p, "store", address, &store(address, 1, 1));
            let address = address & !7;
            no_data(p, "store of 8", address, &store(address, 8, 1));
        }
        // Half inside, half outside: nothing is stored, whichever half the address names.
        store(RAM_END - 4, 4, 0x1234_5678);
        let over = store(RAM_END - 4, 8, u64::MAX);
        p.equal(&"over the edge", over.trap.vector, MACHINE_CHECK);
        p.equal(&"before the edge", load(RAM_END - 4, 4).r3, 0x1234_5678);
    });
    Probe::run("holes-of-host-space", |p| {
        for address in HOST_SECRETS {
            no_data(p, "load", address, &load(address, 8));
            no_data(p, "store", address, &store(address, 8, 0));
            no_code(p, "fetch", address, &call(address, 0, 0, MSR));
        }
    });
    Probe::run("holes-far-away", |p| {
        // From 2^52 on there is no guest real address.
        for bit in 33..52 {
            let address = 1_u64 << bit;
            no_data(p, "load", address, &load(address, 4));
            no_data(p, "store", address, &store(address, 4, 0));
            no_code(p, "fetch", address, &call(address, 0, 0, MSR));
        }
    });
    Probe::run("hole-accesses-of-all-kinds", |p| {
        // lq, lwarx, ldarx, lvx-free: lhbrx, lwbrx, ldbrx, lmw, dcbz, stwcx., stdcx., icbi, dcbst.
        for (name, instruction) in [
            ("lwarx", 0x7c60_2028_u32),
            ("ldarx", 0x7c60_20a8),
            ("lhbrx", 0x7c60_262c),
            ("lwbrx", 0x7c60_242c),
            ("ldbrx", 0x7c60_2428),
            ("lwa", 0xe864_0002),
            ("ldu", 0xe864_0001),
            ("dcbz", 0x7c00_27ec),
            ("stdbrx", 0x7ca0_2528),
        ] {
            no_data(p, name, RAM_END, &word(instruction, RAM_END, 0));
        }
    });
}

fn translated() {
    Probe::run("translated-accesses", |p| {
        let on = |address, size| load_in(RELOCATED, address, size);
        allowed(p, "load", 0x100, &on(0x100, 8));
        allowed(p, "load by an alias", ALIAS, &on(ALIAS + RAM_END - 8, 8));
        no_data(p, "load", RAM_END, &on(RAM_END, 8));
        // DAR is the effective address, not the real one.
        no_data(p, "load by an alias", ALIAS + RAM_END, &on(ALIAS + RAM_END, 8));
        let fetch = call(ALIAS + RAM_END, 0, 0, RELOCATED);
        no_code(p, "fetch by an alias", ALIAS + RAM_END, &fetch);
        let trap = on(WALK_TO_HOLE, 8).trap;
        p.equal(&"a table in a hole: vector", trap.vector, 0x300);
        p.equal(&"DAR", trap.dar, WALK_TO_HOLE);
        p.holds(&"a cause", trap.dsisr & 0x4000_0000 != 0);
        let trap = word_in(RELOCATED, 0x98a4_0000, WALK_TO_HOLE, 0).trap;
        p.equal(&"a table in a hole, store: vector", trap.vector, 0x300);
        // QEMU reports a fetch whose walk fails as a load.
        let trap = call(WALK_TO_HOLE, 0, 0, RELOCATED).trap;
        p.holds(&"a table in a hole, fetch: vector", matches!(trap.vector, 0x300 | 0x400));
        p.equal(&"SRR0", trap.srr0, WALK_TO_HOLE);
        // The guest's own page faults never leave the guest.
        p.equal(&"no entry: vector", on(5 << 39, 8).trap.vector, 0x300);
        p.equal(&"no quadrant: vector", on(0x4000_0000_0000_0000, 8).trap.vector & !0x80, 0x300);
    });
    Probe::run("process-table-in-a-hole", |p| {
        for base in [RAM_END, 1 << 40, TIMA & !0xffff] {
            p.equal(&"register", hcall::code(hcall::PROC_TBL, &[0x1d, base, 0, 0]), 0);
            let trap = load_in(MSR | 0x10, 0x100, 8).trap;
            p.equal(&"vector", trap.vector, 0x300);
            let trap = call(code_address(), 0, 0, MSR | 0x20).trap;
            p.holds(&"fetch: vector", matches!(trap.vector, 0x300 | 0x400));
        }
        p.equal(&"register", crate::mmu::register(), 0);
        allowed(p, "load", 0x100, &load_in(RELOCATED, 0x100, 8));
    });
}

fn device_pages() {
    Probe::run("interrupt-pages-end", |p| {
        for page in [ESB, ESB_END - 0x1_0000] {
            // The last source's state: a load that changes nothing.
            allowed(p, "load", page + 0x1_0800 & 0xf_ffff_ffff_ffff, &load(page | 0x800, 8));
        }
        allowed(p, "the thread's page", TIMA, &load(TIMA + 0x10, 8));
        for address in [
            ESB - 8,
            ESB - 0x1_0000,
            ESB_END,
            ESB_END + 0x800,
            ESB_END + 0x1_0000,
            TIMA - 8,
            TIMA - 0x1_0000,
            TIMA - 0x2_0000,
            TIMA + 0x1_0000,
            TIMA + 0x2_0000,
        ] {
            no_data(p, "load", address, &load(address, 8));
            no_data(p, "store", address, &store(address, 8, 0));
        }
    });
    Probe::run("interrupt-pages-are-no-code", |p| {
        for address in [ESB, ESB + 0x1_0000, ESB_END - 4, TIMA] {
            no_code(p, "fetch", address, &call(address, 0, 0, MSR));
        }
    });
    Probe::run("interrupt-pages-take-any-access", |p| {
        // Of any size, anywhere: they may do nothing, or be machine checks, but they come back.
        let mut strange = 0;
        let mut seen = |outcome: Outcome| {
            let vector = outcome.trap.vector;
            strange += u64::from(!matches!(vector, 0 | MACHINE_CHECK | 0x300 | 0x600));
        };
        for offset in (0..0x1000).step_by(4).chain([1, 2, 3, 5, 7, 0x811, 0xfff, 0xfffe, 0xffff]) {
            for size in [1, 2, 4, 8] {
                for page in [TIMA, ESB_END - 0x2_0000, ESB_END - 0x1_0000] {
                    seen(load(page + offset, size));
                    seen(store(page + offset, size, 0));
                }
            }
        }
        for instruction in [0x7c60_2028_u32, 0x7c60_20a8, 0x7c00_27ec, 0x7c00_20ac, 0x7c00_27ac] {
            for page in [TIMA, ESB_END - 0x2_0000, ESB_END - 0x1_0000] {
                seen(word(instruction, page, 0));
            }
        }
        p.equal(&"other vectors", strange, 0);
        p.equal(&"the firmware answers", hcall::code(hcall::PUT_TERM_CHAR, &[0, 0]), 0);
        p.equal(&"reset", hcall::code(hcall::RESET, &[0]), 0);
    });
}

fn state() {
    Probe::run("machine-state-stays-the-guests", |p| {
        // mtmsr and mtmsrd r5 with everything on, and with machine checks off.
        for (name, instruction, value) in [
            ("mtmsrd, HV", 0x7ca0_0164_u32, MSR | HV),
            ("mtmsrd, no ME", 0x7ca0_0164, MSR & !0x1000),
            ("mtmsr, no ME", 0x7ca0_0124, MSR & !0x1000),
            ("mtmsrd, S", 0x7ca0_0164, MSR | 1 << 22),
        ] {
            let outcome = word(instruction, 0, value);
            p.equal(&name, outcome.msr & (HV | 1 << 22), 0);
            // Whatever ME reads as: a machine check must come back, not stop the machine.
            no_data(p, name, RAM_END, &load(RAM_END, 8));
        }
        // rfid with HV set and ME clear, then a machine check with ME clear.
        let lwz = 0x8064_0000;
        let outcome = word_in(MSR & !0x1000 | HV, lwz, RAM_END, 0);
        no_data(p, "rfid, HV, no ME", RAM_END, &outcome);
        let outcome = word_in(MSR & !0x1000 | HV, SC_1, 0, 0);
        p.equal(&"hypercall without ME", outcome.msr & HV, 0);
        let outcome = word_in(MSR & !0x1000, 0, 0, 0);
        p.equal(&"illegal without ME", outcome.trap.vector, PROGRAM);
        // Single-step and branch-trace over a hypercall: a trace interrupt at most.
        for bit in [0x400, 0x200] {
            let outcome = word_in(MSR | bit, SC_1, 0, 0);
            p.holds(&"traced hypercall", matches!(outcome.trap.vector, 0 | 0xd00));
        }
        // 32-bit and big-endian callers.
        let outcome = word_in(MSR & !(1 << 63), SC_1, 0, 0);
        p.equal(&"32-bit hypercall: vector", outcome.trap.vector, 0);
        p.equal(&"32-bit hypercall: SF", outcome.msr >> 63, 0);
        let outcome = word_in(MSR & !1, SC_1.swap_bytes(), 0, 0);
        p.equal(&"big-endian hypercall: vector", outcome.trap.vector, PROGRAM);
    });
}

/// Registers that only a hypervisor may use, and some that could have changed under the firmware.
const HYPERVISOR: [u32; 37] = [
    304, 305, 306, 307, 309, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319, 336, 337, 338, 339,
    349, 351, 464, 180, 181, 187, 188, 189, 190, 286, 284, 285, 186, 816, 855, 921, 1008, 848,
];

fn registers() {
    Probe::run("hypervisor-registers", |p| {
        for n in HYPERVISOR {
            // Reading PURR, SPURR, IC and TIR is a guest's right.
            let read = word(mfspr(n), 0, 0);
            match read.trap.vector {
                PROGRAM => p.equal(&format_args!("mfspr {n}"), read.r3, R3),
                0 if matches!(n, 309 | 848) => {}
                vector => {
                    p.equal(&format_args!("mfspr {n}: vector"), vector, 0);
                    p.equal(&format_args!("mfspr {n}"), read.r3, R3);
                }
            }
            for value in [0, u64::MAX, RAM_END] {
                let write = word(mtspr(n), 0, value);
                let vector = write.trap.vector;
                let what = format_args!("mtspr {n}: vector {vector:#x}");
                p.holds(&what, matches!(vector, 0 | PROGRAM));
            }
        }
        p.equal(&"the firmware answers", hcall::code(hcall::PUT_TERM_CHAR, &[0, 0]), 0);
        no_data(p, "load", RAM_END, &load(RAM_END, 8));
    });
    Probe::run("all-registers-in-problem-state", |p| {
        let mut strange = 0;
        for n in 0..1024 {
            for outcome in [user(mfspr(n), 0, 0), user(mtspr(n), 0, 0)] {
                let vector = outcome.trap.vector;
                let known = matches!(vector, PROGRAM | SYSTEM_CALL | 0xe40 | 0xf60 | 0xf80);
                strange += u64::from(!known);
                if !known {
                    p.equal(&format_args!("register {n}"), vector, PROGRAM);
                }
            }
        }
        p.equal(&"strange", strange, 0);
    });
}

fn instructions() {
    Probe::run("hypervisor-instructions", |p| {
        for (name, instruction) in [
            ("hrfid", 0x4c00_0224_u32),
            ("tlbie, partition-scoped", 0x7ca9_2264),
            ("tlbie, partition-scoped, one page", 0x7ca1_2264),
            ("tlbiel, partition-scoped", 0x7ca9_2224),
            ("tlbiel, partition-scoped, one page", 0x7ca1_2224),
            ("msgsnd", 0x7c00_219c),
            ("msgclr", 0x7c00_21dc),
            ("stop", 0x4c00_02e4),
            ("lbzcix", 0x7c60_26aa),
            ("ldcix", 0x7c60_26ea),
            ("stdcix", 0x7ca0_27ea),
            ("stbcix", 0x7ca0_27aa),
            ("urfid", 0x4c00_0264),
        ] {
            let outcome = word(instruction, 0xc00, 0);
            p.equal(&format_args!("{name}: vector"), outcome.trap.vector, PROGRAM);
            p.equal(&format_args!("{name}: where"), outcome.trap.srr0, code_address());
            p.equal(&format_args!("{name}: r3"), outcome.r3, R3);
        }
    });
    Probe::run("own-translations", |p| {
        // Process-scoped forms are the guest's (GTSE): all processes, page walk caches, one page.
        for (name, instruction, r4) in [
            ("tlbie, partition", 0x7cab_2264_u32, 0x800),
            ("tlbie, process", 0x7ca3_2264, 0x400),
            ("tlbie, page", 0x7ca3_2264, 0x1000),
            ("tlbiel, process", 0x7ca3_2224, 0x400),
            ("tlbsync", 0x7c00_046c, 0),
            ("slbia", 0x7c00_03e4, 0),
        ] {
            p.equal(&name, word(instruction, r4, 0).trap.vector, 0);
        }
    });
    Probe::run("illegal-instructions", |p| {
        for instruction in [0_u32, 0x60, 0x0400_0000, 0x7c00_07ff, 0xec00_0000, 0x0000_0200] {
            let outcome = word(instruction, 0, 0);
            let trap = outcome.trap;
            p.equal(&format_args!("{instruction:#x}: vector"), trap.vector, PROGRAM);
            p.equal(&format_args!("{instruction:#x}: where"), trap.srr0, code_address());
            p.equal(&format_args!("{instruction:#x}: cause"), trap.srr1 & 0x783f_0000, 0x8_0000);
        }
    });
    Probe::run("attn", |p| {
        // With the core's attention enabled, any program could stop the machine.
        let outcome = word(0x0000_0200, 0, 0);
        p.equal(&"vector", outcome.trap.vector, PROGRAM);
        let outcome = user(0x0000_0200, 0, 0);
        p.equal(&"vector in problem state", outcome.trap.vector, PROGRAM);
    });
    Probe::run("withheld-facilities", |p| {
        for (name, instruction) in [("msgsndp", 0x7c00_211c_u32), ("msgclrp", 0x7c00_215c)] {
            let trap = word(instruction, 0, 0).trap;
            p.equal(&format_args!("{name}: vector"), trap.vector, PROGRAM);
            p.equal(&format_args!("{name}: where"), trap.srr0, code_address());
        }
        let trap = word(0x7c00_051d, 0, 0).trap;
        p.holds(&"tbegin.", matches!(trap.vector, PROGRAM | 0xf60));
    });
    Probe::run("system-calls-of-the-guest", |p| {
        let trap = word(0x4400_0002, 0, 0).trap;
        p.equal(&"sc: vector", trap.vector, SYSTEM_CALL);
        p.equal(&"sc: where", trap.srr0, code_address() + 4);
        for level in [2_u32, 3, 64, 127] {
            let outcome = word(0x4400_0002 | level << 5, 0, 0);
            let vector = outcome.trap.vector;
            p.holds(
                &format_args!("sc {level}: {vector:#x}"),
                matches!(vector, 0 | SYSTEM_CALL | PROGRAM),
            );
        }
        // FSCR is the guest's; without its bit, scv is a facility that is not available.
        let trap = word(0x4400_0001, 0, 0).trap;
        p.holds(&format_args!("scv: {:#x}", trap.vector), matches!(trap.vector, 0xf60 | PROGRAM));
    });
}

fn problem_state() {
    Probe::run("problem-state-hypercall", |p| {
        let trap = user(SC_1, 0, 0).trap;
        p.equal(&"vector", trap.vector, PROGRAM);
        p.equal(&"where", trap.srr0, code_address());
        p.equal(&"cause", trap.srr1 & 0x783f_0000, PRIVILEGED);
        p.equal(&"problem state", trap.srr1 & PR, PR);
        p.equal(&"MSR in the vector", trap.msr, 0x8000_0000_0000_1001);
    });
    Probe::run("problem-state-walls", |p| {
        let outcome = user(0x8064_0000, RAM_END, 0);
        no_data(p, "load", RAM_END, &outcome);
        for (name, instruction) in [
            ("hrfid", 0x4c00_0224_u32),
            ("stop", 0x4c00_02e4),
            ("tlbie", 0x7cab_2264),
            ("mtmsrd", 0x7ca0_0164),
            ("rfid", 0x4c00_0024),
        ] {
            p.equal(&name, user(instruction, 0xc00, 0).trap.vector, PROGRAM);
        }
    });
    trap::interrupts(false);
}
