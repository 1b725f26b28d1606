// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What platforms fix, whatever a config says.
use anchorite_spec::manifest::{
    ARCH_ARM64, ARCH_POWER9, BOOT_ARM64_IMAGE, BOOT_BARE, BOOT_ELF, BOOT_FLAT, BOOT_OPAL_PAYLOAD,
};
use anchorite_spec::{Range, low};

use super::checked::Model;

/// Facts of a platform and of its earlier firmware.
#[derive(Clone, Copy, Debug)]
pub struct Platform {
    /// One of the manifest's `ARCH_*` numbers.
    pub arch: u32,
    /// One of the manifest's `BOOT_*` numbers.
    pub boot: u32,
    /// Where the firmware's ELFs are, under `target/firmware/`.
    pub family: &'static str,
    /// Debian's name of the guest's architecture.
    pub debian: &'static str,
    /// ELF's number of the machine.
    pub elf: u16,
    /// The exception vectors, or the page of the anchor.
    pub vectors: Range,
    /// Where the earlier firmware puts the image, or, in flash, the loader its copy.
    pub load_window: Range,
    /// Memory that the earlier firmware keeps.
    pub earlier: Range,
    /// How messages name the three ranges above.
    pub names: [&'static str; 3],
    /// Where the machine's interrupt sources may have their pages; empty if it has no such pages.
    pub esb_window: Range,
    /// Timebase ticks per second; 0 if only the machine knows.
    pub timebase_hz: u64,
    /// Guest addresses.
    pub guest_space: Range,
    /// Whether a guest needs memory at its address 0.
    pub guest_zero: bool,
    /// Bytes of the stack that loader and body start on, with what the loader keeps below it.
    pub boot_stack: u64,
    /// The most vCPUs.
    pub vcpus: usize,
    /// Registers that would let a guest reach round its walls, with their owners: the first chip's.
    forbidden: &'static [(&'static str, Range)],
    /// Registers of devices that move data by themselves, the first chip's.
    masters: &'static [(&'static str, Range)],
    /// Chips that a machine may have; each has its registers at the same place of its own.
    chips: u64,
    /// Where the machine has registers, and no RAM.
    pub registers: Range,
    /// Bits of the machine's addresses, if its processor has no fewer.
    pub real_bits: u32,
    /// What only Arm machines have.
    pub arm: Option<Arm>,
}

/// What only Arm machines have.
#[derive(Clone, Copy, Debug)]
pub struct Arm {
    /// The root's `compatible` in the machine's own tree.
    pub compatible: &'static str,
    /// The interrupt distributor.
    pub distributor: Range,
    /// The first CPU's redistributor; the others follow.
    pub redistributor: Range,
    /// Devices that the board has once, at a place of their own: the UART that firmware and guest
    /// share, and the clock.
    pub fixed: [Fixed; 2],
    /// The machine's tree, if no register leads to it.
    pub machine_tree: u64,
    /// The flash that the machine starts from, if told to.
    pub flash: Range,
    /// The interrupt translation service: its registers, and the page that interrupts are written to.
    pub its: Range,
    /// Slots for virtio devices, which move data by themselves and have no IOMMU before them.
    pub virtio: Slots,
}

impl Arm {
    /// The UART that firmware and guest share.
    #[must_use]
    pub fn uart(&self) -> u64 {
        self.fixed[0].range.base
    }
}

/// A device that the board has once.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    /// What it is.
    pub model: Model,
    /// How messages name it.
    pub name: &'static str,
    /// Its registers.
    pub range: Range,
    /// Its interrupt, among the shared ones.
    pub irq: u32,
}

/// Registers of the same kind in a row.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// All of them.
    pub range: Range,
    /// Bytes of one.
    pub size: u64,
    /// The first one's interrupt, among the shared ones; the others follow.
    pub irq: u32,
}

impl Platform {
    /// The platform of an architecture, as it starts images one way: as a config names them.
    #[must_use]
    pub fn of(arch: Option<&str>, boot: Option<&str>) -> Self {
        match (arch, boot) {
            (Some("arm64"), Some("flat")) => Self::arm64(BOOT_FLAT),
            (Some("arm64"), Some("elf")) => Self::arm64(BOOT_ELF),
            (Some("arm64"), _) => Self::arm64(BOOT_ARM64_IMAGE),
            (_, Some("bare")) => BARE,
            _ => POWERNV,
        }
    }

    /// The platform that a manifest names by its `ARCH_*` and `BOOT_*` numbers.
    #[must_use]
    pub fn numbered(arch: u32, boot: u32) -> Self {
        match (arch, boot) {
            (ARCH_ARM64, BOOT_FLAT | BOOT_ELF) => Self::arm64(boot),
            (ARCH_ARM64, _) => QEMU_VIRT,
            (_, BOOT_BARE) => BARE,
            _ => POWERNV,
        }
    }

    fn arm64(boot: u32) -> Self {
        let mut platform = Self { boot, ..QEMU_VIRT };
        if boot == BOOT_FLAT {
            platform.load_window.size = FLAT_WINDOW;
            platform.names[1] = "the RAM in which the loader runs";
        }
        platform
    }

    /// Registers of any chip that would let a guest reach round its walls, with their owners.
    pub fn forbidden(&self) -> impl Iterator<Item = (&'static str, Range)> + use<> {
        self.on_each_chip(self.forbidden)
    }

    /// Registers of any chip's devices that move data by themselves, with their owners.
    pub fn masters(&self) -> impl Iterator<Item = (&'static str, Range)> + use<> {
        self.on_each_chip(self.masters)
    }

    fn on_each_chip(
        &self,
        list: &'static [(&'static str, Range)],
    ) -> impl Iterator<Item = (&'static str, Range)> + use<> {
        /// Between one chip's addresses and the next one's on POWER9.
        const CHIP_SHIFT: u32 = 42;
        (0..self.chips).flat_map(move |chip| {
            list.iter().map(move |&(owner, range)| {
                (owner, Range::new(range.base + (chip << CHIP_SHIFT), range.size))
            })
        })
    }

    /// Bytes of the tables by which the firmware's own vectors translate: the root, three tables for
    /// low memory, three more at most for the process table's page, and that page.
    #[must_use]
    pub const fn own_tables(&self) -> u64 {
        if self.arch == ARCH_POWER9 { 0x1_0000 + 7 * 0x1000 } else { 0 }
    }

    /// Where QEMU puts its tree beside an image that it starts as a kernel, on machines with RAM as
    /// far as that: half of the RAM, but at most 128 MiB, behind its start.
    #[must_use]
    pub fn handed_tree(&self) -> Range {
        const TREE: Range = Range::new(0x4800_0000, 0x0010_0000);
        if self.boot == BOOT_ARM64_IMAGE { TREE } else { Range::new(0, 0) }
    }

    /// Where the image is kept and how messages name that.
    #[must_use]
    pub fn store(&self) -> (Range, &'static str) {
        match self.arm {
            Some(arm) if self.boot == BOOT_FLAT => (arm.flash, FLASH),
            _ => (self.load_window, self.names[1]),
        }
    }
}

/// How messages name an Arm machine's flash.
pub const FLASH: &str = "the flash that the machine starts from";
/// RAM for the loader of an image in flash.
const FLAT_WINDOW: u64 = 2 << 20;

/// Where chip 0 has the pages of its interrupt sources.
const ESB_WINDOW: Range = Range::new(0x0006_0100_0000_0000, 0x80_0000_0000);

/// PowerNV: skiboot's payload on POWER9, chip 0.
pub const POWERNV: Platform = Platform {
    arch: ARCH_POWER9,
    boot: BOOT_OPAL_PAYLOAD,
    family: "power9",
    debian: "ppc64el",
    elf: 21,
    vectors: low::MEMORY,
    load_window: Range::new(0x2000_0000, 0x0800_0000),
    earlier: Range::new(0x3000_0000, 0x0300_0000),
    names: [
        "the machine's exception vectors",
        "the window into which skiboot loads the image",
        "skiboot's own memory",
    ],
    esb_window: ESB_WINDOW,
    timebase_hz: 512_000_000,
    guest_space: Range::new(0, 1 << 52),
    guest_zero: true,
    boot_stack: 64 << 10,
    vcpus: 4,
    forbidden: &FORBIDDEN,
    masters: &[("PCI devices", Range::new(0x0006_0000_0000_0000, 0x100_0000_0000))],
    chips: 16,
    registers: Range::new(0x0006_0000_0000_0000, 0x0002_0000_0000_0000),
    real_bits: 51,
    arm: None,
};

/// PowerNV without OPAL: QEMU puts the image at 0, and its device tree right behind.
pub const BARE: Platform = Platform {
    boot: BOOT_BARE,
    load_window: Range::new(0, 0x0100_0000),
    earlier: Range::new(0x0100_0000, 0x0010_0000),
    names: [
        "the machine's exception vectors",
        "the window into which QEMU loads the image",
        "the machine's own device tree",
    ],
    // Findings, queues, XIVE's tables, and the stack.
    boot_stack: 512 << 10,
    ..POWERNV
};

/// QEMU's `virt` machine with GICv3 and EL2.
pub const QEMU_VIRT: Platform = Platform {
    arch: ARCH_ARM64,
    boot: BOOT_ARM64_IMAGE,
    family: "arm64",
    debian: "arm64",
    elf: 183,
    vectors: Range::new(anchorite_spec::anchor::ARM64_ADDRESS, 0x1000),
    load_window: Range::new(0x4020_0000, 0x07E0_0000),
    earlier: Range::new(0x4000_0000, 0x001F_0000),
    names: [
        "the page by which outsiders find the firmware",
        "the window into which QEMU loads the image",
        "the machine's own device tree",
    ],
    esb_window: Range::new(0, 0),
    timebase_hz: 0,
    guest_space: Range::new(0, 1 << 48),
    guest_zero: false,
    boot_stack: 96 << 10,
    vcpus: 4,
    forbidden: &VIRT_FORBIDDEN,
    masters: &[("virtio slots", Range::new(0x0A00_0000, 0x4000))],
    chips: 1,
    registers: Range::new(0, 0x4000_0000),
    real_bits: 48,
    arm: Some(Arm {
        compatible: "linux,dummy-virt",
        distributor: Range::new(0x0800_0000, 0x1_0000),
        redistributor: Range::new(0x080A_0000, 0x2_0000),
        fixed: [
            Fixed {
                model: Model::Pl011,
                name: "PL011",
                range: Range::new(0x0900_0000, 0x1000),
                irq: 1,
            },
            Fixed {
                model: Model::Pl031,
                name: "PL031",
                range: Range::new(0x0901_0000, 0x1000),
                irq: 2,
            },
        ],
        machine_tree: 0x4000_0000,
        flash: Range::new(0, 0x0400_0000),
        its: Range::new(0x0808_0000, 0x2_0000),
        virtio: Slots { range: Range::new(0x0A00_0000, 0x4000), size: 0x200, irq: 16 },
    }),
};

/// Registers of QEMU's `virt` that would let a guest reach round its walls.
const VIRT_FORBIDDEN: [(&str, Range); 10] = [
    ("the flash that holds firmware", Range::new(0, 0x0800_0000)),
    (
        "the interrupt distributor beside the firmware's own mapping",
        Range::new(0x0800_0000, 0x8_0000),
    ),
    (
        "the interrupt translation service, whose tables bypass stage 2",
        Range::new(0x0808_0000, 0x2_0000),
    ),
    (
        "the interrupt redistributors beside the firmware's filter",
        Range::new(0x080A_0000, 0x00F6_0000),
    ),
    (
        "QEMU's configuration interface, which moves data by itself",
        Range::new(0x0902_0000, 0x1_0000),
    ),
    ("the IOMMU", Range::new(0x0905_0000, 0x2_0000)),
    ("devices of the platform bus, which may move data", Range::new(0x0C00_0000, 0x0200_0000)),
    ("PCI devices, which move data by themselves", Range::new(0x1000_0000, 0x3000_0000)),
    ("the set-up registers of PCI devices", Range::new(0x40_1000_0000, 0x1000_0000)),
    ("PCI devices, which move data by themselves", Range::new(0x80_0000_0000, 0x80_0000_0000)),
];

/// Registers of chip 0 that would let a guest reach round its walls, with their owners.
const FORBIDDEN: [(&str, Range); 9] = [
    ("the set-up registers of PCI host bridges", Range::new(0x0006_00C3_0000_0000, 0x1_0000_0000)),
    ("the service processor's interrupt bridge", Range::new(0x0006_0302_0300_0000, 0x10_0000)),
    ("the service processor's interrupt pages", Range::new(0x0006_0302_031C_0000, 0x1_0000)),
    ("the interrupt sources of the whole machine", ESB_WINDOW),
    ("the interrupt controller's event queues", Range::new(0x0006_0180_0000_0000, 0x10_0000_0000)),
    ("the interrupt controller's set-up registers", Range::new(0x0006_0302_0310_0000, 0x8_0000)),
    ("the hypervisor's interrupt pages", Range::new(0x0006_0302_0318_0000, 0x2_0000)),
    ("the chip's control registers (XSCOM)", Range::new(0x0006_03FC_0000_0000, 0x4_0000_0000)),
    ("the service interface (LPC)", Range::new(0x0006_0300_0000_0000, 0x1_0000_0000)),
];
