// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which of the CPU's optional features the guest gets: one decision each, from the ID registers.
//!
//! A feature that is not given would be there in the ID registers all the same, and its use would
//! come to EL2; so everything whose state is the guest's alone is given, and what would need state
//! moved at EL2 is turned off there. What the config hides is decided on as if the CPU lacked it, and
//! the ID registers tell the guest the same.
use super::regs::HCR_BASE;

/// The ID registers that decisions are made from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ids {
    /// ID_AA64PFR0_EL1, ID_AA64PFR1_EL1, ID_AA64PFR2_EL1.
    pub pfr: [u64; 3],
    /// ID_AA64DFR0_EL1.
    pub dfr0: u64,
    /// ID_AA64ISAR0_EL1, ID_AA64ISAR1_EL1, ID_AA64ISAR2_EL1.
    pub isar: [u64; 3],
    /// ID_AA64MMFR0_EL1 to ID_AA64MMFR4_EL1.
    pub mmfr: [u64; 5],
    /// ID_AA64SMFR0_EL1.
    pub smfr0: u64,
}

const fn field(register: u64, shift: u32) -> u64 {
    register >> shift & 15
}

macro_rules! fields {
    ($($(#[doc = $doc:literal])* $name:ident = $register:ident $([$index:literal])? >> $shift:literal;)*) => {
        impl Ids {
            $($(#[doc = $doc])* #[must_use] pub const fn $name(&self) -> u64 {
                field(self.$register$([$index])?, $shift)
            })*
        }
    };
}
fields! {
    /// EL1 state: 2 with AArch32.
    el1 = pfr[0] >> 4;
    /// GIC CPU interface as system registers.
    gic = pfr[0] >> 24;
    /// RAS.
    ras = pfr[0] >> 28;
    /// SVE.
    sve = pfr[0] >> 32;
    /// Memory partitioning and monitoring.
    mpam = pfr[0] >> 40;
    /// Activity monitors.
    amu = pfr[0] >> 44;
    /// Context numbers (CSV2_2).
    csv2 = pfr[0] >> 56;
    /// Memory tagging.
    mte = pfr[1] >> 8;
    /// SME.
    sme = pfr[1] >> 24;
    /// Guarded control stack.
    gcs = pfr[1] >> 44;
    /// FPMR.
    fpmr = pfr[2] >> 32;
    /// Performance monitors.
    pmu = dfr0 >> 8;
    /// Statistical profiling.
    spe = dfr0 >> 32;
    /// Self-hosted trace.
    trace_filter = dfr0 >> 40;
    /// Trace buffer.
    trace_buffer = dfr0 >> 44;
    /// Branch records.
    brbe = dfr0 >> 52;
    /// Random numbers.
    rndr = isar[0] >> 60;
    /// 64-byte loads and stores.
    ls64 = isar[1] >> 60;
    /// Memory copy and set.
    mops = isar[2] >> 16;
    /// Physical addresses.
    pa_range = mmfr[0] >> 0;
    /// 4 KiB granule at stage 1: 15 is none.
    granule_4k = mmfr[0] >> 28;
    /// 4 KiB granule at stage 2: 0 is as stage 1, 1 is none.
    granule_4k_stage2 = mmfr[0] >> 40;
    /// Fine-grained traps.
    fgt = mmfr[0] >> 56;
    /// Enhanced counter.
    ecv = mmfr[0] >> 60;
    /// Limited ordering regions.
    lor = mmfr[1] >> 16;
    /// Extended hypervisor configuration.
    hcx = mmfr[1] >> 40;
    /// Nested virtualization.
    nv = mmfr[2] >> 24;
    /// Forced write-back at stage 2.
    fwb = mmfr[2] >> 40;
    /// TCR2.
    tcr2 = mmfr[3] >> 0;
    /// SCTLR2.
    sctlr2 = mmfr[3] >> 4;
    /// 128-bit descriptors.
    d128 = mmfr[3] >> 32;
    /// E2H fixed at 1, when not 0.
    e2h0 = mmfr[4] >> 24;
}

impl Ids {
    /// Pointer authentication, by any algorithm.
    #[must_use]
    pub const fn pauth(&self) -> bool {
        let (one, two) = (self.isar[1], self.isar[2]);
        field(one, 4) | field(one, 8) | field(one, 24) | field(one, 28) != 0
            || field(two, 8) | field(two, 12) != 0
    }

    /// Performance monitors that the architecture knows.
    #[must_use]
    pub const fn has_pmu(&self) -> bool {
        !matches!(self.pmu(), 0 | 15)
    }
}

/// Names of what a config can hide: bits of [`Hidden`], in this order.
pub const HIDEABLE: [&str; 5] = ["pauth", "sve", "sme", "mte", "mops"];

/// Features that the guest does not have although the CPU may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden(pub u32);

impl Hidden {
    /// One of [`HIDEABLE`].
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        HIDEABLE.iter().position(|known| *known == name).map(|bit| Self(1 << bit))
    }

    /// Whether an instruction or register is trapped because it belongs to one of these, by the trap's
    /// syndrome. (What has no trap is undefined in EL1, and does not come here.)
    #[must_use]
    pub const fn is_why(self, esr: u64) -> bool {
        const PAUTH_CLASS: u64 = 0x09;
        const SYSTEM_CLASS: u64 = 0x18;
        const SVE_CLASS: u64 = 0x19;
        const SME_CLASS: u64 = 0x1d;
        let register = [esr >> 20 & 3, esr >> 14 & 7, esr >> 10 & 15, esr >> 1 & 15, esr >> 17 & 7];
        let features = match (esr >> 26, register) {
            (PAUTH_CLASS, _) => Self::PAUTH,
            (SVE_CLASS, _) => Self::SVE,
            (SME_CLASS, _) => Self::SVE | Self::SME,
            // The keys.
            (SYSTEM_CLASS, [3, 0, 2, 1..=3, _]) => Self::PAUTH,
            // RGSR_EL1 and GCR_EL1, TFSR_EL1 and TFSRE0_EL1.
            (SYSTEM_CLASS, [3, 0, 1, 0, 5 | 6] | [3, 0, 5, 6, 0 | 1]) => Self::MTE,
            _ => 0,
        };
        self.0 & features != 0
    }

    const PAUTH: u32 = 1;
    const SVE: u32 = 2;
    const SME: u32 = 4;
    const MTE: u32 = 8;
    const MOPS: u32 = 16;

    /// What the guest reads from the ID register S3_0_C0_C`crm`_`op2` if that holds `value`.
    #[must_use]
    pub const fn view(self, crm: u32, op2: u32, value: u64) -> u64 {
        const fn at(shifts: &[u32]) -> u64 {
            let (mut mask, mut index) = (0, 0);
            while index < shifts.len() {
                mask |= 15 << shifts[index];
                index += 1;
            }
            mask
        }
        use Hidden as H;
        // Streaming vectors are vectors of the same kind, and go with them.
        const FIELDS: [(u32, u32, u32, u64); 9] = [
            (H::PAUTH, 6, 1, at(&[4, 8, 24, 28])),
            (H::PAUTH, 6, 2, at(&[8, 12])),
            (H::SVE, 4, 0, at(&[32])),
            (H::SVE, 4, 4, u64::MAX),
            (H::SVE | H::SME, 4, 1, at(&[24])),
            (H::SVE | H::SME, 4, 5, u64::MAX),
            (H::MTE, 4, 1, at(&[8, 40, 52])),
            (H::MTE, 4, 2, at(&[0, 4, 8])),
            (H::MOPS, 6, 2, at(&[16])),
        ];
        let (mut left, mut index) = (value, 0);
        while index < FIELDS.len() {
            let (features, of_crm, of_op2, mask) = FIELDS[index];
            if self.0 & features != 0 && crm == of_crm && op2 == of_op2 {
                left &= !mask;
            }
            index += 1;
        }
        left
    }

    /// A CPU without these features.
    #[must_use]
    pub const fn of(self, ids: &Ids) -> Ids {
        let ([pfr0, pfr1, pfr2], [isar0, isar1, isar2]) = (ids.pfr, ids.isar);
        Ids {
            pfr: [self.view(4, 0, pfr0), self.view(4, 1, pfr1), self.view(4, 2, pfr2)],
            isar: [self.view(6, 0, isar0), self.view(6, 1, isar1), self.view(6, 2, isar2)],
            smfr0: self.view(4, 5, ids.smfr0),
            ..*ids
        }
    }
}

/// What EL2's registers are set to. `None` is for a register that the CPU does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct El2 {
    /// HCR_EL2.
    pub hcr: u64,
    /// CPTR_EL2.
    pub cptr: u64,
    /// MDCR_EL2, without HPMN.
    pub mdcr: u64,
    /// HPMN is to be PMCR_EL0.N.
    pub counters: bool,
    /// CNTHCTL_EL2: counters and timers are the guest's. Without ECV, bit 12, the CPU heeds no
    /// CNTPOFF_EL2, which therefore is left alone: EL3 need not allow its use.
    pub cnthctl: u64,
    /// HFGRTR_EL2 and HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2 and HDFGWTR_EL2.
    pub fine_traps: Option<[u64; 3]>,
    /// HAFGRTR_EL2.
    pub fine_traps_amu: Option<u64>,
    /// HFGRTR2_EL2 and its kin.
    pub fine_traps2: Option<u64>,
    /// HCRX_EL2.
    pub hcrx: Option<u64>,
    /// ZCR_EL2.
    pub zcr: Option<u64>,
    /// SMCR_EL2.
    pub smcr: Option<u64>,
    /// MPAM2_EL2.
    pub mpam2: Option<u64>,
    /// VSESR_EL2 and VDISR_EL2.
    pub vsesr: Option<u64>,
    /// PMSCR_EL2.
    pub pmscr: Option<u64>,
    /// TRFCR_EL2.
    pub trfcr: Option<u64>,
    /// BRBCR_EL2.
    pub brbcr: Option<u64>,
    /// LORC_EL1.
    pub lorc: Option<u64>,
}

const fn given(present: bool, value: u64) -> Option<u64> {
    if present { Some(value) } else { None }
}

/// Decides for a CPU of which some features are hidden.
#[must_use]
pub const fn decide(ids: &Ids, hidden: Hidden) -> El2 {
    /// Reads of the ID registers come to EL2.
    const TID3: u64 = 1 << 18;
    let ids = &hidden.of(ids);
    const API: u64 = 1 << 41;
    const APK: u64 = 1 << 40;
    const EN_SCXT: u64 = 1 << 53;
    const ATA: u64 = 1 << 56;
    const CPTR_RES1: u64 = 0x33ff;
    const CPTR_TZ: u64 = 1 << 8;
    const CPTR_TSM: u64 = 1 << 12;
    let mut hcr = if hidden.0 != 0 { HCR_BASE | TID3 } else { HCR_BASE };
    if ids.pauth() {
        hcr |= API | APK;
    }
    if ids.csv2() >= 2 {
        hcr |= EN_SCXT;
    }
    if ids.mte() >= 2 {
        hcr |= ATA;
    }
    let mut cptr = CPTR_RES1;
    if ids.sve() != 0 {
        cptr &= !CPTR_TZ;
    }
    if ids.sme() != 0 {
        cptr &= !CPTR_TSM;
    }
    // Profiling and trace buffers are the guest's, through its own translation.
    let mut mdcr = 0;
    if ids.spe() != 0 {
        mdcr |= 3 << 12;
    }
    if ids.trace_buffer() != 0 {
        mdcr |= 3 << 24;
    }
    // Bits that trap when 0.
    let fine_traps =
        if ids.fgt() != 0 { Some([0xfff4 << 48, 0x0f80 << 48, 0x7800 << 48]) } else { None };
    El2 {
        hcr,
        cptr,
        mdcr,
        counters: ids.has_pmu(),
        cnthctl: 3,
        fine_traps,
        fine_traps_amu: given(ids.fgt() != 0 && ids.amu() != 0, 0),
        fine_traps2: given(ids.fgt() >= 2, 0),
        hcrx: given(ids.hcx() != 0, hcrx(ids)),
        zcr: given(ids.sve() != 0, 0xf),
        smcr: given(ids.sme() != 0, smcr(ids)),
        mpam2: given(ids.mpam() != 0, 0),
        vsesr: given(ids.ras() != 0, 0),
        pmscr: given(ids.spe() != 0, 0),
        trfcr: given(ids.trace_filter() != 0, 0),
        brbcr: given(ids.brbe() != 0, 0),
        lorc: given(ids.lor() != 0, 0),
    }
}

const fn hcrx(ids: &Ids) -> u64 {
    let bits = [
        (ids.ls64() >= 3, 0),
        (ids.ls64() >= 1, 1),
        (ids.ls64() >= 2, 2),
        (ids.mops() != 0, 11),
        (ids.tcr2() != 0, 14),
        (ids.sctlr2() != 0, 15),
        (ids.d128() != 0, 17),
        (ids.gcs() != 0, 22),
        (ids.fpmr() != 0, 23),
    ];
    let mut value = 0;
    let mut at = 0;
    while at < bits.len() {
        if bits[at].0 {
            value |= 1 << bits[at].1;
        }
        at += 1;
    }
    value
}

const fn smcr(ids: &Ids) -> u64 {
    /// ID_AA64SMFR0_EL1: all A64 instructions in streaming mode; the version of SME.
    const FA64: u64 = 1 << 63;
    let all = if ids.smfr0 & FA64 != 0 { 1 << 31 } else { 0 };
    let zt0 = if field(ids.smfr0, 56) & 7 != 0 { 1 << 30 } else { 0 };
    0xf | all | zt0
}

#[cfg(test)]
mod tests {
    use super::{HIDEABLE, Hidden, Ids, decide};

    #[test]
    fn a_plain_core_gets_the_base_values() {
        let el2 = decide(&Ids::default(), Hidden(0));
        assert_eq!((el2.hcr, el2.cptr, el2.mdcr, el2.cnthctl), (0x8038_0007, 0x33ff, 0, 3));
        assert_eq!((el2.hcrx, el2.zcr, el2.smcr, el2.fine_traps), (None, None, None, None));
        assert!(!el2.counters);
    }

    #[test]
    fn every_feature_opens_its_own_door() {
        let ids = Ids {
            pfr: [1 << 32 | 2 << 56, 2 << 8 | 1 << 24, 0],
            isar: [0, 1 << 4, 1 << 16],
            mmfr: [1 << 56, 1 << 40, 0, 0, 0],
            dfr0: 1 << 8,
            ..Ids::default()
        };
        let el2 = decide(&ids, Hidden(0));
        assert_eq!(el2.hcr, 0x8038_0007 | 3 << 40 | 1 << 53 | 1 << 56);
        assert_eq!(el2.cptr, 0x33ff & !(1 << 8 | 1 << 12));
        assert_eq!((el2.hcrx, el2.zcr, el2.smcr), (Some(1 << 11), Some(15), Some(15)));
        assert!(el2.counters && el2.fine_traps.is_some() && el2.fine_traps2.is_none());
    }

    /// Whatever is hidden has its door shut, is not told of, and takes nothing else with it.
    #[test]
    fn a_hidden_feature_is_neither_told_of_nor_opened() {
        let all =
            Ids { pfr: [u64::MAX; 3], isar: [u64::MAX; 3], mmfr: [1 << 40; 5], ..Ids::default() };
        let seen = |hidden: Hidden| {
            let ids = hidden.of(&all);
            let el2 = decide(&all, hidden);
            assert_eq!(el2.hcr >> 18 & 1, u64::from(hidden.0 != 0), "ID registers are trapped");
            let gone = [
                !ids.pauth() && el2.hcr >> 40 & 3 == 0,
                ids.sve() == 0 && el2.cptr >> 8 & 1 == 1 && el2.zcr.is_none(),
                ids.sme() == 0 && el2.cptr >> 12 & 1 == 1 && el2.smcr.is_none(),
                ids.mte() == 0 && el2.hcr >> 56 & 1 == 0,
                ids.mops() == 0 && el2.hcrx.is_some_and(|hcrx| hcrx >> 11 & 1 == 0),
            ];
            let names = HIDEABLE.iter().zip(gone).filter(|(_, gone)| *gone).map(|(name, _)| *name);
            names.collect::<Vec<_>>()
        };
        for name in HIDEABLE {
            let expected = if name == "sve" { vec!["sve", "sme"] } else { vec![name] };
            assert_eq!(Hidden::named(name).map(seen), Some(expected));
        }
        assert_eq!(seen(Hidden(0)), Vec::<&str>::new());
        assert_eq!(Hidden::named("fgt"), None);
        assert_eq!(Hidden(2).view(4, 4, 7), 0);
        assert_eq!(Hidden(2).view(4, 0, u64::MAX), !(15 << 32));
        assert_eq!(Hidden(2).view(7, 0, u64::MAX), u64::MAX);
    }

    /// A report names `guest.hide` for what it takes away, and for nothing else.
    #[test]
    fn a_trap_tells_whether_its_feature_is_hidden() {
        let register = |op1: u64, crn: u64, crm: u64, op2: u64| {
            0x18 << 26 | 1 << 25 | 3 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1 | 1
        };
        for (esr, names) in [
            (0x09 << 26, &["pauth"][..]),
            (register(0, 2, 1, 0), &["pauth"]),
            (register(0, 2, 3, 1), &["pauth"]),
            (register(0, 2, 0, 0), &[]),
            (register(0, 1, 0, 5), &["mte"]),
            (register(0, 1, 0, 1), &[]),
            (register(0, 5, 6, 1), &["mte"]),
            (register(0, 15, 2, 0), &[]),
            (0x19 << 26, &["sve"]),
            (0x1d << 26, &["sve", "sme"]),
            (0x07 << 26, &[]),
        ] {
            let why = |name: &&str| Hidden::named(name).is_some_and(|hidden| hidden.is_why(esr));
            assert_eq!(HIDEABLE.into_iter().filter(why).collect::<Vec<_>>(), names, "{esr:#x}");
        }
    }
}
