// SPDX-License-Identifier: Apache-2.0 OR MIT
//! POWER9 registers as their manual names them (Power ISA 3.0B, Book III), by value.

/// Machine state register bits.
pub mod msr {
    /// Sixty-four-bit mode.
    pub const SF: u64 = 1 << 63;
    /// Hypervisor state.
    pub const HV: u64 = 1 << 60;
    /// External interrupts enabled.
    pub const EE: u64 = 0x8000;
    /// Problem state.
    pub const PR: u64 = 0x4000;
    /// Machine checks enabled.
    pub const ME: u64 = 0x1000;
    /// Instruction relocation.
    pub const IR: u64 = 0x20;
    /// Data relocation.
    pub const DR: u64 = 0x10;
    /// Recoverable interrupt.
    pub const RI: u64 = 0x2;
    /// Little-endian.
    pub const LE: u64 = 0x1;
    /// The firmware's own: real mode, interrupts off.
    pub const HOST: u64 = SF | HV | ME | LE;
}

/// Logical partitioning control register bits (SPR 318).
pub mod lpcr {
    /// Default prefetch depth 4.
    pub const DPFD_4: u64 = 4 << 52;
    /// Hypervisor virtualization interrupts leave `stop`.
    pub const PECE_HVEE: u64 = 1 << 46;
    /// Interrupts reach the guest little-endian.
    pub const ILE: u64 = 0x0200_0000;
    /// Interrupts that come with translation on keep it on, at 0xc000000000004000 and its vector.
    pub const AIL_3: u64 = 0x0180_0000;
    /// Radix tables use the process table.
    pub const UPRT: u64 = 0x40_0000;
    /// Host radix.
    pub const HR: u64 = 0x10_0000;
    /// PURR and SPURR count.
    pub const ONL: u64 = 0x4_0000;
    /// Large decrementer.
    pub const LD: u64 = 0x2_0000;
    /// Doorbells, external, decrementer and maintenance interrupts leave `stop`.
    pub const PECE: u64 = 0x1_f000;
    /// Of these the decrementers.
    pub const PECE_DECREMENTER: u64 = 0x2000;
    /// The guest may issue tlbie.
    pub const GTSE: u64 = 0x400;
    /// Hypervisor state ignores external interrupts: also its idle state, where EE is no matter.
    pub const HEIC: u64 = 0x10;
    /// External interrupts go to the guest.
    pub const LPES: u64 = 0x8;
    /// Hypervisor virtualization interrupts enabled.
    pub const HVICE: u64 = 0x2;
    /// Hypervisor decrementer interrupts enabled.
    pub const HDICE: u64 = 0x1;

    /// What a guest runs with before it asks for anything.
    pub const GUEST: u64 =
        DPFD_4 | PECE_HVEE | UPRT | HR | ONL | LD | PECE | GTSE | LPES | HVICE | HDICE;
}

/// Hypervisor facility status and control register bits (SPR 190): everything but transactional
/// memory and msgsndp, which a guest with one thread a core has no use for.
pub const HFSCR_GUEST: u64 = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100;

/// HDSISR and HSRR1 causes of a hypervisor storage interrupt.
pub mod storage {
    /// No translation.
    pub const NO_TRANSLATION: u64 = 0x4000_0000;
    /// The access is not allowed.
    pub const PROTECTION: u64 = 0x0800_0000;
    /// The page holds no instructions (instruction side only).
    pub const NO_EXECUTION: u64 = 0x1000_0000;
    /// The access was a store (data side only).
    pub const STORE: u64 = 0x0200_0000;
    /// The access was the guest's own table walk.
    pub const TABLE_WALK: u64 = 0x0002_0000;
    /// What the firmware leaves in HDSISR: no cause. POWER9 may raise an HDSI and not write the register.
    pub const CANARY: u64 = 0x7fff;
    /// All cause bits that HSRR1 carries for the instruction side.
    pub const INSTRUCTION_CAUSES: u64 = 0x5800_0000 | 0x000e_0000;
}

/// Program interrupt causes in SRR1.
pub mod program {
    /// Illegal instruction.
    pub const ILLEGAL: u64 = 0x8_0000;
    /// Privileged instruction.
    pub const PRIVILEGED: u64 = 0x4_0000;
}

/// Interrupt vectors, as the guest and the firmware see them.
pub mod vector {
    /// System reset.
    pub const SYSTEM_RESET: u64 = 0x100;
    /// Machine check.
    pub const MACHINE_CHECK: u64 = 0x200;
    /// Data storage.
    pub const DATA_STORAGE: u64 = 0x300;
    /// Instruction storage.
    pub const INSTRUCTION_STORAGE: u64 = 0x400;
    /// Program.
    pub const PROGRAM: u64 = 0x700;
    /// Hypervisor decrementer.
    pub const HDEC: u64 = 0x980;
    /// System call.
    pub const SYSTEM_CALL: u64 = 0xc00;
    /// Hypervisor data storage.
    pub const HDSI: u64 = 0xe00;
    /// Hypervisor instruction storage.
    pub const HISI: u64 = 0xe20;
    /// Hypervisor emulation assistance.
    pub const HEA: u64 = 0xe40;
    /// Hypervisor maintenance.
    pub const HMI: u64 = 0xe60;
    /// Hypervisor doorbell.
    pub const HV_DOORBELL: u64 = 0xe80;
    /// Hypervisor virtualization.
    pub const HVI: u64 = 0xea0;
    /// Hypervisor facility unavailable.
    pub const HFAC_UNAVAILABLE: u64 = 0xf80;
    /// Soft patch.
    pub const SOFT_PATCH: u64 = 0x1500;
}

/// What the processor's revision decides (PVR, bits 48:63: the chip and its revision).
pub mod pvr {
    /// What a revision gets wrong, as far as something is done about it. All POWER9 want one more `tlbie`
    /// after those of an invalidation; soft-patch interrupts, with which DD2.2 and DD2.3 ask for help with
    /// transactional memory, no guest can cause, as it has none.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Errata {
        /// The core may prefetch by the partition that it is about to leave, so that hypervisor state
        /// must not be entered with translation on.
        pub prefetch: bool,
        /// It may raise an HDSI and not write HDSISR.
        pub hdsisr: bool,
        /// A store that is on its way may still use what a `tlbie` has invalidated.
        pub tlbie_stores: bool,
    }

    /// What a processor version register stands for.
    #[must_use]
    pub const fn errata(version: u64) -> Errata {
        /// Which chip: 0 for Nimbus.
        const CHIP: u64 = 0xe000;
        const REVISION: u64 = 0xfff;
        let (revision, nimbus) = (version & REVISION, version & CHIP == 0);
        let early = nimbus && revision <= 0x201;
        // Of other chips nothing is known.
        let cumulus = version & 0xc000 == 0;
        let mended = if nimbus { revision >= 0x203 } else { cumulus && revision >= 0x103 };
        Errata { prefetch: early, hdsisr: early, tlbie_stores: !mended }
    }
}

#[cfg(test)]
mod tests {
    use super::{HFSCR_GUEST, pvr};

    #[test]
    fn a_guest_has_all_facilities_but_two() {
        // Power ISA 3.0B, Book III, 6.2.11: by their bits from the right.
        let names = ["FP", "VECVSX", "DSCR", "PM", "BHRB", "TM", "", "EBB", "TAR", "", "MSGP"];
        let given = |bit: &usize| HFSCR_GUEST >> bit & 1 == 1;
        let given: Vec<&str> = (0..names.len()).filter(given).map(|bit| names[bit]).collect();
        assert_eq!(given, ["FP", "VECVSX", "DSCR", "PM", "BHRB", "EBB", "TAR"]);
        assert_eq!(HFSCR_GUEST >> names.len(), 0);
    }

    #[test]
    fn each_revision_has_its_errata() {
        // As parts say: Nimbus with 24 or 12 cores, Cumulus. Early ones, DD2.2, those that are mended.
        for (versions, early, stores) in [
            (&[0x004e_0100, 0x004e_0200, 0x004e_1200, 0x004e_0201, 0x004e_1201][..], true, true),
            (&[0x004e_0202, 0x004e_1202, 0x004e_2100, 0x004e_3102], false, true),
            (&[0x004e_0203, 0x004e_1203, 0x004e_1300, 0x004e_2103, 0x004e_3203], false, false),
            (&[0x004e_4203], false, true),
        ] {
            for version in versions {
                let wanted = pvr::Errata { prefetch: early, hdsisr: early, tlbie_stores: stores };
                assert_eq!(pvr::errata(*version), wanted, "{version:#x}");
            }
        }
    }
}
