// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine against the image: what the image relies on is looked up in the machine's own
//! device tree, and the first thing that differs is named.
use anchorite_hv::core::DateTime;
use anchorite_hv::core::fdt::{Node, Tree};
use anchorite_hv::power9::characteristics::Features;
use anchorite_hv::power9::flush::Mitigations;
use anchorite_hv::power9::regs::pvr::Errata;
use anchorite_platform::powernv::boot_info::{BootInfo, OPAL_INTERRUPTS};
use anchorite_platform::powernv::core::{errata, mfspr, spr};
use anchorite_platform::powernv::xive;
use anchorite_spec::Manifest;
use anchorite_spec::manifest::{BOOT_BARE, mitigations_name};
use anchorite_spec::phases::Phase;

use crate::clock;
use crate::say::say;
use crate::tree::{self, Memory, mismatch, names, reg, text};

/// Cores that are looked at.
const CORES: usize = 32;

/// What the machine's tree says.
pub struct Facts {
    memory: Memory,
    /// The cores' processor identification registers, ascending.
    pir: [u32; CORES],
    cores: usize,
    timebase_hz: u64,
    heartbeat_ms: u64,
    features: Features,
    /// There is a PC clock (MC146818) on the LPC bus.
    pub pc_clock: bool,
    /// XIVE thread management area: hypervisor page.
    pub tima_hv: u64,
    tima_os: u64,
    /// All queues of a virtual processor can escalate by one.
    pub escalates: bool,
    /// OPAL's own interrupts.
    pub opal_interrupt: [u32; OPAL_INTERRUPTS],
    /// How many.
    pub opal_interrupts: usize,
}

/// Compares the machine with what `manifest` relies on; does not return if they differ.
pub fn check(tree: Tree<'static>, manifest: &Manifest) -> Facts {
    let mut facts = collect(&tree);
    check_processor(&facts, manifest);
    facts.memory.require(manifest);
    tree::check_reserved(&tree, manifest);
    if manifest.boot == BOOT_BARE {
        if facts.cores != manifest.cores as usize {
            mismatch(format_args!(
                "the machine has {} cores, the image is for {}: without OPAL nobody else takes them",
                facts.cores, manifest.cores
            ));
        }
        (facts.tima_hv, facts.tima_os) = xive::TIMA;
        facts.escalates = true;
    }
    if facts.tima_os != manifest.xive_tima_host {
        mismatch(format_args!(
            "the interrupt controller's OS page is at {:#x}, guest.xive.tima_host says {:#x}",
            facts.tima_os, manifest.xive_tima_host
        ));
    }
    facts
}

fn check_processor(facts: &Facts, manifest: &Manifest) {
    let pvr = mfspr::<{ spr::PVR }>();
    if pvr & manifest.pvr_mask != manifest.pvr {
        mismatch(format_args!(
            "the processor is {pvr:#010x}, the image is for {:#010x} (mask {:#010x})",
            manifest.pvr, manifest.pvr_mask
        ));
    }
    if facts.cores < manifest.cores as usize {
        mismatch(format_args!(
            "the machine has {} cores, the image needs {}",
            facts.cores, manifest.cores
        ));
    }
    if facts.timebase_hz != manifest.timebase_hz {
        mismatch(format_args!(
            "the timebase runs at {} Hz, the guest's tree says {}",
            facts.timebase_hz, manifest.timebase_hz
        ));
    }
}

/// One pass over all nodes and properties. What few of them need stands in functions of its own: the
/// rest take some instructions each.
fn collect(tree: &Tree<'static>) -> Facts {
    let mut facts = Facts {
        memory: Memory::default(),
        pir: [0; CORES],
        cores: 0,
        timebase_hz: 0,
        heartbeat_ms: 0,
        features: Features::default(),
        pc_clock: false,
        tima_hv: 0,
        tima_os: 0,
        escalates: false,
        opal_interrupt: [0; OPAL_INTERRUPTS],
        opal_interrupts: 0,
    };
    let mut features = false;
    tree::each(tree, |node, property| match property {
        None => {
            if node.name == b"ibm,opal" {
                facts.add_opal(node);
            }
            features = node.name == b"fw-features" || features && !node.name.contains(&b'@');
            if features {
                let says = |what| node.property(what).is_some();
                facts.features.add(node.name, says("enabled"), says("disabled"));
            }
        }
        Some(property) if property.is("device_type") => facts.add_typed(node, property.value),
        Some(property) if property.is("compatible") => facts.add_device(node, property.value),
        Some(_) => {}
    });
    facts
}

impl Facts {
    /// Keeps the cores in order: trees list them in any.
    fn add_core(&mut self, pir: u32) {
        if self.cores < CORES {
            let at = self.pir[..self.cores].partition_point(|known| *known < pir);
            self.pir[at..=self.cores].rotate_right(1);
            self.pir[at] = pir;
            self.cores += 1;
        }
    }

    /// The thread of each vCPU's core.
    pub fn threads<'a>(&'a self, manifest: &'a Manifest) -> impl Iterator<Item = u32> + 'a {
        let cores = manifest.vcpu_cpu.iter().take(manifest.vcpus as usize);
        // `check` found that many.
        cores.map(|cpu| self.pir[*cpu as usize % CORES])
    }

    /// A node that says what type of device it is.
    #[inline(never)]
    fn add_typed(&mut self, node: &Node, kind: &[u8]) {
        match text(kind) {
            b"memory" => self.memory.add(node),
            b"cpu" => {
                self.add_core(first_cell(node.property("reg")));
                // It is one for all cores.
                if self.timebase_hz == 0 {
                    self.timebase_hz = first_cell(node.property("timebase-frequency")).into();
                }
            }
            _ => {}
        }
    }

    /// A node that says what it is compatible with.
    #[inline(never)]
    fn add_device(&mut self, node: &Node, compatible: &[u8]) {
        for name in names(compatible) {
            match name {
                b"ibm,opal-xive-pe" => {
                    self.tima_hv = reg(node, 1).base;
                    self.tima_os = reg(node, 2).base;
                    self.escalates = node.property("single-escalation-support").is_some();
                }
                b"pnpPNP,b00" => self.pc_clock = true,
                _ => {}
            }
        }
    }

    #[inline(never)]
    fn add_opal(&mut self, node: &Node) {
        self.heartbeat_ms = first_cell(node.property("ibm,heartbeat-ms")).into();
        let Some(list) = node.property("opal-interrupts") else { return };
        for word in list.chunks_exact(4).take(OPAL_INTERRUPTS) {
            self.opal_interrupt[self.opal_interrupts] =
                u32::from_be_bytes(word.try_into().unwrap_or_default());
            self.opal_interrupts += 1;
        }
    }
}

/// A property's first cell; 0 if there is none.
fn first_cell(value: Option<&[u8]>) -> u32 {
    value.and_then(<[u8]>::first_chunk).map_or(0, |cell| u32::from_be_bytes(*cell))
}

/// Puts into `info` what the resident firmware needs of the machine.
pub fn hand_over(facts: &Facts, manifest: &Manifest, info: &mut BootInfo) {
    info.heartbeat_ticks = facts.heartbeat_ms * (facts.timebase_hz / 1000);
    info.tima_hv = facts.tima_hv;
    let [characteristics @ .., _] = facts.features.0;
    info.characteristics = characteristics;
    info.mitigations = Mitigations::choose(manifest.mitigations, &facts.features);
    if manifest.debug_boot != 0 {
        let told = if facts.features.are_told() { "told" } else { "absent" };
        let policy = mitigations_name(manifest.mitigations);
        clock::timed(Phase::Report, || {
            say!("mitigations {policy}, fw-features {told}: {}", info.mitigations);
            let Errata { prefetch, hdsisr, tlbie_stores } = errata();
            say!("errata prefetch={prefetch} hdsisr={hdsisr} tlbie-stores={tlbie_stores}");
        });
    }
}

/// OPAL's clock, binary-coded decimals: year, month, day; hour, minute, second in the upper bytes.
pub fn clock_seconds(date: u32, time: u64) -> Option<u64> {
    let bcd = |byte: u64| (byte >> 4 & 15) as u32 * 10 + (byte & 15) as u32;
    let date = u64::from(date);
    let now = DateTime {
        year: bcd(date >> 24) * 100 + bcd(date >> 16),
        month: bcd(date >> 8),
        day: bcd(date),
        hour: bcd(time >> 56),
        minute: bcd(time >> 48),
        second: bcd(time >> 40),
        nanosecond: 0,
    };
    now.is_valid().then(|| now.to_seconds())
}
