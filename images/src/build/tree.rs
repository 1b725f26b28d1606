// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's flattened device tree, derived from the config.
//!
//! It is what a PAPR client would see after Open Firmware has run: Linux is entered without it
//! (r5 = 0), so everything that negotiation would have settled stands here as settled.
use anchorite_spec::{Range, rtas};
use dtoolkit::ToPropertyValue;
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use super::layout::GuestLayout;
use super::rtas::MEMORY as RTAS_MEMORY;
use super::told::{self, Told};
use crate::config::checked::{Config, XIVE_PAGE};

/// The console's unit address, which is also its terminal number in hypercalls.
const VTY: u32 = 0x7100_0000;
const STDOUT: &str = "/vdevice/vty@71000000";
const XIVE_PHANDLE: u32 = 1;
/// Marks the place of the seed until it is known; then zeros stand there.
const SEED: [u8; 32] = *b"\xffanchorite: the seed lands here\xff";

/// POWER9 in architected form: no work-around for a particular revision is wanted.
const CPU_VERSION: u32 = 0x0F00_0005;
/// Optional features of POWER9 without transactional memory: byte count, kind, 66 bytes.
const PA_FEATURES: [u8; 68] = {
    const GROUPS: [[u8; 6]; 11] = [
        [0xF6, 0x3F, 0xC7, 0xC0, 0x00, 0xF0],
        [0x80, 0x00, 0x00, 0x00, 0x00, 0x00],
        [0x00, 0x00, 0x00, 0x00, 0x80, 0x00],
        [0x80, 0x00, 0x80, 0x00, 0x00, 0x00],
        [0x80, 0x00, 0x80, 0x00, 0x80, 0x00],
        [0x00, 0x00, 0x80, 0x00, 0xC0, 0x00],
        [0x00, 0x00, 0x00, 0x00, 0x80, 0x00],
        [0x80, 0x00, 0x80, 0x00, 0x80, 0x00],
        [0x80, 0x00, 0x80, 0x00, 0x80, 0x00],
        [0x80, 0x00, 0x80, 0x00, 0x80, 0x00],
        [0x80, 0x00, 0x80, 0x00, 0x00, 0x00],
    ];
    let mut bytes = [0; 68];
    bytes[0] = 66;
    let mut at = 0;
    while at < 66 {
        bytes[at + 2] = GROUPS[at / 6][at % 6];
        at += 1;
    }
    bytes
};
/// Page sizes of radix translation, as (encoding, log2 of bytes): 4 KiB, 64 KiB, 2 MiB, 1 GiB.
const RADIX_PAGES: [u32; 4] = [0x0000_000C, 0xA000_0010, 0x2000_0015, 0x4000_001E];

/// A guest's tree and the offset of its 32 seed bytes.
pub struct GuestTree {
    /// The flattened tree.
    pub bytes: Vec<u8>,
    /// Where `/chosen/rng-seed` stands in it.
    pub seed_offset: u64,
    /// Where the manifest's digest stands in it.
    pub digest_offset: u64,
    /// Where `/chosen/anchorite/last-life` stands in it.
    pub last_life_offset: u64,
}

/// Makes the tree. Its size does not depend on the addresses in `layout`.
#[must_use]
pub fn make(config: &Config, layout: &GuestLayout, told: &Told) -> GuestTree {
    if config.platform.arm.is_some() {
        return super::tree_arm64::make(config, layout, told);
    }
    let mut tree = DeviceTree::new();
    tree.memory_reservations = reserved(layout, Some(layout.rtas));
    fill_root(&mut tree.root, config);
    tree.root.add_child(chosen(config, layout, told, |node| {
        set(node, "stdout-path", STDOUT);
        set(node, "linux,stdout-path", STDOUT);
        set(node, "ibm,architecture-vec-5", vector_5());
    }));
    memory(config).for_each(|node| tree.root.add_child(node));
    tree.root.add_child(cpus(config));
    tree.root.add_child(rtas_node(layout));
    tree.root.add_child(vdevice());
    tree.root.add_child(xive(config));
    if config.guest.hwrng {
        let mut random = DeviceTreeNode::new_unchecked("ibm,random");
        set(&mut random, "compatible", "ibm,random");
        tree.root.add_child(random);
    }
    finish(tree.to_dtb())
}

/// Finds the places that are filled in at boot, and clears them.
pub(super) fn finish(mut bytes: Vec<u8>) -> GuestTree {
    let marks = [&SEED[..], &told::MANIFEST, &told::LAST_LIFE];
    let [seed_offset, digest_offset, last_life_offset] = marks.map(|mark| {
        let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap_or(0);
        if at != 0 {
            bytes[at..at + mark.len()].fill(0);
        }
        at as u64
    });
    GuestTree { bytes, seed_offset, digest_offset, last_life_offset }
}

fn fill_root(root: &mut DeviceTreeNode, config: &Config) {
    set(root, "#address-cells", 2u32);
    set(root, "#size-cells", 2u32);
    set(root, "device_type", "chrp");
    set(root, "compatible", "anchorite,guest");
    set(root, "model", format!("Anchorite guest on {}", config.board));
    // The firmware keeps priority 7 upwards; Linux takes the highest that is left, 6.
    set(root, "ibm,plat-res-int-priorities", [7u32, 0xF8]);
}

/// What a kernel may not use before it has taken it over.
pub(super) fn reserved(layout: &GuestLayout, more: Option<Range>) -> Vec<MemoryReservation> {
    let ranges = layout.initrd.into_iter().chain([layout.tree]).chain(more);
    ranges.map(|range| MemoryReservation::new(range.base, range.size)).collect()
}

/// The guest's memory.
pub(super) fn memory(config: &Config) -> impl Iterator<Item = DeviceTreeNode> {
    config.guest.memory.iter().map(|memory| {
        let range = memory.value.guest;
        let mut node = DeviceTreeNode::new_unchecked(format!("memory@{:x}", range.base));
        set(&mut node, "device_type", "memory");
        set(&mut node, "reg", cells(&[range.base, range.size]));
        node
    })
}

/// `/chosen`, with what an architecture adds.
pub(super) fn chosen(
    config: &Config,
    layout: &GuestLayout,
    told: &Told,
    add: impl FnOnce(&mut DeviceTreeNode),
) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("chosen");
    set(&mut node, "bootargs", config.guest.cmdline.as_str());
    if let Some(initrd) = layout.initrd {
        set(&mut node, "linux,initrd-start", initrd.base);
        set(&mut node, "linux,initrd-end", initrd.base + initrd.size);
    }
    add(&mut node);
    set(&mut node, "rng-seed", SEED);
    node.add_child(told.node());
    node
}

/// What client-architecture-support would have settled.
fn vector_5() -> [u8; 27] {
    let mut vector = [0; 27];
    vector[0] = 27 - 2;
    vector[5] = 0x80; // form 1 associativity
    vector[23] = 0x40; // XIVE exploitation, no XICS
    vector[24] = 0x40; // radix, no hash
    vector[26] = 0x40; // the guest executes tlbie itself
    vector
}

fn cpus(config: &Config) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("cpus");
    set(&mut node, "#address-cells", 1u32);
    set(&mut node, "#size-cells", 0u32);
    for server in 0..config.guest.vcpus.len() as u32 {
        node.add_child(cpu(server, config.platform.timebase_hz));
    }
    node
}

fn cpu(server: u32, timebase_hz: u64) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked(format!("PowerPC,POWER9@{server:x}"));
    set(&mut node, "device_type", "cpu");
    set(&mut node, "reg", server);
    set(&mut node, "status", "okay");
    set(&mut node, "cpu-version", CPU_VERSION);
    set(&mut node, "ibm,ppc-interrupt-server#s", server);
    set(&mut node, "ibm,ppc-interrupt-gserver#s", [server, 0]);
    set(&mut node, "timebase-frequency", timebase_hz as u32);
    // Linux only shows it, and only the machine knows it.
    set(&mut node, "clock-frequency", 2_000_000_000u32);
    for cache in ["d-cache", "i-cache"] {
        set(&mut node, &format!("{cache}-size"), 0x8000u32);
        set(&mut node, &format!("{cache}-line-size"), 128u32);
        set(&mut node, &format!("{cache}-block-size"), 128u32);
    }
    set(&mut node, "64-bit", [0u8; 0]);
    set(&mut node, "ibm,pa-features", PA_FEATURES);
    set(&mut node, "ibm,processor-radix-AP-encodings", RADIX_PAGES);
    set(&mut node, "ibm,dec-bits", 56u32);
    set(&mut node, "ibm,mmu-pid-bits", 20u32);
    set(&mut node, "ibm,slb-size", 32u32);
    set(&mut node, "ibm,vmx", 2u32);
    set(&mut node, "ibm,dfp", 1u32);
    set(&mut node, "ibm,purr", 1u32);
    set(&mut node, "ibm,spurr", 1u32);
    node
}

fn rtas_node(layout: &GuestLayout) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("rtas");
    for service in &rtas::SERVICES {
        set(&mut node, service.name, service.token);
    }
    set(&mut node, "ibm,extended-os-term", [0u8; 0]);
    let functions = [
        "hcall-set-mode",
        "hcall-splpar",
        "hcall-term",
        "hcall-interrupt",
        "hcall-join",
        "hcall-rpt-invalidate",
        "hcall-watchdog",
    ];
    set(&mut node, "ibm,hypertas-functions", functions.as_slice());
    set(&mut node, "rtas-version", 1u32);
    set(&mut node, "rtas-error-log-max", 0x800u32);
    set(&mut node, "rtas-size", RTAS_MEMORY as u32);
    set(&mut node, "linux,rtas-base", layout.rtas.base as u32);
    set(&mut node, "linux,rtas-entry", layout.rtas.base as u32);
    node
}

fn vdevice() -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("vdevice");
    set(&mut node, "device_type", "vdevice");
    set(&mut node, "compatible", "IBM,vdevice");
    set(&mut node, "#address-cells", 1u32);
    set(&mut node, "#size-cells", 0u32);
    set(&mut node, "#interrupt-cells", 2u32);
    set(&mut node, "interrupt-controller", [0u8; 0]);
    // No interrupt: Linux polls.
    let mut vty = DeviceTreeNode::new_unchecked(format!("vty@{VTY:x}"));
    set(&mut vty, "device_type", "serial");
    set(&mut vty, "compatible", "hvterm1");
    set(&mut vty, "reg", VTY);
    node.add_child(vty);
    node
}

fn xive(config: &Config) -> DeviceTreeNode {
    let xive = &config.guest.xive;
    let user = xive.tima + XIVE_PAGE;
    let mut node = DeviceTreeNode::new_unchecked(format!("interrupt-controller@{user:x}"));
    set(&mut node, "device_type", "power-ivpe");
    set(&mut node, "compatible", "ibm,power-ivpe");
    set(&mut node, "interrupt-controller", [0u8; 0]);
    set(&mut node, "#address-cells", 0u32);
    set(&mut node, "#interrupt-cells", 2u32);
    set(&mut node, "reg", cells(&[user, XIVE_PAGE, xive.tima, XIVE_PAGE]));
    set(&mut node, "ibm,xive-eq-sizes", 16u32);
    set(&mut node, "ibm,xive-lisn-ranges", [0, xive.sources as u32]);
    set(&mut node, "phandle", XIVE_PHANDLE);
    node
}

pub(super) fn cells(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// The writer's own check knows only names of up to 31 characters; PAPR has longer ones.
pub fn set(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
}
