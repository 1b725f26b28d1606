// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The walls: each a claim, and either nothing more or the reason why it is not proved.
//!
//! The manifest says what the guest may reach; the tables say what it can reach. The claims hold
//! the tables against the manifest, and the manifest against itself and against the platform: an
//! image whose manifest allows too much is refused as well as one whose tables do.
mod blank;
mod calls;
mod masters;
mod own;

use std::fmt;

use anchorite_spec::manifest::{
    ARCH_ARM64, BOOT_BARE, IMAGE_OFFSET, MAP_BOOT_LEAF, MAP_DEVICE, MAP_RAM, MAP_WITHIN, Mapping,
    PART_BODY, PART_KERNEL, PART_LOADER, PART_OWN_TABLES, PART_TABLES, PERM_DMA, PERM_R, PERM_W,
    PERM_X, Part, SPACE_GUEST, SPACE_HOST, SPACE_IMAGE, VCPUS,
};
use anchorite_spec::{Epitaph, Form, Ledger, Manifest, Range};

use super::clean;
use super::walked::{Kind, Leaf, Walked};
use crate::config::platform::{FLASH, Platform};
use crate::config::units;
use crate::image::loader_header;

/// A claim.
pub struct Wall {
    /// A short name that scripts can rely on.
    pub id: &'static str,
    /// What is claimed.
    pub claim: &'static str,
    /// Why it is not proved; `None` if it is.
    pub why: Option<String>,
}

/// What an empty boot leaf's slot holds.
const EMPTY_BOOT_LEAF: u64 = 1 << 9;
const SMALL_PAGE: u64 = 1 << 12;
const BOOT_LEAF_PAGE: u64 = 1 << 16;

type Outcome = Result<(), String>;

/// Judges an image by its manifest and its tables.
#[must_use]
pub fn judge(manifest: &Manifest, form: Option<Form>, tables: &[u8], bytes: &[u8]) -> Vec<Wall> {
    let platform = Platform::numbered(manifest.arch, manifest.boot);
    let image = Image { manifest, form, tables, bytes, platform };
    let walked = Walked::new(tables, manifest);
    let mut walls = Vec::new();
    let mut add = |id, claim, outcome: Outcome| walls.push(Wall { id, claim, why: outcome.err() });
    add("platform", "the image is for a platform whose own memory is known", image.platform());
    add("entry", "the image is entered at its loader, which finds the rest", image.entry());
    add("layout", "the firmware's parts lie apart, in its own memory, in RAM", image.layout());
    add("mappings", "what the guest may reach is stated without overlap", image.mappings());
    add(
        "guest-ram",
        "the RAM that the guest may reach is RAM and nobody else's",
        image.guest_ram(),
    );
    add("registers", "the registers that it may reach open no way round", image.registers());
    add("payload", "the guest's parts go to its own RAM", image.payload());
    let tree = walked.as_ref().map_err(Clone::clone);
    let with = |judge: &dyn Fn(&Walked) -> Outcome| tree.clone().and_then(judge);
    add(
        "tables",
        "the tables are one tree, inside the firmware's memory",
        with(&|tree| image.tree(tree)),
    );
    add("nothing-missing", "every stated page is mapped", with(&|tree| image.missing(tree)));
    add("nothing-extra", "no other page is mapped", with(&|tree| image.extra(tree)));
    add("nothing-wider", "no page allows more than stated", with(&|tree| image.wider(tree)));
    add(
        "firmware",
        "no page leads into memory that is not the guest's",
        with(&|tree| image.firmware(tree)),
    );
    add(
        "boot-leaves",
        "pages filled at boot are empty, and only where stated",
        with(&|tree| image.boot_leaves(tree)),
    );
    add(
        "own-tables",
        "the firmware's own translation has its vectors and nothing else",
        image.own(),
    );
    add("calls", "no call of the guest's acts in the machine's firmware", image.calls());
    add("masters", "no device of the guest moves data past the tables", image.masters());
    walls
}

struct Image<'a> {
    manifest: &'a Manifest,
    form: Option<Form>,
    tables: &'a [u8],
    bytes: &'a [u8],
    platform: Platform,
}

fn claim(holds: bool, why: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(why()) }
}

/// Where the guest finds it.
pub(super) fn guest(mapping: &Mapping) -> Range {
    Range::new(mapping.guest, mapping.size)
}

fn name(mapping: &Mapping) -> String {
    clean(mapping.name.as_str())
}

/// Where the machine has it.
pub(super) fn host(mapping: &Mapping) -> Range {
    Range::new(mapping.host, mapping.host_size)
}

/// A part in memory.
fn whole(part: &Part) -> Range {
    Range::new(part.dest, part.memory_size.max(part.size))
}

/// What lies in the firmware's memory, as far as it is stated.
pub(super) fn pieces(manifest: &Manifest) -> Vec<(&'static str, Range)> {
    let body = manifest.part(PART_BODY).map(|part| ("the body", whole(part)));
    let own = manifest.part(PART_OWN_TABLES);
    let own = own.map(|part| ("the firmware's own tables", Range::new(part.dest, part.size)));
    let stated = [
        ("the manifest's copy", manifest.manifest_copy),
        ("the boot stack", manifest.boot_stack),
        ("the tables", manifest.tables),
    ];
    body.into_iter().chain(stated).chain(own).collect()
}

fn leaf_host(leaf: &Leaf) -> Range {
    Range::new(leaf.host, leaf.size)
}

impl Image<'_> {
    /// Memory that no guest may reach, with its owner's name.
    fn kept(&self) -> Vec<(&'static str, Range)> {
        let manifest = self.manifest;
        let mut kept = vec![
            ("the firmware's memory", manifest.firmware),
            ("the exception vectors", manifest.vectors),
            (self.platform.names[1], manifest.load_window),
        ];
        kept.extend(self.platform.arm.map(|arm| (FLASH, arm.flash)));
        kept.extend(manifest.earlier().map(|range| ("the earlier firmware's memory", range)));
        kept
    }

    fn stated(&self) -> impl Iterator<Item = &Mapping> {
        self.manifest.mappings().filter(|mapping| [MAP_RAM, MAP_DEVICE].contains(&mapping.kind))
    }

    fn of_kind(&self, kind: u32) -> impl Iterator<Item = &Mapping> {
        self.manifest.mappings().filter(move |mapping| mapping.kind == kind)
    }

    fn in_ram(&self, range: Range) -> bool {
        !range.is_empty() && self.manifest.ram().any(|ram| ram.contains(range))
    }

    fn platform(&self) -> Outcome {
        let manifest = self.manifest;
        let platform = &self.platform;
        claim((manifest.arch, manifest.boot) == (platform.arch, platform.boot), || {
            format!("architecture {} and boot {} are not known", manifest.arch, manifest.boot)
        })?;
        claim(manifest.vectors == platform.vectors, || {
            format!("the vectors are stated as {}", units::range(manifest.vectors))
        })?;
        claim(manifest.load_window == platform.load_window, || {
            format!("the load window is stated as {}", units::range(manifest.load_window))
        })?;
        claim(manifest.earlier().any(|range| range.contains(platform.earlier)), || {
            format!("{} is not stated as kept", platform.names[2])
        })?;
        let (size, (store, name)) = (self.bytes.len() as u64, platform.store());
        claim(manifest.image_size == size, || {
            format!("the image has {size} bytes, {} are stated", manifest.image_size)
        })?;
        claim(size <= store.size, || format!("the image has {size} bytes, too many for {name}"))?;
        claim(platform.arm.is_none_or(|arm| arm.flash == manifest.arm64.flash), || {
            "the flash is not the platform's".into()
        })?;
        for ram in manifest.ram() {
            claim(ram.end().is_some(), || format!("RAM at {:#x} has no end", ram.base))?;
        }
        Ok(())
    }

    /// Where the machine begins: the headers, and what the loader is told in its own.
    fn entry(&self) -> Outcome {
        let (manifest, base) = (self.manifest, self.platform.load_window.base);
        let loader = manifest.part(PART_LOADER).ok_or("there is no loader")?;
        let start = usize::try_from(loader.offset).unwrap_or(usize::MAX);
        let stack_top = manifest.boot_stack.end().unwrap_or(0);
        let size = self.bytes.len() as u64;
        let in_loader = |at: usize| start.saturating_add(at);
        let mut words = vec![
            ("the entry point", 24, base.wrapping_add(loader.offset)),
            ("the place of the program header", 32, 64),
            ("the segment's type and permissions", 64, 7 << 32 | 1),
            ("the segment's place in the file", 72, 0),
            ("the segment's address", 80, base),
            ("the segment's load address", 88, base),
            (
                "the way to the manifest",
                in_loader(loader_header::MANIFEST_DELTA),
                IMAGE_OFFSET.wrapping_sub(loader.offset),
            ),
            ("the boot stack's top", in_loader(loader_header::STACK_TOP), stack_top),
            ("the loader's size", in_loader(loader_header::MEMORY_SIZE), loader.memory_size),
            ("the loader's place", in_loader(loader_header::FILE_OFFSET), loader.offset),
        ];
        if let Some(arm) = self.platform.arm {
            let copy = in_loader(loader_header::COPY);
            words.extend([
                ("the flash", in_loader(loader_header::FLASH_BASE), arm.flash.base),
                ("the flash's size", in_loader(loader_header::FLASH_SIZE), arm.flash.size),
                ("where a loader in flash goes", copy, base),
            ]);
        }
        for (name, at, expected) in words {
            let found = self.word(at);
            claim(found == Some(expected), || match found {
                Some(found) => format!("{name} is {found:#x}, not {expected:#x}"),
                None => format!("{name} is not in the file"),
            })?;
        }
        // The segment holds all but the section table.
        let (in_file, in_memory) = (self.word(96), self.word(104));
        claim(in_file == in_memory && in_file == self.word(40) && in_file < Some(size), || {
            "the segment is not the file without its section table".into()
        })?;
        claim(loader.size == loader.memory_size, || "the loader is not stored whole".into())?;
        claim(self.form.is_some(), || "the header is not that of any form of an image".into())
    }

    fn word(&self, at: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    fn layout(&self) -> Outcome {
        let manifest = self.manifest;
        claim(manifest.firmware.end().is_some() && self.in_ram(manifest.firmware), || {
            format!("the firmware's memory {} is no RAM", units::range(manifest.firmware))
        })?;
        let body = manifest.part(PART_BODY).ok_or("there is no body")?;
        claim(body.space == SPACE_HOST, || "the body does not go to host memory".into())?;
        let body = whole(body);
        let pieces = pieces(manifest);
        disjoint(&pieces)?;
        for (name, range) in pieces {
            claim(!range.is_empty() && manifest.firmware.contains(range), || {
                format!("{name} {} leave the firmware's memory", units::range(range))
            })?;
        }
        let inside = [
            ("the ledger", Range::new(manifest.ledger, size_of::<Ledger>() as u64)),
            ("the epitaph", Range::new(manifest.epitaph, size_of::<Epitaph>() as u64)),
            ("the entry", Range::new(manifest.body_entry, 4)),
        ];
        for (name, range) in inside {
            claim(body.contains(range), || {
                format!("{name} {} does not lie in the body", units::range(range))
            })?;
        }
        let copy = manifest.manifest_copy.size;
        claim(copy >= size_of::<Manifest>() as u64, || "the manifest's copy has no room".into())?;
        let mut kept = self.kept();
        if manifest.boot == BOOT_BARE {
            // The image lies where the vectors are put last, over its header and its manifest.
            kept.retain(|(_, range)| *range != manifest.vectors);
            for part in manifest.parts.iter().filter(|part| part.kind != 0) {
                let end = manifest.vectors.base + manifest.vectors.size;
                claim(part.offset >= end, || {
                    format!("a part at {:#x} is where the vectors will be", part.offset)
                })?;
            }
        }
        disjoint(&kept)?;
        self.placed()
    }

    /// Parts that are copied to host memory go to the firmware's; the loader stays in the window.
    fn placed(&self) -> Outcome {
        for part in self.manifest.parts.iter().filter(|part| part.kind != 0) {
            let space = match part.kind {
                PART_LOADER => SPACE_IMAGE,
                PART_BODY | PART_TABLES | PART_OWN_TABLES => SPACE_HOST,
                _ => SPACE_GUEST,
            };
            let name = anchorite_spec::manifest::part_name(part.kind);
            claim(part.space == space, || format!("part `{name}` goes to another space"))?;
            let range = whole(part);
            claim(space != SPACE_HOST || self.manifest.firmware.contains(range), || {
                format!("part `{name}` goes to {}", units::range(range))
            })?;
            self.blank(part)?;
        }
        Ok(())
    }

    fn mappings(&self) -> Outcome {
        let mut guests = Vec::new();
        for mapping in self.manifest.mappings().filter(|mapping| mapping.kind != MAP_WITHIN) {
            let name = name(mapping);
            let known = [MAP_RAM, MAP_DEVICE, MAP_BOOT_LEAF].contains(&mapping.kind);
            claim(known, || format!("`{name}` is of the unknown kind {}", mapping.kind))?;
            let space = match self.manifest.arch {
                ARCH_ARM64 => Range::new(0, 1 << self.manifest.arm64.ipa_bits.min(48)),
                _ => self.platform.guest_space,
            };
            let range = guest(mapping);
            let sane = !range.is_empty()
                && range.end().is_some()
                && space.contains(range)
                && host(mapping).end().is_some_and(|end| end <= 1 << 57);
            claim(sane, || format!("`{name}` leaves its address space"))?;
            let page = if mapping.kind == MAP_BOOT_LEAF { BOOT_LEAF_PAGE } else { SMALL_PAGE };
            let aligned = (mapping.guest | mapping.size | mapping.host).is_multiple_of(page);
            claim(aligned, || format!("`{name}` is not made of whole pages"))?;
            let same = mapping.kind == MAP_BOOT_LEAF || mapping.host_size == mapping.size;
            claim(same, || format!("`{name}` has different sizes in guest and host"))?;
            guests.push((name, range));
        }
        disjoint(&guests)?;
        let hosts: Vec<_> = self.stated().map(|m| (name(m), host(m))).collect();
        disjoint(&hosts)?;
        self.within()
    }

    fn guest_ram(&self) -> Outcome {
        for mapping in self.of_kind(MAP_RAM) {
            let (name, range) = (name(mapping), host(mapping));
            claim(self.in_ram(range), || format!("`{name}` {} is no RAM", units::range(range)))?;
            for (owner, kept) in self.kept() {
                claim(!kept.overlaps(range), || {
                    format!("`{name}` {} meets {owner} {}", units::range(range), units::range(kept))
                })?;
            }
            let perms = mapping.perms & !(PERM_R | PERM_W | PERM_X);
            claim(perms == 0, || format!("`{name}` has unknown permissions {perms:#x}"))?;
        }
        Ok(())
    }

    fn registers(&self) -> Outcome {
        let manifest = self.manifest;
        for mapping in self.manifest.mappings().filter(|mapping| mapping.kind != MAP_RAM) {
            let (name, range) = (name(mapping), host(mapping));
            claim(!manifest.ram().any(|ram| ram.overlaps(range)), || {
                format!("`{name}` {} may lead into RAM", units::range(range))
            })?;
            let wide = mapping.perms & !(PERM_R | PERM_W | PERM_DMA);
            claim(wide == 0, || format!("`{name}` has the permissions {:#x}", mapping.perms))?;
            if mapping.kind == MAP_BOOT_LEAF {
                claim(self.platform.esb_window.contains(range), || {
                    format!("`{name}` may be filled with more than interrupt source pages")
                })?;
                continue;
            }
            if self.frames().iter().any(|frame| *frame == (range, guest(mapping), mapping.perms)) {
                continue;
            }
            for (owner, forbidden) in self.platform.forbidden() {
                claim(!forbidden.overlaps(range), || {
                    format!("`{name}` {} gives the guest {owner}", units::range(range))
                })?;
            }
        }
        self.interrupt_pages()
    }

    /// The firmware's idea of the interrupt pages is the stated one.
    fn interrupt_pages(&self) -> Outcome {
        let manifest = self.manifest;
        if let Some(arm) = self.platform.arm {
            let stated = &manifest.arm64;
            let same = (stated.distributor, stated.redistributor, stated.redistributor_guest)
                == (arm.distributor.base, arm.redistributor.base, arm.redistributor.base);
            claim(same && [0, arm.its.base].contains(&stated.its), || {
                "the interrupt controller is not where the platform has it".into()
            })?;
            claim(stated.uart == arm.uart(), || "the UART is not the platform's".into())?;
            return self.frames().iter().try_for_each(|frame| {
                let found = self
                    .of_kind(MAP_DEVICE)
                    .any(|mapping| (host(mapping), guest(mapping), mapping.perms) == *frame);
                claim(found, || {
                    format!("the interrupt controller's {} is not stated", units::range(frame.0))
                })
            });
        }
        let tima = self.of_kind(MAP_DEVICE).any(|mapping| {
            (mapping.guest, mapping.host) == (manifest.xive_tima_guest, manifest.xive_tima_host)
        });
        claim(tima, || "the TIMA page is not among the mappings".into())?;
        let size = manifest.xive_sources.checked_mul(2 * BOOT_LEAF_PAGE);
        let esb = self
            .of_kind(MAP_BOOT_LEAF)
            .any(|mapping| mapping.guest == manifest.xive_esb_guest && Some(mapping.size) == size);
        claim(esb, || "the sources' pages are not among the mappings".into())
    }

    /// What an arm64 guest has of the interrupt controller: host, guest, permissions. Nobody but the
    /// firmware writes to control frames, which hold addresses of tables, and to none of the others
    /// where EL2 has an interrupt of its own.
    fn frames(&self) -> Vec<(Range, Range, u32)> {
        let Some(arm) = self.platform.arm else { return Vec::new() };
        let perms = if self.manifest.arm64.guarded == 0 { PERM_R | PERM_W } else { PERM_R };
        let direct = |range| (range, range, perms);
        let mut frames = vec![direct(arm.distributor)];
        if self.manifest.arm64.its != 0 {
            frames.push((arm.its, arm.its, PERM_R | PERM_W | PERM_DMA));
        }
        for cpu in 0..u64::from(self.manifest.vcpus.min(VCPUS as u32)) {
            let both = arm.redistributor.size;
            let control = Range::new(arm.redistributor.base + cpu * both, both / 2);
            frames.push((control, control, PERM_R));
            frames.push(direct(Range::new(control.base + control.size, control.size)));
        }
        frames
    }

    fn payload(&self) -> Outcome {
        let manifest = self.manifest;
        let mut pieces = Vec::new();
        for part in manifest.parts.iter().filter(|part| part.space == SPACE_GUEST) {
            let name = anchorite_spec::manifest::part_name(part.kind);
            let range = Range::new(part.dest, part.memory_size.max(part.unpacked_size));
            let inside = self.of_kind(MAP_RAM).any(|ram| guest(ram).contains(range));
            claim(!range.is_empty() && range.end().is_some() && inside, || {
                format!("part `{name}` goes to {}, beyond the guest's RAM", units::range(range))
            })?;
            pieces.push((name, range));
        }
        disjoint(&pieces)?;
        let entry = Range::new(manifest.guest_entry, 4);
        let kernel = manifest.part(PART_KERNEL).ok_or("there is no kernel")?;
        claim(Range::new(kernel.dest, kernel.memory_size).contains(entry), || {
            format!("the guest is entered at {:#x}, outside its kernel", manifest.guest_entry)
        })
    }

    /// The walk itself has shown that all tables lie inside the part and are reached once.
    fn tree(&self, tree: &Walked) -> Outcome {
        let manifest = self.manifest;
        let part = manifest.part(PART_TABLES).ok_or("there are no tables")?;
        let size = self.tables.len() as u64;
        let same = part.dest == manifest.tables.base
            && part.memory_size == manifest.tables.size
            && size == manifest.tables.size;
        claim(same, || {
            format!(
                "the tables in the file have {size} bytes for {:#x}, the firmware expects {}",
                part.dest,
                units::range(manifest.tables)
            )
        })?;
        claim(manifest.firmware.contains(manifest.tables), || {
            format!("the tables {} leave the firmware's memory", units::range(manifest.tables))
        })?;
        claim(tree.beside.is_none(), || {
            let at = tree.beside.unwrap_or_default();
            format!("there is something at {at:#x} that belongs to no table")
        })
    }

    fn missing(&self, tree: &Walked) -> Outcome {
        for mapping in self.stated() {
            let end = guest(mapping).end().ok_or("a mapping has no end")?;
            let mut at = mapping.guest;
            while at < end {
                let leaf = tree.leaf_at(at).ok_or_else(|| {
                    format!("`{}` is stated at guest {at:#x}, but not mapped", name(mapping))
                })?;
                at = at.saturating_add(leaf.size);
            }
        }
        Ok(())
    }

    fn extra(&self, tree: &Walked) -> Outcome {
        for leaf in &tree.leaves {
            let range = Range::new(leaf.guest, leaf.size);
            let mapping = self.mapping_of(leaf).ok_or_else(|| {
                format!("guest {} is mapped, but not stated", units::range(range))
            })?;
            let expected = mapping.host.wrapping_add(leaf.guest - mapping.guest);
            claim(leaf.host == expected, || {
                format!(
                    "guest {:#x} leads to host {:#x}, not to {expected:#x}",
                    leaf.guest, leaf.host
                )
            })?;
        }
        Ok(())
    }

    fn wider(&self, tree: &Walked) -> Outcome {
        for leaf in &tree.leaves {
            let at = leaf.guest;
            let Some(mapping) = self.mapping_of(leaf) else {
                return Err(format!("nothing is stated for guest {at:#x}"));
            };
            let stated = |bit| mapping.perms & bit != 0;
            let found = (leaf.read, leaf.write, leaf.execute);
            claim(found == (stated(PERM_R), stated(PERM_W), stated(PERM_X)), || {
                format!("guest {at:#x} has {}, stated is {}", perms(leaf), stated_perms(mapping))
            })?;
            let kind = if mapping.kind == MAP_RAM { Kind::Ordinary } else { Kind::Registers };
            claim(leaf.kind == kind, || format!("guest {at:#x} is mapped as {:?}", leaf.kind))?;
            claim(leaf.preset, || {
                format!("guest {at:#x} would fault for bits that the processor does not set")
            })?;
            claim(leaf.other == 0, || {
                format!("guest {at:#x} has the unknown bits {:#x}", leaf.other)
            })?;
        }
        Ok(())
    }

    /// Asked of the leaves alone, whatever is stated about them.
    fn firmware(&self, tree: &Walked) -> Outcome {
        for leaf in &tree.leaves {
            let range = leaf_host(leaf);
            for (owner, kept) in self.kept() {
                claim(!kept.overlaps(range), || {
                    format!("guest {:#x} leads into {owner}: {}", leaf.guest, units::range(range))
                })?;
            }
            let ram = self.manifest.ram().any(|ram| ram.overlaps(range));
            let ordinary = leaf.kind == Kind::Ordinary;
            claim(ram == ordinary && (!ram || self.in_ram(range)), || {
                format!("guest {:#x} takes {} for what it is not", leaf.guest, units::range(range))
            })?;
        }
        Ok(())
    }

    fn boot_leaves(&self, tree: &Walked) -> Outcome {
        for slot in &tree.slots {
            let stated = self.of_kind(MAP_BOOT_LEAF).any(|m| guest(m).contains(slot.guest));
            let empty = slot.raw == EMPTY_BOOT_LEAF && slot.guest.size == BOOT_LEAF_PAGE;
            claim(stated && empty, || {
                format!("the slot of guest {:#x} holds {:#x}", slot.guest.base, slot.raw)
            })?;
        }
        let found: u64 = tree.slots.len() as u64;
        let stated = self
            .of_kind(MAP_BOOT_LEAF)
            .try_fold(0u64, |sum, mapping| sum.checked_add(mapping.size / BOOT_LEAF_PAGE));
        claim(stated == Some(found), || {
            format!(
                "{found} slots can be filled at boot, {} are stated",
                stated.unwrap_or(u64::MAX)
            )
        })
    }

    /// The one stated mapping that a leaf lies in.
    fn mapping_of(&self, leaf: &Leaf) -> Option<&Mapping> {
        let range = Range::new(leaf.guest, leaf.size);
        self.stated().find(|mapping| guest(mapping).contains(range))
    }
}

fn disjoint<N: fmt::Display>(ranges: &[(N, Range)]) -> Outcome {
    for (index, (name, range)) in ranges.iter().enumerate() {
        for (other_name, other) in &ranges[index + 1..] {
            claim(!range.overlaps(*other), || {
                format!(
                    "{name} {} and {other_name} {} overlap",
                    units::range(*range),
                    units::range(*other)
                )
            })?;
        }
    }
    Ok(())
}

fn perms(leaf: &Leaf) -> String {
    letters(leaf.read, leaf.write, leaf.execute)
}

fn stated_perms(mapping: &Mapping) -> String {
    let has = |bit| mapping.perms & bit != 0;
    letters(has(PERM_R), has(PERM_W), has(PERM_X))
}

/// Permissions as people write them.
#[must_use]
pub fn letters(read: bool, write: bool, execute: bool) -> String {
    [(read, 'r'), (write, 'w'), (execute, 'x')]
        .into_iter()
        .map(|(has, letter)| if has { letter } else { '-' })
        .collect()
}
