// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What only arm64 boards have to keep.
use anchorite_spec::Range;
use anchorite_tables::stage2::Stage2;

use super::{Cpu, GuestDraft, Rules};
use crate::config::checked::Model;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{RawConfig, RawGuest};
use crate::config::units;

impl Rules<'_> {
    pub(super) fn arm64(
        &mut self,
        raw: &RawConfig,
        board: Option<&(String, Cpu)>,
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
        let cannot = board.is_some_and(|(_, cpu)| cpu.pa_range.is_some() && !cpu.fwb);
        if let Some(fwb) = guest.fwb.as_ref().filter(|fwb| cannot && fwb.value) {
            let title = "the processor cannot force write-back at stage 2 (FEAT_S2FWB)";
            let help = "leave `fwb` out: the guest's own attributes then decide what is cached";
            let mistake = Diagnostic::new("fwb", title, fwb.span.clone(), "it would have to");
            self.report(mistake.help(help));
        }
        let span = raw.guest.as_ref().map_or(0..0, |guest| guest.span());
        if let Some(guest) = &raw.guest {
            self.console(guest.get_ref());
        }
        if let Some(xive) = raw.guest.as_ref().and_then(|guest| guest.get_ref().xive.as_ref()) {
            let title = "arm64 guests have no `guest.xive`";
            let help = "leave it out: the interrupt controller is the platform's GICv3";
            self.report(Diagnostic::new("xive", title, xive.span(), "POWER9's").help(help));
        }
        // The guest finds its CPUs in the redistributors' frames, in the machine's order.
        let in_order = guest.vcpus.iter().zip(0..).all(|(cpu, index)| *cpu == index);
        if !in_order {
            let title = "the vCPUs must be the machine's CPUs 0, 1, 2 and so on, in this order";
            self.report(Diagnostic::new("vcpu", title, span.clone(), "in this guest"));
        }
        let uart = Range::new(arm.uart, 0x1000);
        let consoles =
            guest.devices.iter().filter(|d| matches!(d.value.model, Some((Model::Pl011, _))));
        for device in consoles.filter(|device| device.value.host != uart) {
            let title = format!("device `{}` is not the board's PL011", device.value.name);
            let span = device.value.host_span.clone();
            let help = format!("it is at {}", units::range(uart));
            self.report(Diagnostic::new("registers", title, span, "not there").help(help));
        }
        let last = arm.redistributor.size * guest.vcpus.len() as u64;
        for (name, range) in [
            ("the interrupt distributor", arm.distributor),
            ("the interrupt redistributors", Range::new(arm.redistributor.base, last)),
        ] {
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
