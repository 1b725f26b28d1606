// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Guest memory: address types, and the only way from a guest address to bytes.
//!
//! What a guest hands over is a claim. [`GuestMemory::view`] accepts it when every byte lies in
//! one region of guest RAM; only the [`GuestSlice`] that it returns can be read or written. The
//! guest may change the bytes at any time, so accesses are volatile and copy: no reference into
//! guest memory ever exists.
#![expect(unsafe_code, reason = "volatile copies from and to guest RAM")]

use core::sync::atomic::{AtomicU64, Ordering};

use anchorite_spec::Range;
use anchorite_spec::manifest::{MAP_RAM, MAPPINGS, Mapping, PERM_R, PERM_W};

/// A guest real address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gpa(pub u64);

/// A host real address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hpa(pub u64);

/// The bytes are not all inside one region of guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotGuestRam;

#[derive(Clone, Copy)]
struct Region {
    guest: u64,
    host: u64,
    size: u64,
}

/// The guest's RAM regions.
pub struct GuestMemory {
    regions: [Region; MAPPINGS],
    len: usize,
}

/// A big-endian 32-bit counter in guest RAM, which CPUs find without a lock; or none.
#[derive(Debug)]
pub struct GuestCounter(AtomicU64);

/// Bytes that were found to be guest RAM.
#[derive(Clone, Copy, Debug)]
pub struct GuestSlice {
    host: u64,
    len: usize,
}

impl GuestMemory {
    /// No memory at all.
    #[must_use]
    pub const fn empty() -> Self {
        Self { regions: [Region { guest: 0, host: 0, size: 0 }; MAPPINGS], len: 0 }
    }

    /// The readable and writable RAM among `mappings`.
    ///
    /// # Safety
    /// Each such mapping's host range must be mapped, unused by anything else in this program, and
    /// stay so for as long as the value or a slice from it lives.
    pub unsafe fn new<'a>(mappings: impl Iterator<Item = &'a Mapping>) -> Self {
        let mut memory = Self::empty();
        let wanted = PERM_R | PERM_W;
        for mapping in mappings.filter(|m| m.kind == MAP_RAM && m.perms & wanted == wanted) {
            let (guest, host, size) = (mapping.guest, mapping.host, mapping.size);
            if memory.len < MAPPINGS {
                memory.regions[memory.len] = Region { guest, host, size };
                memory.len += 1;
            }
        }
        memory
    }

    /// The host address of `len` bytes at `gpa`, if all of them lie in one region.
    ///
    /// # Errors
    /// [`NotGuestRam`] otherwise, also when the range wraps around.
    pub fn translate(&self, gpa: Gpa, len: u64) -> Result<Hpa, NotGuestRam> {
        let end = gpa.0.checked_add(len).ok_or(NotGuestRam)?;
        self.regions[..self.len]
            .iter()
            .find(|r| r.guest <= gpa.0 && gpa.0 < r.guest + r.size && end <= r.guest + r.size)
            .map(|r| Hpa(r.host + (gpa.0 - r.guest)))
            .ok_or(NotGuestRam)
    }

    /// A view of `len` bytes at `gpa`.
    ///
    /// # Errors
    /// As [`Self::translate`].
    pub fn view(&self, gpa: Gpa, len: usize) -> Result<GuestSlice, NotGuestRam> {
        self.translate(gpa, len as u64).map(|hpa| GuestSlice { host: hpa.0, len })
    }
}

impl GuestCounter {
    /// None.
    #[expect(clippy::declare_interior_mutable_const, reason = "each use is a counter of its own")]
    pub const NONE: Self = Self(AtomicU64::new(0));
    /// So many bytes of the view there are before the word at least.
    const LEAD: usize = 0x80;

    /// Makes it the word at `offset`, 128 at least; none without a view, or if that is no aligned word
    /// inside it.
    pub fn place(&self, view: Option<GuestSlice>, offset: usize) {
        let inside = |view: &GuestSlice| {
            offset >= Self::LEAD && view.len.checked_sub(offset).is_some_and(|n| n >= 4)
        };
        let word = view.filter(inside).map_or(0, |view| view.host + offset as u64);
        self.0.store(if word.is_multiple_of(4) { word } else { 0 }, Ordering::Relaxed);
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_placed(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Counts one. The guest may write the word at any time, too.
    #[inline(always)]
    pub fn bump(&self) {
        self.bump_and(|_| ());
    }

    /// The same; and the byte that lies so far before the word, 0 without one.
    #[inline(always)]
    pub fn bump_beside<const BEFORE: usize>(&self) -> u8 {
        const { assert!(BEFORE > 0 && BEFORE <= Self::LEAD) };
        self.bump_and(|word| {
            // SAFETY: `place` was given a view with so many bytes before the word, which
            // `GuestMemory::new` promised to be mapped and no Rust object's.
            unsafe { word.byte_sub(BEFORE).cast::<u8>().read_volatile() }
        })
    }

    #[inline(always)]
    fn bump_and<T: Default>(&self, look: impl FnOnce(*const u32) -> T) -> T {
        let word = self.0.load(Ordering::Relaxed) as *mut u32;
        if word.is_null() {
            return T::default();
        }
        // SAFETY: `place` was given a view with this aligned word in it; then as above.
        unsafe {
            let count = u32::from_be(word.read_volatile());
            word.write_volatile(count.wrapping_add(1).to_be());
        }
        look(word)
    }
}

impl GuestSlice {
    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the slice holds no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies bytes out, starting at `offset`; what lies past the end is left alone.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        for (i, byte) in into.iter_mut().enumerate().take(self.len.saturating_sub(offset)) {
            // SAFETY: offset + i < len, and `GuestMemory::new` promised that these bytes are mapped
            // and that no Rust object lives there.
            *byte = unsafe { core::ptr::read_volatile((self.host as *const u8).add(offset + i)) };
        }
    }

    /// Copies bytes in, starting at `offset`; what lies past the end is dropped.
    pub fn write(&self, offset: usize, from: &[u8]) {
        for (i, byte) in from.iter().enumerate().take(self.len.saturating_sub(offset)) {
            // SAFETY: as in `read`.
            unsafe { core::ptr::write_volatile((self.host as *mut u8).add(offset + i), *byte) };
        }
    }

    /// The big-endian doubleword at `offset`, or 0 past the end.
    #[must_use]
    pub fn read_be64(&self, offset: usize) -> u64 {
        let mut bytes = [0; 8];
        self.read(offset, &mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// The big-endian 32-bit word at `offset`, or 0 past the end.
    #[must_use]
    pub fn read_be32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes);
        u32::from_be_bytes(bytes)
    }

    /// Stores a big-endian 32-bit word at `offset`.
    pub fn write_be32(&self, offset: usize, value: u32) {
        self.write(offset, &value.to_be_bytes());
    }
}

/// The second-stage tables, which the processor reads and reports show.
pub struct TableMemory(Range);

impl TableMemory {
    /// No tables.
    pub const NONE: Self = Self(Range::new(0, 0));

    /// The tables in a range of host memory.
    ///
    /// # Safety
    /// The range must be mapped for as long as the value lives, and no Rust object be in it.
    #[must_use]
    pub const unsafe fn new(range: Range) -> Self {
        Self(range)
    }

    /// The entry at a host address, if it is one in these tables.
    #[must_use]
    pub fn read(&self, at: Hpa) -> Option<[u8; 8]> {
        let inside = self.0.contains(Range::new(at.0, 8)) && at.0.checked_add(8).is_some();
        let entry = at.0 as *const [u8; 8];
        // SAFETY: the entry lies in the range that `new` was promised.
        (inside && at.0.is_multiple_of(8)).then(|| unsafe { entry.read_volatile() })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Gpa, GuestMemory, Hpa, NotGuestRam};
    use anchorite_spec::manifest::{ATTACHED_NOTHING, MAP_RAM, Mapping, Name, PERM_R, PERM_W};

    pub(crate) fn memory_at(guest: u64, bytes: &'static mut [u8]) -> GuestMemory {
        let mapping = Mapping {
            name: Name::new("ram"),
            kind: MAP_RAM,
            perms: PERM_R | PERM_W,
            guest,
            size: bytes.len() as u64,
            host: bytes.as_mut_ptr() as u64,
            host_size: bytes.len() as u64,
            attached: ATTACHED_NOTHING,
            reserved: 0,
        };
        // SAFETY: the bytes are leaked for the test and touched only through the result.
        unsafe { GuestMemory::new([mapping].iter()) }
    }

    #[test]
    fn views_end_where_the_region_ends() {
        let memory = memory_at(0x1_0000, Box::leak(vec![0; 0x1000].into_boxed_slice()));
        assert!(memory.view(Gpa(0x1_0fff), 1).is_ok());
        for (gpa, len) in
            [(0x1_0fff, 2), (0xffff, 1), (0x1_1000, 0), (u64::MAX, 2), (0x1_0000, usize::MAX)]
        {
            assert_eq!(memory.view(Gpa(gpa), len).err(), Some(NotGuestRam), "{gpa:#x}+{len:#x}");
        }
        assert_eq!(
            memory.translate(Gpa(0x1_0010), 16).map(|h| h.0 & 0xf),
            memory.translate(Gpa(0x1_0000), 16).map(|Hpa(h)| h & 0xf)
        );
    }

    /// All ranges in a space of 64 addresses, against all pairs of regions there: what is translated is
    /// what a list of single bytes says.
    #[test]
    fn a_translation_is_exact_in_every_small_space() {
        const SPACE: u64 = if cfg!(miri) { 10 } else { 24 };
        let region = |guest, host, size| Mapping {
            name: Name::new("ram"),
            kind: MAP_RAM,
            perms: PERM_R | PERM_W,
            guest,
            size,
            host,
            host_size: size,
            attached: ATTACHED_NOTHING,
            reserved: 0,
        };
        for top in [0, u64::MAX - SPACE] {
            for (start, size) in (0..8).flat_map(|start| (1..8).map(move |size| (start, size))) {
                let second = start + size + (start ^ size) % 3;
                let regions = [region(top + start, 100, size), region(top + second, 200, 5)];
                // SAFETY: nothing is read or written through it.
                let memory = unsafe { GuestMemory::new(regions.iter()) };
                let byte = |at: u64| {
                    let inside = regions.iter().find(|r| at >= r.guest && at - r.guest < r.size);
                    inside.map(|r| (r.host + (at - r.guest), r.host))
                };
                for at in 0..SPACE {
                    for len in 0..=SPACE {
                        let bytes: Option<Vec<_>> = (0..len.max(1))
                            .map(|n| (top + at).checked_add(n).and_then(byte))
                            .collect();
                        let together = bytes.filter(|all| all.iter().all(|one| one.1 == all[0].1));
                        let want = together.map(|all| Hpa(all[0].0));
                        let got = memory.translate(Gpa(top + at), len);
                        assert_eq!(got.ok(), want, "{at}+{len} of {start}+{size}, {second}+5");
                    }
                }
            }
        }
        // As far as the address space goes, and around its end.
        let memory = memory_at(0x1_0000, Box::leak(vec![0; 0x1000].into_boxed_slice()));
        for at in [0, 0xffff, 0x1_0000, 0x1_0fff, 0x1_1000, 1 << 63, u64::MAX] {
            for len in [u64::MAX, u64::MAX - at, (u64::MAX - at).wrapping_add(1), 1 << 63] {
                let fits = (0x1_0000..0x1_1000).contains(&at) && len <= 0x1_1000 - at;
                assert_eq!(memory.translate(Gpa(at), len).is_ok(), fits, "{at:#x}+{len:#x}");
            }
        }
    }

    #[test]
    fn words_are_big_endian_and_stay_inside() {
        let memory = memory_at(0, Box::leak(vec![0xff; 8].into_boxed_slice()));
        let view = memory.view(Gpa(0), 6).expect("inside");
        view.write_be32(0, 0x0102_0304);
        view.write_be32(4, 0x0506_0708);
        let mut bytes = [0; 8];
        memory.view(Gpa(0), 8).expect("inside").read(0, &mut bytes);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 0xff, 0xff]);
    }
}
