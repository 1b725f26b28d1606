// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine and what the firmware takes of it.
use anchorite_spec::Range;
use anchorite_spec::manifest::{
    BOOT_BARE, DEBUG_FAULT_ASSERT, DEBUG_FAULT_DOUBLE, DEBUG_FAULT_EXCEPTION,
    DEBUG_FAULT_MACHINE_CHECK, DEBUG_FAULT_NONE, DEBUG_FAULT_SERROR, MITIGATIONS_AUTO,
    MITIGATIONS_OFF, MITIGATIONS_ON, RAM_RANGES, mitigations_name,
};

use super::values::{Word, span_of};
use super::{Cpu, FirmwareDraft, PAGE, Rules};
use crate::config::checked::{Flash, Placed};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{Field, RawBoard, RawConfig, RawFirmware};
use crate::config::source::Span;

/// POWER9 in the processor version register, any revision.
const POWER9: Cpu = Cpu { pvr: 0x004E_0000, pvr_mask: 0xFFFF_0000, pa_range: None, fwb: false };
/// Arm's processors in MIDR_EL1, any variant and revision, their bits of physical address, and
/// whether they have FEAT_S2FWB.
const ARM64_CPUS: [Word<Cpu>; 7] = [
    Word::Works("cortex-a53", arm(0xD03, 2, false)),
    Word::Works("cortex-a72", arm(0xD08, 4, false)),
    Word::Works("cortex-a710", arm(0xD47, 2, true)),
    Word::Works("neoverse-n1", arm(0xD0C, 5, false)),
    Word::Works("neoverse-n2", arm(0xD49, 5, true)),
    Word::Works("neoverse-v1", arm(0xD40, 5, true)),
    Word::Works("any", Cpu { pvr: 0, pvr_mask: 0, pa_range: None, fwb: false }),
];

const fn arm(part: u64, pa_range: u32, fwb: bool) -> Cpu {
    Cpu { pvr: 0x410F_0000 | part << 4, pvr_mask: 0xFF0F_FFF0, pa_range: Some(pa_range), fwb }
}

/// Bits of physical address of an arm64 processor that the config can name, where they are fixed.
pub fn arm64_real_bits(name: &str) -> Option<u32> {
    ARM64_CPUS.iter().find_map(|word| match word {
        Word::Works(known, cpu) if *known == name => cpu.real_bits(),
        _ => None,
    })
}

impl Rules<'_> {
    pub(super) fn board(&mut self, raw: &RawBoard, _: Span) -> (String, Cpu) {
        let name = self.name(&raw.name).map(|name| name.value).unwrap_or_default();
        self.word("arch", &raw.arch, None, &[Word::Works("power9", ()), Word::Works("arm64", ())]);
        let cpu = if self.platform.arm.is_some() {
            self.word("platform", &raw.platform, None, &[Word::Works("qemu-virt", ())]);
            let boots = ["arm64-image", "flat", "elf"].map(|name| Word::Works(name, ()));
            self.word("boot", &raw.boot, None, &boots);
            self.word("cpu", &raw.cpu, None, &ARM64_CPUS)
        } else {
            self.word("platform", &raw.platform, None, &[Word::Works("powernv", ())]);
            let boots = [Word::Works("opal-payload", ()), Word::Works("bare", ())];
            self.word("boot", &raw.boot, None, &boots);
            self.word("cpu", &raw.cpu, None, &[Word::Works("power9", POWER9)])
        };
        (name, cpu.unwrap_or_default())
    }

    pub(super) fn ram(&mut self, raw: &RawConfig) -> Vec<Placed<Range>> {
        let Some(list) = &raw.ram else { return Vec::new() };
        self.count("ram", list, 1, RAM_RANGES);
        let mut ranges = Vec::new();
        for entry in list.get_ref() {
            let ram = entry.get_ref();
            self.aligned("the base of RAM", &ram.base, PAGE);
            self.aligned("the size of RAM", &ram.size, PAGE);
            if let Some(value) = self.range(&ram.base, &ram.size) {
                ranges.push(Placed { value, span: span_of(&ram.base, entry) });
            }
        }
        ranges
    }

    pub(super) fn firmware(&mut self, raw: &RawFirmware, _: Span) -> FirmwareDraft {
        let (console, other) = match self.platform.boot {
            _ if self.platform.arm.is_some() => ("pl011", Some("uart")),
            BOOT_BARE => ("uart", None),
            _ => ("opal", Some("uart")),
        };
        let mut consoles = vec![Word::Works(console, ())];
        consoles.extend(other.map(Word::HalfBuilt));
        self.word("console", &raw.console, None, &consoles);
        self.watchdog = raw.watchdog.as_ref().and_then(|watchdog| self.watchdog(watchdog));
        let faults = [
            Word::Works("none", DEBUG_FAULT_NONE),
            Word::Works("assert", DEBUG_FAULT_ASSERT),
            Word::Works("exception", DEBUG_FAULT_EXCEPTION),
            Word::Works("double", DEBUG_FAULT_DOUBLE),
            match self.platform.arm {
                Some(_) => Word::Works("serror", DEBUG_FAULT_SERROR),
                None => Word::Works("machine-check", DEBUG_FAULT_MACHINE_CHECK),
            },
        ];
        let debug_fault =
            self.word("debug_fault", &raw.debug_fault, Some(DEBUG_FAULT_NONE), &faults);
        let memory = raw.memory.as_ref().and_then(|memory| {
            let raw = memory.get_ref();
            self.aligned("the firmware's memory", &raw.base, PAGE);
            self.aligned("the size of the firmware's memory", &raw.size, PAGE);
            let value = self.range(&raw.base, &raw.size)?;
            Some(Placed { value, span: span_of(&raw.base, memory) })
        });
        let flash = raw.flash.as_ref().and_then(|flash| {
            let partition = self.name(&flash.get_ref().partition);
            let size = self.size(&flash.get_ref().size);
            let (partition, size) = (partition?.value, size?);
            Some(Placed { value: Flash { partition, size: size.value }, span: size.span })
        });
        let is_set = |key: &Field<bool>| key.as_ref().is_some_and(|key| *key.get_ref());
        FirmwareDraft {
            memory,
            debug_fault: debug_fault.unwrap_or_default(),
            debug_boot: is_set(&raw.debug_boot),
            mitigations: self.mitigations(raw),
            timing: is_set(&raw.timing),
            flash,
        }
    }

    fn mitigations(&mut self, raw: &RawFirmware) -> u32 {
        let words = [MITIGATIONS_AUTO, MITIGATIONS_OFF, MITIGATIONS_ON]
            .map(|choice| Word::Works(mitigations_name(choice), choice));
        let chosen = self.word("mitigations", &raw.mitigations, Some(MITIGATIONS_AUTO), &words);
        if let Some(written) = raw.mitigations.as_ref().filter(|_| self.platform.arm.is_some()) {
            let title = "`firmware.mitigations` is only for POWER9";
            let help = "leave it out: on arm64 the guest asks the machine's firmware by \
                        ARCH_WORKAROUND calls";
            let label = "not on arm64";
            self.report(Diagnostic::new("mitigations", title, written.span(), label).help(help));
        }
        chosen.unwrap_or_default()
    }
}
