// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How POWER9's firmware itself translates, when an interrupt out of the guest keeps translation on.
//!
//! The partition table's entry 0 and the process table's entry 0 name one tree. No guest translates
//! by it, as LPIDR is the hypervisor's; what it maps is what the vectors could be made to execute or
//! overwrite in their first instructions.
use anchorite_spec::Range;
use anchorite_spec::manifest::{ARCH_POWER9, CODEC_NONE, PART_OWN_TABLES};

use super::{Image, Kind, Leaf, Outcome, SMALL_PAGE, Walked, claim, perms};
use crate::config::units;
use crate::image::part_bytes;

/// A leaf's bit that keeps it from problem state, and from the authority masks.
const PRIVILEGED: u64 = 8;
/// What of low memory is mapped: the vCPUs' registers, to be written; the vectors, to be executed.
const LOW: [(u64, &str); 3] = [(0x3000, "rw-"), (0x4000, "r-x"), (0x5000, "r-x")];

impl Image<'_> {
    pub(super) fn own(&self) -> Outcome {
        let part = self.manifest.part(PART_OWN_TABLES);
        if self.manifest.arch != ARCH_POWER9 {
            return claim(part.is_none(), || "there are tables that nobody uses".into());
        }
        let part = part.ok_or("there are none")?;
        let whole = part.codec == CODEC_NONE && part.size == part.memory_size;
        claim(whole, || "they are not stored whole".into())?;
        let bytes = part_bytes(self.bytes, part).ok_or("they are not in the file")?;
        let split = bytes.len().checked_sub(SMALL_PAGE as usize).ok_or("they are too short")?;
        let (tree, processes) = bytes.split_at(split);
        let page = part.dest.saturating_add(tree.len() as u64);
        // Entry 0: 52 bits (21, in bits 1:2 and 56:58), the root, 13 bits at the root.
        let entry = (0x4000_0000_0000_00ad | part.dest).to_be_bytes();
        let rest = processes.iter().skip(entry.len()).all(|byte| *byte == 0);
        claim(processes.starts_with(&entry) && rest, || {
            format!("the process table at {page:#x} has more than process 0, or another tree")
        })?;
        let walked = Walked::own(tree, part.dest)?;
        let beside = walked.beside.or_else(|| walked.slots.first().map(|slot| slot.guest.base));
        claim(beside.is_none(), || {
            format!("there is something at {:#x} that translates nothing", beside.unwrap_or(0))
        })?;
        let expected: Vec<_> = LOW.into_iter().chain([(page, "r--")]).collect();
        let found: Vec<_> = walked.leaves.iter().map(|leaf| (leaf.guest, perms(leaf))).collect();
        let same = found.iter().map(|(at, perms)| (*at, perms.as_str())).eq(expected);
        claim(same, || format!("they map {}", list(&walked.leaves)))?;
        for leaf in &walked.leaves {
            let plain = leaf.host == leaf.guest
                && leaf.size == SMALL_PAGE
                && leaf.kind == Kind::Ordinary
                && leaf.preset
                && leaf.other == PRIVILEGED;
            claim(plain, || format!("the page at {:#x} is mapped otherwise", leaf.guest))?;
        }
        Ok(())
    }
}

fn list(leaves: &[Leaf]) -> String {
    let told = |leaf: &Leaf| {
        format!("{} {}", units::range(Range::new(leaf.guest, leaf.size)), perms(leaf))
    };
    leaves.iter().take(8).map(told).collect::<Vec<_>>().join(", ")
}
