// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What must lie where: memory in RAM, registers outside it, guest addresses in guest space.
use anchorite_spec::Range;

use super::{FirmwareDraft, GuestDraft, Rules};
use crate::config::checked::{Placed, XIVE_PAGE};
use crate::config::diagnostic::Diagnostic;
use crate::config::platform::Platform;
use crate::config::source::Span;
use crate::config::units;

impl Rules<'_> {
    /// Everything that must lie in RAM does; registers do not; guest addresses have 52 bits.
    pub(super) fn bounds(
        &mut self,
        ram: &[Placed<Range>],
        firmware: Option<&FirmwareDraft>,
        guest: Option<&GuestDraft>,
        platform: &Platform,
    ) {
        if ram.is_empty() {
            return;
        }
        for (name, range) in [
            (platform.names[0], platform.vectors),
            (platform.names[1], platform.load_window),
            (platform.names[2], platform.earlier),
        ] {
            if !ram.iter().any(|ram| ram.value.contains(range)) {
                let title = format!("no RAM for {name}");
                let label = "RAM is described from here on";
                self.report(
                    Diagnostic::new("ram-bounds", title, ram[0].span.clone(), label)
                        .note(format!("{name}: {}", units::range(range)))
                        .help("describe RAM that holds it"),
                );
            }
        }
        self.ram_is_memory(ram);
        let mut inside = Vec::new();
        if let Some(memory) = firmware.and_then(|firmware| firmware.memory.as_ref()) {
            inside.push(("the firmware's memory".to_owned(), memory.value, &memory.span));
        }
        for region in guest.iter().flat_map(|guest| &guest.memory) {
            let name = format!("the host side of guest memory `{}`", region.value.name);
            inside.push((name, region.value.host, &region.value.host_span));
        }
        for (name, range, span) in inside {
            if !ram.iter().any(|ram| ram.value.contains(range)) {
                let title = format!("{name} does not lie in RAM");
                let list: Vec<String> = ram.iter().map(|ram| units::range(ram.value)).collect();
                let crosses = ram.iter().filter(|ram| ram.value.overlaps(range)).count() > 1;
                let help = match crosses {
                    true => {
                        "it crosses from one range of RAM to another: join them where nothing \
                             lies between, or move it into one"
                    }
                    false => "move or shrink it, or describe more RAM",
                };
                self.report(
                    Diagnostic::new("ram-bounds", title, span.clone(), units::range(range))
                        .also(ram[0].span.clone(), format!("RAM: {}", list.join(", ")))
                        .help(help),
                );
            }
        }
        if let Some(guest) = guest {
            self.guest_bounds(guest, ram);
        }
    }

    /// RAM stands in addresses that the processor has, and not where the machine has registers.
    fn ram_is_memory(&mut self, ram: &[Placed<Range>]) {
        let registers = self.platform.registers;
        for (index, Placed { value, span }) in ram.iter().enumerate() {
            if value.overlaps(registers) {
                let title = format!("ram.{index} covers the machine's registers");
                let note = format!("the machine's registers: {}", units::range(registers));
                self.report(
                    Diagnostic::new("ram-bounds", title, span.clone(), units::range(*value))
                        .note(note)
                        .help("describe only what is RAM, in several [[ram]] if need be"),
                );
            }
            self.real_address(&format!("ram.{index}"), *value, span);
        }
    }

    /// A range of the machine's addresses is one that its processor can reach.
    fn real_address(&mut self, name: &str, range: Range, span: &Span) {
        let bits = self.real_bits;
        if range.base.saturating_add(range.size) > 1 << bits {
            let title = format!("{name} lies beyond the processor's last address");
            self.report(
                Diagnostic::new("address-limit", title, span.clone(), units::range(range))
                    .note(format!("the processor has {bits} bits of real address"))
                    .help(format!("it must end at {:#x} or below", 1u64 << bits)),
            );
        }
    }

    pub(super) fn guest_bounds(&mut self, guest: &GuestDraft, ram: &[Placed<Range>]) {
        let needed = self.platform.guest_zero;
        if let (Some(first), false) =
            (guest.memory.first(), !needed || guest.memory.iter().any(|m| m.value.guest.base == 0))
        {
            let title = "no guest memory begins at guest address 0";
            self.report(
                Diagnostic::new("guest-zero", title, first.span.clone(), "this one does not")
                    .help("kernels are entered low: give one region `guest = \"0\"`"),
            );
        }
        let mut ranges = Vec::new();
        let mut registers = Vec::new();
        for region in &guest.memory {
            ranges.push((region.value.name.clone(), region.value.guest, region.span.clone()));
        }
        for device in &guest.devices {
            ranges.push((device.value.name.clone(), device.value.pages().0, device.span.clone()));
            let name = format!("device `{}`", device.value.name);
            registers.push((name, device.value.pages().1, device.value.host_span.clone()));
        }
        if let Some(xive) = &guest.xive {
            let spans = &guest.xive_spans;
            ranges.push(("xive.tima".into(), xive.value.tima_range(), spans.tima.clone()));
            ranges.push(("xive.esb".into(), xive.value.esb_range(), spans.esb.clone()));
            let page = Range::new(xive.value.tima_host, XIVE_PAGE);
            registers.push(("the TIMA page".into(), page, spans.tima_host.clone()));
        }
        for (name, range, span) in ranges {
            let bits = match self.platform.arm {
                Some(_) => guest.ipa_bits.value,
                None => self.platform.guest_space.size.trailing_zeros(),
            };
            if !Range::new(0, 1 << bits.min(63)).contains(range) {
                let title = format!("`{name}` leaves the {bits}-bit guest space");
                let help = match self.platform.arm {
                    Some(_) => "move it, or give the guest more bits with `guest.stage2.ipa_bits`",
                    None => "guest addresses end at 0x10_0000_0000_0000",
                };
                self.report(
                    Diagnostic::new("address-limit", title, span, units::range(range)).help(help),
                );
            }
        }
        for (name, range, span) in registers {
            self.registers(&name, range, span, ram);
        }
    }

    /// Registers are no RAM, and none of those by which a guest could reach round its walls.
    pub(super) fn registers(
        &mut self,
        name: &str,
        range: Range,
        span: Span,
        ram: &[Placed<Range>],
    ) {
        if let Some(ram) = ram.iter().find(|ram| ram.value.overlaps(range)) {
            let title = format!("{name} lies in RAM");
            self.report(
                Diagnostic::new("registers", title, span.clone(), units::range(range))
                    .also(ram.span.clone(), format!("RAM: {}", units::range(ram.value)))
                    .help("memory for the guest goes into [[guest.memory]]"),
            );
        }
        self.real_address(name, range, &span);
        self.nothing_there(name, range, &span, ram);
        for (owner, forbidden) in self.platform.forbidden() {
            if forbidden.overlaps(range) {
                let title = format!("{name} would give the guest {owner}");
                self.report(
                    Diagnostic::new("registers", title, span.clone(), units::range(range))
                        .note(format!("{owner}: {}", units::range(forbidden)))
                        .help("no guest may have these"),
                );
            }
        }
    }
    /// Registers are where the machine has some. Beyond is nothing, or RAM that no [[ram]] tells of.
    fn nothing_there(&mut self, name: &str, range: Range, span: &Span, ram: &[Placed<Range>]) {
        let place = self.platform.registers;
        let known = place.contains(range)
            || ram.iter().any(|ram| ram.value.overlaps(range))
            || self.platform.forbidden().any(|(_, forbidden)| forbidden.overlaps(range))
            || range.base.saturating_add(range.size) > 1 << self.real_bits;
        if !known {
            let title = format!("{name} lies where the machine has no registers");
            self.report(
                Diagnostic::new("registers", title, span.clone(), units::range(range))
                    .note(format!("the machine's registers: {}", units::range(place)))
                    .help("take the address from the device's `reg` in the machine's tree"),
            );
        }
    }
}
