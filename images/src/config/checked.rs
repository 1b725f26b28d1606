// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A board config that has been judged: what the builder works from.
use anchorite_hv::arm64::features::Hidden;
use anchorite_spec::Range;
use anchorite_spec::manifest::FAULT_CLASSES;

use super::platform::Platform;
use super::source::Span;

/// A value and where it was written, for judgements that only the builder can make.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

/// A board config.
#[derive(Debug)]
pub struct Config {
    /// The board's name.
    pub board: String,
    /// The processor version register, in the bits of `pvr_mask`.
    pub pvr: u64,
    /// The bits that count.
    pub pvr_mask: u64,
    /// The machine's RAM.
    pub ram: Vec<Range>,
    /// The firmware's memory.
    pub firmware: Placed<Range>,
    /// One of the manifest's `DEBUG_FAULT_*` numbers.
    pub debug_fault: u32,
    /// The firmware says how long each exit takes.
    pub timing: bool,
    /// The firmware says how long its boot took and what it decided.
    pub debug_boot: bool,
    /// One of the manifest's `MITIGATIONS_*` numbers.
    pub mitigations: u32,
    /// The firmware's watchdog.
    pub watchdog: Option<Watchdog>,
    /// The flash partition that limits the image's size.
    pub flash: Option<Placed<Flash>>,
    /// The image's version, and who vouches for it.
    pub signing: Signing,
    /// The guest.
    pub guest: Guest,
    /// What the platform fixes.
    pub platform: Platform,
}

/// An image's version, and who vouches for it.
#[derive(Clone, Debug, Default)]
pub struct Signing {
    /// The version.
    pub version: u64,
    /// The firmware starts nothing unsigned.
    pub required: bool,
    /// The lowest version that it starts.
    pub min_version: u64,
    /// The keys' files; at least one of them if a signature is required.
    pub keys: KeyFiles,
}

/// Files of keys, as a config names them.
#[derive(Clone, Debug, Default)]
pub struct KeyFiles {
    /// The public key's.
    pub public: Option<Placed<String>>,
    /// The private key's.
    pub private: Option<Placed<String>>,
}

/// The guest's files, as a config names them.
#[derive(Clone, Debug)]
pub struct GuestFiles {
    /// The machine.
    pub platform: Platform,
    /// The kernel's format, if it is one.
    pub format: Option<Format>,
    /// Recipe or path of the kernel.
    pub kernel: Option<Placed<String>>,
    /// Recipe or path of the initial file system.
    pub initrd: Option<Placed<String>>,
    /// The keys, which are files beside the guest's.
    pub keys: KeyFiles,
}

impl Config {
    /// The guest's files, and the keys.
    #[must_use]
    pub fn files(&self) -> GuestFiles {
        let Guest { kernel, initrd, format, .. } = &self.guest;
        let (kernel, initrd) = (Some(kernel.clone()), initrd.clone());
        let keys = self.signing.keys.clone();
        GuestFiles { platform: self.platform, format: Some(*format), kernel, initrd, keys }
    }
}

/// A flash partition.
#[derive(Clone, Debug)]
pub struct Flash {
    /// Its name.
    pub partition: String,
    /// Its size in bytes.
    pub size: u64,
}

/// The guest.
#[derive(Debug)]
pub struct Guest {
    /// Recipe or path of the kernel.
    pub kernel: Placed<String>,
    /// Recipe or path of the initial file system.
    pub initrd: Option<Placed<String>>,
    /// The command line.
    pub cmdline: String,
    /// The machine's random number generator is a device of the guest.
    pub hwrng: bool,
    /// When it is restarted in place.
    pub restart: Restart,
    /// What becomes of it when it makes a fault, by the fault's class: the manifest's numbers.
    pub on_fault: [u8; FAULT_CLASSES],
    /// How the payload is packed.
    pub compression: Compression,
    /// The kernel's format.
    pub format: Format,
    /// Entered little-endian.
    pub little_endian: bool,
    /// The interrupt controller; all zero where it is another.
    pub xive: Xive,
    /// SMCCC functions of the machine's firmware that the guest may call (arm64).
    pub forward: Vec<u32>,
    /// Features of an arm64 processor that the guest does not have.
    pub hidden: Hidden,
    /// EL2 keeps a timer interrupt for itself (arm64).
    pub guarded: bool,
    /// The guest is trusted with the interrupt translation service (arm64).
    pub its: bool,
    /// Bits of guest addresses (arm64).
    pub ipa_bits: u32,
    /// Guest memory is cached whatever the guest's own attributes say (arm64).
    pub forced_write_back: bool,
    /// The machine's CPU of each vCPU.
    pub vcpus: Vec<u32>,
    /// RAM.
    pub memory: Vec<Placed<Memory>>,
    /// Devices.
    pub devices: Vec<Placed<Device>>,
}

/// When a guest is restarted in place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restart {
    /// When it asks for a reboot.
    pub on_reboot: bool,
    /// When it panics.
    pub on_panic: bool,
    /// How often at most; 0 for no limit.
    pub budget: u32,
}

/// The firmware's watchdog.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    /// Seconds of silence.
    pub seconds: u32,
    /// One of the manifest's `WATCHDOG_*` numbers.
    pub action: u32,
    /// Restarts at most; 0 for no limit.
    pub budget: u32,
    /// It looks for signs of life itself.
    pub looks: bool,
}

impl Watchdog {
    /// Whether the guest finds it as a device that calls feed.
    #[must_use]
    pub const fn is_called(&self) -> bool {
        !self.looks
    }
}

/// How the payload is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// One zstd frame.
    Zstd,
    /// One LZ4 block.
    Lz4,
}

/// The kernel's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What it begins as: an ELF, or on arm64 an `Image`, also packed; anything else is refused.
    Auto,
    /// ELF.
    Elf,
    /// Bytes to be put at `load` and entered at `entry`.
    Raw {
        /// Guest real address of the first byte.
        load: u64,
        /// Guest real address of the first instruction.
        entry: u64,
    },
}

/// The guest's interrupt controller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Xive {
    /// Guest real address of the OS page of the thread interrupt management area.
    pub tima: u64,
    /// Host real address of that page.
    pub tima_host: u64,
    /// Guest real address of the first source's pages.
    pub esb: u64,
    /// Interrupt sources.
    pub sources: u64,
}

/// One range of guest RAM.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Its name.
    pub name: String,
    /// Guest real addresses.
    pub guest: Range,
    /// Host real addresses.
    pub host: Range,
    /// Where the host address was written.
    pub host_span: Span,
}

/// One device.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Guest real addresses of its registers.
    pub guest: Range,
    /// Host real addresses of its registers.
    pub host: Range,
    /// What the guest's tree says of it: a model, and its interrupt.
    pub model: Option<(Model, u32)>,
    /// Where the host address was written.
    pub host_span: Span,
    /// Where the interrupt was written.
    pub irq_span: Span,
    /// It moves data by itself, and the config trusts it.
    pub dma_trusted: bool,
    /// What `anchorite run` puts into its slot.
    pub virtio: Option<Virtio>,
}

impl Device {
    /// Whether its registers are less than whole pages, which others may share.
    #[must_use]
    pub fn is_small(&self) -> bool {
        !(self.guest.base | self.host.base | self.guest.size).is_multiple_of(DEVICE_PAGE)
    }

    /// The pages that its registers stand in: guest, host.
    #[must_use]
    pub fn pages(&self) -> (Range, Range) {
        (pages(self.guest), pages(self.host))
    }
}

/// The smallest pages: what a guest reaches one register of, it reaches all of.
pub const DEVICE_PAGE: u64 = 0x1000;

fn pages(range: Range) -> Range {
    let base = range.base / DEVICE_PAGE * DEVICE_PAGE;
    let end = range.base.saturating_add(range.size);
    Range::new(base, end.saturating_sub(base).next_multiple_of(DEVICE_PAGE))
}

/// What can stand in a virtio slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Virtio {
    /// A disk.
    Disk,
    /// A network.
    Network,
}

/// Devices that the builder can describe to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Arm's UART.
    Pl011,
    /// Arm's clock.
    Pl031,
    /// A slot for a virtio device.
    VirtioMmio,
}

/// Bytes of one page of interrupt controller registers.
pub const XIVE_PAGE: u64 = 0x1_0000;

impl Xive {
    /// Guest addresses of the OS page and the user page behind it.
    #[must_use]
    pub fn tima_range(&self) -> Range {
        Range::new(self.tima, 2 * XIVE_PAGE)
    }

    /// Guest addresses of the sources' pages.
    #[must_use]
    pub fn esb_range(&self) -> Range {
        Range::new(self.esb, self.sources * 2 * XIVE_PAGE)
    }
}
