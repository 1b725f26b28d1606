// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reading the machine's own device tree, as far as boards have it in common.
use anchorite_hv::core::fdt::{HEADER_BYTES, Node, Property, Tree, TreeError};
use anchorite_spec::manifest::{MAP_RAM, Manifest};
use anchorite_spec::{End, Range};

use crate::end::end;

const MEMORY_NODES: usize = 32;
/// No machine's tree is larger.
const LARGEST: usize = 16 << 20;

/// The tree at `address`.
///
/// # Safety
/// A flattened tree must stand there, unchanged for as long as the result lives.
pub unsafe fn read(address: *const u8) -> Tree<'static> {
    // SAFETY: the caller vouches for the address; a header is read first, then what it says.
    let tree = unsafe {
        Tree::size_of(&*address.cast::<[u8; HEADER_BYTES]>())
            .and_then(|size| Tree::new(core::slice::from_raw_parts(address, size.min(LARGEST))))
    };
    tree.unwrap_or_else(|error| unusable(error))
}

/// Shows every node of a tree and its properties; ends the boot if it is broken.
pub fn each<'a>(tree: &Tree<'a>, visit: impl FnMut(&Node<'a>, Option<&Property<'a>>)) {
    tree.each(visit).unwrap_or_else(|error| unusable(error));
}

fn unusable(error: TreeError) -> ! {
    mismatch(format_args!("the machine's device tree is unusable: {error}"))
}

/// Ends the boot: this is not the machine that the image was built for.
pub fn mismatch(reason: core::fmt::Arguments) -> ! {
    end(End::BoardMismatch, reason)
}

/// The machine's RAM, as its tree tells.
#[derive(Default)]
pub struct Memory {
    nodes: [Range; MEMORY_NODES],
    len: usize,
}

impl Memory {
    /// Adds a memory node.
    pub fn add(&mut self, node: &Node) {
        let range = reg(node, 0);
        if self.len < MEMORY_NODES && !range.is_empty() {
            self.nodes[self.len] = range;
            self.len += 1;
        }
    }

    /// Ends the boot unless all RAM is there that the image relies on.
    pub fn require(&self, manifest: &Manifest) {
        for range in manifest.ram() {
            if !self.has(range) {
                mismatch(format_args!(
                    "the image needs RAM {:#x}+{:#x}, the machine does not have all of it; give it \
                     more or change [[ram]] in the board config",
                    range.base, range.size
                ));
            }
        }
    }

    fn has(&self, wanted: Range) -> bool {
        let mut at = wanted.base;
        let Some(end) = wanted.end() else { return false };
        while at < end {
            let node = self.nodes[..self.len].iter().find(|node| node.contains(Range::new(at, 1)));
            match node.and_then(|node| node.end()) {
                Some(next) => at = next,
                None => return false,
            }
        }
        true
    }
}

/// Memory that is written before the guest runs, with its name in the board config.
pub fn written(manifest: &Manifest) -> impl Iterator<Item = (&str, Range)> {
    let own = [("firmware.memory", manifest.firmware), ("vectors", manifest.vectors)];
    let guest = manifest.mappings().filter(|mapping| mapping.kind == MAP_RAM);
    let guest =
        guest.map(|mapping| (mapping.name.as_str(), Range::new(mapping.host, mapping.size)));
    own.into_iter().chain(guest)
}

/// Nothing that the earlier firmware reserved may be the guest's or the firmware's. The image's own
/// place may be reserved for it.
pub fn check_reserved(tree: &Tree, manifest: &Manifest) {
    for (name, range) in written(manifest) {
        for reserved in tree.reservations() {
            if reserved.overlaps(range) {
                mismatch(format_args!(
                    "{name} {:#x}+{:#x} meets memory that the machine's firmware keeps, {:#x}+{:#x}",
                    range.base, range.size, reserved.base, reserved.size
                ));
            }
        }
    }
}

/// A value that is text.
pub fn text(value: &[u8]) -> &[u8] {
    value.strip_suffix(&[0]).unwrap_or(value)
}

/// The names in a list, such as those that a node is compatible with.
pub fn names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text(list));
    core::iter::from_fn(move || {
        let names = rest?;
        let (name, others) = names.split_at(memchr::memchr(0, names).unwrap_or(names.len()));
        rest = others.split_first().map(|(_, others)| others);
        Some(name)
    })
}

/// The n-th pair of a `reg` with two cells each, or the empty range.
pub fn reg(node: &Node, n: usize) -> Range {
    let list = node.property("reg").unwrap_or_default();
    let word = |at: usize| {
        let bytes = list.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_be_bytes)
    };
    Range::new(word(16 * n), word(16 * n + 8))
}
