// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rules that a config's values keep: raw in, checked out.
//!
//! Every rule has a rejected config in `tests/reject/`, with the exact message.
mod arm64;
mod bounds;
mod calls;
mod guest;
mod image;
mod machine;
mod masters;
mod regions;
mod restart;
mod spaces;
mod values;
mod watchdog;

use std::collections::HashSet;

use anchorite_hv::arm64::features::Hidden;
use anchorite_spec::Range;
use anchorite_spec::manifest::FAULT_CLASSES;

use super::checked::{
    Compression, Config, Device, Flash, Format, Guest, GuestFiles, Memory, Placed, Restart,
    Signing, Watchdog, Xive,
};
use super::diagnostic::Diagnostic;
use super::platform::Platform;
use super::raw::{Field, RawConfig};
use super::source::Span;
pub use machine::arm64_real_bits;
use restart::RestartDraft;
use watchdog::WatchdogDraft;

/// Smallest page and alignment of guest RAM and of the firmware's memory.
const PAGE: u64 = 0x1_0000;

/// What is left of a config.
#[derive(Default)]
pub struct Judged {
    /// All of it; without it, at least one mistake was found.
    pub config: Option<Config>,
    /// The guest's files, which can be judged by themselves.
    pub files: Option<GuestFiles>,
}

/// Judges a config.
pub fn check(raw: &RawConfig, found: &mut Vec<Diagnostic>) -> Judged {
    let board = raw.board.as_ref().map(|board| board.get_ref());
    let (arch, boot) = board.map_or((None, None), |board| (word(&board.arch), word(&board.boot)));
    let platform = Platform::of(arch, boot);
    let mut rules = Rules { found, platform, real_bits: platform.real_bits, watchdog: None };
    let board = rules.table(&raw.board, Rules::board);
    if let Some(bits) = board.as_ref().and_then(|(_, cpu)| cpu.real_bits()) {
        rules.real_bits = rules.real_bits.min(bits);
    }
    let ram = rules.ram(raw);
    let firmware = rules.table(&raw.firmware, Rules::firmware);
    let signing = rules.table(&raw.image, Rules::image).unwrap_or_default();
    let guest = rules.table(&raw.guest, Rules::guest);
    let ram_ranges: Vec<Range> = ram.iter().map(|ram| ram.value).collect();
    rules.bounds(&ram, firmware.as_ref(), guest.as_ref(), &platform);
    rules.host_space(&ram, firmware.as_ref(), guest.as_ref(), &platform);
    rules.guest_space(guest.as_ref());
    rules.arm64(raw, board.as_ref(), firmware.as_ref(), guest.as_ref());
    rules.masters(guest.as_ref());
    rules.restart_masters(guest.as_ref());
    rules.watchdog_guard(raw, guest.as_ref());
    let files = guest.as_ref().filter(|_| arch_is_known(arch)).map(|guest| GuestFiles {
        platform,
        format: guest.format,
        kernel: guest.kernel.clone(),
        initrd: guest.initrd.clone(),
        keys: signing.keys.clone(),
    });
    let watchdog = rules.watchdog.map(|watchdog| watchdog.value);
    let config = finish(platform, board, ram_ranges, firmware, watchdog, signing, guest);
    Judged { config, files }
}

fn arch_is_known(arch: Option<&str>) -> bool {
    matches!(arch, Some("power9" | "arm64"))
}

fn finish(
    platform: Platform,
    board: Option<(String, Cpu)>,
    ram: Vec<Range>,
    firmware: Option<FirmwareDraft>,
    watchdog: Option<Watchdog>,
    signing: Signing,
    guest: Option<GuestDraft>,
) -> Option<Config> {
    let (board, Cpu { pvr, pvr_mask, fwb, .. }) = board?;
    let FirmwareDraft { memory, debug_fault, debug_boot, mitigations, timing, flash } = firmware?;
    let guest = guest?.finish(fwb)?;
    Some(Config {
        board,
        pvr,
        pvr_mask,
        ram,
        firmware: memory?,
        debug_fault,
        debug_boot,
        mitigations,
        watchdog,
        timing,
        flash,
        signing,
        guest,
        platform,
    })
}

fn word(field: &Field<String>) -> Option<&str> {
    field.as_ref().map(|text| text.get_ref().as_str())
}

/// The guest as far as it could be judged.
struct GuestDraft {
    kernel: Option<Placed<String>>,
    initrd: Option<Placed<String>>,
    cmdline: String,
    hwrng: bool,
    restart: Option<RestartDraft>,
    on_fault: [u8; FAULT_CLASSES],
    compression: Option<Compression>,
    format: Option<Format>,
    little_endian: Option<bool>,
    xive: Option<Placed<Xive>>,
    needs_xive: bool,
    forward: Vec<u32>,
    hidden: Hidden,
    guarded: bool,
    its: Option<Span>,
    ipa_bits: Placed<u32>,
    fwb: Option<Placed<bool>>,
    xive_spans: XiveSpans,
    vcpus: Vec<Placed<u32>>,
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
    /// Entries that the manifest will have for what the guest reaches.
    fn mappings(&self, arm: bool) -> usize {
        let its = usize::from(self.its.is_some());
        let controller = if arm { 1 + 2 * self.vcpus.len() + its } else { 2 };
        let small = self.devices.iter().filter(|device| device.value.is_small());
        let pages: HashSet<_> = small.map(|device| device.value.pages().0.base).collect();
        self.memory.len() + self.devices.len() + controller + pages.len()
    }

    fn finish(self, cpu_has_fwb: bool) -> Option<Guest> {
        Some(Guest {
            kernel: self.kernel?,
            initrd: self.initrd,
            cmdline: self.cmdline,
            hwrng: self.hwrng,
            restart: self.restart.map_or_else(Restart::default, |restart| restart.value),
            on_fault: self.on_fault,
            compression: self.compression?,
            format: self.format?,
            little_endian: self.little_endian?,
            xive: match self.xive {
                Some(xive) => xive.value,
                None if self.needs_xive => return None,
                None => Xive::default(),
            },
            forward: self.forward,
            hidden: self.hidden,
            guarded: self.guarded,
            its: self.its.is_some(),
            ipa_bits: self.ipa_bits.value,
            forced_write_back: self.fwb.map_or(cpu_has_fwb, |fwb| fwb.value),
            vcpus: self.vcpus.into_iter().map(|cpu| cpu.value).collect(),
            memory: self.memory,
            devices: self.devices,
        })
    }
}

/// The firmware's part as far as it could be judged.
#[derive(Default)]
struct FirmwareDraft {
    memory: Option<Placed<Range>>,
    debug_fault: u32,
    debug_boot: bool,
    mitigations: u32,
    timing: bool,
    flash: Option<Placed<Flash>>,
}

/// A processor by its version register, and, if it is known, the value of its PARange and whether
/// it can force write-back at stage 2.
#[derive(Clone, Copy, Default)]
struct Cpu {
    pvr: u64,
    pvr_mask: u64,
    pa_range: Option<u32>,
    fwb: bool,
}

impl Cpu {
    /// Bits of physical address (Arm ARM, ID_AA64MMFR0_EL1.PARange).
    fn real_bits(&self) -> Option<u32> {
        const BITS: [u32; 7] = [32, 36, 40, 42, 44, 48, 52];
        BITS.get(usize::try_from(self.pa_range?).ok()?).copied()
    }
}

struct Rules<'f> {
    found: &'f mut Vec<Diagnostic>,
    platform: Platform,
    /// Bits of the machine's addresses.
    real_bits: u32,
    /// The firmware's watchdog, once it was judged.
    watchdog: Option<WatchdogDraft>,
}
