// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the guest is told of its image: a node of its tree with the digest of each stage, as
//! `inspect` shows them.
use anchorite_spec::ledger::LAST_LIFE_BYTES;
use anchorite_spec::manifest::{
    ARCH_POWER9, PART_BODY, PART_INITRD, PART_KERNEL, PART_LOADER, PART_OWN_TABLES, PART_RTAS,
    PART_TABLES, part_name,
};
use dtoolkit::model::DeviceTreeNode;

use super::assemble::Draft;
use super::tree::set;
use crate::config::checked::Config;

/// Marks the place of the manifest's digest, which the firmware fills in: it covers the tree. Then
/// zeros stand there.
pub(super) const MANIFEST: [u8; 32] = *b"\xffthe manifest digest lands here\xff";

/// Likewise the place of what a restarted guest is told of its last life.
pub(super) const LAST_LIFE: [u8; LAST_LIFE_BYTES] = [0xfe; LAST_LIFE_BYTES];

/// What is told.
pub struct Told {
    version: u64,
    required: bool,
    build_id: [u8; 32],
    parts: Vec<(u32, [u8; 32])>,
}

impl Told {
    /// The truth about these parts.
    #[must_use]
    pub fn of(config: &Config, build_id: [u8; 32], drafts: &[Draft]) -> Self {
        let parts = drafts.iter().map(|draft| (draft.part.kind, draft.part.digest));
        Self { build_id, parts: parts.collect(), ..Self::blank(config, false) }
    }

    /// As much text, before there is anything to tell.
    #[must_use]
    pub fn blank(config: &Config, initrd: bool) -> Self {
        let power9 = (config.platform.arch == ARCH_POWER9).then_some([PART_OWN_TABLES, PART_RTAS]);
        let initrd = initrd.then_some(PART_INITRD);
        let always = [PART_LOADER, PART_BODY, PART_TABLES, PART_KERNEL];
        let kinds = always.into_iter().chain(power9.into_iter().flatten()).chain(initrd);
        Self {
            version: config.signing.version,
            required: config.signing.required,
            build_id: [0; 32],
            parts: kinds.map(|kind| (kind, [0; 32])).collect(),
        }
    }

    /// `/chosen/anchorite`.
    #[must_use]
    pub fn node(&self) -> DeviceTreeNode {
        let mut node = DeviceTreeNode::new_unchecked("anchorite");
        set(&mut node, "image-version", self.version);
        set(&mut node, "verify", if self.required { "required" } else { "none" });
        set(&mut node, "build-id", self.build_id);
        set(&mut node, "digest-manifest", MANIFEST);
        set(&mut node, "last-life", LAST_LIFE);
        for (kind, digest) in &self.parts {
            set(&mut node, &format!("digest-{}", part_name(*kind)), *digest);
        }
        node
    }
}
