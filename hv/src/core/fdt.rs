// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine's flattened device tree (Devicetree Specification 0.4, chapter 5), read in one pass.
//!
//! Whoever made it is not trusted: every offset is checked, and a tree that breaks off or does not
//! nest is an error. Property names are compared where they stand, so that a pass over a machine's
//! tree takes some thousand instructions.
use core::fmt;

use anchorite_spec::Range;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 40;
/// The layout that this reader knows, and every later one that says that it is compatible.
const VERSION: u32 = 17;
const MAGIC: u32 = 0xd00d_feed;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Why a tree cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeError {
    /// There is no tree.
    Magic,
    /// It has a layout that this reader does not know.
    Version,
    /// It ends before something in it does.
    Cut,
    /// Its words do not lie where words lie.
    Alignment,
    /// Its nodes do not nest.
    Nesting,
    /// It holds a word that is no token.
    Token,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Magic => "there is none",
            Self::Version => "its version is not known",
            Self::Cut => "it is cut off",
            Self::Alignment => "it is not aligned",
            Self::Nesting => "its nodes do not nest",
            Self::Token => "it holds an unknown token",
        })
    }
}

/// What is left to read: words in the order of bytes that trees have.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a [u32]);

impl<'a> Rest<'a> {
    fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(u32::from_be(*word))
    }

    /// Bytes, with what pads them to whole words.
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len.div_ceil(4))?;
        self.0 = rest;
        bytes.as_bytes().get(..len)
    }

    /// Text, without the zero that ends it.
    fn text(&mut self) -> Option<&'a [u8]> {
        // Not 0 for a word with a byte that is.
        let zeros = |word: u32| word.wrapping_sub(0x0101_0101) & !word & 0x8080_8080;
        let last = self.0.iter().position(|word| zeros(*word) != 0)?;
        let bytes = self.bytes(4 * (last + 1))?;
        let len = 4 * last + bytes[4 * last..].iter().position(|byte| *byte == 0)?;
        Some(&bytes[..len])
    }

    /// What a property's token is followed by: the place of its name, and its value.
    #[inline(always)]
    fn property(&mut self) -> Option<(usize, &'a [u8])> {
        let len = self.word()? as usize;
        let name = self.word()? as usize;
        Some((name, self.bytes(len)?))
    }
}

fn words(header: &[u8; HEADER_BYTES]) -> [u32; HEADER_BYTES / 4] {
    let mut words = [0; HEADER_BYTES / 4];
    for (word, bytes) in words.iter_mut().zip(header.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    words
}

/// A tree.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    structure: &'a [u32],
    strings: &'a [u8],
    reserved: &'a [u8],
    size: usize,
}

impl<'a> Tree<'a> {
    /// All bytes of the tree that begins with this header.
    ///
    /// # Errors
    /// There is no tree.
    pub fn size_of(header: &[u8; HEADER_BYTES]) -> Result<usize, TreeError> {
        let [magic, size, ..] = words(header);
        if magic == MAGIC { Ok(size as usize) } else { Err(TreeError::Magic) }
    }

    /// A tree, with nothing behind it.
    ///
    /// # Errors
    /// Its header is wrong.
    pub fn new(bytes: &'a [u8]) -> Result<Self, TreeError> {
        let header = words(bytes.first_chunk().ok_or(TreeError::Cut)?);
        let [
            magic,
            size,
            structure,
            strings,
            reserved,
            _,
            compatible,
            _,
            strings_size,
            structure_size,
        ] = header;
        if magic != MAGIC {
            return Err(TreeError::Magic);
        }
        if compatible > VERSION {
            return Err(TreeError::Version);
        }
        let part = |start: u32, size: u32| {
            let end = start.checked_add(size)? as usize;
            bytes.get(start as usize..end)
        };
        let structure = part(structure, structure_size).ok_or(TreeError::Cut)?;
        Ok(Self {
            structure: <[u32]>::ref_from_bytes(structure).map_err(|_| TreeError::Alignment)?,
            strings: part(strings, strings_size).ok_or(TreeError::Cut)?,
            reserved: bytes.get(reserved as usize..).ok_or(TreeError::Cut)?,
            size: size as usize,
        })
    }

    /// All bytes of the tree.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Memory that is not to be used.
    pub fn reservations(&self) -> impl Iterator<Item = Range> + 'a {
        let entries = self.reserved.chunks_exact(16).map(|entry| {
            let (base, size) = entry.split_at(8);
            let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
            Range::new(number(base), number(size))
        });
        entries.take_while(|range| *range != Range::new(0, 0))
    }

    /// Shows every node, each before its children: first alone, then with each of its properties.
    ///
    /// # Errors
    /// The tree is broken; nodes before the break have been shown.
    pub fn each(
        &self,
        mut visit: impl FnMut(&Node<'a>, Option<&Property<'a>>),
    ) -> Result<(), TreeError> {
        let mut rest = Rest(self.structure);
        let mut node = Node { name: &[], depth: 0, rest, strings: self.strings };
        let mut depth = 0_usize;
        loop {
            match rest.word().ok_or(TreeError::Cut)? {
                BEGIN_NODE => {
                    node.name = rest.text().ok_or(TreeError::Cut)?;
                    node.rest = rest;
                    node.depth = depth;
                    depth += 1;
                    visit(&node, None);
                }
                END_NODE => depth = depth.checked_sub(1).ok_or(TreeError::Nesting)?,
                PROPERTY => {
                    let (name, value) = rest.property().ok_or(TreeError::Cut)?;
                    let name = self.strings.get(name..).ok_or(TreeError::Cut)?;
                    visit(&node, Some(&Property { name, value }));
                }
                NOP => {}
                END if depth == 0 => return Ok(()),
                END => return Err(TreeError::Nesting),
                _ => return Err(TreeError::Token),
            }
        }
    }
}

/// A node.
pub struct Node<'a> {
    /// Its name, with the unit's address.
    pub name: &'a [u8],
    /// How many nodes it is in.
    pub depth: usize,
    rest: Rest<'a>,
    strings: &'a [u8],
}

impl<'a> Node<'a> {
    /// Its properties.
    pub fn properties(&self) -> impl Iterator<Item = Property<'a>> {
        let (mut rest, strings) = (self.rest, self.strings);
        core::iter::from_fn(move || {
            loop {
                match rest.word()? {
                    PROPERTY => {
                        let (name, value) = rest.property()?;
                        return Some(Property { name: strings.get(name..)?, value });
                    }
                    NOP => {}
                    _ => return None,
                }
            }
        })
    }

    /// The value of one.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'a [u8]> {
        self.properties().find(|property| property.is(name)).map(|property| property.value)
    }
}

/// A property.
pub struct Property<'a> {
    /// From its name on.
    name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

impl Property<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.name.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Whether this is its name.
    #[inline(always)]
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        // Mostly the first byte tells.
        self.name.first() == name.as_bytes().first()
            && self.name.starts_with(name.as_bytes())
            && self.name.get(name.len()) == Some(&0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{END, HEADER_BYTES, MAGIC, Tree, TreeError};
    use anchorite_spec::Range;

    /// Bytes on a border that trees are on.
    #[repr(align(8))]
    #[derive(Clone)]
    pub(crate) struct Aligned([u8; 512], usize);

    impl core::ops::Deref for Aligned {
        type Target = [u8];
        fn deref(&self) -> &[u8] {
            &self.0[..self.1]
        }
    }

    impl core::ops::DerefMut for Aligned {
        fn deref_mut(&mut self) -> &mut [u8] {
            &mut self.0[..self.1]
        }
    }

    /// A root with a property, and a child with another.
    pub(crate) fn tree() -> Aligned {
        let strings = b"compatible\0reg\0";
        let mut structure = Vec::new();
        let mut word = |value: u32| structure.extend(value.to_be_bytes());
        [1, 0, 4, 3, 4, 0].into_iter().for_each(&mut word); // root, NOP, compatible = "abc"
        word(u32::from_be_bytes(*b"abc\0"));
        word(1);
        word(u32::from_be_bytes(*b"u@9\0"));
        [3, 5, 11, 0x0102_0304, 0x0500_0000, 2, 2, END].into_iter().for_each(&mut word);
        let reserved = HEADER_BYTES + 32;
        let total = reserved + structure.len() + strings.len();
        let header = [
            MAGIC as usize,
            total,
            reserved,
            reserved + structure.len(),
            HEADER_BYTES,
            17,
            16,
            0,
            strings.len(),
            structure.len(),
        ];
        let mut bytes: Vec<u8> =
            header.iter().flat_map(|word| (*word as u32).to_be_bytes()).collect();
        bytes.extend([0x1000_u64, 0x200, 0, 0].iter().flat_map(|word| word.to_be_bytes()));
        bytes.extend(structure);
        bytes.extend(strings);
        let mut aligned = Aligned([0; 512], bytes.len());
        aligned.copy_from_slice(&bytes);
        aligned
    }

    #[test]
    fn every_node_is_shown_with_its_own_properties() {
        let bytes = tree();
        assert_eq!(Tree::size_of(bytes.first_chunk().unwrap()), Ok(bytes.len()));
        let tree = Tree::new(&bytes).unwrap();
        let mut seen = Vec::new();
        tree.each(|node, property| {
            if property.is_some_and(|property| property.is("reg")) {
                assert_eq!(node.name, b"u@9");
            }
            if property.is_some() {
                return;
            }
            seen.push((node.name, node.property("compatible"), node.property("reg")));
            assert_eq!(node.property("compat"), None);
        })
        .unwrap();
        let root: (&[u8], Option<&[u8]>, Option<&[u8]>) = (b"", Some(b"abc\0"), None);
        assert_eq!(seen, [root, (b"u@9", None, Some(&[1, 2, 3, 4, 5]))]);
        assert_eq!(tree.reservations().collect::<Vec<_>>(), [Range::new(0x1000, 0x200)]);
    }

    #[test]
    fn broken_trees_are_errors_and_none_is_a_panic() {
        let bytes = tree();
        for length in 0..bytes.len() {
            let cut = Tree::new(&bytes[..length]);
            assert_eq!(cut.err(), Some(TreeError::Cut), "{length} bytes");
        }
        let outcome = |bytes: &[u8]| {
            Tree::new(bytes).and_then(|tree| {
                tree.reservations().take(100).for_each(drop);
                tree.each(|node, _| node.properties().for_each(drop))
            })
        };
        // Whatever word is whatever else, there is an answer.
        for at in (0..bytes.len() - 4).step_by(4) {
            for value in [0_u32, 1, 2, 3, 4, END, 0x40, 0x7fff_ffff, u32::MAX] {
                let mut changed = bytes.clone();
                changed[at..at + 4].copy_from_slice(&value.to_be_bytes());
                let _ = outcome(&changed);
            }
        }
        let structure = HEADER_BYTES + 32;
        for (at, value, error) in [
            (0, 0, TreeError::Magic),
            (24, 18, TreeError::Version),
            (structure, 5, TreeError::Token),
            (structure, 2, TreeError::Nesting),
            (structure + 28, 9, TreeError::Nesting),
            (structure + 12, u32::MAX, TreeError::Token),
        ] {
            let mut changed = bytes.clone();
            changed[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
            let found = outcome(&changed).unwrap_err();
            assert!(found == error || found == TreeError::Cut, "{at}: {found:?}");
        }
    }
}
