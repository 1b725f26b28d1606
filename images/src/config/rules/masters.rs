// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Devices that move data by themselves. The machines here have no IOMMU that would hold them: such
//! a device reaches all memory, at the machine's addresses, whatever the guest's tables say. So it
//! must be trusted in as many words, and the guest must know its memory by the machine's addresses.
use super::{GuestDraft, Rules};
use crate::config::checked::{DEVICE_PAGE, Device, Memory, Model, Placed};
use crate::config::diagnostic::Diagnostic;
use crate::config::platform::Slots;
use crate::config::units;

impl Rules<'_> {
    pub(super) fn masters(&mut self, guest: Option<&GuestDraft>) {
        let Some(guest) = guest else { return };
        guest.devices.iter().for_each(|device| self.untrusted(device));
        let Some(arm) = self.platform.arm else { return };
        for device in &guest.devices {
            if let Some((Model::VirtioMmio, irq)) = device.value.model {
                self.slot(device, irq, arm.virtio);
            }
        }
        let device = guest.devices.iter().find(|device| device.value.dma_trusted);
        let device = device.map(|device| (format!("device `{}`", device.value.name), &device.span));
        let its = guest.its.as_ref().map(|span| ("the ITS".to_owned(), span));
        let Some((master, span)) = device.or(its) else { return };
        let elsewhere = |memory: &&Placed<Memory>| {
            let Memory { guest, host, .. } = &memory.value;
            guest.size > 0 && host.size > 0 && guest.base != host.base
        };
        for memory in guest.memory.iter().filter(elsewhere) {
            let name = &memory.value.name;
            let title = format!("guest memory `{name}` is not where {master} would find it");
            let label = format!("the machine's addresses are {}", units::range(memory.value.host));
            self.report(
                Diagnostic::new("masters", title, memory.value.host_span.clone(), label)
                    .also(memory.span.clone(), "the guest's")
                    .also(span.clone(), "moves data at the machine's addresses")
                    .help(
                        "without an IOMMU, guest and host must be the same: write one address for \
                         both",
                    ),
            );
        }
    }

    /// What can move data by itself is trusted to, or is no device of the guest's.
    fn untrusted(&mut self, device: &Placed<Device>) {
        let reached = device.value.pages().1;
        let mut masters = self.platform.masters().filter(|(_, range)| range.overlaps(reached));
        let Some((owner, range)) = masters.next().filter(|_| !device.value.dma_trusted) else {
            return;
        };
        let title = format!("device `{}` can move data by itself", device.value.name);
        let label = units::range(reached);
        self.report(
            Diagnostic::new("masters", title, device.value.host_span.clone(), label)
                .note(format!("{owner}: {}", units::range(range)))
                .help(
                    "no table holds it back: write `dma = \"trusted\"` if you trust it with all \
                     memory, or leave it out",
                ),
        );
    }

    /// The device is one of the slots, seen at the same place in its page.
    fn slot(&mut self, device: &Placed<Device>, irq: u32, slots: Slots) {
        let Device { name, guest, host, host_span, irq_span, .. } = &device.value;
        if host.size == 0 {
            return;
        }
        let offset = host.base.wrapping_sub(slots.range.base);
        let within = slots.range.contains(*host) && host.size == slots.size;
        if !within || !offset.is_multiple_of(slots.size) {
            let title = format!("device `{name}` is no virtio slot");
            self.report(
                Diagnostic::new("masters", title, host_span.clone(), units::range(*host))
                    .note(format!("virtio slots: {}", units::range(slots.range)))
                    .help(format!("each slot has {} bytes", slots.size)),
            );
            return;
        }
        let slot = (offset / slots.size) as u32;
        if irq != slots.irq + slot {
            let expected = slots.irq + slot;
            let title = format!("device `{name}` has interrupt {expected}, not {irq}");
            self.report(
                Diagnostic::new("irq", title, irq_span.clone(), "another slot's")
                    .also(host_span.clone(), format!("slot {slot}"))
                    .help(format!("write `irq = {expected}`")),
            );
        }
        if guest.size > 0 && guest.base % DEVICE_PAGE != host.base % DEVICE_PAGE {
            let title =
                format!("device `{name}` is at another place in its page in guest and host");
            let expected = guest.base / DEVICE_PAGE * DEVICE_PAGE + host.base % DEVICE_PAGE;
            self.report(
                Diagnostic::new("alignment", title, device.span.clone(), "pages are mapped whole")
                    .help(format!("write `guest = \"{expected:#x}\"`")),
            );
        }
    }
}
