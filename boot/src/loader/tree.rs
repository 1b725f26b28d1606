// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reading the machine's own device tree, as far as boards have it in common.
use anchorite_spec::manifest::{MAP_RAM, Manifest};
use anchorite_spec::{End, Range};
use fdt::Fdt;
use fdt::node::FdtNode;

use crate::end::end;

const MEMORY_NODES: usize = 32;

/// The tree at `address`.
///
/// # Safety
/// A flattened tree must stand there, unchanged for as long as the result lives.
pub unsafe fn read(address: *const u8) -> Fdt<'static> {
    // SAFETY: the caller vouches for the address; the header is checked by the crate.
    match unsafe { Fdt::from_ptr(address) } {
        Ok(tree) => tree,
        Err(error) => mismatch(format_args!("the machine's device tree is unusable: {error:?}")),
    }
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
    pub fn add(&mut self, node: &FdtNode) {
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
pub fn check_reserved(tree: &Fdt, manifest: &Manifest) {
    for (name, range) in written(manifest) {
        for reserved in tree.memory_reservations() {
            let reserved = Range::new(reserved.address() as u64, reserved.size() as u64);
            if reserved.overlaps(range) {
                mismatch(format_args!(
                    "{name} {:#x}+{:#x} meets memory that the machine's firmware keeps, {:#x}+{:#x}",
                    range.base, range.size, reserved.base, reserved.size
                ));
            }
        }
    }
}

/// A property that is text.
pub fn text<'a>(node: &FdtNode<'_, 'a>, name: &str) -> Option<&'a str> {
    node.property(name)?.as_str()
}

/// Whether the node says that it is compatible with `name`.
pub fn is_compatible(node: &FdtNode, name: &str) -> bool {
    let list = node.property("compatible").map_or(&[][..], |property| property.value);
    list.split(|byte| *byte == 0).any(|entry| entry == name.as_bytes())
}

/// The n-th pair of a `reg` with two cells each, or the empty range.
pub fn reg(node: &FdtNode, n: usize) -> Range {
    let list = node.property("reg").map_or(&[][..], |property| property.value);
    let word = |at: usize| {
        let bytes = list.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_be_bytes)
    };
    Range::new(word(16 * n), word(16 * n + 8))
}
