// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The radix builder against known entries and against the independent walker.
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anchorite_spec::manifest::{PERM_R, PERM_W, PERM_X};
use anchorite_tables::radix::{
    self, BOOT_LEAF, FillError, MapError, Memory, RadixBuilder, Region, fill_boot_leaf,
};
use anchorite_tables::walk::radix::{Leaf, walk};
use anchorite_tables::walk::{Item, WalkError};
use proptest::prelude::*;

const BASE: u64 = 0x10_0000;
const RWX: u32 = PERM_R | PERM_W | PERM_X;
const K64: u64 = 0x1_0000;
const M2: u64 = 0x20_0000;
const G1: u64 = 0x4000_0000;

fn arena() -> Vec<u8> {
    vec![0xa5; 0x10_0000]
}

fn ram(guest: u64, host: u64, size: u64) -> Region {
    Region::new(guest, host, size, RWX, Memory::Normal)
}

fn items(arena: &[u8]) -> Result<Vec<Item<Leaf>>, WalkError> {
    let mut found = Vec::new();
    walk(arena, BASE, BASE, &mut |item| {
        found.push(item);
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn leaves(arena: &[u8]) -> Vec<Leaf> {
    items(arena)
        .unwrap()
        .into_iter()
        .filter_map(|item| if let Item::Leaf(leaf) = item { Some(leaf) } else { None })
        .collect()
}

fn word(arena: &[u8], offset: usize) -> u64 {
    u64::from_be_bytes(arena[offset..offset + 8].try_into().unwrap())
}

#[test]
fn one_gigabyte_leaf_has_the_documented_bits() {
    let mut arena = arena();
    let mut builder = RadixBuilder::new(&mut arena, BASE).unwrap();
    builder.map(&ram(0, G1, G1)).unwrap();
    assert_eq!(builder.finish(), (BASE, 0x1_1000));
    assert_eq!(word(&arena, 0), 0x8000_0000_0000_0000 | (BASE + 0x1_0000) | 9);
    assert_eq!(word(&arena, 0x1_0000), 0xC000_0000_0000_0187 | G1);
}

#[test]
fn device_page_has_the_documented_bits() {
    let mut arena = arena();
    let mut builder = RadixBuilder::new(&mut arena, BASE).unwrap();
    let page = 0x6_0302_031a_0000;
    let device = Region::new(page, page, K64, PERM_R | PERM_W, Memory::Device);
    builder.map(&device).unwrap();
    let table = 0x1_2000;
    assert_eq!(word(&arena, table + 8 * 26), 0xC000_0000_0000_01A6 | page);
    assert_eq!(leaves(&arena).len(), 1);
}

#[test]
fn partition_entry_is_as_the_architecture_says() {
    assert_eq!(radix::partition_entry(0x20_0000), 0xC000_0000_0020_00AD);
}

#[test]
fn leaves_are_as_large_as_alignment_permits() {
    let mut arena = arena();
    let mut builder = RadixBuilder::new(&mut arena, BASE).unwrap();
    builder.map(&ram(G1 - M2 - K64, 3 * G1 - M2 - K64, G1 + M2 + 2 * K64)).unwrap();
    let sizes: Vec<u64> = leaves(&arena).iter().map(|leaf| leaf.size).collect();
    assert_eq!(sizes, [K64, M2, G1, K64]);
}

#[test]
fn small_pages_are_used_where_64k_do_not_fit() {
    let mut arena = arena();
    let mut builder = RadixBuilder::new(&mut arena, BASE).unwrap();
    builder.map(&ram(0x1000, 0x4000_1000, 0x3000)).unwrap();
    // In the same slot, 64 KiB pages become 4 KiB ones.
    builder.map(&ram(K64, G1 + K64, K64)).unwrap();
    assert_eq!(leaves(&arena).len(), 3 + 16);
}

#[test]
fn mistakes_are_refused() {
    let mut arena = arena();
    let mut builder = RadixBuilder::new(&mut arena, BASE).unwrap();
    builder.map(&ram(0, G1, G1)).unwrap();
    builder.map(&ram(2 * G1, 2 * G1, K64)).unwrap();
    let cases = [
        (ram(0, 0, 0), MapError::Empty),
        (ram(0x800, 0, 0x1000), MapError::Misaligned),
        (ram(1 << 52, 0, 0x1000), MapError::GuestSpace),
        (ram(0, 0, u64::MAX - 0xfff), MapError::GuestSpace),
        (ram(0, 1 << 57, 0x1000), MapError::HostSpace),
        (ram(M2, M2, M2), MapError::Occupied { guest: M2 }),
        (ram(2 * G1, 0, K64), MapError::Occupied { guest: 2 * G1 }),
        (ram(2 * G1 + K64, 0, 0x1000), MapError::MixedPages { guest: 2 * G1 + K64 }),
        (Region { perms: PERM_W, ..ram(3 * G1, 0, K64) }, MapError::Permissions),
        (Region { memory: Memory::Device, ..ram(3 * G1, 0, K64) }, MapError::Permissions),
        (Region { largest_leaf: 3, ..ram(3 * G1, 0, K64) }, MapError::LeafSize),
    ];
    for (region, error) in cases {
        assert_eq!(builder.map(&region), Err(error), "{region:?}");
    }
    assert_eq!(RadixBuilder::new(&mut [0; 4096], 0).err(), Some(MapError::ArenaFull));
    assert_eq!(RadixBuilder::new(&mut [0; 4096], 4096).err(), Some(MapError::Misaligned));
}

#[test]
fn boot_leaves_are_filled_once_and_only_where_reserved() {
    let mut arena = arena();
    let esb = 0x6_0100_0000_0000;
    let mut builder = RadixBuilder::new(&mut arena, BASE).unwrap();
    builder.reserve_boot_leaf(esb, 2 * K64).unwrap();
    assert_eq!(builder.reserve_boot_leaf(esb, K64), Err(MapError::Occupied { guest: esb }));
    let _ = builder.finish();

    assert!(leaves(&arena).is_empty());
    let reserved = items(&arena)
        .unwrap()
        .into_iter()
        .filter(|item| matches!(item, Item::Invalid { size: K64, raw: BOOT_LEAF, .. }));
    assert_eq!(reserved.count(), 2);

    let host = 0x6_0100_0020_0000;
    let before = arena.clone();
    let refused = [
        (esb + 2 * K64, host, FillError::NotReserved),
        (esb + M2, host, FillError::NoPath),
        (0, host, FillError::NoPath),
        (esb + 0x1000, host, FillError::Address),
        (esb, host + 0x1000, FillError::Address),
        (1 << 52, host, FillError::Address),
    ];
    for (guest, host, error) in refused {
        assert_eq!(fill_boot_leaf(&mut arena, BASE, BASE, guest, host), Err(error));
    }
    assert_eq!(before, arena);

    fill_boot_leaf(&mut arena, BASE, BASE, esb + K64, host).unwrap();
    let again = fill_boot_leaf(&mut arena, BASE, BASE, esb + K64, host);
    assert_eq!(again, Err(FillError::NotReserved));
    let leaf = leaves(&arena)[0];
    assert_eq!((leaf.guest, leaf.host, leaf.size), (esb + K64, host, K64));
    assert!(leaf.read && leaf.write && !leaf.execute && leaf.referenced_changed);
    assert_eq!((leaf.attribute, leaf.other), (2, 0));
}

/// Regions at random places that often touch, in units of pages.
fn any_region() -> impl Strategy<Value = Region> {
    let page = prop_oneof![Just(0x1000u64), Just(K64), Just(M2), Just(G1)];
    (page, 0u64..4, 0u64..1024, 0u64..1024, 1u64..40, any::<bool>()).prop_map(
        |(page, gigabyte, guest, host, pages, device)| {
            let (perms, memory) =
                if device { (PERM_R | PERM_W, Memory::Device) } else { (RWX, Memory::Normal) };
            let guest = gigabyte * G1 + guest * page;
            Region::new(guest, host * page, pages * page, perms, memory)
        },
    )
}

/// The whole tree as pages of 4 KiB, 64 KiB, … joined: guest start -> leaf.
fn covered(leaves: &[Leaf], region: &Region) -> bool {
    let by_guest: BTreeMap<u64, &Leaf> = leaves.iter().map(|leaf| (leaf.guest, leaf)).collect();
    let mut at = region.guest;
    while at < region.guest + region.size {
        let Some(leaf) = by_guest.get(&at) else { return false };
        let right = leaf.host == region.host + (at - region.guest)
            && leaf.write
            && leaf.execute == (region.perms & PERM_X != 0)
            && leaf.attribute == if region.memory == Memory::Device { 2 } else { 0 }
            && leaf.referenced_changed
            && leaf.other == 0;
        if !right {
            return false;
        }
        at += leaf.size;
    }
    at == region.guest + region.size
}

proptest! {
    #[test]
    fn walker_finds_exactly_what_was_mapped(regions in prop::collection::vec(any_region(), 1..6)) {
        let mut arena = vec![0; 0x80_0000];
        let mut builder = RadixBuilder::new(&mut arena, BASE).unwrap();
        let mut mapped: Vec<Region> = Vec::new();
        for region in regions {
            let meets = mapped.iter().any(|other| {
                region.guest < other.guest + other.size && other.guest < region.guest + region.size
            });
            match builder.map(&region) {
                Ok(()) => {
                    prop_assert!(!meets, "two mappings share a page");
                    mapped.push(region);
                }
                // A failed call ends the tree, so only its verdict is judged.
                Err(MapError::Occupied { .. }) => { prop_assert!(meets); return Ok(()); }
                Err(MapError::MixedPages { .. }) => return Ok(()),
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
        let leaves = leaves(&arena);
        for region in &mapped {
            prop_assert!(covered(&leaves, region));
        }
        let total: u64 = leaves.iter().map(|leaf| leaf.size).sum();
        prop_assert_eq!(total, mapped.iter().map(|region| region.size).sum::<u64>());
    }

    #[test]
    fn walker_survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..4096), root in any::<u64>()) {
        let _ = walk(&bytes, BASE, root, &mut |_| ControlFlow::Continue(()));
    }

    #[test]
    fn filling_survives_any_bytes(
        mut bytes in prop::collection::vec(any::<u8>(), 0..70000),
        base in any::<u64>(), root in any::<u64>(), guest in any::<u64>(), host in any::<u64>(),
    ) {
        let _ = fill_boot_leaf(&mut bytes, base, root, guest & !0xffff, host & !0xffff);
        let _ = fill_boot_leaf(&mut bytes, root, root, guest & 0xf_ffff_ffff_0000, host & 0xffff_ffff_0000);
    }
}
