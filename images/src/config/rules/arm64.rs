// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What only arm64 boards have to keep.
use anchorite_hv::arm64::features::{HIDEABLE, Hidden};
use anchorite_spec::Range;
use anchorite_tables::stage2::Stage2;

use super::values::Word;
use super::{Cpu, FirmwareDraft, GuestDraft, Rules};
use crate::config::checked::{Device, Memory, Placed};
use crate::config::diagnostic::Diagnostic;
use crate::config::platform::Arm;
use crate::config::raw::{RawConfig, RawGuest};
use crate::config::units;

impl Rules<'_> {
    /// The features of the processor that the guest does not have.
    pub(super) fn hidden(&mut self, raw: &RawGuest) -> Hidden {
        let mut hidden = Hidden::default();
        let Some(list) = &raw.hide else { return hidden };
        if self.platform.arm.is_none() {
            let title = "`guest.hide` is only for arm64";
            let help = "leave it out: docs/facilities.md says what a POWER9 guest has";
            self.report(Diagnostic::new("hide", title, list.span(), "arm64's").help(help));
            return hidden;
        }
        let known = HIDEABLE.into_iter();
        let words: Vec<_> =
            known.filter_map(|name| Some(Word::Works(name, Hidden::named(name)?))).collect();
        for written in list.get_ref() {
            let feature = self.word("hide", &Some(written.clone()), None, &words);
            let feature = feature.unwrap_or_default();
            if hidden.0 & feature.0 != 0 {
                let title = format!("\"{}\" is listed twice", written.get_ref());
                let mistake = Diagnostic::new("hide", title, written.span(), "again");
                self.report(mistake.help("name each feature once"));
            }
            hidden.0 |= feature.0;
        }
        hidden
    }

    pub(super) fn arm64(
        &mut self,
        raw: &RawConfig,
        board: Option<&(String, Cpu)>,
        firmware: Option<&FirmwareDraft>,
        guest: Option<&GuestDraft>,
    ) {
        let Some(arm) = self.platform.arm else { return };
        let Some(guest) = guest else { return };
        let pa_range = board.and_then(|(_, cpu)| cpu.pa_range);
        let bits = guest.ipa_bits.value;
        let context = match pa_range {
            Some(pa_range) => Stage2::new(bits, pa_range),
            None => Stage2::smallest(bits),
        };
        if let Err(error) = context {
            let span = guest.ipa_bits.span.clone();
            self.report(
                Diagnostic::new("ipa-bits", error.to_string(), span, "this size")
                    .help("40 bits do for 1TiB of guest addresses, on every processor"),
            );
        }
        self.leads_to(firmware, guest);
        let cannot = board.is_some_and(|(_, cpu)| cpu.pa_range.is_some() && !cpu.fwb);
        if let Some(fwb) = guest.fwb.as_ref().filter(|fwb| cannot && fwb.value) {
            let title = "the processor cannot force write-back at stage 2 (FEAT_S2FWB)";
            let help = "leave `fwb` out: the guest's own attributes then decide what is cached";
            let mistake = Diagnostic::new("fwb", title, fwb.span.clone(), "it would have to");
            self.report(mistake.help(help));
        }
        if let Some(guest) = &raw.guest {
            self.console(guest.get_ref());
        }
        if let Some(xive) = raw.guest.as_ref().and_then(|guest| guest.get_ref().xive.as_ref()) {
            let title = "arm64 guests have no `guest.xive`";
            let help = "leave it out: the interrupt controller is the platform's GICv3";
            self.report(Diagnostic::new("xive", title, xive.span(), "POWER9's").help(help));
        }
        self.cpu_order(&guest.vcpus);
        self.fixed_devices(guest, &arm);
        let last = arm.redistributor.size * guest.vcpus.len() as u64;
        let mut frames = vec![
            ("the interrupt distributor", arm.distributor),
            ("the interrupt redistributors", Range::new(arm.redistributor.base, last)),
        ];
        frames.extend(guest.its.as_ref().map(|_| ("the interrupt translation service", arm.its)));
        for (name, range) in frames {
            let memory = guest.memory.iter().map(|m| (&m.value.name, m.value.guest, &m.span));
            let devices = guest.devices.iter().map(|d| (&d.value.name, d.value.pages().0, &d.span));
            for (other, _, span) in memory.chain(devices).filter(|(_, at, _)| at.overlaps(range)) {
                let title = format!("`{other}` and {name} overlap in guest space");
                self.report(
                    Diagnostic::new("overlap-guest", title, span.clone(), "this region")
                        .note(format!("{name}: {}", units::range(range)))
                        .help(
                            "move the region: the interrupt controller is where the machine has it",
                        ),
                );
            }
        }
    }

    /// The tables, and what they lead to, lie in as many bits of the machine's addresses as a walk for
    /// so many bits of guest addresses is set up for (VTCR_EL2.PS).
    fn leads_to(&mut self, firmware: Option<&FirmwareDraft>, guest: &GuestDraft) {
        let bits = &guest.ipa_bits;
        let Ok(context) = Stage2::smallest(bits.value) else { return };
        let real = context.real_bits();
        let memory = firmware.and_then(|firmware| firmware.memory.as_ref());
        let memory =
            memory.map(|memory| ("the firmware's memory".into(), memory.value, &memory.span));
        let side = |Memory { name, host, host_span, .. }: &'_ Memory| {
            (format!("the host side of guest memory `{name}`"), *host, host_span.clone())
        };
        let sides: Vec<_> = guest.memory.iter().map(|memory| side(&memory.value)).collect();
        let sides = sides.iter().map(|(name, host, span)| (name.clone(), *host, span));
        for (name, range, span) in memory.into_iter().chain(sides) {
            let end = range.base.saturating_add(range.size);
            // Of what the processor cannot reach at all its RAM has told.
            if end <= 1 << real || end > 1 << self.real_bits {
                continue;
            }
            let title =
                format!("{name} lies beyond what {} bits of guest addresses lead to", bits.value);
            let mistake =
                Diagnostic::new("address-limit", title, span.clone(), units::range(range)).note(
                    format!("the tables of such a guest hold addresses below {:#x}", 1_u64 << real),
                );
            let more = (bits.value..=48).find(|more| {
                Stage2::smallest(*more).is_ok_and(|context| end <= 1 << context.real_bits())
            });
            self.report(match more {
                Some(more) => mistake.also(bits.span.clone(), "too few").help(format!(
                    "write `ipa_bits = {more}` or more under [guest.stage2], or move it below"
                )),
                None => mistake.help("move it below"),
            });
        }
    }

    /// An arm64 guest finds its CPUs in the redistributors' frames, in the machine's order; on POWER9
    /// without OPAL nobody else takes a CPU, and the first one boots.
    pub(super) fn cpu_order(&mut self, vcpus: &[Placed<u32>]) {
        let twice = |cpu: &Placed<u32>| vcpus.iter().filter(|c| c.value == cpu.value).count() > 1;
        let mut wrong = vcpus.iter().zip(0..).filter(|(cpu, index)| cpu.value != *index);
        let Some((cpu, index)) = wrong.next().filter(|_| !vcpus.iter().any(twice)) else { return };
        let title = "the vCPUs must be the machine's CPUs 0, 1, 2 and so on, in this order";
        let label = format!("vCPU {index} is on CPU {}", cpu.value);
        self.report(
            Diagnostic::new("vcpu", title, cpu.span.clone(), label)
                .help(format!("write `cpu = {index}`: this board starts on CPU 0")),
        );
    }

    /// Devices that the board has once are where the board has them.
    fn fixed_devices(&mut self, guest: &GuestDraft, arm: &Arm) {
        for device in &guest.devices {
            let Some((model, irq)) = device.value.model else { continue };
            let Some(fixed) = arm.fixed.iter().find(|fixed| fixed.model == model) else { continue };
            let Device { name, host, host_span, irq_span, .. } = &device.value;
            if host.size > 0 && *host != fixed.range {
                let title = format!("device `{name}` is not the board's {}", fixed.name);
                let help = format!("it is at {}", units::range(fixed.range));
                let mistake = Diagnostic::new("registers", title, host_span.clone(), "not there");
                self.report(mistake.help(help));
            } else if irq != fixed.irq {
                let title = format!("device `{name}` has interrupt {}, not {irq}", fixed.irq);
                let label = format!("the board's {} has another", fixed.name);
                let mistake = Diagnostic::new("irq", title, irq_span.clone(), label);
                self.report(mistake.help(format!("write `irq = {}`", fixed.irq)));
            }
        }
        let described = |device: &Placed<Device>| device.value.model.map(|(_, irq)| irq);
        for (index, device) in guest.devices.iter().enumerate() {
            let Some(irq) = described(device) else { continue };
            let before = &guest.devices[..index];
            let Some(first) = before.iter().find(|d| described(d) == Some(irq)) else { continue };
            let names = [&device.value.name, &first.value.name];
            let title =
                format!("devices `{}` and `{}` have the same interrupt", names[0], names[1]);
            self.report(
                Diagnostic::new("irq", title, device.value.irq_span.clone(), "second time")
                    .also(first.value.irq_span.clone(), "first time")
                    .help("give each device the interrupt that the machine wired it to"),
            );
        }
    }

    /// A PL011 that stays the firmware's would have to be emulated for a guest that writes to one.
    fn console(&mut self, raw: &RawGuest) {
        let Some(cmdline) = &raw.cmdline else { return };
        let expects = ["ttyAMA", "pl011"].iter().any(|name| cmdline.get_ref().contains(name));
        let devices = raw.device.iter().flat_map(|list| list.get_ref());
        let mut models = devices.filter_map(|device| device.get_ref().model.as_ref());
        if expects && !models.any(|model| model.get_ref() == "pl011") {
            let title = "the guest's console is a PL011 that stays the firmware's";
            let help = "give the guest the board's: [[guest.device]] with `model = \"pl011\"`; one \
                        that the firmware keeps and emulates is not built in this version";
            let label = "this command line names it";
            self.report(Diagnostic::new("console", title, cmdline.span(), label).help(help));
        }
    }
}
