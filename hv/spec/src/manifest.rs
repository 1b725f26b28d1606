// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The manifest: what one firmware image holds, where each part goes, and what the guest may reach.
//!
//! It stands in the image at [`IMAGE_OFFSET`] and, copied by the loader, in the firmware's memory.
//! Every part carries its SHA-256, the frame (headers and padding between the parts) has one, and the
//! manifest's own covers all of it with the digest field zero: no byte of the file is free.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Range;

/// First bytes of a [`Manifest`].
pub const MAGIC: [u8; 8] = *b"ANCHORIT";
/// Layout version; a reader refuses any other.
pub const VERSION: u32 = 10;
/// Where the manifest stands in the image file.
pub const IMAGE_OFFSET: u64 = 0x1000;

/// A short name: UTF-8, padded with zeros.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Name(pub [u8; 32]);

impl Name {
    /// The empty name.
    pub const EMPTY: Self = Self([0; 32]);

    /// A name; what exceeds 32 bytes is cut at a character border.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut len = text.len().min(32);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let mut bytes = [0; 32];
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Self(bytes)
    }

    /// The text, or `"?"` when the bytes are not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or("?")
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or(&self.0)
    }
}

/// [`Manifest::arch`]: POWER9, hypervisor state.
pub const ARCH_POWER9: u32 = 1;
/// [`Manifest::arch`]: arm64, EL2.
pub const ARCH_ARM64: u32 = 2;

/// [`Manifest::boot`]: entered by skiboot as its payload, OPAL below.
pub const BOOT_OPAL_PAYLOAD: u32 = 1;

/// [`Manifest::debug_fault`]: never.
pub const DEBUG_FAULT_NONE: u32 = 0;
/// [`Manifest::debug_fault`]: an assert fails at the guest's first exit.
pub const DEBUG_FAULT_ASSERT: u32 = 1;
/// [`Manifest::debug_fault`]: the firmware takes an exception at the guest's first exit.
pub const DEBUG_FAULT_EXCEPTION: u32 = 2;
/// [`Manifest::debug_fault`]: the same, and another one while it dies of it.
pub const DEBUG_FAULT_DOUBLE: u32 = 3;
/// [`Manifest::debug_fault`]: POWER9, a machine check in the firmware at the guest's first exit.
pub const DEBUG_FAULT_MACHINE_CHECK: u32 = 4;
/// [`Manifest::debug_fault`]: arm64, an SError in the firmware at the guest's first exit.
pub const DEBUG_FAULT_SERROR: u32 = 5;

/// [`Manifest::mitigations`]: what the machine's firmware asks for.
pub const MITIGATIONS_AUTO: u32 = 0;
/// [`Manifest::mitigations`]: none.
pub const MITIGATIONS_OFF: u32 = 1;
/// [`Manifest::mitigations`]: all.
pub const MITIGATIONS_ON: u32 = 2;

/// The name of a choice of mitigations, as configs write it.
#[must_use]
pub const fn mitigations_name(mitigations: u32) -> &'static str {
    match mitigations {
        MITIGATIONS_AUTO => "auto",
        MITIGATIONS_OFF => "off",
        MITIGATIONS_ON => "on",
        _ => "?",
    }
}

/// [`Manifest::watchdog_action`]: the guest begins again.
pub const WATCHDOG_RESTARTS: u32 = 1;
/// [`Manifest::watchdog_action`]: the run ends as stopped by policy.
pub const WATCHDOG_STOPS: u32 = 2;
/// [`Manifest::watchdog_action`]: the run ends as the watchdog's doing.
pub const WATCHDOG_POWERS_OFF: u32 = 3;

/// [`Manifest::on_fault`]: the guest gets the architecture's own fault.
pub const ON_FAULT_INJECT: u8 = 0;
/// [`Manifest::on_fault`]: it begins again.
pub const ON_FAULT_RESTART: u8 = 1;
/// [`Manifest::on_fault`]: the run ends with the policy's code.
pub const ON_FAULT_STOP: u8 = 2;
/// [`Manifest::on_fault`]: the run ends as if the guest had powered off.
pub const ON_FAULT_POWER_OFF: u8 = 3;

/// The policies' names, as configs write them, by number.
pub const ON_FAULT: [&str; 4] = ["inject", "restart", "stop", "power-off"];

/// [`Manifest::boot`]: loaded to RAM as an arm64 `Image` is, entered with x0 = the machine's tree.
pub const BOOT_ARM64_IMAGE: u32 = 2;
/// [`Manifest::boot`]: entered in flash at the image's first byte.
pub const BOOT_FLAT: u32 = 3;
/// [`Manifest::boot`]: loaded to RAM as an ELF, entered at its entry point.
pub const BOOT_ELF: u32 = 4;
/// [`Manifest::boot`]: POWER9 without any earlier firmware: the image is put at 0 and entered at 0x10
/// by all threads.
pub const BOOT_BARE: u32 = 5;

/// [`Part::kind`]: the position-independent loader; runs once, then its memory is wiped.
pub const PART_LOADER: u32 = 1;
/// [`Part::kind`]: the resident firmware, linked for its destination.
pub const PART_BODY: u32 = 2;
/// [`Part::kind`]: the second-stage translation tables.
pub const PART_TABLES: u32 = 3;
/// [`Part::kind`]: the guest's flattened device tree.
pub const PART_GUEST_TREE: u32 = 4;
/// [`Part::kind`]: the guest kernel, laid out as its memory.
pub const PART_KERNEL: u32 = 5;
/// [`Part::kind`]: the guest's initial file system.
pub const PART_INITRD: u32 = 6;
/// [`Part::kind`]: the guest's RTAS entry stub.
pub const PART_RTAS: u32 = 7;
/// [`Part::kind`]: POWER9, the tree by which the firmware's own vectors translate, its root first,
/// and the process table in its last [`PROCESS_TABLE_BYTES`].
pub const PART_OWN_TABLES: u32 = 8;
/// Bytes of the process table in [`PART_OWN_TABLES`]: one page.
pub const PROCESS_TABLE_BYTES: u64 = 0x1000;

/// The name of a part kind.
#[must_use]
pub const fn part_name(kind: u32) -> &'static str {
    match kind {
        PART_LOADER => "loader",
        PART_BODY => "body",
        PART_TABLES => "tables",
        PART_GUEST_TREE => "guest-tree",
        PART_KERNEL => "kernel",
        PART_INITRD => "initrd",
        PART_RTAS => "rtas",
        PART_OWN_TABLES => "own-tables",
        _ => "?",
    }
}

/// [`Part::codec`]: stored as is.
pub const CODEC_NONE: u32 = 0;
/// [`Part::codec`]: one zstd frame.
pub const CODEC_ZSTD: u32 = 1;
/// [`Part::codec`]: one LZ4 block, without a frame.
pub const CODEC_LZ4: u32 = 2;

/// The name of a codec, as configs write it.
#[must_use]
pub const fn codec_name(codec: u32) -> &'static str {
    match codec {
        CODEC_NONE => "none",
        CODEC_ZSTD => "zstd",
        CODEC_LZ4 => "lz4",
        _ => "?",
    }
}

/// [`Part::space`]: used where it lies in the image.
pub const SPACE_IMAGE: u32 = 0;
/// [`Part::space`]: copied to a host real address.
pub const SPACE_HOST: u32 = 1;
/// [`Part::space`]: unpacked to a guest real address.
pub const SPACE_GUEST: u32 = 2;

/// One part of the image.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Part {
    /// One of the `PART_*` numbers; 0 marks an unused entry.
    pub kind: u32,
    /// One of the `CODEC_*` numbers.
    pub codec: u32,
    /// One of the `SPACE_*` numbers.
    pub space: u32,
    /// Always 0.
    pub reserved: u32,
    /// First byte, from the start of the image file.
    pub offset: u64,
    /// Bytes in the image.
    pub size: u64,
    /// Destination address in `space`.
    pub dest: u64,
    /// Bytes at the destination once unpacked; what exceeds the unpacked content is zero.
    pub memory_size: u64,
    /// Bytes that unpacking yields (equal to `size` for [`CODEC_NONE`]).
    pub unpacked_size: u64,
    /// SHA-256 of the bytes in the image.
    pub digest: [u8; 32],
    /// Which of its [`Part::stretch`]es hold only zeros: bit n % 64 of word n / 64 tells of the n-th. The
    /// loader clears these instead of copying them. Only parts in [`SPACE_HOST`] tell.
    pub blank: [u64; STRETCHES / 64],
}

/// Stretches that [`Part::blank`] has room for.
pub const STRETCHES: usize = 256;
/// The least size of one: no processor here has larger cache blocks.
const LEAST_STRETCH: u64 = 128;

impl Part {
    /// Bytes of a stretch: the least power of two with which there are no more than [`STRETCHES`].
    #[must_use]
    pub const fn stretch(&self) -> u64 {
        let least = self.size.div_ceil(STRETCHES as u64).next_power_of_two();
        if least < LEAST_STRETCH { LEAST_STRETCH } else { least }
    }

    /// What is not blank, in ascending order, from the part's first byte.
    pub fn content(&self) -> impl Iterator<Item = Range> {
        let (stretch, size) = (self.stretch(), self.size);
        let mut at = 0;
        core::iter::from_fn(move || {
            let start = self.next(at, false);
            at = self.next(start, true);
            let base = stretch.saturating_mul(start as u64);
            let end = stretch.saturating_mul(at as u64).min(size);
            (base < end).then(|| Range::new(base, end - base))
        })
    }

    /// The first stretch from `at` on that is blank, or is not; [`STRETCHES`] if none is.
    fn next(&self, at: usize, blank: bool) -> usize {
        let mut at = at;
        while let Some(word) = self.blank.get(at / 64) {
            let wanted = if blank { *word } else { !*word };
            let wanted = wanted >> (at % 64);
            if wanted != 0 {
                return at + wanted.trailing_zeros() as usize;
            }
            at = (at / 64 + 1) * 64;
        }
        STRETCHES
    }
}

/// [`Mapping::perms`]: loads allowed.
pub const PERM_R: u32 = 1;
/// [`Mapping::perms`]: stores allowed.
pub const PERM_W: u32 = 2;
/// [`Mapping::perms`]: instruction fetches allowed.
pub const PERM_X: u32 = 4;
/// [`Mapping::perms`]: the device behind it moves data by itself, past the tables, and the config
/// trusts it. No leaf expresses this.
pub const PERM_DMA: u32 = 8;

/// [`Mapping::kind`]: guest RAM, ordinary memory.
pub const MAP_RAM: u32 = 1;
/// [`Mapping::kind`]: a device's registers at a host address that the builder knows.
pub const MAP_DEVICE: u32 = 2;
/// [`Mapping::kind`]: device pages whose host address the machine picks at boot. The builder leaves
/// the leaves invalid; the loader fills each once with an address inside `host`/`host_size`.
pub const MAP_BOOT_LEAF: u32 = 3;
/// [`Mapping::kind`]: the registers of one device that shares its page with others. A [`MAP_DEVICE`]
/// entry maps the page; this one has no leaf of its own.
pub const MAP_WITHIN: u32 = 4;

/// [`Mapping::attached`]: nothing.
pub const ATTACHED_NOTHING: u32 = 0;
/// [`Mapping::attached`]: a disk.
pub const ATTACHED_DISK: u32 = 1;
/// [`Mapping::attached`]: a network.
pub const ATTACHED_NETWORK: u32 = 2;

/// One thing that the guest can reach.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Mapping {
    /// The region's name in the board config.
    pub name: Name,
    /// One of the `MAP_*` numbers; 0 marks an unused entry.
    pub kind: u32,
    /// `PERM_*` bits.
    pub perms: u32,
    /// First guest real address.
    pub guest: u64,
    /// Bytes in guest space.
    pub size: u64,
    /// First host real address; for [`MAP_BOOT_LEAF`] the lowest that is allowed.
    pub host: u64,
    /// Bytes in host space: `size`, or for [`MAP_BOOT_LEAF`] the whole range that is allowed.
    pub host_size: u64,
    /// What an emulated machine has in this virtio slot: one of the `ATTACHED_*` numbers.
    pub attached: u32,
    /// Always 0.
    pub reserved: u32,
}

/// What the loader needs to unpack a [`CODEC_ZSTD`] part in: one stretch of guest RAM behind all parts.
pub const UNPACK_BYTES: u64 = 32 << 20;

/// What only arm64 images state; all zero elsewhere.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Arm64 {
    /// VTCR_EL2, with the smallest PS that does.
    pub vtcr: u64,
    /// Bits of guest addresses.
    pub ipa_bits: u32,
    /// The level at which a stage 2 walk starts.
    pub start_level: u32,
    /// Tables side by side at the root.
    pub root_tables: u32,
    /// The least ID_AA64MMFR0_EL1.PARange that the tables work on.
    pub pa_range: u32,
    /// Host physical address of the interrupt distributor.
    pub distributor: u64,
    /// Host physical address of the first CPU's redistributor frames.
    pub redistributor: u64,
    /// The redistributors' frames as the guest sees them.
    pub redistributor_guest: u64,
    /// Host physical address of the PL011 on which the firmware writes until the guest is entered,
    /// on faults and at the end.
    pub uart: u64,
    /// Where the machine's tree is if no register says so.
    pub machine_tree: u64,
    /// Bytes of the body, from its first, that are executed and never written.
    pub code_bytes: u64,
    /// 1 if EL2 keeps a timer interrupt for itself, with all that this takes; 0 if all interrupts are
    /// the guest's.
    pub guarded: u64,
    /// Host physical address of the interrupt translation service if the guest is trusted with it
    /// and with the tables that it and the redistributors read and write past stage 2; else 0.
    pub its: u64,
    /// The machine's flash, in which an image may lie as well as in RAM.
    pub flash: Range,
    /// SMCCC functions of the machine's own firmware that the guest may call; 0 where unused.
    pub forward: [u32; FORWARD],
    /// 1 if the tables' attributes are those of forced write-back (FEAT_S2FWB).
    pub forced_write_back: u64,
    /// Features of the processor that the guest does not have: a bit for each that a config can hide.
    pub hidden: u64,
}

/// Room for functions of the machine's firmware that a guest may call.
pub const FORWARD: usize = 16;
/// [`Manifest::spare`]: the guest address is the host address.
pub const SPARE_AS_GUEST: u64 = 1;
/// Room for classes of faults.
pub const FAULT_CLASSES: usize = 8;
/// Room for parts.
pub const PARTS: usize = 8;
/// Room for mappings.
pub const MAPPINGS: usize = 24;
/// Room for RAM ranges.
pub const RAM_RANGES: usize = 8;
/// Room for memory that earlier firmware keeps.
pub const EARLIER_RANGES: usize = 4;
/// Room for vCPUs.
pub const VCPUS: usize = 4;

/// The manifest itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Manifest {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of this structure.
    pub size: u32,
    /// SHA-256 of this structure with this field zero.
    pub digest: [u8; 32],
    /// SHA-256 over the digests of all inputs: the same inputs give the same bytes.
    pub build_id: [u8; 32],
    /// SHA-256 of [`Manifest::frame`]'s bytes, in file order.
    pub frame_digest: [u8; 32],
    /// Ed25519 signature of [`crate::trust::message`], or [`crate::trust::UNSIGNED`].
    pub signature: [u8; 64],
    /// The image's version, by which a loader tells a newer from an older one.
    pub image_version: u64,
    /// The board's name.
    pub board: Name,
    /// One of the `ARCH_*` numbers.
    pub arch: u32,
    /// One of the `BOOT_*` numbers.
    pub boot: u32,
    /// vCPUs.
    pub vcpus: u32,
    /// Machine cores that the board must have.
    pub cores: u32,
    /// The machine's CPU number (position in its device tree) of each vCPU.
    pub vcpu_cpu: [u32; VCPUS],
    /// 1 if the guest starts little-endian, 0 if it starts as Linux does.
    pub guest_little_endian: u32,
    /// One of the `DEBUG_FAULT_*` numbers: how the firmware dies on purpose.
    pub debug_fault: u32,
    /// 1 if the firmware says how long its boot took and what it decided.
    pub debug_boot: u32,
    /// 1 if a guest that asks for a reboot is restarted in place; 0 if the run ends.
    pub restart_on_reboot: u32,
    /// The same for a guest that panics.
    pub restart_on_panic: u32,
    /// Restarts after which the run ends instead; 0 for no limit.
    pub restart_budget: u32,
    /// POWER9, one of the `MITIGATIONS_*` numbers: which flushes and barriers stand between guest and
    /// firmware.
    pub mitigations: u32,
    /// 1 if the firmware says how long each exit takes ([`crate::timing`]).
    pub timing: u32,
    /// Seconds of silence after which the firmware's watchdog acts; 0 if there is none.
    pub watchdog_seconds: u32,
    /// One of the `WATCHDOG_*` numbers: what it does; 0 if there is none.
    pub watchdog_action: u32,
    /// Restarts by the watchdog after which the run ends instead; 0 for no limit of its own.
    pub watchdog_budget: u32,
    /// 1 if it looks for signs of life itself, 0 if calls feed it.
    pub watchdog_looks: u32,
    /// What becomes of a guest that makes a fault, by the fault's class: one of the `ON_FAULT_*` numbers.
    pub on_fault: [u8; FAULT_CLASSES],
    /// Host address of RAM that nobody has, at least 64 KiB of it, for a report to name; 0 if there is
    /// none, [`SPARE_AS_GUEST`] if guest memory has the same addresses in both spaces.
    pub spare: u64,
    /// The processor version register (POWER9 PVR, arm64 MIDR_EL1) must equal `pvr` in the bits of
    /// `pvr_mask`.
    pub pvr: u64,
    /// See `pvr`.
    pub pvr_mask: u64,
    /// Timebase ticks per second that the guest is told of.
    pub timebase_hz: u64,
    /// Bytes of the image file, section table included; the same in every [`crate::Form`].
    pub image_size: u64,
    /// Where the earlier firmware loads the image, and how much it loads at most. With
    /// [`BOOT_FLAT`]: the RAM to which the loader copies itself.
    pub load_window: Range,
    /// All memory that the firmware keeps, apart from the load window and the vectors.
    pub firmware: Range,
    /// POWER9: the exception vectors, real 0 upwards. arm64: the page of the anchor.
    pub vectors: Range,
    /// Inside `firmware`: the loader's findings at the bottom, the threads' own event queues from the
    /// next 4 KiB boundary, the loader's stack from the top.
    pub boot_stack: Range,
    /// Inside `firmware`: where the loader copies this manifest.
    pub manifest_copy: Range,
    /// Inside `firmware`: the tables, as they stand in the image.
    pub tables: Range,
    /// Inside `tables`: the root.
    pub table_root: u64,
    /// Host real address of the [`crate::Ledger`], inside the body.
    pub ledger: u64,
    /// Host real address of the [`crate::Epitaph`], inside the body.
    pub epitaph: u64,
    /// Host real address of the body's first instruction.
    pub body_entry: u64,
    /// Bytes of the body that stay: text and data, without zero-filled memory.
    pub resident_bytes: u64,
    /// Guest real address of the guest's first instruction.
    pub guest_entry: u64,
    /// Guest real address of its device tree.
    pub guest_tree: u64,
    /// Offset in the guest's tree of the 32 bytes that become `/chosen/rng-seed` at boot; 0 if none.
    pub guest_seed_offset: u64,
    /// Offset in the guest's tree of the 32 bytes that become this manifest's digest at boot.
    pub guest_digest_offset: u64,
    /// Offset in the guest's tree of the bytes that become [`crate::Ledger::last_life`] at a restart.
    pub guest_last_life_offset: u64,
    /// Guest real address of the XIVE OS TIMA page, as the guest sees it.
    pub xive_tima_guest: u64,
    /// Host real address of that page; the machine's tree must agree.
    pub xive_tima_host: u64,
    /// Guest real address of the first source's ESB pages.
    pub xive_esb_guest: u64,
    /// Interrupt sources of the guest, two 64 KiB pages each.
    pub xive_sources: u64,
    /// What only arm64 images state.
    pub arm64: Arm64,
    /// RAM of the machine that the image relies on.
    pub ram: [Range; RAM_RANGES],
    /// Memory that the earlier firmware keeps.
    pub earlier: [Range; EARLIER_RANGES],
    /// The image's parts.
    pub parts: [Part; PARTS],
    /// What the guest can reach.
    pub mappings: [Mapping; MAPPINGS],
    /// What the guest was built from, one `key=value` a line.
    pub sources: [u8; 512],
    /// Overrides of the board config, one `key=value` a line.
    pub overrides: [u8; 512],
}

const _: () = assert!(size_of::<Manifest>().is_multiple_of(8));

impl Manifest {
    /// The first part of a kind.
    #[must_use]
    pub fn part(&self, kind: u32) -> Option<&Part> {
        self.parts.iter().find(|part| part.kind == kind && kind != 0)
    }

    /// The mappings in use.
    pub fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter().filter(|mapping| mapping.kind != 0)
    }

    /// The bytes of the image file that belong neither to the manifest nor to a part.
    pub fn frame(&self) -> impl Iterator<Item = Range> + '_ {
        let own = Range::new(IMAGE_OFFSET, size_of::<Self>() as u64);
        let parts = self.parts.iter().filter(|part| part.kind != 0);
        let held =
            move || parts.clone().map(|part| Range::new(part.offset, part.size)).chain([own]);
        let mut at = 0;
        core::iter::from_fn(move || {
            while let Some(range) = held().find(|range| range.contains(Range::new(at, 1))) {
                at = range.end()?;
            }
            let next = held().map(|range| range.base).filter(|base| *base > at).min();
            let gap = Range::new(at, next.unwrap_or(self.image_size).saturating_sub(at));
            at = at.saturating_add(gap.size);
            (!gap.is_empty()).then_some(gap)
        })
    }

    /// Whether the guest is restarted in place, on whatever occasion: the image, its loader included,
    /// then stays in memory.
    #[must_use]
    pub fn restarts(&self) -> bool {
        self.restart_on_reboot != 0
            || self.restart_on_panic != 0
            || self.watchdog_action == WATCHDOG_RESTARTS
            || self.on_fault.contains(&ON_FAULT_RESTART)
    }

    /// The RAM ranges in use.
    pub fn ram(&self) -> impl Iterator<Item = Range> + '_ {
        self.ram.iter().copied().filter(|range| !range.is_empty())
    }

    /// The earlier firmware's ranges in use.
    pub fn earlier(&self) -> impl Iterator<Item = Range> + '_ {
        self.earlier.iter().copied().filter(|range| !range.is_empty())
    }

    /// The text of a zero-padded field such as [`Manifest::sources`].
    #[must_use]
    pub fn text(field: &[u8]) -> &str {
        let len = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        core::str::from_utf8(&field[..len]).unwrap_or("?")
    }
}

#[cfg(test)]
mod tests {
    use super::{IMAGE_OFFSET, Manifest, PART_BODY, PART_LOADER, Part, STRETCHES};
    use crate::Range;
    use zerocopy::FromZeros;

    #[test]
    fn blank_stretches_are_left_out() {
        let mut part = Part::new_zeroed();
        let content = |part: &Part| {
            let mut content = part.content();
            [(); 4].map(|()| content.next().map(|run| (run.base, run.size)))
        };
        assert_eq!(content(&part), [None; 4]);
        // 256 bytes each, as 128 would not reach; the last is not whole.
        part.size = 128 * STRETCHES as u64 + 100;
        assert_eq!(part.stretch(), 256);
        let all = part.size;
        assert_eq!(content(&part), [Some((0, all)), None, None, None]);
        // The first, the last of a word and the first two of the next one, the last.
        part.blank = [1 | 1 << 63, 3, 1, 0];
        let runs = [(0x100, 62 * 0x100), (66 * 0x100, 62 * 0x100)].map(Some);
        assert_eq!(content(&part), [runs[0], runs[1], None, None]);
        part.blank = [u64::MAX; 4];
        assert_eq!(content(&part), [None; 4]);
        // However large, it ends, and within the part.
        part.size = u64::MAX;
        part.blank = [2, 0, 0, 0];
        let stretch = part.stretch();
        let rest = (2 * stretch, u64::MAX - 2 * stretch);
        assert_eq!(content(&part), [Some((0, stretch)), Some(rest), None, None]);
    }

    #[test]
    fn the_frame_is_what_is_left() {
        let mut manifest = Manifest::new_zeroed();
        let size = size_of::<Manifest>() as u64;
        manifest.image_size = 0x9000;
        // Out of order, one of them right behind the other.
        for (slot, kind, offset, bytes) in [
            (0, PART_BODY, 0x5000, 0x1000),
            (1, PART_LOADER, 0x4000, 0x1000),
            (3, PART_BODY, 0x7000, 8),
        ] {
            manifest.parts[slot].kind = kind;
            manifest.parts[slot].offset = offset;
            manifest.parts[slot].size = bytes;
        }
        let frame: [Range; 4] = core::array::from_fn({
            let mut frame = manifest.frame();
            move |_| frame.next().unwrap_or_default()
        });
        let end = IMAGE_OFFSET + size;
        assert_eq!(frame[0], Range::new(0, IMAGE_OFFSET));
        assert_eq!(frame[1], Range::new(end, 0x4000 - end));
        assert_eq!(frame[2], Range::new(0x6000, 0x1000));
        assert_eq!(frame[3], Range::new(0x7008, 0x9000 - 0x7008));
        assert_eq!(manifest.frame().count(), 4);
    }

    #[test]
    fn a_hostile_manifest_has_a_finite_frame() {
        let mut manifest = Manifest::new_zeroed();
        manifest.image_size = u64::MAX;
        for (n, part) in manifest.parts.iter_mut().enumerate() {
            part.kind = PART_BODY;
            part.offset = u64::MAX - n as u64;
            part.size = u64::MAX;
        }
        assert!(manifest.frame().count() <= manifest.parts.len() + 2);
    }
}
