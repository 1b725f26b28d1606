// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the guest is given to reach: memory and devices.
use anchorite_spec::Range;
use anchorite_spec::manifest::MAPPINGS;
use toml::Spanned;

use super::values::{Word, span_of};
use super::{GuestDraft, PAGE, Rules};
use crate::config::checked::{DEVICE_PAGE, Device, Memory, Model, Placed, Virtio};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{RawDevice, RawGuest, RawMemory};
use crate::config::source::Span;

/// Names of regions that every guest has.
const RESERVED_NAMES: [&str; 2] = ["xive-tima", "xive-esb"];
/// What names of regions begin with that the builder names: the interrupt controller's frames, and
/// pages that several devices share.
const RESERVED_PREFIXES: [&str; 2] = ["gic-", "page-"];

impl Rules<'_> {
    pub(super) fn memory(&mut self, raw: &RawGuest) -> Vec<Placed<Memory>> {
        let Some(list) = &raw.memory else { return Vec::new() };
        if list.get_ref().is_empty() {
            self.count("guest.memory", list, 1, MAPPINGS - 2);
        }
        let mut regions = Vec::new();
        for entry in list.get_ref() {
            regions.extend(self.memory_entry(entry));
        }
        regions
    }

    pub(super) fn memory_entry(&mut self, entry: &Spanned<RawMemory>) -> Option<Placed<Memory>> {
        let raw = entry.get_ref();
        let name = self.name(&raw.name);
        let before = self.found.len();
        self.aligned("guest memory", &raw.guest, PAGE);
        self.aligned("the host side of guest memory", &raw.host, PAGE);
        self.aligned("the size of guest memory", &raw.size, PAGE);
        let guest = self.range(&raw.guest, &raw.size);
        // The size's own mistakes have been told by now.
        let host = self.size(&raw.host)?;
        let guest = guest?;
        if host.value.checked_add(guest.size).is_none() && self.found.len() == before {
            let title = "the range runs past the last address";
            self.report(Diagnostic::new("address-limit", title, host.span, "from here"));
            return None;
        }
        let host_span = host.span;
        let host = Range::new(host.value, guest.size);
        let value = Memory { name: name?.value, guest, host, host_span };
        Some(Placed { value, span: span_of(&raw.guest, entry) })
    }

    /// Names tell regions apart in reports.
    pub(super) fn names(&mut self, guest: &GuestDraft) {
        let memory = guest.memory.iter().map(|memory| (&memory.value.name, &memory.span));
        let devices = guest.devices.iter().map(|device| (&device.value.name, &device.span));
        let mut known: Vec<(&String, &Span)> = Vec::new();
        for (name, span) in memory.chain(devices) {
            let reserved = RESERVED_NAMES.contains(&name.as_str())
                || self.platform.arm.is_some()
                    && RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            if reserved {
                let title = format!("the name `{name}` is one that the builder gives");
                self.report(
                    Diagnostic::new("bad-name", title, span.clone(), "in this region")
                        .help("choose another name"),
                );
            } else if let Some((_, other)) = known.iter().find(|(other, _)| *other == name) {
                let title = format!("two regions are named `{name}`");
                self.report(
                    Diagnostic::new("bad-name", title, span.clone(), "the second")
                        .also((*other).clone(), "the first")
                        .help("names tell regions apart in reports: choose another"),
                );
            }
            known.push((name, span));
        }
    }

    pub(super) fn devices(&mut self, raw: &RawGuest) -> Vec<Placed<Device>> {
        let mut devices = Vec::new();
        for entry in raw.device.iter().flat_map(Spanned::get_ref) {
            devices.extend(self.device(entry));
        }
        devices
    }

    /// A model needs an interrupt, and the reverse.
    fn model(&mut self, raw: &RawDevice) -> Option<(Model, u32)> {
        /// Shared peripheral interrupts of a GICv3.
        const MOST: i64 = 987;
        self.platform.arm?;
        let models = [
            Word::Works("pl011", Model::Pl011),
            Word::Works("pl031", Model::Pl031),
            Word::Works("virtio-mmio", Model::VirtioMmio),
        ];
        let model = self.word("model", &raw.model, None, &models);
        match (&raw.model, &raw.irq) {
            (Some(_), Some(irq)) if (0..=MOST).contains(irq.get_ref()) => {
                Some((model?, *irq.get_ref() as u32))
            }
            (Some(_), Some(irq)) => {
                let title = format!("`irq` is 0 to {MOST}");
                let label = format!("this is {}", irq.get_ref());
                let help = "it counts the shared peripheral interrupts: 0 is the one that GIC \
                            documents number 32";
                self.report(Diagnostic::new("irq", title, irq.span(), label).help(help));
                None
            }
            (None, Some(irq)) => {
                let title = "`irq` needs `model`: only devices in the guest's tree have interrupts";
                let help = "add the device's `model`, or leave `irq` out";
                let label = "whose interrupt this is, is not said";
                self.report(Diagnostic::new("irq", title, irq.span(), label).help(help));
                None
            }
            (Some(model), None) => {
                let title = "a device with `model` needs `irq`";
                let help = "add `irq`: the number of its shared peripheral interrupt";
                self.report(Diagnostic::new("irq", title, model.span(), "this model").help(help));
                None
            }
            (None, None) => None,
        }
    }

    fn virtio(&mut self, raw: &RawDevice, model: Option<(Model, u32)>) -> Option<Virtio> {
        let written = raw.virtio.as_ref()?;
        if !matches!(model, Some((Model::VirtioMmio, _))) {
            let title = "`virtio` is only for `model = \"virtio-mmio\"`";
            self.report(
                Diagnostic::new("masters", title, written.span(), "no such slot")
                    .help("leave it out, or add the model"),
            );
            return None;
        }
        let kinds = [Word::Works("disk", Virtio::Disk), Word::Works("network", Virtio::Network)];
        self.word("virtio", &raw.virtio, None, &kinds)
    }

    pub(super) fn device(&mut self, entry: &Spanned<RawDevice>) -> Option<Placed<Device>> {
        let raw = entry.get_ref();
        let name = self.name(&raw.name);
        if let Some(irq) = raw.irq.as_ref().filter(|_| self.platform.arm.is_none()) {
            self.not_built("`irq`, a device's interrupt,", irq.span(), "leave `irq` out");
        }
        let model = self.model(raw);
        let dma = [Word::Works("none", false), Word::Works("trusted", true)];
        let dma_trusted = self.word("dma", &raw.dma, Some(false), &dma);
        let virtio = self.virtio(raw, model);
        let mmio = raw.mmio.as_ref()?.get_ref();
        let align = match (self.platform.arm, model) {
            (Some(arm), Some((Model::VirtioMmio, _))) => arm.virtio.size,
            _ => DEVICE_PAGE,
        };
        self.aligned("a device's registers", &mmio.guest, align);
        self.aligned("the host side of a device's registers", &mmio.host, align);
        self.aligned("the size of a device's registers", &mmio.size, align);
        let guest = self.range(&mmio.guest, &mmio.size);
        let host = self.size(&mmio.host);
        let (guest, host) = (guest?, host?);
        let value = Device {
            name: name?.value,
            guest,
            host: Range::new(host.value, guest.size),
            model,
            irq_span: raw.irq.as_ref().map_or_else(|| host.span.clone(), Spanned::span),
            host_span: host.span,
            dma_trusted: dma_trusted?,
            virtio,
        };
        Some(Placed { value, span: span_of(&mmio.guest, entry) })
    }
}
