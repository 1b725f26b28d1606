// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the guest is given to reach: memory and devices.
use anchorite_spec::Range;
use anchorite_spec::manifest::MAPPINGS;
use toml::Spanned;

use super::values::{Word, span_of};
use super::{GuestDraft, PAGE, Rules, word};
use crate::config::checked::{DEVICE_PAGE, Device, Memory, Model, Placed, Virtio};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{Field, RawDevice, RawGuest, RawMemory};
use crate::config::source::Span;
use crate::config::units;

/// Names of regions that every guest has.
const RESERVED_NAMES: [&str; 2] = ["xive-tima", "xive-esb"];
/// What names of regions begin with that the builder names: the interrupt controller's frames, and
/// pages that several devices share.
const RESERVED_PREFIXES: [&str; 2] = ["gic-", "page-"];

/// What messages call a region whose name is none.
const NO_NAME: &str = "(without a name)";

fn name_of(raw: &Field<String>) -> String {
    word(raw).filter(|name| !name.is_empty()).unwrap_or(NO_NAME).to_owned()
}

impl Rules<'_> {
    pub(super) fn memory(&mut self, raw: &RawGuest) -> Vec<Placed<Memory>> {
        let Some(list) = &raw.memory else { return Vec::new() };
        if list.get_ref().is_empty() {
            self.count("guest.memory", list, 1, MAPPINGS - 2);
        }
        let mut regions = Vec::new();
        for entry in list.get_ref() {
            regions.push(self.memory_entry(entry));
        }
        regions
    }

    fn memory_entry(&mut self, entry: &Spanned<RawMemory>) -> Placed<Memory> {
        let raw = entry.get_ref();
        self.name(&raw.name);
        self.aligned("guest memory", &raw.guest, PAGE);
        self.aligned("the host side of guest memory", &raw.host, PAGE);
        self.aligned("the size of guest memory", &raw.size, PAGE);
        let (guest, host) = self.sides(&raw.guest, &raw.host, &raw.size);
        let host_span = span_of(&raw.host, entry);
        let value = Memory { name: name_of(&raw.name), guest, host, host_span };
        Placed { value, span: span_of(&raw.guest, entry) }
    }

    /// Guest and host addresses of what is mapped. A side with a mistake of its own is an empty range,
    /// so that the other is judged all the same.
    fn sides(
        &mut self,
        guest: &Field<String>,
        host: &Field<String>,
        size: &Field<String>,
    ) -> (Range, Range) {
        let guest = self.range(guest, size);
        let host = self.size(host);
        let size = size.as_ref().and_then(|size| {
            let bytes = units::parse_size(size.get_ref()).ok()?;
            Some(Placed { value: bytes, span: size.span() })
        });
        let Some((host, size)) = host.zip(size) else {
            return (guest.unwrap_or_default(), Range::default());
        };
        let end = host.value.checked_add(size.value);
        if end.is_none() && guest.is_some() {
            self.past_the_end(host.span, size);
            return (Range::default(), Range::default());
        }
        let host = end.map(|_| Range::new(host.value, size.value));
        (guest.unwrap_or_default(), host.unwrap_or_default())
    }

    /// Names tell regions apart in reports.
    pub(super) fn names(&mut self, guest: &GuestDraft) {
        let memory = guest.memory.iter().map(|memory| (&memory.value.name, &memory.span));
        let devices = guest.devices.iter().map(|device| (&device.value.name, &device.span));
        let mut known: Vec<(&String, &Span)> = Vec::new();
        for (name, span) in memory.chain(devices).filter(|(name, _)| *name != NO_NAME) {
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

    fn virtio(&mut self, raw: &RawDevice, is_slot: bool) -> Option<Virtio> {
        let written = raw.virtio.as_ref()?;
        if !is_slot {
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
        self.name(&raw.name);
        if let Some(irq) = raw.irq.as_ref().filter(|_| self.platform.arm.is_none()) {
            self.not_built("`irq`, a device's interrupt,", irq.span(), "leave `irq` out");
        }
        let model = self.model(raw);
        let dma = [Word::Works("none", false), Word::Works("trusted", true)];
        let dma_trusted = self.word("dma", &raw.dma, Some(false), &dma);
        // Also if its interrupt is wrong: a mistake of one key makes none of the others.
        let slot = self.platform.arm.filter(|_| word(&raw.model) == Some("virtio-mmio"));
        let virtio = self.virtio(raw, slot.is_some());
        let mmio = raw.mmio.as_ref()?.get_ref();
        let align = slot.map_or(DEVICE_PAGE, |arm| arm.virtio.size);
        self.aligned("a device's registers", &mmio.guest, align);
        self.aligned("the host side of a device's registers", &mmio.host, align);
        self.aligned("the size of a device's registers", &mmio.size, align);
        let (guest, host) = self.sides(&mmio.guest, &mmio.host, &mmio.size);
        let host_span = span_of(&mmio.host, entry);
        let value = Device {
            name: name_of(&raw.name),
            guest,
            host,
            model,
            irq_span: raw.irq.as_ref().map_or_else(|| host_span.clone(), Spanned::span),
            host_span,
            // Of what was meant by a word that is none, nothing follows.
            dma_trusted: dma_trusted.unwrap_or_default(),
            virtio,
        };
        Some(Placed { value, span: span_of(&mmio.guest, entry) })
    }
}
