// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What becomes of an arm64 processor's optional features, as far as a file can tell: the rule for
//! each, and what that means on a processor that the board names. The firmware decides at boot, by
//! the ID registers that it finds.
use anchorite_hv::arm64::feature_list::LIST;
use anchorite_hv::arm64::features::{Hidden, Ids};
use anchorite_spec::Manifest;
use anchorite_spec::manifest::ARCH_ARM64;
use serde_json::{Value, json};

/// ID registers of the processors that a config can name, from their manuals. Absent are features
/// that none of them has.
fn named(manifest: &Manifest) -> Option<Ids> {
    let old =
        Ids { pfr: [0x2222, 0, 0], dfr0: 0x1030_5106, isar: [0x11120, 0, 0], ..Ids::default() };
    match manifest.pvr >> 4 & 0xfff {
        _ if manifest.pvr_mask == 0 => None,
        0xD03 => Some(Ids { mmfr: [0x1122, 0, 0, 0, 0], ..old }),
        0xD08 => Some(Ids { mmfr: [0x1124, 0, 0, 0, 0], ..old }),
        0xD0C => Some(Ids {
            pfr: [0x1100_0000_1011_1112, 0x20, 0],
            dfr0: 0x1_1030_5408,
            isar: [0x1000_1021_1120, 0x10_0001, 0],
            mmfr: [0x10_1125, 0x1021_2122, 0x1011, 0, 0],
            smfr0: 0,
        }),
        _ => None,
    }
}

/// Name, verdict and reason of each; nothing for other architectures.
pub fn list(manifest: &Manifest) -> Vec<(&'static str, &'static str, String)> {
    if manifest.arch != ARCH_ARM64 {
        return Vec::new();
    }
    let (ids, hidden) = (named(manifest), Hidden(manifest.arm64.hidden as u32));
    let verdict = |feature: &anchorite_hv::arm64::feature_list::Feature| {
        ids.as_ref().map_or_else(|| feature.rule(hidden), |ids| feature.verdict(ids, hidden)).name()
    };
    let each = LIST.iter().map(|feature| {
        (feature.name, verdict(feature), format!("{} ({})", feature.why, feature.field))
    });
    each.collect()
}

/// The same as data.
pub fn json(manifest: &Manifest) -> Value {
    let each = list(manifest).into_iter();
    each.map(|(name, verdict, why)| json!({ "name": name, "verdict": verdict, "why": why }))
        .collect()
}
