// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Stage 2 tables, as their walker sees them.
use std::ops::ControlFlow;

use anchorite_spec::manifest::{PERM_R, PERM_W, PERM_X};
use anchorite_tables::stage1::{Stage1, Unmappable, Use};
use anchorite_tables::stage2::{ContextError, MapError, Memory, Region, Stage2, Tables};
use anchorite_tables::walk::stage2::{Leaf, walk};
use anchorite_tables::walk::{Item, WalkError};
use proptest::prelude::*;

const BASE: u64 = 0x5002_0000;
const RWX: u32 = PERM_R | PERM_W | PERM_X;

fn region(guest: u64, host: u64, size: u64) -> Region {
    let memory = Memory::Normal;
    Region { guest, host, size, perms: RWX, memory, pages_only: false, owner: 1 }
}

fn context(ipa_bits: u32) -> Stage2 {
    Stage2::smallest(ipa_bits).expect("a size that exists")
}

fn leaves(tables: &[u8], vtcr: u64) -> Result<Vec<Leaf>, WalkError> {
    let mut found = Vec::new();
    walk(tables, BASE, BASE, vtcr, &mut |item| {
        match item {
            Item::Leaf(leaf) => found.push(leaf),
            Item::Invalid { .. } => return ControlFlow::Break(()),
            Item::Table { .. } => {}
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn built(context: Stage2, regions: &[Region]) -> Result<Vec<u8>, MapError> {
    let mut arena = vec![0xa5; 1 << 20];
    let mut tables = Tables::new(context, &mut arena, BASE)?;
    regions.iter().try_for_each(|region| tables.map(region))?;
    let (root, used) = tables.finish();
    assert_eq!(root, BASE);
    arena.truncate(used);
    Ok(arena)
}

#[test]
fn shapes_follow_from_the_size() {
    for (bits, pa_range, level, root) in
        [(32, 0, 1, 1), (39, 2, 1, 1), (40, 2, 1, 2), (42, 3, 1, 8), (43, 4, 1, 16), (44, 4, 0, 1)]
    {
        let context = Stage2::new(bits, pa_range).expect("possible");
        assert_eq!((context.start_level(), context.root_tables()), (level, root), "{bits}");
    }
    assert_eq!(Stage2::new(40, 2).map(Stage2::vtcr), Ok(0x8002_3558));
    assert_eq!(context(48).vtcr(), 0x8005_3590);
    assert_eq!(Stage2::new(40, 6).map(Stage2::vtcr), Ok(0x8005_3558));
    assert_eq!(Stage2::new(31, 2), Err(ContextError::IpaBits(31)));
    assert_eq!(Stage2::new(43, 2), Err(ContextError::BeyondPa { ipa_bits: 43, pa_bits: 40 }));
    assert_eq!(Stage2::new(40, 9), Err(ContextError::PaRange(9)));
}

#[test]
fn leaves_are_as_large_as_alignment_permits() {
    let regions = [
        region(0x4000_0000, 0x8000_0000, 0x4020_1000),
        Region { pages_only: true, ..region(0x1_0000_0000, 0x4000_0000, 0x3000) },
        Region {
            perms: PERM_R | PERM_W,
            memory: Memory::Device,
            ..region(0x900_0000, 0x900_0000, 0x1000)
        },
    ];
    let context = context(40);
    let found = leaves(&built(context, &regions).expect("built"), context.vtcr()).expect("read");
    let sizes: Vec<u64> = found.iter().map(|leaf| leaf.size).collect();
    assert_eq!(sizes, [0x1000, 1 << 30, 2 << 20, 0x1000, 0x1000, 0x1000, 0x1000]);
    assert_eq!((found[0].attribute, found[0].execute, found[0].write), (1, false, true));
    assert!(found.iter().all(|leaf| leaf.accessed && leaf.owner == 1 && leaf.other == 0));
    assert!(found[1..].iter().all(|leaf| leaf.attribute == 15 && leaf.execute));
}

#[test]
fn pages_are_forced_where_a_larger_leaf_would_fit() {
    let forced = Region { pages_only: true, ..region(0x4000_0000, 0x8000_0000, 2 << 20) };
    let context = context(40);
    let found = leaves(&built(context, &[forced]).expect("built"), context.vtcr()).expect("read");
    assert_eq!(found.len(), 512);
    assert!(found.iter().all(|leaf| leaf.size == 0x1000));
}

#[test]
fn the_values_that_were_seen_to_work() {
    let context = context(40);
    let first = |region: &Region| {
        let bytes = built(context, &[Region { owner: 0, ..*region }]).expect("built");
        let mut entry = 0;
        walk(&bytes, BASE, BASE, context.vtcr(), &mut |_| ControlFlow::Continue(())).expect("read");
        for word in bytes.chunks_exact(8) {
            let raw = u64::from_le_bytes(word.try_into().expect("eight"));
            if raw & 0x400 != 0 {
                entry = raw;
            }
        }
        entry
    };
    assert_eq!(first(&region(0x4000_0000, 0x8000_0000, 1 << 30)), 0x8000_07fd);
    let device = Region {
        perms: PERM_R | PERM_W,
        memory: Memory::Device,
        ..region(0x900_0000, 0x900_0000, 0x1000)
    };
    assert_eq!(first(&device), 0x0040_0000_0900_04c7);
}

#[test]
fn mistakes_have_names() {
    let context = context(39);
    let one = region(0x4000_0000, 0x4000_0000, 0x20_0000);
    for (wrong, error) in [
        (Region { size: 0, ..one }, MapError::Empty),
        (Region { host: 0x4000_0800, ..one }, MapError::Misaligned),
        (Region { guest: 0x7f_ffff_0000, ..one }, MapError::GuestSpace),
        (Region { host: 1 << 48, ..one }, MapError::HostSpace),
        (Region { perms: PERM_W, ..one }, MapError::Permissions),
        (Region { memory: Memory::Device, ..one }, MapError::Permissions),
        (Region { owner: 16, ..one }, MapError::Owner),
    ] {
        assert_eq!(built(context, &[wrong]), Err(error));
    }
    let again = Region { size: 0x1000, ..one };
    assert_eq!(built(context, &[one, again]), Err(MapError::Occupied { guest: 0x4000_0000 }));
    let misplaced = Tables::new(Stage2::smallest(43).unwrap(), &mut [0; 65536], 0x5002_1000).err();
    assert_eq!(misplaced, Some(MapError::Misaligned));
}

#[test]
fn permissions_change_and_the_owner_stays() {
    let context = context(40);
    let mut arena = vec![0; 1 << 16];
    let mut tables = Tables::new(context, &mut arena, BASE).expect("room");
    tables.map(&Region { owner: 7, ..region(0x4000_0000, 0x8000_0000, 0x40_0000) }).expect("maps");
    tables.protect(0x4020_0000, 0x20_0000, PERM_R).expect("a whole leaf");
    assert_eq!(
        tables.protect(0x4000_0000, 0x1000, PERM_R),
        Err(MapError::Occupied { guest: 0x4000_0000 })
    );
    let (_, used) = tables.finish();
    let found = leaves(&arena[..used], context.vtcr()).expect("read");
    assert_eq!((found[0].write, found[1].write, found[1].execute), (true, false, false));
    assert!(found.iter().all(|leaf| leaf.owner == 7));
}

#[test]
fn the_walker_refuses_what_the_processor_would() {
    let context = context(40);
    let bytes = built(context, &[region(0x4000_0000, 0x8000_0000, 1 << 30)]).expect("built");
    for vtcr in [0, context.vtcr() | 1 << 19, context.vtcr() & !(1 << 31), 0x8002_35d4] {
        assert_eq!(leaves(&bytes, vtcr), Err(WalkError::Vtcr(vtcr)));
    }
    let mut wrong = bytes.clone();
    wrong[8..16].copy_from_slice(&0x8000_1000_u64.to_le_bytes());
    assert_eq!(leaves(&wrong, context.vtcr()), Err(WalkError::Stopped), "an invalid entry");
    wrong[8..16].copy_from_slice(&0x8000_17fd_u64.to_le_bytes());
    assert!(matches!(leaves(&wrong, context.vtcr()), Err(WalkError::BadLeaf { .. })));
    wrong[8..16].copy_from_slice(&0x9000_0003_u64.to_le_bytes());
    assert_eq!(leaves(&wrong, context.vtcr()), Err(WalkError::Outside { address: 0x9000_0000 }));
}

#[test]
fn nothing_lies_beyond_the_addresses_of_the_context() {
    let (small, large) = (context(36), context(40));
    let far = region(0x4000_0000, 0x10_0000_0000, 0x1000);
    assert_eq!(built(small, &[far]), Err(MapError::HostSpace));
    let bytes = built(large, &[far]).expect("built");
    assert_eq!(leaves(&bytes, large.vtcr()).map(|found| found.len()), Ok(1));
    // The same tables, read with PS of the other.
    let vtcr = large.vtcr() & !(7 << 16) | 1 << 16;
    assert_eq!(leaves(&bytes, vtcr), Err(WalkError::Beyond { limit: 1 << 36 }));
    let last = region(0x4000_0000, 0x10_0000_0000 - 0x1000, 0x1000);
    assert_eq!(
        leaves(&built(small, &[last]).expect("built"), small.vtcr()).map(|l| l.len()),
        Ok(1)
    );
    let table = |address| {
        let bytes = vec![0; 4096];
        walk(&bytes, address, address, small.vtcr(), &mut |_| ControlFlow::Continue(()))
    };
    assert_eq!(table(0x10_0000_0000), Err(WalkError::Beyond { limit: 1 << 36 }));
    assert_eq!(table(0x10_0000_0000 - 0x1000), Ok(()));
}

#[test]
fn the_firmwares_own_tables_have_no_second_meaning() {
    let mut arena = [[0; 512]; 8];
    let mut tables = Stage1::new(&mut arena, 0x5000_0000);
    tables.map(0x5000_0000, 0x1000, Use::Code).expect("maps");
    assert_eq!(tables.map(0x5000_0000, 0x1000, Use::Data), Err(Unmappable));
    tables.map(0x4020_0000, 0x40_0000, Use::Data).expect("maps");
    tables.unmap(0x4020_0000, 0x40_0000);
    tables.map(0x4020_0000, 0x1000, Use::Device).expect("free again, table and all");
    assert_eq!(tables.map(0x4020_0800, 0x1000, Use::Device), Err(Unmappable));
}

proptest! {
    #[test]
    fn what_is_mapped_is_what_is_walked(
        bits in 39u32..=44,
        pages in prop::collection::btree_map(0u64..2048, (0u64..4096, any::<bool>()), 1..20),
    ) {
        let context = context(bits);
        let list: Vec<Region> = pages
            .iter()
            .map(|(page, (host, large))| {
                // Slots of 4 MiB, some of them with a whole 2 MiB leaf.
                let size = if *large { 2 << 20 } else { 0x3000 };
                region(page << 22, host << 21, size)
            })
            .collect();
        let found = leaves(&built(context, &list).expect("fits"), context.vtcr()).expect("read");
        let mut want: Vec<(u64, u64)> = Vec::new();
        for region in &list {
            let step = if region.size == 2 << 20 { 2 << 20 } else { 0x1000 };
            want.extend((0..region.size).step_by(step).map(|at| (region.guest + at, region.host + at)));
        }
        let got: Vec<(u64, u64)> = found.iter().map(|leaf| (leaf.guest, leaf.host)).collect();
        prop_assert_eq!(got, want);
    }
}

#[test]
fn forced_write_back_is_another_attribute_and_a_bit() {
    let plain = context(40);
    let forced = plain.with_forced_write_back(true);
    assert_eq!((plain.hcr(), forced.hcr()), (0, 1 << 46));
    assert_eq!((plain.vtcr(), plain.root_bytes()), (forced.vtcr(), forced.root_bytes()));
    let device = Region { memory: Memory::Device, perms: PERM_R | PERM_W, ..region(0, 0, 0x1000) };
    for (context, normal) in [(plain, 15), (forced, 6)] {
        let mut arena = vec![0; 1 << 20];
        let mut tables = Tables::new(context, &mut arena, BASE).unwrap();
        tables.map(&device).unwrap();
        tables.map(&region(1 << 30, 1 << 30, 0x1000)).unwrap();
        // What it is taken for survives another permission.
        for guest in [0, 1 << 30] {
            tables.protect(guest, 0x1000, PERM_R).unwrap();
        }
        let found = leaves(&arena, context.vtcr()).unwrap();
        let attributes: Vec<_> = found.iter().map(|leaf| leaf.attribute).collect();
        assert_eq!(attributes, [1, normal]);
    }
}
