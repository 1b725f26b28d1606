// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rules that a config's values keep: raw in, checked out.
//!
//! Every rule has a rejected config in `tests/reject/`, with the exact message.
use anchorite_spec::Range;
use anchorite_spec::manifest::{MAPPINGS, RAM_RANGES, VCPUS};
use toml::Spanned;

use super::checked::{
    Compression, Config, Device, Flash, Format, Guest, Memory, Placed, XIVE_PAGE, Xive,
};
use super::diagnostic::Diagnostic;
use super::platform::{FORBIDDEN, POWERNV, Platform};
use super::raw::{
    Field, RawBoard, RawConfig, RawDevice, RawFirmware, RawGuest, RawMemory, RawXive,
};
use super::source::Span;
use super::space::{self, Owner, Space};
use super::structure::nearest;
use super::units;

/// Smallest page and alignment of guest RAM and of the firmware's memory.
const PAGE: u64 = 0x1_0000;
/// Guest real addresses have 52 bits.
const GUEST_SPACE: Range = Range::new(0, 1 << 52);
/// Linux on POWER takes no longer command line.
const CMDLINE_BYTES: usize = 2047;
/// Names in the manifest.
const NAME_BYTES: usize = 32;

/// Names of regions that every guest has.
const RESERVED_NAMES: [&str; 2] = ["xive-tima", "xive-esb"];

/// POWER9 in the processor version register, any revision.
const PVR_POWER9: (u64, u64) = (0x004E_0000, 0xFFFF_0000);

/// One word of a fixed choice.
enum Word<T> {
    /// It works.
    Works(&'static str, T),
    /// It is understood, but not built yet.
    HalfBuilt(&'static str),
}

/// Judges a config. Without a result, at least one mistake was found.
pub fn check(raw: &RawConfig, found: &mut Vec<Diagnostic>) -> Option<Config> {
    let mut rules = Rules { found };
    let board = rules.table(&raw.board, Rules::board);
    let ram = rules.ram(raw);
    let firmware = rules.table(&raw.firmware, Rules::firmware);
    let guest = rules.table(&raw.guest, Rules::guest);
    let platform = POWERNV;
    let ram_ranges: Vec<Range> = ram.iter().map(|ram| ram.value).collect();
    rules.bounds(&ram, firmware.as_ref(), guest.as_ref(), &platform);
    rules.host_space(&ram, firmware.as_ref(), guest.as_ref(), &platform);
    rules.guest_space(guest.as_ref());
    let (board, pvr, pvr_mask) = board?;
    let (memory, flash) = firmware?;
    let guest = guest?.finish()?;
    Some(Config {
        board,
        pvr,
        pvr_mask,
        ram: ram_ranges,
        firmware: memory?,
        flash,
        guest,
        platform,
    })
}

/// The guest as far as it could be judged.
struct GuestDraft {
    kernel: Option<Placed<String>>,
    initrd: Option<Placed<String>>,
    cmdline: String,
    compression: Option<Compression>,
    format: Option<Format>,
    little_endian: Option<bool>,
    xive: Option<Placed<Xive>>,
    xive_spans: XiveSpans,
    vcpus: Vec<u32>,
    memory: Vec<Placed<Memory>>,
    devices: Vec<Placed<Device>>,
}

#[derive(Default)]
struct XiveSpans {
    tima: Span,
    tima_host: Span,
    esb: Span,
}

impl GuestDraft {
    fn finish(self) -> Option<Guest> {
        Some(Guest {
            kernel: self.kernel?,
            initrd: self.initrd,
            cmdline: self.cmdline,
            compression: self.compression?,
            format: self.format?,
            little_endian: self.little_endian?,
            xive: self.xive?.value,
            vcpus: self.vcpus,
            memory: self.memory,
            devices: self.devices,
        })
    }
}

type FirmwareDraft = (Option<Placed<Range>>, Option<Placed<Flash>>);

struct Rules<'f> {
    found: &'f mut Vec<Diagnostic>,
}

impl Rules<'_> {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    fn table<T, R>(
        &mut self,
        field: &Field<T>,
        judge: impl FnOnce(&mut Self, &T, Span) -> R,
    ) -> Option<R> {
        field.as_ref().map(|table| judge(self, table.get_ref(), table.span()))
    }

    /// A word out of a fixed choice; `default` stands for a key that may be left out.
    fn word<T: Copy>(
        &mut self,
        key: &str,
        field: &Field<String>,
        default: Option<T>,
        words: &[Word<T>],
    ) -> Option<T> {
        let Some(written) = field else { return default };
        let text = written.get_ref().as_str();
        for word in words {
            match word {
                Word::Works(name, value) if *name == text => return Some(*value),
                Word::HalfBuilt(name) if *name == text => {
                    self.half_built(&format!("{key} = \"{text}\""), written.span(), words);
                    return None;
                }
                _ => {}
            }
        }
        let names = works(words);
        let help = match nearest(text, &names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write {}", alternatives(&names)),
        };
        let title = format!("`{key}` has no value \"{text}\"");
        self.report(Diagnostic::new("unknown-value", title, written.span(), "unknown").help(help));
        None
    }

    fn half_built<T>(&mut self, what: &str, span: Span, words: &[Word<T>]) {
        let title = format!("{what} is not built in this version");
        let help = format!("write {}", alternatives(&works(words)));
        self.report(Diagnostic::new("half-built", title, span, "half-built").help(help));
    }

    fn not_built(&mut self, what: &str, span: Span, help: &str) {
        let title = format!("{what} is not built in this version");
        self.report(Diagnostic::new("half-built", title, span, "half-built").help(help));
    }

    fn size(&mut self, field: &Field<String>) -> Option<Placed<u64>> {
        let written = field.as_ref()?;
        match units::parse_size(written.get_ref()) {
            Ok(value) => Some(Placed { value, span: written.span() }),
            Err(error) => {
                let title = format!("\"{}\" is no size or address", written.get_ref());
                let help = "write a decimal number with KiB, MiB, GiB or TiB, such as \"64KiB\", \
                            or a hexadecimal one, such as \"0x1_0000\"";
                let label = error.to_string();
                self.report(Diagnostic::new("bad-size", title, written.span(), label).help(help));
                None
            }
        }
    }

    /// A range from its two keys; empty ones and ones that leave 64 bits are refused.
    fn range(&mut self, base: &Field<String>, size: &Field<String>) -> Option<Range> {
        let base = self.size(base);
        let size = self.size(size);
        let (base, size) = (base?, size?);
        if size.value == 0 {
            let title = "a range cannot be empty";
            self.report(Diagnostic::new("empty-range", title, size.span, "no bytes"));
            return None;
        }
        if base.value.checked_add(size.value).is_none() {
            let title = "the range runs past the last address";
            let label = format!("{} from here", units::size(size.value));
            self.report(
                Diagnostic::new("address-limit", title, base.span, label)
                    .also(size.span, "too many"),
            );
            return None;
        }
        Some(Range::new(base.value, size.value))
    }

    fn aligned(&mut self, what: &str, field: &Field<String>, align: u64) {
        let Some(written) = field else { return };
        let Ok(value) = units::parse_size(written.get_ref()) else { return };
        if !value.is_multiple_of(align) {
            let title = format!("{what} must be a multiple of {}", units::size(align));
            let below = value / align * align;
            let help = match below.checked_add(align) {
                Some(above) => format!("the nearest are {below:#x} and {above:#x}"),
                None => format!("the nearest is {below:#x}"),
            };
            let label = format!("this is {value:#x}");
            self.report(Diagnostic::new("alignment", title, written.span(), label).help(help));
        }
    }

    fn name(&mut self, field: &Field<String>) -> Option<Placed<String>> {
        let written = field.as_ref()?;
        let name = written.get_ref();
        let fault = if name.is_empty() {
            "empty"
        } else if name.len() > NAME_BYTES {
            "too long"
        } else if name.chars().any(char::is_control) {
            "it holds control characters"
        } else {
            return Some(Placed { value: name.clone(), span: written.span() });
        };
        let title = format!("a name has 1 to {NAME_BYTES} bytes of printable text");
        let help = "choose another: it stands in the image's manifest and in reports";
        self.report(Diagnostic::new("bad-name", title, written.span(), fault).help(help));
        None
    }

    fn board(&mut self, raw: &RawBoard, _: Span) -> (String, u64, u64) {
        let name = self.name(&raw.name).map(|name| name.value).unwrap_or_default();
        self.word("arch", &raw.arch, None, &[Word::Works("power9", ()), Word::HalfBuilt("arm64")]);
        self.word(
            "platform",
            &raw.platform,
            None,
            &[Word::Works("powernv", ()), Word::HalfBuilt("qemu-virt")],
        );
        let cpu = self.word("cpu", &raw.cpu, None, &[Word::Works("power9", PVR_POWER9)]);
        let boots = [
            Word::Works("opal-payload", ()),
            Word::HalfBuilt("bare"),
            Word::HalfBuilt("arm64-image"),
        ];
        self.word("boot", &raw.boot, None, &boots);
        let (pvr, mask) = cpu.unwrap_or_default();
        (name, pvr, mask)
    }

    fn ram(&mut self, raw: &RawConfig) -> Vec<Placed<Range>> {
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

    fn count<T>(&mut self, key: &str, list: &Spanned<Vec<T>>, min: usize, max: usize) {
        let count = list.get_ref().len();
        if !(min..=max).contains(&count) {
            let range = if min == max { min.to_string() } else { format!("{min} to {max}") };
            let title = format!("the number of `{key}` entries must be {range}");
            let label = format!("there are {count}");
            self.report(Diagnostic::new("count", title, list.span(), label));
        }
    }

    fn firmware(&mut self, raw: &RawFirmware, _: Span) -> FirmwareDraft {
        let consoles = [Word::Works("opal", ()), Word::HalfBuilt("uart")];
        self.word("console", &raw.console, None, &consoles);
        if let Some(timing) = raw.timing.as_ref().filter(|timing| *timing.get_ref()) {
            self.not_built("`timing = true`", timing.span(), "write `timing = false`");
        }
        if let Some(watchdog) = &raw.watchdog {
            self.not_built("`firmware.watchdog`", watchdog.span(), "leave `watchdog` out");
        }
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
        (memory, flash)
    }

    fn guest(&mut self, raw: &RawGuest, _: Span) -> GuestDraft {
        let placed = |field: &Field<String>| {
            field.as_ref().map(|text| Placed { value: text.get_ref().clone(), span: text.span() })
        };
        let codecs = [
            Word::Works("zstd", Compression::Zstd),
            Word::Works("none", Compression::None),
            Word::HalfBuilt("lz4"),
        ];
        let interrupts = [Word::Works("direct", ()), Word::HalfBuilt("guarded")];
        let endians = [Word::Works("big", false), Word::Works("little", true)];
        let compression =
            self.word("compression", &raw.compression, Some(Compression::Zstd), &codecs);
        self.word("interrupts", &raw.interrupts, Some(()), &interrupts);
        let mut draft = GuestDraft {
            kernel: self.kernel(raw),
            // An empty name takes a config's initrd away again.
            initrd: placed(&raw.initrd).filter(|initrd| !initrd.value.is_empty()),
            cmdline: self.cmdline(&raw.cmdline),
            compression,
            format: self.format(raw),
            little_endian: self.word("endian", &raw.endian, Some(false), &endians),
            xive: None,
            xive_spans: XiveSpans::default(),
            vcpus: self.vcpus(raw),
            memory: self.memory(raw),
            devices: self.devices(raw),
        };
        if let Some(xive) = &raw.xive {
            draft.xive = self.xive(xive.get_ref(), draft.vcpus.len(), &mut draft.xive_spans);
        }
        self.names(&draft);
        let mappings = draft.memory.len() + draft.devices.len() + 2;
        if mappings > MAPPINGS {
            let title = format!("the guest has more than {MAPPINGS} regions");
            let span = raw.device.as_ref().map_or(0..0, Spanned::span);
            self.report(Diagnostic::new("count", title, span, format!("{mappings} in all")));
        }
        draft
    }

    fn kernel(&mut self, raw: &RawGuest) -> Option<Placed<String>> {
        let written = raw.kernel.as_ref()?;
        let placed = Placed { value: written.get_ref().clone(), span: written.span() };
        if placed.value.is_empty() || placed.value.contains('\0') {
            let title = "`kernel` names no file";
            self.report(
                Diagnostic::new("bad-name", title, written.span(), "no name")
                    .help("name a recipe of images/guests/, or a path"),
            );
            return None;
        }
        Some(placed)
    }

    fn cmdline(&mut self, field: &Field<String>) -> String {
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
        text.clone()
    }

    fn format(&mut self, raw: &RawGuest) -> Option<Format> {
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

    fn vcpus(&mut self, raw: &RawGuest) -> Vec<u32> {
        let Some(list) = &raw.vcpu else { return Vec::new() };
        let entries = list.get_ref();
        if entries.is_empty() {
            self.count("guest.vcpu", list, 1, 1);
        }
        if let Some(second) = entries.get(1) {
            let title = format!("{} vCPUs, but this version runs one vCPU", entries.len());
            let span = span_of(&second.get_ref().cpu, second);
            self.report(
                Diagnostic::new("half-built", title, span, "one too many")
                    .help("leave one [[guest.vcpu]]"),
            );
        }
        let mut cpus: Vec<(u32, Span)> = Vec::new();
        for written in entries.iter().filter_map(|entry| entry.get_ref().cpu.as_ref()) {
            let cpu = u32::try_from(*written.get_ref()).ok().filter(|cpu| *cpu < VCPUS as u32);
            let Some(cpu) = cpu else {
                let title = format!("`cpu` is 0 to {}", VCPUS - 1);
                let label = format!("this is {}", written.get_ref());
                self.report(Diagnostic::new("vcpu", title, written.span(), label));
                continue;
            };
            if let Some((_, first)) = cpus.iter().find(|(known, _)| *known == cpu) {
                let title = format!("CPU {cpu} is given to two vCPUs");
                self.report(
                    Diagnostic::new("vcpu", title, written.span(), "second time")
                        .also(first.clone(), "first time")
                        .help("give each vCPU a CPU of its own"),
                );
            }
            cpus.push((cpu, written.span()));
        }
        cpus.into_iter().map(|(cpu, _)| cpu).collect()
    }

    fn memory(&mut self, raw: &RawGuest) -> Vec<Placed<Memory>> {
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

    fn memory_entry(&mut self, entry: &Spanned<RawMemory>) -> Option<Placed<Memory>> {
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
    fn names(&mut self, guest: &GuestDraft) {
        let memory = guest.memory.iter().map(|memory| (&memory.value.name, &memory.span));
        let devices = guest.devices.iter().map(|device| (&device.value.name, &device.span));
        let mut known: Vec<(&String, &Span)> = Vec::new();
        for (name, span) in memory.chain(devices) {
            if RESERVED_NAMES.contains(&name.as_str()) {
                let title = format!("the name `{name}` is the interrupt controller's");
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

    fn devices(&mut self, raw: &RawGuest) -> Vec<Placed<Device>> {
        let mut devices = Vec::new();
        for entry in raw.device.iter().flat_map(Spanned::get_ref) {
            devices.extend(self.device(entry));
        }
        devices
    }

    fn device(&mut self, entry: &Spanned<RawDevice>) -> Option<Placed<Device>> {
        let raw = entry.get_ref();
        let name = self.name(&raw.name);
        if let Some(irq) = &raw.irq {
            self.not_built("`irq`, a device's interrupt,", irq.span(), "leave `irq` out");
        }
        let dma = [Word::Works("none", false), Word::Works("trusted", true)];
        let dma_trusted = self.word("dma", &raw.dma, Some(false), &dma);
        let mmio = raw.mmio.as_ref()?.get_ref();
        self.aligned("a device's registers", &mmio.guest, 0x1000);
        self.aligned("the host side of a device's registers", &mmio.host, 0x1000);
        self.aligned("the size of a device's registers", &mmio.size, 0x1000);
        let guest = self.range(&mmio.guest, &mmio.size);
        let host = self.size(&mmio.host);
        let (guest, host) = (guest?, host?);
        let value = Device {
            name: name?.value,
            guest,
            host: Range::new(host.value, guest.size),
            host_span: host.span,
            dma_trusted: dma_trusted?,
        };
        Some(Placed { value, span: span_of(&mmio.guest, entry) })
    }

    fn xive(&mut self, raw: &RawXive, vcpus: usize, spans: &mut XiveSpans) -> Option<Placed<Xive>> {
        self.aligned("the TIMA page", &raw.tima, XIVE_PAGE);
        self.aligned("the TIMA page", &raw.tima_host, XIVE_PAGE);
        self.aligned("the source pages", &raw.esb, XIVE_PAGE);
        let tima = self.size(&raw.tima);
        let tima_host = match &raw.tima_host {
            Some(_) => self.size(&raw.tima_host),
            None => tima.clone(),
        };
        let esb = self.size(&raw.esb);
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
            self.report(Diagnostic::new("sources", title, sources.span(), label));
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

    /// Everything that must lie in RAM does; registers do not; guest addresses have 52 bits.
    fn bounds(
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
            ("the machine's exception vectors", platform.vectors),
            ("the window into which skiboot loads the image", platform.load_window),
            ("skiboot's own memory", platform.earlier),
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
        let mut inside = Vec::new();
        if let Some((Some(memory), _)) = firmware {
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
                self.report(
                    Diagnostic::new("ram-bounds", title, span.clone(), units::range(range))
                        .also(ram[0].span.clone(), format!("RAM: {}", list.join(", ")))
                        .help("move or shrink it, or describe more RAM"),
                );
            }
        }
        if let Some(guest) = guest {
            self.guest_bounds(guest, ram);
        }
    }

    fn guest_bounds(&mut self, guest: &GuestDraft, ram: &[Placed<Range>]) {
        if let (Some(first), false) =
            (guest.memory.first(), guest.memory.iter().any(|m| m.value.guest.base == 0))
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
            ranges.push((device.value.name.clone(), device.value.guest, device.span.clone()));
            let name = format!("device `{}`", device.value.name);
            registers.push((name, device.value.host, device.value.host_span.clone()));
        }
        if let Some(xive) = &guest.xive {
            let spans = &guest.xive_spans;
            ranges.push(("xive.tima".into(), xive.value.tima_range(), spans.tima.clone()));
            ranges.push(("xive.esb".into(), xive.value.esb_range(), spans.esb.clone()));
            let page = Range::new(xive.value.tima_host, XIVE_PAGE);
            registers.push(("the TIMA page".into(), page, spans.tima_host.clone()));
        }
        for (name, range, span) in ranges {
            if !GUEST_SPACE.contains(range) {
                let title = format!("`{name}` leaves the 52-bit guest space");
                self.report(
                    Diagnostic::new("address-limit", title, span, units::range(range))
                        .help("guest addresses end at 0x10_0000_0000_0000"),
                );
            }
        }
        for (name, range, span) in registers {
            self.registers(&name, range, span, ram);
        }
    }

    /// Registers are no RAM, and none of those by which a guest could reach round its walls.
    fn registers(&mut self, name: &str, range: Range, span: Span, ram: &[Placed<Range>]) {
        if let Some(ram) = ram.iter().find(|ram| ram.value.overlaps(range)) {
            let title = format!("{name} lies in RAM");
            self.report(
                Diagnostic::new("registers", title, span.clone(), units::range(range))
                    .also(ram.span.clone(), format!("RAM: {}", units::range(ram.value)))
                    .help("memory for the guest goes into [[guest.memory]]"),
            );
        }
        if range.base >> 57 != 0 || range.base.saturating_add(range.size) > 1 << 57 {
            let title = format!("{name} lies beyond the machine's last address");
            self.report(Diagnostic::new("address-limit", title, span.clone(), units::range(range)));
        }
        for (owner, forbidden) in FORBIDDEN {
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

    fn host_space(
        &mut self,
        ram: &[Placed<Range>],
        firmware: Option<&FirmwareDraft>,
        guest: Option<&GuestDraft>,
        platform: &Platform,
    ) {
        self.ram_overlaps(ram);
        let mut owners = vec![
            Owner::given("the machine's exception vectors", platform.vectors),
            Owner::given("the window into which skiboot loads the image", platform.load_window),
            Owner::given("skiboot's own memory", platform.earlier),
        ];
        if let Some((Some(memory), _)) = firmware {
            let span = memory.span.clone();
            owners.push(Owner::written("the firmware's memory", memory.value, span));
        }
        for memory in guest.iter().flat_map(|guest| &guest.memory).map(|memory| &memory.value) {
            let name = format!("guest memory `{}`", memory.name);
            owners.push(Owner::written(name, memory.host, memory.host_span.clone()));
        }
        let limits: Vec<Range> = ram.iter().map(|ram| ram.value).collect();
        let (rule, name) = ("overlap-host", "host memory");
        space::check(&Space { rule, name, limits: &limits, owners: &owners }, self.found);
        self.host_registers(guest);
    }

    fn host_registers(&mut self, guest: Option<&GuestDraft>) {
        let Some(guest) = guest else { return };
        let mut owners = Vec::new();
        for device in guest.devices.iter().map(|device| &device.value) {
            let name = format!("device `{}`", device.name);
            owners.push(Owner::written(name, device.host, device.host_span.clone()));
        }
        if let Some(xive) = &guest.xive {
            let page = Range::new(xive.value.tima_host, XIVE_PAGE);
            owners.push(Owner::written("the TIMA page", page, guest.xive_spans.tima_host.clone()));
        }
        let (rule, name) = ("overlap-host", "the machine's registers");
        space::check(&Space { rule, name, limits: &[], owners: &owners }, self.found);
    }

    fn ram_overlaps(&mut self, ram: &[Placed<Range>]) {
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
    fn small_pages(&mut self, guest: &GuestDraft) {
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

    fn guest_space(&mut self, guest: Option<&GuestDraft>) {
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
        for device in &guest.devices {
            let name = format!("device `{}`", device.value.name);
            owners.push(Owner::written(name, device.value.guest, device.span.clone()));
        }
        self.small_pages(guest);
        let limits = [GUEST_SPACE];
        let (rule, name) = ("overlap-guest", "guest space");
        space::check(&Space { rule, name, limits: &limits, owners: &owners }, self.found);
    }
}

/// The 2 MiB slots that a range touches: each holds pages of one size.
fn slots(range: Range) -> Range {
    const SLOT: u64 = 2 << 20;
    let base = range.base / SLOT * SLOT;
    let end = range.base.saturating_add(range.size);
    Range::new(base, end.checked_next_multiple_of(SLOT).unwrap_or(u64::MAX) - base)
}

/// The place of a key, or of its whole table.
fn span_of<T, U>(field: &Field<T>, table: &Spanned<U>) -> Span {
    field.as_ref().map_or_else(|| table.span(), Spanned::span)
}

fn works<T>(words: &[Word<T>]) -> Vec<&'static str> {
    words
        .iter()
        .filter_map(|word| if let Word::Works(name, _) = word { Some(*name) } else { None })
        .collect()
}

fn alternatives(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    quoted.join(" or ")
}
