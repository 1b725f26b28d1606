// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who owns what, in the machine's addresses and in the guest's.
use std::collections::HashSet;

use anchorite_spec::Range;

use super::{FirmwareDraft, GuestDraft, PAGE, Rules};
use crate::config::checked::{Device, Placed, XIVE_PAGE};
use crate::config::diagnostic::Diagnostic;
use crate::config::platform::Platform;
use crate::config::source::Span;
use crate::config::space::{self, Owner, Space};
use crate::config::units;

const FIRMWARE: &str = "the firmware's memory";
const HANDED_TREE: &str = "the device tree that QEMU hands over";

impl Rules<'_> {
    pub(super) fn host_space(
        &mut self,
        ram: &[Placed<Range>],
        firmware: Option<&FirmwareDraft>,
        guest: Option<&GuestDraft>,
        platform: &Platform,
    ) {
        self.ram_overlaps(ram);
        let mut owners = vec![
            Owner::given(platform.names[0], platform.vectors),
            Owner::given(platform.names[1], platform.load_window),
            Owner::given(platform.names[2], platform.earlier),
        ];
        // Read before guest RAM is filled, and after the firmware has been copied to its memory.
        owners.push(Owner::given(HANDED_TREE, platform.handed_tree()));
        if let Some(memory) = firmware.and_then(|firmware| firmware.memory.as_ref()) {
            let span = memory.span.clone();
            owners.push(Owner::written(FIRMWARE, memory.value, span));
        }
        for memory in guest.iter().flat_map(|guest| &guest.memory).map(|memory| &memory.value) {
            let name = format!("guest memory `{}`", memory.name);
            owners.push(Owner::written(name, memory.host, memory.host_span.clone()));
        }
        let limits: Vec<Range> = ram.iter().map(|ram| ram.value).collect();
        let (rule, name) = ("overlap-host", "host memory");
        let space = Space { rule, name, limits: &limits, owners: &owners };
        let is = |name: &str, a: &Owner, b: &Owner| a.name == name || b.name == name;
        let apart = |a: &Owner, b: &Owner| !is(HANDED_TREE, a, b) || is(FIRMWARE, a, b);
        space::check_pairs(&space, apart, self.found);
        self.host_registers(guest);
    }

    pub(super) fn host_registers(&mut self, guest: Option<&GuestDraft>) {
        let Some(guest) = guest else { return };
        let host_span = |device: &Placed<Device>| device.value.host_span.clone();
        let small = guest.devices.iter().filter(|device| device.value.is_small());
        let slots: Vec<Owner> = small
            .map(|device| {
                let Device { name, host, .. } = &device.value;
                Owner::written(format!("device `{name}`"), *host, host_span(device))
            })
            .collect();
        let (rule, name) = ("overlap-host", "the machine's registers");
        space::check(&Space { rule, name, limits: &[], owners: &slots }, self.found);
        let mut owners = device_pages(guest, |device| device.pages().1, host_span);
        if let Some(xive) = &guest.xive {
            let page = Range::new(xive.value.tima_host, XIVE_PAGE);
            owners.push(Owner::written("the TIMA page", page, guest.xive_spans.tima_host.clone()));
        }
        space::check(&Space { rule, name, limits: &[], owners: &owners }, self.found);
    }

    pub(super) fn ram_overlaps(&mut self, ram: &[Placed<Range>]) {
        let owners: Vec<Owner> = ram
            .iter()
            .enumerate()
            .map(|(index, ram)| Owner::written(format!("ram.{index}"), ram.value, ram.span.clone()))
            .collect();
        let limits = [Range::new(0, u64::MAX)];
        let (rule, name) = ("overlap-host", "host memory");
        space::check(&Space { rule, name, limits: &limits, owners: &owners }, self.found);
    }

    /// Sources' pages have 64 KiB; smaller pages cannot stand in the same 2 MiB.
    pub(super) fn small_pages(&mut self, guest: &GuestDraft) {
        let Some(xive) = &guest.xive else { return };
        let esb = xive.value.esb_range();
        for device in &guest.devices {
            let Device { name, guest: range, host, .. } = &device.value;
            let small = !(range.base | range.size | host.base).is_multiple_of(PAGE);
            if small && !esb.overlaps(*range) && slots(esb).overlaps(slots(*range)) {
                let title = format!("device `{name}` needs 4KiB pages beside the sources' pages");
                let label = units::range(*range);
                self.report(
                    Diagnostic::new("page-mix", title, device.span.clone(), label)
                        .also(guest.xive_spans.esb.clone(), units::range(esb))
                        .help("move it at least 2MiB away, or align it to 64KiB"),
                );
            }
        }
    }

    pub(super) fn guest_space(&mut self, guest: Option<&GuestDraft>) {
        let Some(guest) = guest else { return };
        let mut owners = Vec::new();
        for region in &guest.memory {
            let name = format!("guest memory `{}`", region.value.name);
            owners.push(Owner::written(name, region.value.guest, region.span.clone()));
        }
        if let Some(xive) = &guest.xive {
            let spans = &guest.xive_spans;
            let tima = xive.value.tima_range();
            owners.push(Owner::written("the TIMA pages", tima, spans.tima.clone()));
            let esb = xive.value.esb_range();
            owners.push(Owner::written("the sources' pages", esb, spans.esb.clone()));
        }
        owners.extend(device_pages(guest, |device| device.pages().0, |device| device.span.clone()));
        self.small_pages(guest);
        let limits = [self.platform.guest_space];
        let (rule, name) = ("overlap-guest", "guest space");
        space::check(&Space { rule, name, limits: &limits, owners: &owners }, self.found);
    }
}

/// The devices' pages in one of the spaces. Devices that share a page own it together, once.
fn device_pages(
    guest: &GuestDraft,
    side: impl Fn(&Device) -> Range,
    span: impl Fn(&Placed<Device>) -> Span,
) -> Vec<Owner> {
    let mut shared = HashSet::new();
    let mut owners = Vec::new();
    for device in &guest.devices {
        let (name, small) = (&device.value.name, device.value.is_small());
        let (at, host) = device.value.pages();
        if small && !shared.insert((at.base, host.base)) {
            continue;
        }
        let name = if small { format!("the page of `{name}`") } else { format!("device `{name}`") };
        owners.push(Owner::written(name, side(&device.value), span(device)));
    }
    owners
}

/// The 2 MiB slots that a range touches: each holds pages of one size.
fn slots(range: Range) -> Range {
    const SLOT: u64 = 2 << 20;
    let base = range.base / SLOT * SLOT;
    let end = range.base.saturating_add(range.size);
    Range::new(base, end.checked_next_multiple_of(SLOT).unwrap_or(u64::MAX) - base)
}
