// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An image's translation tables, read by the walker and kept for questions.
use std::collections::HashSet;
use std::ops::ControlFlow;

use anchorite_spec::Manifest;
use anchorite_spec::Range;
use anchorite_spec::manifest::ARCH_ARM64;
use anchorite_tables::walk::{Item, Visitor, radix, stage2};

/// What the processor takes a page for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ordinary, cached memory.
    Ordinary,
    /// A device's registers.
    Registers,
    /// Something else: the attribute field.
    Unknown(u8),
}

/// A valid leaf, in the words of either architecture.
#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    /// First guest address.
    pub guest: u64,
    /// First host address.
    pub host: u64,
    /// Bytes.
    pub size: u64,
    /// Loads allowed.
    pub read: bool,
    /// Stores allowed.
    pub write: bool,
    /// Instruction fetches allowed.
    pub execute: bool,
    /// What it is taken for.
    pub kind: Kind,
    /// The bits are set that the processor does not set itself: reference and change, access flag.
    pub preset: bool,
    /// Bits that nobody states.
    pub other: u64,
}

impl From<radix::Leaf> for Leaf {
    fn from(leaf: radix::Leaf) -> Self {
        let radix::Leaf { guest, host, size, read, write, execute, other, .. } = leaf;
        let kind = match leaf.attribute {
            0 => Kind::Ordinary,
            2 => Kind::Registers,
            attribute => Kind::Unknown(attribute),
        };
        Self {
            guest,
            host,
            size,
            read,
            write,
            execute,
            kind,
            preset: leaf.referenced_changed,
            other,
        }
    }
}

impl Leaf {
    /// A leaf of stage 2, under HCR_EL2.FWB or without.
    fn of_stage2(leaf: stage2::Leaf, forced_write_back: bool) -> Self {
        /// Everything that a guest has is tagged as the guest's.
        const GUEST: u8 = 1;
        let stage2::Leaf { guest, host, size, read, write, execute, .. } = leaf;
        let kind = match (leaf.attribute, leaf.shareability, forced_write_back) {
            (15, 3, false) | (6, 3, true) => Kind::Ordinary,
            (1, 0, _) => Kind::Registers,
            (attribute, ..) => Kind::Unknown(attribute),
        };
        let other = leaf.other | u64::from(leaf.owner ^ GUEST) << 55;
        Self { guest, host, size, read, write, execute, kind, preset: leaf.accessed, other }
    }
}

/// A slot that does not translate but is not zero.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The guest real addresses that it covers.
    pub guest: Range,
    /// Its content.
    pub raw: u64,
}

/// Everything in the tables.
#[derive(Debug, Default)]
pub struct Walked {
    /// The leaves, by ascending guest address.
    pub leaves: Vec<Leaf>,
    /// Invalid slots that are not zero, by ascending guest address.
    pub slots: Vec<Slot>,
    /// The first bytes that are not zero and belong to no table, by their host real address.
    pub beside: Option<u64>,
}

/// The smallest table; all tables are made of whole ones.
const CHUNK: u64 = 256;

impl Walked {
    /// Reads the tables.
    ///
    /// # Errors
    /// Why they are not a tree that the processor would walk as it stands here.
    pub fn new(tables: &[u8], manifest: &Manifest) -> Result<Self, String> {
        Self::collect(tables, manifest.tables.base, |visit| read(tables, manifest, visit))
    }

    /// Reads a tree by which POWER9's firmware itself translates, whose root lies first.
    ///
    /// # Errors
    /// As [`Walked::new`].
    pub fn own(tables: &[u8], base: u64) -> Result<Self, String> {
        Self::collect(tables, base, |visit| {
            radix::walk(tables, base, base, &mut |item| visit(item.map(Leaf::from)))
                .map_err(|error| error.to_string())
        })
    }

    fn collect(
        tables: &[u8],
        base: u64,
        read: impl FnOnce(Visitor<'_, Leaf>) -> Result<(), String>,
    ) -> Result<Self, String> {
        let mut found = Self::default();
        let mut seen = HashSet::new();
        let mut shared = None;
        let outcome = read(&mut |item| {
            match item {
                Item::Table { address, size } => {
                    // Tables of different sizes may overlap without sharing their first byte.
                    let chunks = address / CHUNK..address.saturating_add(size) / CHUNK;
                    if !chunks.into_iter().all(|chunk| seen.insert(chunk)) {
                        shared = Some(address);
                        return ControlFlow::Break(());
                    }
                }
                Item::Leaf(leaf) => found.leaves.push(leaf),
                Item::Invalid { guest, size, raw } => {
                    found.slots.push(Slot { guest: Range::new(guest, size), raw });
                }
            }
            ControlFlow::Continue(())
        });
        match (outcome, shared) {
            (Ok(()), _) => {
                found.beside = tables
                    .chunks(CHUNK as usize)
                    .zip(0..)
                    .map(|(bytes, index)| (bytes, base.saturating_add(index * CHUNK)))
                    .find(|(bytes, at)| {
                        !seen.contains(&(at / CHUNK)) && bytes.iter().any(|byte| *byte != 0)
                    })
                    .map(|(_, at)| at);
                Ok(found)
            }
            (Err(_), Some(at)) => Err(format!("the table at {at:#x} is reached twice")),
            (Err(error), _) => Err(error),
        }
    }

    /// The leaf that begins at a guest address.
    #[must_use]
    pub fn leaf_at(&self, guest: u64) -> Option<&Leaf> {
        let index = self.leaves.binary_search_by_key(&guest, |leaf| leaf.guest).ok()?;
        self.leaves.get(index)
    }
}

/// Walks the tables as the image's processor would.
fn read(tables: &[u8], manifest: &Manifest, visit: Visitor<'_, Leaf>) -> Result<(), String> {
    let (base, root) = (manifest.tables.base, manifest.table_root);
    if manifest.arch != ARCH_ARM64 {
        return radix::walk(tables, base, root, &mut |item| visit(item.map(Leaf::from)))
            .map_err(|error| error.to_string());
    }
    // The firmware makes VTCR_EL2 from the size of guest addresses and compares the shape: what is
    // walked here must be what the processor then walks.
    let arm64 = &manifest.arm64;
    let shape = (arm64.vtcr, arm64.start_level, arm64.root_tables, arm64.pa_range);
    if stage2_shape(arm64.ipa_bits) != Some(shape) {
        return Err(format!(
            "VTCR_EL2 {:#x}, start level {}, {} tables at the root and PARange {} are not those of \
             {} bits of guest addresses",
            arm64.vtcr, arm64.start_level, arm64.root_tables, arm64.pa_range, arm64.ipa_bits
        ));
    }
    let forced = arm64.forced_write_back != 0;
    stage2::walk(tables, base, root, arm64.vtcr, &mut |item| {
        visit(item.map(|leaf| Leaf::of_stage2(leaf, forced)))
    })
    .map_err(|error| error.to_string())
}

/// VTCR_EL2, the level at which a walk starts, the tables at the root, and the least PARange, of a
/// size of guest addresses (Arm ARM, D8.2): 4 KiB granule, inner shareable and write-back walks.
fn stage2_shape(ipa_bits: u32) -> Option<(u64, u32, u32, u32)> {
    const WALKS: u64 = 0x8000_3500;
    let least = [32, 36, 40, 42, 44, 48].into_iter().position(|pa_bits| pa_bits >= ipa_bits)?;
    let (level, code, tables) = match ipa_bits {
        32..=39 => (1, 1, 1),
        40..=43 => (1, 1, 1 << (ipa_bits - 39)),
        44..=48 => (0, 2, 1),
        _ => return None,
    };
    let vtcr = WALKS | (least as u64) << 16 | code << 6 | u64::from(64 - ipa_bits);
    Some((vtcr, level, tables, least as u32))
}
