// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The OpenPOWER container that flash images stand in, and a flash with one such partition.
//!
//! Layouts: skiboot, libstb/container.h ("secure and trusted boot container"), and libflash/ffs.h.
//! The container here is not signed: machines that enforce secure boot do not start it, all others
//! measure its digest.
use sha2::{Digest, Sha512};

use crate::fit;

/// Bytes of a container before its content.
pub const HEADER_BYTES: usize = 4096;
/// What a BOOTKERNEL partition holds on the boards that have one, if nothing else is said.
pub const PARTITION_BYTES: u64 = 16 << 20;
/// Unwritten flash.
const ERASED: u8 = 0xff;

const MAGIC: [u8; 4] = 0x1708_2011_u32.to_be_bytes();
/// The prefix header, after three hardware keys.
const PREFIX: usize = 426;
/// In the prefix header: the number of software keys and of entity identifiers, and their sizes.
const KEYS: usize = PREFIX + 24;
const ENTITIES: usize = PREFIX + 97;
const KEY_BYTES: usize = 132;
const ENTITY_BYTES: usize = 16;
/// The software header, without keys and identifiers before it.
const SOFTWARE: usize = PREFIX + 98 + 3 * KEY_BYTES;
/// In a header: its content's size and digest.
const SIZE: usize = 25;
const DIGEST: usize = 33;

/// A container with its content.
#[must_use]
pub fn wrap(content: &[u8]) -> Vec<u8> {
    let mut file = vec![0; HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC);
    put(4, &1u16.to_be_bytes());
    put(6, &((HEADER_BYTES + content.len()) as u64).to_be_bytes());
    // SHA-512 and ECDSA, in both headers. No software key: the prefix' content is empty.
    for (header, content) in [(PREFIX, &[][..]), (SOFTWARE, content)] {
        put(header, &[0, 1, 1, 1]);
        put(header + SIZE, &(content.len() as u64).to_be_bytes());
        put(header + DIGEST, &Sha512::digest(content));
    }
    file.extend_from_slice(content);
    file
}

/// A file with or without a container around its content.
pub struct Contained<'a> {
    /// Bytes before the content.
    pub before: usize,
    /// The content.
    pub content: &'a [u8],
    /// Bytes of unwritten flash behind it.
    pub padding: usize,
}

/// Takes a container off, if there is one, and with it what pads a partition.
#[must_use]
pub fn open(file: &[u8]) -> Contained<'_> {
    if let Some((before, content)) = fit::open(file) {
        return Contained { before, content, padding: 0 };
    }
    if !file.starts_with(&MAGIC) {
        return Contained { before: 0, content: file, padding: 0 };
    }
    let content = file.get(HEADER_BYTES..).unwrap_or_default();
    let (content, padding) = match size(file).and_then(|size| content.split_at_checked(size)) {
        Some((content, rest)) if rest.iter().all(|byte| *byte == ERASED) => (content, rest.len()),
        _ => (content, 0),
    };
    Contained { before: HEADER_BYTES, content, padding }
}

/// What the software header says of its content's size.
fn size(file: &[u8]) -> Option<usize> {
    let keys = usize::from(*file.get(KEYS)?) * KEY_BYTES;
    let at = SOFTWARE + keys + usize::from(*file.get(ENTITIES)?) * ENTITY_BYTES + SIZE;
    let size = file.get(at..at + 8)?.try_into().ok()?;
    usize::try_from(u64::from_be_bytes(size)).ok().filter(|size| *size > 0)
}

/// A partition of this size, or `None` if the container is larger.
#[must_use]
pub fn partition(mut container: Vec<u8>, size: u64) -> Option<Vec<u8>> {
    let size = usize::try_from(size).ok().filter(|size| container.len() <= *size)?;
    container.resize(size, ERASED);
    Some(container)
}

/// A flash with this BOOTKERNEL partition and nothing else, as QEMU's machine has one.
#[must_use]
pub fn flash(partition: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 0x1000;
    const FIRST: usize = 16 * BLOCK;
    let blocks = |bytes: usize| (bytes.div_ceil(BLOCK) as u32).to_be_bytes();
    let size = (FIRST + partition.len()).next_power_of_two();
    let entry = |name: &str, base: usize, bytes: usize, id: u32, kind: u32| {
        let mut entry = [0; 128];
        entry[..name.len()].copy_from_slice(name.as_bytes());
        let parent = u32::MAX.to_be_bytes();
        let actual = (bytes as u32).to_be_bytes();
        let (id, kind) = (id.to_be_bytes(), kind.to_be_bytes());
        let words = [blocks(base), blocks(bytes), parent, id, kind, [0; 4], actual];
        entry[16..44].copy_from_slice(words.as_flattened());
        seal(entry)
    };
    let mut header = [0; 48];
    let word = |value: usize| (value as u32).to_be_bytes();
    let words = [*b"PART", word(1), word(1), word(128), word(2), word(BLOCK), blocks(size)];
    header[..28].copy_from_slice(words.as_flattened());
    let mut bytes = seal(header).to_vec();
    bytes.extend(entry("part", 0, BLOCK, 1, 3));
    bytes.extend(entry("BOOTKERNEL", FIRST, partition.len(), 2, 1));
    bytes.resize(FIRST, ERASED);
    bytes.extend_from_slice(partition);
    bytes.resize(size, ERASED);
    bytes
}

/// Puts the sum of the words before it into a structure's last word.
fn seal<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    let (rest, sum) = bytes.split_at_mut(N - 4);
    for word in rest.chunks_exact(4) {
        sum.iter_mut().zip(word).for_each(|(sum, byte)| *sum ^= byte);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{HEADER_BYTES, flash, open, partition, wrap};

    #[test]
    fn what_is_wrapped_comes_out_again() {
        let content = b"an image".repeat(700);
        let container = wrap(&content);
        assert_eq!(container.len(), HEADER_BYTES + content.len());
        assert_eq!(open(&container).content, content);
        let whole = partition(container.clone(), 0x4000).unwrap();
        assert_eq!(whole.len(), 0x4000);
        let opened = open(&whole);
        assert_eq!((opened.before, opened.content), (HEADER_BYTES, &content[..]));
        assert_eq!(opened.padding, 0x4000 - container.len());
        assert!(partition(container, 0x1000).is_none());
        assert_eq!(open(&content).content, content);
        // What stands behind is not lost: it is no padding.
        let more = [&whole[..], b"x"].concat();
        assert_eq!(open(&more).content.len(), more.len() - HEADER_BYTES);
    }

    #[test]
    fn any_container_is_taken_off() {
        let whole = wrap(b"image");
        for cut in 0..whole.len() {
            let opened = open(&whole[..cut]);
            assert!(opened.content.len() <= cut);
        }
        for at in 0..HEADER_BYTES {
            let mut changed = whole.clone();
            changed[at] = 0xff;
            assert!(open(&changed).content.len() <= whole.len());
        }
    }

    #[test]
    fn a_flash_sums_to_nothing() {
        let bytes = flash(&[7; 0x8000]);
        assert!(bytes.len().is_power_of_two());
        for (at, size) in [(0, 48), (48, 128), (176, 128)] {
            let words = bytes[at..at + size].chunks_exact(4);
            let sum = words.fold(0, |sum, w| sum ^ u32::from_be_bytes(w.try_into().unwrap()));
            assert_eq!(sum, 0);
        }
        assert_eq!(&bytes[0x10000..0x18000], [7; 0x8000]);
    }
}
