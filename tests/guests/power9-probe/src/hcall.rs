// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hypercalls, each of them with all registers watched.
#![expect(unsafe_code, reason = "calls the assembly")]

use core::sync::atomic::{AtomicU64, Ordering};

use crate::low::{HCALL_IN, HCALL_OUT, low_hcall};
use crate::random::Random;

/// H_GET_TERM_CHAR.
pub const GET_TERM_CHAR: u64 = 0x54;
/// H_PUT_TERM_CHAR.
pub const PUT_TERM_CHAR: u64 = 0x58;
/// H_REGISTER_VPA.
pub const REGISTER_VPA: u64 = 0xdc;
/// H_CEDE.
pub const CEDE: u64 = 0xe0;
/// H_CONFER.
pub const CONFER: u64 = 0xe4;
/// H_PROD.
pub const PROD: u64 = 0xe8;
/// H_GET_PPP.
pub const GET_PPP: u64 = 0xec;
/// H_SET_PPP.
pub const SET_PPP: u64 = 0xf0;
/// H_PURR.
pub const PURR: u64 = 0xf4;
/// H_POLL_PENDING.
pub const POLL_PENDING: u64 = 0x1d8;
/// H_GET_CPU_CHARACTERISTICS.
pub const CHARACTERISTICS: u64 = 0x1c8;
/// H_JOIN.
pub const JOIN: u64 = 0x298;
/// H_RANDOM.
pub const RANDOM: u64 = 0x300;
/// H_SET_MODE.
pub const SET_MODE: u64 = 0x31c;
/// H_REGISTER_PROC_TBL.
pub const PROC_TBL: u64 = 0x37c;
/// H_SIGNAL_SYS_RESET.
pub const SIGNAL_RESET: u64 = 0x380;
/// H_INT_GET_SOURCE_INFO.
pub const SOURCE_INFO: u64 = 0x3a8;
/// H_INT_SET_SOURCE_CONFIG.
pub const SET_SOURCE: u64 = 0x3ac;
/// H_INT_GET_SOURCE_CONFIG.
pub const GET_SOURCE: u64 = 0x3b0;
/// H_INT_GET_QUEUE_INFO.
pub const QUEUE_INFO: u64 = 0x3b4;
/// H_INT_SET_QUEUE_CONFIG.
pub const SET_QUEUE: u64 = 0x3b8;
/// H_INT_GET_QUEUE_CONFIG.
pub const GET_QUEUE: u64 = 0x3bc;
/// H_INT_SET_OS_REPORTING_LINE.
pub const SET_LINE: u64 = 0x3c0;
/// H_INT_GET_OS_REPORTING_LINE.
pub const GET_LINE: u64 = 0x3c4;
/// H_INT_ESB.
pub const ESB: u64 = 0x3c8;
/// H_INT_SYNC.
pub const SYNC: u64 = 0x3cc;
/// H_INT_RESET.
pub const RESET: u64 = 0x3d0;
/// H_RPT_INVALIDATE.
pub const RPT_INVALIDATE: u64 = 0x448;
/// H_WATCHDOG.
pub const WATCHDOG: u64 = 0x45c;
/// What the RTAS stub calls.
pub const RTAS: u64 = 0xf000;

/// Return codes, as r3 holds them.
pub const BUSY: u64 = 1;
/// H_CONTINUE.
pub const CONTINUE: u64 = 18;
/// H_FUNCTION.
pub const FUNCTION: u64 = -2_i64 as u64;
/// H_PARAMETER.
pub const PARAMETER: u64 = -4_i64 as u64;
/// H_BAD_MODE.
pub const BAD_MODE: u64 = -5_i64 as u64;
/// H_RESOURCE.
pub const RESOURCE: u64 = -16_i64 as u64;
/// H_CONSTRAINED.
pub const CONSTRAINED: u64 = 4;
/// H_NOOP.
pub const NOOP: u64 = -63_i64 as u64;
/// H_P2; H_P3 and so on follow downwards.
pub const P2: u64 = -55_i64 as u64;
/// H_P3.
pub const P3: u64 = -56_i64 as u64;
/// H_P4.
pub const P4: u64 = -57_i64 as u64;
/// H_P5.
pub const P5: u64 = -58_i64 as u64;

/// H_UNSUPPORTED_FLAG for a bit, IBM numbering.
pub const fn unsupported_flag(bit: i64) -> u64 {
    (-256 - bit) as u64
}

/// Registers that came back changed and are no output of their call, so far.
static LEAKS: AtomicU64 = AtomicU64::new(0);
/// The first: call, register, value.
static FIRST: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Registers after r3 that a successful call may set, at most.
const fn outputs(number: u64) -> usize {
    match number {
        GET_TERM_CHAR | GET_SOURCE => 3,
        CHARACTERISTICS | QUEUE_INFO => 2,
        RANDOM | ESB | WATCHDOG | PURR => 1,
        SOURCE_INFO | GET_QUEUE | GET_PPP => 4,
        _ => 0,
    }
}

/// CR, LR, CTR, XER and CFAR stand behind r0–r31.
const CR: usize = 32;
const CTR: usize = 34;
const XER: usize = 35;
const CFAR: usize = 36;
/// CR0, CR1 and CR5 to CR7.
const CR_VOLATILE: u64 = 0xff00_0fff;
/// XER's bits that exist.
const XER_BITS: u64 = 0xe00c_007f;

/// One hypercall: r3–r10 afterwards. All other registers are filled with noise and must come back,
/// or come back as zero where PAPR lets the call change them.
pub fn hcall(number: u64, args: &[u64]) -> [u64; 8] {
    let mut noise = Random::new(number ^ HCALL_IN.get() ^ 1);
    for register in 0..=XER {
        let value = match register {
            3 => number,
            4..=12 => args.get(register - 4).copied().unwrap_or_else(|| noise.next()),
            CR => noise.next() & 0xffff_ffff,
            // An instruction's address, or LR's lowest bits are not kept.
            33 => noise.next() & !3,
            XER => noise.next() & XER_BITS,
            _ => noise.next(),
        };
        HCALL_IN.put(register, value);
    }
    // SAFETY: the assembly keeps every register of ours at words of its own.
    unsafe { low_hcall() };
    let outputs = 3..4 + outputs(number);
    for register in (0..=CFAR).filter(|register| !outputs.contains(register)) {
        let mask = if register == XER { XER_BITS } else { u64::MAX };
        let [before, after] = [HCALL_IN, HCALL_OUT].map(|words| words.at(register) & mask);
        // PAPR lets a call change these. What it puts there must not be the firmware's.
        let kept = match register {
            // Interrupts come right behind these, and branch.
            CFAR if matches!(number, CEDE | SIGNAL_RESET) => true,
            0 | 4..=12 | CTR | XER | CFAR => after == before || after == 0,
            CR => {
                let volatile = after & CR_VOLATILE;
                let same = (after ^ before) & !CR_VOLATILE == 0;
                same && (volatile == before & CR_VOLATILE || volatile == 0)
            }
            _ => after == before,
        };
        if !kept && LEAKS.fetch_add(1, Ordering::Relaxed) == 0 {
            for (slot, value) in FIRST.iter().zip([number, register as u64, after]) {
                slot.store(value, Ordering::Relaxed);
            }
        }
    }
    crate::coverage::hcall(number, HCALL_OUT.at(3));
    [3, 4, 5, 6, 7, 8, 9, 10].map(|register| HCALL_OUT.at(register))
}

/// A call's return code.
pub fn code(number: u64, args: &[u64]) -> u64 {
    hcall(number, args)[0]
}

/// How many registers were not kept over all calls, and the first: call, register, value.
pub fn leaks() -> (u64, [u64; 3]) {
    (LEAKS.load(Ordering::Relaxed), [0, 1, 2].map(|n| FIRST[n].load(Ordering::Relaxed)))
}
