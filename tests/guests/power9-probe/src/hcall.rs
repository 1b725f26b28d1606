// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hypercalls, each of them with all registers watched.
#![expect(unsafe_code, reason = "calls the assembly")]

use core::sync::atomic::{AtomicU64, Ordering};

use crate::low::{HCALL_IN, HCALL_OUT, low_hcall};
pub use crate::numbers::*;
use crate::random::Random;

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
