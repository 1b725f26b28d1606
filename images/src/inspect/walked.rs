// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An image's translation tables, read by the walker and kept for questions.
use std::collections::HashSet;
use std::ops::ControlFlow;

use anchorite_spec::Range;
use anchorite_tables::walk::{Item, Leaf, WalkError, walk};

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
    pub fn new(tables: &[u8], base: u64, root: u64) -> Result<Self, String> {
        let mut found = Self::default();
        let mut seen = HashSet::new();
        let mut shared = None;
        let outcome = walk(tables, base, root, &mut |item| {
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
            (Err(WalkError::Stopped), Some(at)) => {
                Err(format!("the table at {at:#x} is reached twice"))
            }
            (Err(error), _) => Err(error.to_string()),
        }
    }

    /// The leaf that begins at a guest address.
    #[must_use]
    pub fn leaf_at(&self, guest: u64) -> Option<&Leaf> {
        let index = self.leaves.binary_search_by_key(&guest, |leaf| leaf.guest).ok()?;
        self.leaves.get(index)
    }
}
