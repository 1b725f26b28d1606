// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest: how it is started, its CPUs, its interrupt controller.
use anchorite_spec::manifest::{BOOT_BARE, MAPPINGS, VCPUS};
use toml::Spanned;

use super::values::{Word, placed, span_of};
use super::{GuestDraft, Rules, XiveSpans};
use crate::config::checked::{Compression, Format, Placed, XIVE_PAGE, Xive};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{Field, RawGuest, RawXive};
use crate::config::source::Span;

/// Linux on POWER takes no longer command line.
const CMDLINE_BYTES: usize = 2047;

impl Rules<'_> {
    pub(super) fn guest(&mut self, raw: &RawGuest, whole: Span) -> GuestDraft {
        let codecs = [
            Word::Works("zstd", Compression::Zstd),
            Word::Works("lz4", Compression::Lz4),
            Word::Works("none", Compression::None),
        ];
        let guarded = match self.platform.arm {
            Some(_) => Word::Works("guarded", true),
            None => Word::HalfBuilt("guarded"),
        };
        let interrupts = [Word::Works("direct", false), guarded];
        let endians = [Word::Works("big", false), Word::Works("little", true)];
        let compression =
            self.word("compression", &raw.compression, Some(Compression::Zstd), &codecs);
        let guarded = self.word("interrupts", &raw.interrupts, Some(false), &interrupts);
        let mut draft = GuestDraft {
            kernel: self.kernel(raw),
            // An empty name takes a config's initrd away again.
            initrd: placed(&raw.initrd).filter(|initrd| !initrd.value.is_empty()),
            cmdline: self.cmdline(&raw.cmdline),
            hwrng: raw.hwrng.as_ref().is_some_and(|hwrng| *hwrng.get_ref()),
            restart: self.restart(raw),
            on_fault: self.on_fault(raw),
            compression,
            format: self.format(raw),
            little_endian: self.word("endian", &raw.endian, Some(false), &endians),
            xive: None,
            needs_xive: self.platform.arm.is_none(),
            guarded: guarded.unwrap_or_default(),
            its: self.its(raw, guarded.unwrap_or_default()),
            forward: self.forward_calls(raw),
            hidden: self.hidden(raw),
            ipa_bits: self.ipa_bits(raw),
            fwb: raw.stage2.as_ref().and_then(|stage2| {
                let written = stage2.get_ref().fwb.as_ref()?;
                Some(Placed { value: *written.get_ref(), span: written.span() })
            }),
            xive_spans: XiveSpans::default(),
            vcpus: self.vcpus(raw),
            memory: self.memory(raw),
            devices: self.devices(raw),
        };
        if let Some(xive) = &raw.xive {
            draft.xive = self.xive(xive.get_ref(), draft.vcpus.len(), &mut draft.xive_spans);
        }
        if raw.xive.is_none() && draft.needs_xive {
            let title = "`guest.xive` is missing";
            let help = "add a table [guest.xive]: The guest's interrupt controller.";
            let mistake = Diagnostic::new("missing-key", title, whole.clone(), "in `guest`");
            self.report(mistake.help(help));
        }
        self.names(&draft);
        let mappings = draft.mappings(self.platform.arm.is_some());
        if mappings > MAPPINGS {
            let title = format!("the guest has more than {MAPPINGS} regions");
            let longest = match (&raw.memory, &raw.device) {
                (Some(memory), Some(device)) if memory.get_ref().len() < device.get_ref().len() => {
                    device.get_ref().last().map(Spanned::span)
                }
                (Some(memory), _) => memory.get_ref().last().map(Spanned::span),
                (None, device) => device.as_ref().map(Spanned::span),
            };
            let label = format!("{mappings} in all, with the interrupt controller's");
            let help = "join regions that lie side by side in guest and host";
            let mistake = Diagnostic::new("count", title, longest.unwrap_or(whole), label);
            self.report(mistake.help(help));
        }
        draft
    }

    /// Where the guest is given the interrupt translation service.
    fn its(&mut self, raw: &RawGuest, guarded: bool) -> Option<Span> {
        let words = [Word::Works("absent", false), Word::Works("trusted", true)];
        let trusted = self.word("its", &raw.its, Some(false), &words)?;
        let span = raw.its.as_ref().filter(|_| trusted)?.span();
        let (title, help) = match self.platform.arm {
            None => ("`guest.its` is only for arm64", "leave it out"),
            Some(_) if guarded => (
                "`its = \"trusted\"` does not go with guarded interrupts",
                "its tables would undo what EL2's timer relies on: write `interrupts = \"direct\"`, or \
                 leave `its` out",
            ),
            Some(_) => return Some(span),
        };
        self.report(Diagnostic::new("masters", title, span, "in this guest").help(help));
        None
    }

    fn ipa_bits(&mut self, raw: &RawGuest) -> Placed<u32> {
        const USUAL: u32 = 40;
        let Some(stage2) = &raw.stage2 else { return Placed { value: USUAL, span: 0..0 } };
        if self.platform.arm.is_none() {
            let title = "`guest.stage2` is only for arm64";
            let help = "leave it out: POWER9 guests have 52-bit addresses";
            self.report(Diagnostic::new("stage2", title, stage2.span(), "arm64's").help(help));
        }
        match &stage2.get_ref().ipa_bits {
            Some(bits) => {
                let value = u32::try_from(*bits.get_ref()).unwrap_or(0);
                Placed { value, span: bits.span() }
            }
            None => Placed { value: USUAL, span: stage2.span() },
        }
    }

    pub(super) fn kernel(&mut self, raw: &RawGuest) -> Option<Placed<String>> {
        let kernel = placed(&raw.kernel)?;
        if kernel.value.is_empty() || kernel.value.contains('\0') {
            let title = "`kernel` names no file";
            self.report(
                Diagnostic::new("bad-name", title, kernel.span, "no name")
                    .help("name a recipe of images/guests/, or a path"),
            );
            return None;
        }
        Some(kernel)
    }

    pub(super) fn cmdline(&mut self, field: &Field<String>) -> String {
        let Some(written) = field else { return String::new() };
        let text = written.get_ref();
        if text.len() > CMDLINE_BYTES {
            let title = format!("the command line has more than {CMDLINE_BYTES} bytes");
            let label = format!("{} bytes", text.len());
            self.report(Diagnostic::new("cmdline", title, written.span(), label).help(
                "Linux would cut it off: shorten it, or move settings into the initial file system",
            ));
        }
        if text.contains(['\0', '\n']) {
            let title = "the command line holds a NUL or a line break";
            self.report(
                Diagnostic::new("cmdline", title, written.span(), "in this text")
                    .help("write it as one line of text"),
            );
        }
        if self.platform.arm.is_none() {
            self.other_guests(text, &written.span());
        }
        text.clone()
    }

    /// Refuses kinds of POWER9 guests that Linux is told on its command line to be.
    fn other_guests(&mut self, text: &str, span: &Span) {
        /// What asks for it, what it is, and why it cannot be.
        const KINDS: [(&str, &str, &str); 2] = [
            (
                "disable_radix",
                "hash page tables",
                "the firmware gives its guest radix tables alone",
            ),
            ("svm", "a secure guest", "that takes an ultravisor, and there is none"),
        ];
        // As Linux reads a boolean; what stands behind `--` is for init.
        let is_yes = |value: &str| {
            matches!(value.as_bytes(), [b'y' | b'Y' | b't' | b'T' | b'1', ..])
                || value.to_ascii_lowercase().starts_with("on")
        };
        for word in text.split_ascii_whitespace().take_while(|word| *word != "--") {
            let (name, value) = word.split_once('=').unwrap_or((word, "y"));
            for (key, kind, why) in KINDS {
                if name == key && is_yes(value) {
                    let title = format!("`{word}` on the command line asks for {kind}");
                    let mistake = Diagnostic::new("cmdline", title, span.clone(), "in this text");
                    self.report(mistake.help(format!("take it out: {why}")));
                }
            }
        }
    }

    pub(super) fn format(&mut self, raw: &RawGuest) -> Option<Format> {
        let formats = [Word::Works("auto", 0), Word::Works("elf", 1), Word::Works("raw", 2)];
        let format = self.word("format", &raw.format, Some(0), &formats)?;
        if format == 2 {
            let load = self.size(&raw.load);
            let entry = self.size(&raw.entry);
            if (raw.load.is_some() && load.is_none()) || (raw.entry.is_some() && entry.is_none()) {
                return None;
            }
            let load = load.map_or(0, |load| load.value);
            return Some(Format::Raw { load, entry: entry.map_or(load, |entry| entry.value) });
        }
        for (key, field) in [("load", &raw.load), ("entry", &raw.entry)] {
            if let Some(written) = field {
                let title = format!("`{key}` is only for raw kernels");
                self.report(
                    Diagnostic::new("raw-only", title, written.span(), "an ELF says this itself")
                        .help(format!("leave `{key}` out, or add `format = \"raw\"`")),
                );
            }
        }
        Some(if format == 1 { Format::Elf } else { Format::Auto })
    }

    pub(super) fn vcpus(&mut self, raw: &RawGuest) -> Vec<Placed<u32>> {
        let Some(list) = &raw.vcpu else { return Vec::new() };
        let entries = list.get_ref();
        if entries.is_empty() {
            self.count("guest.vcpu", list, 1, 1);
        }
        let most = self.platform.vcpus;
        if let Some(surplus) = entries.get(most) {
            let title = format!("{} vCPUs, but this version runs up to {most}", entries.len());
            let span = span_of(&surplus.get_ref().cpu, surplus);
            let help = format!("leave {most} [[guest.vcpu]]");
            self.report(Diagnostic::new("half-built", title, span, "one too many").help(help));
        }
        let mut cpus: Vec<Placed<u32>> = Vec::new();
        for written in entries.iter().filter_map(|entry| entry.get_ref().cpu.as_ref()) {
            let cpu = u32::try_from(*written.get_ref()).ok().filter(|cpu| *cpu < VCPUS as u32);
            let Some(cpu) = cpu else {
                let title = format!("`cpu` is 0 to {}", VCPUS - 1);
                let label = format!("this is {}", written.get_ref());
                let help = "machines have this many CPUs here at most: name one of them";
                self.report(Diagnostic::new("vcpu", title, written.span(), label).help(help));
                continue;
            };
            if let Some(first) = cpus.iter().find(|known| known.value == cpu) {
                let title = format!("CPU {cpu} is given to two vCPUs");
                self.report(
                    Diagnostic::new("vcpu", title, written.span(), "second time")
                        .also(first.span.clone(), "first time")
                        .help("give each vCPU a CPU of its own"),
                );
            }
            cpus.push(Placed { value: cpu, span: written.span() });
        }
        if self.platform.boot == BOOT_BARE {
            self.cpu_order(&cpus);
        }
        cpus
    }

    pub(super) fn xive(
        &mut self,
        raw: &RawXive,
        vcpus: usize,
        spans: &mut XiveSpans,
    ) -> Option<Placed<Xive>> {
        self.aligned("the TIMA page", &raw.tima, XIVE_PAGE);
        self.aligned("the TIMA page", &raw.tima_host, XIVE_PAGE);
        self.aligned("the source pages", &raw.esb, XIVE_PAGE);
        let tima = self.size(&raw.tima);
        let tima_host = match &raw.tima_host {
            Some(_) => self.size(&raw.tima_host),
            None => tima.clone(),
        };
        let esb = self.size(&raw.esb);
        let interfaces = [Word::Works("exploitation", ()), Word::HalfBuilt("xics")];
        self.word("interface", &raw.interface, Some(()), &interfaces);
        let sources = raw.sources.as_ref()?;
        let count = *sources.get_ref();
        if !(1..=256).contains(&count) {
            let title = "`sources` is 1 to 256";
            self.report(
                Diagnostic::new("sources", title, sources.span(), format!("this is {count}"))
                    .help("Linux needs one source for each vCPU"),
            );
            return None;
        }
        if (count as usize) < vcpus {
            let title = "fewer interrupt sources than vCPUs";
            let label = format!("{vcpus} are needed");
            let help = format!("write `sources = {vcpus}` or more");
            self.report(Diagnostic::new("sources", title, sources.span(), label).help(help));
        }
        let (tima, tima_host, esb) = (tima?, tima_host?, esb?);
        let value = Xive {
            tima: tima.value,
            tima_host: tima_host.value,
            esb: esb.value,
            sources: count as u64,
        };
        let span = tima.span.clone();
        *spans = XiveSpans { tima: tima.span, tima_host: tima_host.span, esb: esb.span };
        Some(Placed { value, span })
    }
}
