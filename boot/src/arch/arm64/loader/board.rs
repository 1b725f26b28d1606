// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine against the image: what the image relies on is looked up in the machine's own
//! device tree and in the CPU's ID registers, and the first thing that differs is named.
use anchorite_hv::arm64::features::Ids;
use anchorite_hv::arm64::regs::MPIDR_AFFINITY;
use anchorite_hv::core::fdt::{Node, Property, Tree};
use anchorite_platform::qemu_virt::{cpu, guard};
use anchorite_platform::read_register;
use anchorite_spec::manifest::{Manifest, VCPUS};
use anchorite_tables::stage2::Stage2;

use crate::image;
use crate::tree::{self, Memory, mismatch, names, reg, text};

/// CPUs of a machine at most.
const CPUS: usize = 16;

/// What the machine's tree says.
#[derive(Default)]
pub struct Facts {
    memory: Memory,
    cpu: [u64; CPUS],
    cpus: usize,
    distributor: u64,
    redistributor: u64,
    uart: bool,
    its: bool,
    smc: bool,
    /// MPIDR_EL1 of each vCPU's CPU.
    pub mpidr: [u64; VCPUS],
    /// From the CPU's generator, or else from the earlier firmware, which is the next best.
    pub seed: Option<[u8; 32]>,
}

/// Compares the machine with what `manifest` relies on; does not return if they differ.
pub fn check(tree: &Tree<'static>, manifest: &Manifest, ids: &Ids) -> Facts {
    let mut facts = Facts { seed: generated(), ..Facts::default() };
    tree::each(tree, |node, property| {
        if let Some(property) = property {
            facts.add(node, property, manifest);
        }
    });
    check_processor(manifest, ids);
    facts.check_cpus(manifest);
    facts.memory.require(manifest);
    tree::check_reserved(tree, manifest);
    facts.check_devices(manifest);
    facts
}

impl Facts {
    /// The node's other properties are looked up where it matters.
    fn add(&mut self, node: &Node, property: &Property, manifest: &Manifest) {
        if property.is("compatible") {
            names(property.value).for_each(|name| self.add_device(node, name, manifest));
        } else if property.is("device_type") {
            self.add_type(node, text(property.value));
        } else if self.seed.is_none() && property.is("rng-seed") && node.name == b"chosen" {
            let seed = property.value;
            self.seed = (seed.len() >= 16).then(|| image::sha256(seed));
        }
    }

    fn add_type(&mut self, node: &Node, kind: &[u8]) {
        match kind {
            b"memory" => self.memory.add(node),
            b"cpu" if self.cpus < CPUS => {
                let reg = node.property("reg").unwrap_or_default();
                self.cpu[self.cpus] = reg.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
                self.cpus += 1;
            }
            _ => {}
        }
    }

    fn add_device(&mut self, node: &Node, name: &[u8], manifest: &Manifest) {
        match name {
            b"arm,gic-v3" => {
                self.distributor = reg(node, 0).base;
                self.redistributor = reg(node, 1).base;
            }
            b"arm,gic-v3-its" => self.its |= reg(node, 0).base == manifest.arm64.its,
            b"arm,pl011" => self.uart |= reg(node, 0).base == manifest.arm64.uart,
            b"arm,psci-1.0" | b"arm,psci-0.2" => {
                self.smc = node.property("method").map(text) == Some(b"smc");
            }
            _ => {}
        }
    }

    fn check_cpus(&mut self, manifest: &Manifest) {
        if self.cpus != manifest.cores as usize {
            mismatch(format_args!(
                "the machine has {} CPUs, the image is for {}: one for each vCPU, because the \
                 guest finds them in the interrupt controller's frames",
                self.cpus, manifest.cores
            ));
        }
        if !self.smc {
            mismatch(format_args!("the machine's firmware is not called by SMC (PSCI)"));
        }
        for vcpu in 0..manifest.vcpus as usize {
            self.mpidr[vcpu] = self.cpu[manifest.vcpu_cpu[vcpu] as usize];
        }
        let own = read_register!("mpidr_el1") & MPIDR_AFFINITY;
        if self.mpidr[0] != own {
            mismatch(format_args!(
                "the machine starts on the CPU with MPIDR {own:#x}, the first vCPU's has {:#x}",
                self.mpidr[0]
            ));
        }
    }

    fn check_devices(&self, manifest: &Manifest) {
        let arm64 = &manifest.arm64;
        if (self.distributor, self.redistributor) != (arm64.distributor, arm64.redistributor) {
            mismatch(format_args!(
                "the GICv3 is at {:#x} and {:#x}, the image is for {:#x} and {:#x}",
                self.distributor, self.redistributor, arm64.distributor, arm64.redistributor
            ));
        }
        // SAFETY: the machine's tree has just named the distributor.
        if arm64.guarded != 0 && !unsafe { guard::has_group_0(arm64.distributor) } {
            mismatch(format_args!(
                "guarded interrupts need Group 0 of the interrupt controller (GICD_CTLR.DS = 1), \
                 which the machine's firmware at EL3 keeps"
            ));
        }
        if arm64.its != 0 && !self.its {
            mismatch(format_args!("there is no interrupt translation service at {:#x}", arm64.its));
        }
        if !self.uart {
            mismatch(format_args!("there is no PL011 at {:#x}", arm64.uart));
        }
    }
}

fn check_processor(manifest: &Manifest, ids: &Ids) {
    let midr = read_register!("midr_el1");
    if midr & manifest.pvr_mask != manifest.pvr {
        mismatch(format_args!(
            "the processor is {midr:#010x}, the image is for {:#010x} (mask {:#010x})",
            manifest.pvr, manifest.pvr_mask
        ));
    }
    let arm64 = &manifest.arm64;
    let context = match Stage2::new(arm64.ipa_bits, ids.pa_range() as u32) {
        Ok(context) => context,
        Err(error) => mismatch(format_args!("{error}")),
    };
    if arm64.forced_write_back != 0 && ids.fwb() == 0 {
        mismatch(format_args!(
            "the processor cannot force write-back at stage 2 (FEAT_S2FWB), as the image's tables \
             want it; build with guest.stage2.fwb = false"
        ));
    }
    let same = context.start_level() == arm64.start_level
        && context.root_tables() == u64::from(arm64.root_tables);
    if !same {
        mismatch(format_args!("the stage 2 tables have another shape than this processor walks"));
    }
    let stage2_4k = match ids.granule_4k_stage2() {
        0 => ids.granule_4k() != 15,
        value => value >= 2,
    };
    if !stage2_4k || ids.granule_4k() == 15 {
        mismatch(format_args!("the processor has no 4 KiB granule"));
    }
    if ids.gic() == 0 {
        mismatch(format_args!("the interrupt controller is no GICv3 with system registers"));
    }
    if ids.e2h0() != 0 || cpu::is_vhe_only() {
        mismatch(format_args!("the processor has no EL2 without VHE, which is not built"));
    }
}

/// A seed from the CPU's generator.
pub fn generated() -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    for word in seed.chunks_exact_mut(8) {
        word.copy_from_slice(&cpu::random()?.to_le_bytes());
    }
    Some(seed)
}
