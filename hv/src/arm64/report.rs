// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One line on the console for each of a guest's first mistakes: what, where, and what it got.
use core::fmt::Write;

use super::board::Arm64;
use super::context::GuestContext;
use super::vcpu::Vcpu;
use crate::core::end::Text;
use crate::core::report::mistake;

/// What an exception that the firmware took itself was, by its vector and ESR_EL2.
#[must_use]
pub const fn own_fault(vector: u64, esr: u64) -> &'static str {
    /// What the vectors of either stack are for.
    const KIND: u64 = 0x180;
    match (vector & KIND, esr >> 26) {
        (0x080, _) => "an interrupt",
        (0x100, _) => "an FIQ",
        // ESR_EL2.DFSC and IDS: what the syndrome says of its kind is up to the processor.
        (0x180, _) if esr & 1 << 24 != 0 => "SError of the processor's own kind",
        (0x180, _) if esr & 0x3f == 0x11 => match esr >> 10 & 7 {
            0 => "SError, uncontainable",
            1 => "SError, unrecoverable",
            2 => "SError, restartable",
            3 => "SError, recoverable",
            6 => "SError, corrected",
            _ => "SError",
        },
        (0x180, _) => "SError, unclassified",
        (_, 0x00) => "an undefined instruction",
        (_, 0x0e) => "an illegal state",
        (_, 0x18) => "a system register that is trapped",
        (_, 0x21) => "an instruction abort",
        (_, 0x22) => "a misaligned program counter",
        (_, 0x25) => "a data abort",
        (_, 0x26) => "a misaligned stack pointer",
        (_, 0x3c) => "a breakpoint instruction",
        _ => "of another class",
    }
}

/// Reports a mistake of the guest, the first few times.
pub fn guest_fault<M: Arm64>(
    v: &mut Vcpu<M>,
    ctx: &GuestContext,
    what: &dyn core::fmt::Display,
    address: Option<u64>,
    answer: &str,
) {
    let due = v.shared.reports.due(v.reason);
    if due == 0 {
        return;
    }
    let mut text = Text::new();
    let _ = write!(text, "guest {what}");
    if let Some(address) = address {
        let name = v.shared.reach.name_at(address);
        let _ = write!(text, " at guest physical {address:#x} ({name})");
    }
    let _ = write!(text, ", cpu {}, pc {:#x}, esr {:#x}: {answer}", v.index, ctx.pc, ctx.esr);
    mistake(&mut v.machine, &text, due);
}

#[cfg(test)]
mod tests {
    use super::own_fault;

    #[test]
    fn the_firmwares_own_exceptions_have_names() {
        for (vector, esr, name) in [
            (0x200, 0x9600_0004, "a data abort"),
            (0x200, 0x8600_0004, "an instruction abort"),
            (0x000, 0x0200_0000, "an undefined instruction"),
            (0x280, 0, "an interrupt"),
            (0x300, 0, "an FIQ"),
            (0x380, 0xbe00_0011, "SError, uncontainable"),
            (0x380, 0xbe00_0c11, "SError, recoverable"),
            (0x180, 0xbf00_0000, "SError of the processor's own kind"),
            (0x380, 0xbe00_0000, "SError, unclassified"),
        ] {
            assert_eq!(own_fault(vector, esr), name, "{vector:#x} {esr:#x}");
        }
    }
}
