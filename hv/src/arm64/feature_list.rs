// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The decisions of [`super::features`] by name: what becomes of each optional feature, and why. The
//! verdicts are read off the register values that [`decide`] makes, and not stated a second time.
use super::features::{El2, Hidden, Ids, decide};
use super::regs::HCR_BASE;

/// What becomes of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The guest uses it without a trap.
    Given,
    /// The guest cannot use it.
    Hidden,
    /// The CPU does not have it.
    Absent,
}

impl Verdict {
    /// As reports have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Hidden => "hidden",
            Self::Absent => "absent",
        }
    }
}

/// One feature.
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// The ID register field that says whether it is there.
    pub field: &'static str,
    /// Why it is given or hidden.
    pub why: &'static str,
    present: fn(&Ids) -> bool,
    open: fn(&El2) -> bool,
}

impl Feature {
    /// What becomes of it on a CPU, of which the config hides some.
    #[must_use]
    pub fn verdict(&self, ids: &Ids, hidden: Hidden) -> Verdict {
        match (self.present)(ids) {
            false => Verdict::Absent,
            true if (self.open)(&decide(ids, hidden)) => Verdict::Given,
            true => Verdict::Hidden,
        }
    }

    /// What becomes of it on a CPU that has it.
    #[must_use]
    pub fn rule(&self, hidden: Hidden) -> Verdict {
        if (self.open)(&decide(&EVERYTHING, hidden)) { Verdict::Given } else { Verdict::Hidden }
    }
}

/// A CPU with every feature.
const EVERYTHING: Ids = Ids {
    pfr: [0x2122_2222_2122_2222; 3],
    dfr0: 0x1111_1111_1111_1111,
    isar: [0x1111_1111_1111_1111; 3],
    mmfr: [0x2222_2222_2222_2222; 5],
    smfr0: 0,
};

const fn feature(
    name: &'static str,
    field: &'static str,
    why: &'static str,
    present: fn(&Ids) -> bool,
    open: fn(&El2) -> bool,
) -> Feature {
    Feature { name, field, why, present, open }
}

const fn bit(value: u64, bit: u32) -> bool {
    value >> bit & 1 != 0
}

/// Every feature that is decided on.
pub const LIST: [Feature; 17] = [
    feature(
        "pauth",
        "ID_AA64ISAR1_EL1.APA, API, GPA, GPI, ID_AA64ISAR2_EL1.APA3, GPA3",
        "the keys are EL1's; HCR_EL2.API and APK do not trap",
        |ids| ids.pauth(),
        |el2| bit(el2.hcr, 40) && bit(el2.hcr, 41),
    ),
    feature(
        "sve",
        "ID_AA64PFR0_EL1.SVE",
        "the registers are the guest's alone; every length is allowed",
        |ids| ids.sve() != 0,
        |el2| !bit(el2.cptr, 8) && el2.zcr.is_some(),
    ),
    feature(
        "sme",
        "ID_AA64PFR1_EL1.SME",
        "the registers are the guest's alone; every length is allowed",
        |ids| ids.sme() != 0,
        |el2| !bit(el2.cptr, 12) && el2.smcr.is_some(),
    ),
    feature(
        "mte",
        "ID_AA64PFR1_EL1.MTE >= 2",
        "tags are of the guest's own RAM; HCR_EL2.ATA",
        |ids| ids.mte() >= 2,
        |el2| bit(el2.hcr, 56),
    ),
    feature(
        "pmu",
        "ID_AA64DFR0_EL1.PMUVer",
        "EL2 counts nothing: MDCR_EL2.HPMN leaves every counter",
        |ids| ids.has_pmu(),
        |el2| el2.counters && el2.mdcr & 0x60 == 0,
    ),
    feature(
        "spe",
        "ID_AA64DFR0_EL1.PMSVer",
        "its buffer is written through the guest's own translation",
        |ids| ids.spe() != 0,
        |el2| el2.mdcr >> 12 & 3 == 3,
    ),
    feature(
        "trbe",
        "ID_AA64DFR0_EL1.TraceBuffer",
        "its buffer is written through the guest's own translation",
        |ids| ids.trace_buffer() != 0,
        |el2| el2.mdcr >> 24 & 3 == 3,
    ),
    feature(
        "brbe",
        "ID_AA64DFR0_EL1.BRBE",
        "its records are the guest's branches; none of EL2 is recorded",
        |ids| ids.brbe() != 0,
        |el2| el2.brbcr == Some(0),
    ),
    feature(
        "amu",
        "ID_AA64PFR0_EL1.AMU",
        "the counters can only be read",
        |ids| ids.amu() != 0,
        |el2| !bit(el2.cptr, 30),
    ),
    feature(
        "ras",
        "ID_AA64PFR0_EL1.RAS",
        "errors are reported to whom they hit, and that is mostly the guest",
        |ids| ids.ras() != 0,
        |el2| !bit(el2.hcr, 36) && el2.vsesr.is_some(),
    ),
    feature(
        "ecv",
        "ID_AA64MMFR0_EL1.ECV",
        "counters and timers are the guest's, without offset",
        |ids| ids.ecv() != 0,
        |el2| el2.cnthctl & 3 == 3,
    ),
    feature(
        "mops",
        "ID_AA64ISAR2_EL1.MOPS",
        "instructions on the guest's own memory; HCRX_EL2.MSCEn",
        |ids| ids.mops() != 0,
        |el2| el2.hcrx.is_some_and(|hcrx| bit(hcrx, 11)),
    ),
    feature(
        "mpam",
        "ID_AA64PFR0_EL1.MPAM",
        "partitions are shared with nobody",
        |ids| ids.mpam() != 0,
        |el2| el2.mpam2 == Some(0),
    ),
    feature(
        "fgt",
        "ID_AA64MMFR0_EL1.FGT",
        "EL2's own: it traps nothing that is given",
        |ids| ids.fgt() != 0,
        |_| false,
    ),
    feature(
        "hcx",
        "ID_AA64MMFR1_EL1.HCX",
        "EL2's own: it opens what is given",
        |ids| ids.hcx() != 0,
        |_| false,
    ),
    feature(
        "nv",
        "ID_AA64MMFR2_EL1.NV",
        "the guest has no EL2 (HCR_EL2.NV = 0)",
        |ids| ids.nv() != 0,
        |el2| bit(el2.hcr, 42),
    ),
    feature(
        "aarch32-el1",
        "ID_AA64PFR0_EL1.EL1 = 2",
        "EL1 runs AArch64 (HCR_EL2.RW = 1); EL0 may run AArch32",
        |ids| ids.el1() == 2,
        |el2| !bit(el2.hcr, 31),
    ),
];

const _: () = assert!(bit(HCR_BASE, 31), "EL1 is AArch64");

#[cfg(test)]
mod tests {
    use super::{LIST, Verdict};
    use crate::arm64::features::{HIDEABLE, Hidden, Ids};

    const NOTHING: Hidden = Hidden(0);

    #[test]
    fn what_is_not_there_is_absent_and_the_rest_is_decided() {
        for feature in &LIST {
            assert_eq!(
                feature.verdict(&Ids::default(), NOTHING),
                Verdict::Absent,
                "{}",
                feature.name
            );
        }
        let hidden = LIST.iter().filter(|feature| feature.rule(NOTHING) == Verdict::Hidden);
        let hidden: Vec<_> = hidden.map(|feature| feature.name).collect();
        assert_eq!(hidden, ["fgt", "hcx", "nv", "aarch32-el1"]);
        assert!(LIST.iter().all(|feature| feature.rule(NOTHING) != Verdict::Absent));
        // What can be hidden is in the list, and hidden when it is.
        for name in HIDEABLE {
            let hidden = Hidden::named(name).unwrap();
            let feature = LIST.iter().find(|feature| feature.name == name).unwrap();
            assert_eq!(feature.rule(hidden), Verdict::Hidden, "{name}");
        }
    }

    #[test]
    fn a_feature_alone_is_decided_as_among_all() {
        let alone = Ids { pfr: [1 << 32, 2 << 8, 0], dfr0: 1 << 32, ..Ids::default() };
        let given =
            LIST.iter().filter(|feature| feature.verdict(&alone, NOTHING) == Verdict::Given);
        let given: Vec<_> = given.map(|feature| feature.name).collect();
        assert_eq!(given, ["sve", "mte", "spe"]);
    }
}
