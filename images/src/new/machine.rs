// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a machine's device tree says that a board config wants to know.
use anchorite_hv::core::fdt::{Node, Tree};
use anchorite_spec::Range;

use super::NewError;
use crate::config::arm64_real_bits;
use crate::config::checked::Model;
use crate::config::platform::{POWERNV, Platform, QEMU_VIRT};

/// Processor version of POWER9, in the upper half of the register.
const POWER9: u32 = 0x4E;
/// The smallest piece of RAM that a config names.
const PAGE: u64 = 0x1_0000;

/// What skiboot keeps of each chip's memory, for interrupts: 17.2 MiB in QEMU, on the first chip in
/// and behind its own memory, on others at the start. Its own tree names it, but not the one that
/// QEMU hands to it.
const SKIBOOTS: u64 = 32 << 20;

/// A machine as far as configs speak of it.
pub struct Machine {
    /// Its platform.
    pub platform: Platform,
    /// Its RAM, ascending, without what lies side by side or beyond the processor's addresses.
    pub ram: Vec<Range>,
    /// Memory that its tree keeps from whoever is started.
    pub reserved: Vec<Range>,
    /// How many CPUs it has.
    pub cpus: usize,
    /// The processor, as configs name it.
    pub cpu: &'static str,
    /// The clock that a config can give to the guest.
    pub clock: bool,
}

/// What one pass over a tree finds.
#[derive(Default)]
struct Found {
    powernv: bool,
    address_cells: Option<u32>,
    size_cells: Option<u32>,
    memory: Vec<Range>,
    reserved: Vec<Range>,
    cpus: usize,
    version: Option<u32>,
    cpu: Option<&'static str>,
    gic: Option<(Range, Range)>,
    gic_is_old: bool,
    uart: bool,
    clock: bool,
    smc: bool,
}

impl Machine {
    /// Reads a tree.
    ///
    /// # Errors
    /// It is no tree, or one of a machine that does not work here.
    pub fn read(bytes: &[u8]) -> Result<Self, NewError> {
        let tree = Tree::new(bytes).map_err(NewError::Tree)?;
        let mut found = Found::default();
        let walked = tree.each(|node, property| {
            if property.is_none() {
                found.node(node);
            }
        });
        walked.map_err(NewError::Tree)?;
        found.reserved.extend(tree.reservations().take(256));
        found.machine()
    }
}

fn cell(node: &Node<'_>, name: &str) -> Option<u32> {
    node.property(name)?.first_chunk().copied().map(u32::from_be_bytes)
}

fn names<'a>(node: &Node<'a>, property: &str) -> impl Iterator<Item = &'a [u8]> {
    node.property(property).unwrap_or_default().split(|byte| *byte == 0)
}

/// Pairs of address and size. Trees of the machines here have two cells for each, or one.
fn ranges(bytes: &[u8], address_cells: u32, size_cells: u32) -> Vec<Range> {
    let width = |cells: u32| if cells == 1 { 4 } else { 8 };
    let (address, size) = (width(address_cells), width(size_cells));
    let number = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
    let entries = bytes.chunks_exact(address + size).take(64);
    entries.map(|entry| Range::new(number(&entry[..address]), number(&entry[address..]))).collect()
}

impl Found {
    fn reg(&self, node: &Node<'_>, property: &str) -> Vec<Range> {
        let cells = |cells: Option<u32>| cells.unwrap_or(2);
        let bytes = node.property(property).unwrap_or_default();
        ranges(bytes, cells(self.address_cells), cells(self.size_cells))
    }

    fn node(&mut self, node: &Node<'_>) {
        if node.name.is_empty() {
            self.powernv = names(node, "compatible").any(|name| name == b"ibm,powernv");
            self.address_cells = cell(node, "#address-cells");
            self.size_cells = cell(node, "#size-cells");
            self.reserved.extend(self.reg(node, "reserved-ranges"));
        }
        match names(node, "device_type").next() {
            Some(b"memory") => {
                let ranges = self.reg(node, "reg");
                if cell(node, "ibm,chip-id").is_some_and(|chip| chip != 0) {
                    let start = |range: &Range| Range::new(range.base, SKIBOOTS.min(range.size));
                    self.reserved.extend(ranges.iter().map(start));
                }
                self.memory.extend(ranges);
            }
            Some(b"cpu") => self.cpu(node),
            _ => {}
        }
        if node.property("no-map").is_some() {
            self.reserved.extend(self.reg(node, "reg"));
        }
        for name in names(node, "compatible") {
            let at = |device: Model| {
                let fixed = QEMU_VIRT.arm.into_iter().flat_map(|arm| arm.fixed);
                let base = self.reg(node, "reg").first().map(|reg| reg.base);
                fixed.filter(|fixed| fixed.model == device).any(|f| Some(f.range.base) == base)
            };
            match name {
                b"arm,gic-v3" => {
                    let frames = self.reg(node, "reg");
                    self.gic = frames.first().copied().zip(frames.get(1).copied());
                }
                b"arm,cortex-a15-gic" | b"arm,gic-400" => self.gic_is_old = true,
                b"arm,pl011" => self.uart |= at(Model::Pl011),
                b"arm,pl031" => self.clock |= at(Model::Pl031),
                b"arm,psci-1.0" | b"arm,psci-0.2" => {
                    self.smc |= names(node, "method").any(|method| method == b"smc");
                }
                _ => {}
            }
        }
    }

    fn cpu(&mut self, node: &Node<'_>) {
        self.cpus += 1;
        self.version = self.version.or(cell(node, "cpu-version"));
        const KNOWN: [&str; 6] = [
            "cortex-a53",
            "cortex-a72",
            "cortex-a710",
            "neoverse-n1",
            "neoverse-n2",
            "neoverse-v1",
        ];
        let named = |cpu: &&&str| {
            let wanted = format!("arm,{cpu}");
            names(node, "compatible").any(|name| name == wanted.as_bytes())
        };
        self.cpu = self.cpu.or(KNOWN.iter().find(named).copied());
    }

    fn machine(self) -> Result<Machine, NewError> {
        let platform = if self.powernv { POWERNV } else { QEMU_VIRT };
        match self.powernv {
            true => self.check_power9()?,
            false => self.check_arm64(&platform)?,
        }
        if self.cpus == 0 {
            return Err(NewError::Machine("the tree has no CPU".into()));
        }
        let cpu = if self.powernv { "power9" } else { self.cpu.unwrap_or("any") };
        let ram = pieces(&self.memory, &platform, cpu);
        let mut reserved = self.reserved;
        if self.powernv {
            let skiboot = platform.earlier;
            reserved.push(Range::new(skiboot.base, skiboot.size + SKIBOOTS));
        }
        if ram.is_empty() {
            return Err(NewError::Ram("the tree describes no RAM".into()));
        }
        Ok(Machine { platform, ram, reserved, cpus: self.cpus, cpu, clock: self.clock })
    }

    fn check_power9(&self) -> Result<(), NewError> {
        match self.version {
            Some(version) if version >> 16 != POWER9 => Err(NewError::Machine(format!(
                "the processor's version is {version:#x}: only POWER9 works here (0x4e....)"
            ))),
            _ => Ok(()),
        }
    }

    fn check_arm64(&self, platform: &Platform) -> Result<(), NewError> {
        let Some(arm) = platform.arm else { return Ok(()) };
        let why = if self.gic.is_none() && self.gic_is_old {
            "its interrupt controller is a GICv2: only GICv3 works here (QEMU: gic-version=3)"
                .into()
        } else if let Some((distributor, redistributor)) = self.gic {
            let found = (distributor.base, redistributor.base);
            let wanted = (arm.distributor.base, arm.redistributor.base);
            if found != wanted {
                format!(
                    "its GICv3 is at {:#x} and {:#x}: of arm64, only QEMU's `virt` works here, \
                     which has it at {:#x} and {:#x}",
                    found.0, found.1, wanted.0, wanted.1
                )
            } else if !self.uart {
                format!("it has no PL011 at {:#x}, as QEMU's `virt` has", arm.uart())
            } else if !self.smc {
                "its PSCI is not called by SMC: start QEMU with virtualization=on".into()
            } else if self.cpus > platform.vcpus {
                format!(
                    "it has {} CPUs: each needs a vCPU, of which this version runs up to {}",
                    self.cpus, platform.vcpus
                )
            } else {
                return Ok(());
            }
        } else {
            "it is neither an OpenPOWER machine (compatible `ibm,powernv`) nor one with a GICv3"
                .into()
        };
        Err(NewError::Machine(why))
    }
}

/// RAM in whole pages, ascending, neighbours joined, as far as the processor reaches.
fn pieces(memory: &[Range], platform: &Platform, cpu: &str) -> Vec<Range> {
    let bits = arm64_real_bits(cpu).unwrap_or(platform.real_bits);
    let limit = 1u64 << bits.min(platform.real_bits);
    let mut list: Vec<(u64, u64)> = memory
        .iter()
        .filter_map(|range| {
            let start = range.base.checked_next_multiple_of(PAGE)?;
            let end = range.base.saturating_add(range.size).min(limit) / PAGE * PAGE;
            let whole = Range::new(start, end.checked_sub(start)?);
            (!whole.is_empty() && !whole.overlaps(platform.registers)).then_some((start, end))
        })
        .collect();
    list.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in list {
        match joined.last_mut().filter(|last| start <= last.1) {
            Some(last) => last.1 = last.1.max(end),
            None => joined.push((start, end)),
        }
    }
    joined.into_iter().map(|(start, end)| Range::new(start, end - start)).collect()
}
