// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware's lines on the console, and names for guest addresses in them.
use core::sync::atomic::{AtomicU32, Ordering};

use anchorite_spec::manifest::{FAULT_CLASSES, MAP_RAM, MAPPINGS, Name, RAM_RANGES};
use anchorite_spec::{End, Manifest, Range};

use super::Machine;
use super::fault::{Class, Fault, Policy};
use super::text::{Out, Text};

/// How every line of the firmware begins.
pub const TAG: &str = "anchorite: ";
/// Reports of a guest's mistakes that are printed before they are only counted.
const REPORTS: u32 = 8;

/// Writes one tagged line.
pub fn line<M: Machine>(machine: &mut M, text: &[u8]) {
    let mut line = Text::new();
    line.push(TAG.as_bytes());
    line.push(text);
    line.push(b"\r\n");
    machine.console_print(line.as_bytes());
}

/// Reports of the guest so far, by their class.
pub struct Reports {
    policies: [u8; FAULT_CLASSES],
    faults: [AtomicU32; FAULT_CLASSES],
}

impl Reports {
    /// None yet.
    #[must_use]
    pub const fn new(manifest: &Manifest) -> Self {
        const { assert!(Class::Event as usize == Class::ALL.len() && Class::ALL.len() < FAULT_CLASSES) };
        Self { policies: manifest.on_fault, faults: [const { AtomicU32::new(0) }; FAULT_CLASSES] }
    }

    /// What becomes of a guest that makes a fault of this class.
    #[must_use]
    pub const fn policy(&self, class: Class) -> Policy {
        Policy::from_manifest(self.policies[class as usize])
    }

    /// Counts a fault: how many of its class there have been, this one included.
    pub fn count(&self, class: Class) -> u32 {
        let count = &self.faults[class as usize];
        let number = count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if number > u32::MAX / 2 {
            // Far from wrapping around.
            count.store(u32::MAX / 2, Ordering::Relaxed);
        }
        number
    }

    /// Counts a fault, and says what is written of it and how the run ends by it, if it does. A program's
    /// own mistakes are its kernel's affair, whatever the config says.
    #[inline(never)]
    pub fn judge(&self, fault: &mut Fault, of_program: bool) -> (Share, Option<End>) {
        let class = fault.told.class;
        fault.number = self.count(class);
        let policy = if of_program { Policy::Inject } else { self.policy(class) };
        match policy.outcome() {
            None => (share(fault.number), None),
            Some((answer, end)) => {
                fault.answer = answer;
                (Share::Full, Some(end))
            }
        }
    }

    /// Forgets them: each life of a guest has its own.
    pub fn begin_again(&self) {
        self.faults.iter().for_each(|n| n.store(0, Ordering::Relaxed));
    }
}

/// What is written of the n-th fault of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All of it.
    Full,
    /// That there have been so many.
    Count,
    /// Nothing.
    Nothing,
}

/// The first eight are reported in full, then each that is a power of two is counted aloud.
#[must_use]
pub const fn share(number: u32) -> Share {
    if number <= REPORTS {
        Share::Full
    } else if number.is_power_of_two() {
        Share::Count
    } else {
        Share::Nothing
    }
}

/// Writes how many faults of a class there have been.
#[inline(never)]
pub fn counted(page: &mut Out, fault: &Fault) {
    page.f("%d faults so far of class %s\n", &[fault.told.class.name()], &[fault.number.into()]);
}

/// What a guest can reach, for reports.
pub struct Reach {
    regions: [Option<Region>; MAPPINGS],
    ram: [Range; RAM_RANGES],
    /// Host address of RAM that nobody has, or 0.
    pub spare: u64,
}

#[derive(Clone, Copy)]
struct Region {
    guest: Range,
    name: Name,
    ram: bool,
}

impl Reach {
    /// What the manifest says.
    #[must_use]
    pub fn new(manifest: &Manifest) -> Self {
        let mut regions = [None; MAPPINGS];
        for (slot, mapping) in regions.iter_mut().zip(manifest.mappings()) {
            *slot = Some(Region {
                guest: Range::new(mapping.guest, mapping.size),
                name: mapping.name,
                ram: mapping.kind == MAP_RAM,
            });
        }
        Self { regions, ram: manifest.ram, spare: manifest.spare }
    }

    /// Whether anything is at a guest address.
    #[must_use]
    pub fn is_mapped(&self, address: u64) -> bool {
        // Each fault asks, also those that are only counted.
        let regions = self.regions.iter().map_while(Option::as_ref);
        regions
            .map(|region| region.guest)
            .any(|guest| address.wrapping_sub(guest.base) < guest.size)
    }

    /// The name of the region at a guest address, as reports give it.
    #[must_use]
    pub fn name_at(&self, address: u64) -> &[u8] {
        self.around(address).at.map_or(b"nothing mapped there", |region| region.name.as_bytes())
    }

    /// What is at a guest address, or on both sides of it.
    #[must_use]
    #[inline(never)]
    pub fn around(&self, address: u64) -> Around<'_> {
        let mut around = Around { address, at: None, below: None, above: None, in_ram: false };
        for region in self.regions.iter().flatten() {
            let Range { base, size } = region.guest;
            let nearer = |other: Option<&Region>| {
                other.is_none_or(|r| base.abs_diff(address) < r.guest.base.abs_diff(address))
            };
            let side = match address.checked_sub(base) {
                None => &mut around.above,
                Some(distance) if distance < size => &mut around.at,
                Some(_) => &mut around.below,
            };
            if nearer(*side) {
                *side = Some(region);
            }
        }
        around.in_ram = self.ram.iter().any(|ram| ram.contains(Range::new(address, 1)));
        around
    }
}

/// See [`Reach::around`].
pub struct Around<'a> {
    address: u64,
    at: Option<&'a Region>,
    below: Option<&'a Region>,
    above: Option<&'a Region>,
    in_ram: bool,
}

impl Around<'_> {
    /// Whether memory is more likely to be missing at the address than a device: the machine has RAM
    /// there, or guest memory that is at least as large as the distance ends below it.
    #[must_use]
    pub fn is_near_memory(&self) -> bool {
        let near =
            |below: &Region| below.ram && self.address - below.guest.base < 2 * below.guest.size;
        self.in_ram || self.below.is_some_and(near)
    }
}

impl Around<'_> {
    /// Writes it, a line.
    #[inline(never)]
    pub fn put(&self, page: &mut Out) {
        let around = [("", self.at), (" none; below", self.below), ("; above", self.above)];
        page.f("region", &[], &[]);
        let shown = if self.at.is_some() { 1 } else { around.len() };
        for (what, region) in around.iter().take(shown) {
            if let Some(region) = region {
                let Range { base, size } = region.guest;
                page.f("%s\t", &[what], &[]);
                page.push(region.name.as_bytes());
                page.f(" %x..%x", &[], &[base, base + size]);
            }
        }
        page.f("\n", &[], &[]);
    }
}
