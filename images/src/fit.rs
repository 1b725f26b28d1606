// SPDX-License-Identifier: Apache-2.0 OR MIT
//! FIT, the container that U-Boot's `bootm` takes: a flattened tree with the image and its SHA-256
//! in it, which U-Boot checks before it enters the image.
//!
//! Layout: U-Boot, doc/usage/fit/source_file_format.rst. The machine's own tree is not in it: U-Boot
//! hands over the one that it has.
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use dtoolkit::{Node, Property};

use crate::build::tree::set;
use crate::image::digest;

/// The names of its nodes.
const IMAGES: &str = "images";
const KERNEL: &str = "anchorite";
const CONFIGURATION: &str = "conf-1";

/// A FIT with an arm64 `Image`, which U-Boot is to put at an address and enter there. `compatible` is
/// the machine's own, by which some U-Boots choose among a FIT's configurations.
#[must_use]
pub fn wrap(board: &str, compatible: &str, content: &[u8], load: u64) -> Vec<u8> {
    let node = DeviceTreeNode::new_unchecked;
    let mut hash = node("hash-1");
    set(&mut hash, "algo", "sha256");
    set(&mut hash, "value", digest(content).as_slice());

    let mut kernel = node(KERNEL);
    set(&mut kernel, "description", format!("Anchorite for {board}"));
    set(&mut kernel, "data", content);
    for (name, value) in
        [("type", "kernel"), ("arch", "arm64"), ("os", "linux"), ("compression", "none")]
    {
        set(&mut kernel, name, value);
    }
    set(&mut kernel, "load", load);
    set(&mut kernel, "entry", load);
    kernel.add_child(hash);
    let mut images = node(IMAGES);
    images.add_child(kernel);

    let mut configuration = node(CONFIGURATION);
    set(&mut configuration, "description", board);
    set(&mut configuration, "compatible", compatible);
    set(&mut configuration, "kernel", KERNEL);
    let mut configurations = node("configurations");
    set(&mut configurations, "default", CONFIGURATION);
    configurations.add_child(configuration);

    let mut tree = DeviceTree::new();
    set(&mut tree.root, "description", format!("Anchorite for {board}"));
    // U-Boot wants one. The same image always gives the same bytes.
    set(&mut tree.root, "timestamp", 0u32);
    set(&mut tree.root, "#address-cells", 2u32);
    tree.root.add_child(images);
    tree.root.add_child(configurations);
    tree.to_dtb()
}

/// The image in a FIT, and how many bytes stand before it; `None` if this is no FIT.
#[must_use]
pub fn open(file: &[u8]) -> Option<(usize, &[u8])> {
    let fit = Fdt::new(file).ok()?;
    let images = fit.root().child(IMAGES)?;
    // The property's value is a slice of the file.
    let (before, size) = images.children().find_map(|image| {
        let data = image.property("data")?;
        Some((data.value().as_ptr() as usize - file.as_ptr() as usize, data.value().len()))
    })?;
    Some((before, file.get(before..before + size)?))
}

#[cfg(test)]
mod tests {
    use super::{open, wrap};

    #[test]
    fn what_is_wrapped_comes_out_again() {
        let content = b"an image".repeat(700);
        let fit = wrap("a-board", "a,machine", &content, 0x4020_0000);
        let (before, found) = open(&fit).unwrap();
        assert_eq!((found, &fit[before..before + content.len()]), (&content[..], &content[..]));
        assert_eq!(wrap("a-board", "a,machine", &content, 0x4020_0000), fit);
        assert!(open(&content).is_none());
    }

    #[test]
    fn any_tree_is_taken_apart() {
        let whole = wrap("b", "m", b"image", 0);
        for cut in 0..whole.len() {
            assert!(open(&whole[..cut]).is_none());
        }
        for at in 0..whole.len() {
            for byte in [0, 0xff, whole[at] ^ 1] {
                let mut changed = whole.clone();
                changed[at] = byte;
                assert!(open(&changed).is_none_or(|(_, content)| content.len() <= whole.len()));
            }
        }
    }
}
