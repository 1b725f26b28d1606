// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite inspect --dts`: the guest's device tree as source, as `dtc -O dts` would print it.
//!
//! The tree is an image's, so it is read by the reader that takes nothing for granted. What a string
//! may not hold is printed as bytes, which mean the same to a compiler.
use std::fmt::Write;

use anchorite_hv::core::fdt::{Tree, TreeError};

use crate::new::aligned;

/// The source of a tree.
///
/// # Errors
/// It is no tree.
pub fn source(bytes: &[u8]) -> Result<String, TreeError> {
    aligned(bytes, |bytes| write(&Tree::new(bytes)?))
}

fn write(tree: &Tree<'_>) -> Result<String, TreeError> {
    let mut out = String::from("/dts-v1/;\n");
    for range in tree.reservations() {
        let _ = writeln!(out, "/memreserve/ {:#x} {:#x};", range.base, range.size);
    }
    let mut open = 0;
    tree.each(|node, property| {
        let _ = match property {
            None => {
                close(&mut out, &mut open, node.depth);
                open = node.depth + 1;
                let name = if node.depth == 0 { "/".into() } else { printable(node.name) };
                writeln!(out, "\n{:indent$}{name} {{", "", indent = 4 * node.depth)
            }
            Some(property) => {
                let (indent, name) = (4 * open, printable(property.name()));
                writeln!(out, "{:indent$}{name}{};", "", value(property.value))
            }
        };
    })?;
    close(&mut out, &mut open, 0);
    Ok(out)
}

/// Ends the nodes from a depth on.
fn close(out: &mut String, open: &mut usize, depth: usize) {
    while *open > depth {
        *open -= 1;
        let _ = writeln!(out, "{:indent$}}};", "", indent = 4 * *open);
    }
}

fn printable(name: &[u8]) -> String {
    let plain = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' };
    name.iter().map(plain).collect()
}

/// Strings, words or bytes, whatever the value looks like.
fn value(bytes: &[u8]) -> String {
    let plain = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'"' && *byte != b'\\';
    let strings: Vec<_> = bytes.split(|byte| *byte == 0).collect();
    match strings.split_last() {
        _ if bytes.is_empty() => String::new(),
        Some((&[], strings)) if strings.iter().all(|s| !s.is_empty() && s.iter().all(plain)) => {
            let quoted = strings.iter().map(|s| format!("\"{}\"", String::from_utf8_lossy(s)));
            format!(" = {}", quoted.collect::<Vec<_>>().join(", "))
        }
        _ if bytes.len().is_multiple_of(4) => {
            let words = bytes.chunks_exact(4);
            let word = |word: &[u8]| word.iter().fold(0, |all, b| all << 8 | u32::from(*b));
            let words = words.map(|bytes| format!("{:#x}", word(bytes)));
            format!(" = <{}>", words.collect::<Vec<_>>().join(" "))
        }
        _ => {
            let bytes = bytes.iter().map(|byte| format!("{byte:02x}"));
            format!(" = [{}]", bytes.collect::<Vec<_>>().join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use dtoolkit::model::{DeviceTree, DeviceTreeNode};

    use super::source;
    use crate::build::tree::set;

    #[test]
    fn a_tree_reads_as_it_was_made() {
        let mut tree = DeviceTree::new();
        set(&mut tree.root, "compatible", ["a,b", "c"].as_slice());
        let mut child = DeviceTreeNode::new_unchecked("node@10");
        set(&mut child, "reg", [0u8, 0, 0, 16].as_slice());
        set(&mut child, "odd", [1u8, 2, 3].as_slice());
        set(&mut child, "quoted", "say \"x\"");
        set(&mut child, "empty", [].as_slice() as &[u8]);
        child.add_child(DeviceTreeNode::new_unchecked("inner"));
        tree.root.add_child(child);
        tree.root.add_child(DeviceTreeNode::new_unchecked("last"));
        let expected = r#"/dts-v1/;

/ {
    compatible = "a,b", "c";

    node@10 {
        reg = <0x10>;
        odd = [01 02 03];
        quoted = <0x73617920 0x22782200>;
        empty;

        inner {
        };
    };

    last {
    };
};
"#;
        let bytes = tree.to_dtb();
        assert_eq!(source(&bytes).unwrap(), expected);
        for cut in 0..bytes.len() {
            let _ = source(&bytes[..cut]);
        }
        assert!(source(b"no tree").is_err());
    }
}
