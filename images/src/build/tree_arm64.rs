// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An arm64 guest's flattened device tree, derived from the config: PSCI by HVC, GICv3,
//! the architecture's timer, and the devices that the config names a model for.
use anchorite_hv::arm64::watchdog::FUNCTION;
use dtoolkit::model::{DeviceTree, DeviceTreeNode};

use super::layout::GuestLayout;
use super::told::Told;
use super::tree::{GuestTree, cells, chosen, finish, memory, reserved, set};
use crate::config::checked::{Config, Device, Model, Watchdog};
use crate::config::platform::Arm;

const GIC: u32 = 1;
const CLOCK: u32 = 2;
/// Interrupt specifiers: shared or private; how they are raised.
const SHARED: u32 = 0;
const PRIVATE: u32 = 1;
const LEVEL: u32 = 4;
const RISING_EDGE: u32 = 1;
/// Private interrupts of the architecture's timer: secure, EL1 physical, virtual, EL2 physical.
const TIMERS: [u32; 4] = [13, 14, 11, 10];
/// Private interrupt of the performance counters (Arm BSA, 4.4.5: INTID 23).
const COUNTERS: u32 = 7;

/// Makes the tree. Its size does not depend on the addresses in `layout`.
#[must_use]
pub fn make(config: &Config, layout: &GuestLayout, told: &Told) -> GuestTree {
    let mut tree = DeviceTree::new();
    tree.memory_reservations = reserved(layout, None);
    let root = &mut tree.root;
    set(root, "#address-cells", 2u32);
    set(root, "#size-cells", 2u32);
    set(root, "compatible", "anchorite,guest");
    set(root, "model", format!("Anchorite guest on {}", config.board));
    set(root, "interrupt-parent", GIC);
    root.add_child(chosen(config, layout, told, |node| {
        let mut devices = config.guest.devices.iter().map(|device| &device.value);
        if let Some(uart) = devices.find(|d| matches!(d.model, Some((Model::Pl011, _)))) {
            set(node, "stdout-path", format!("/serial@{:x}", uart.guest.base));
        }
    }));
    memory(config).for_each(|node| root.add_child(node));
    root.add_child(cpus(config));
    root.add_child(psci());
    root.add_child(firmware());
    root.add_child(timer());
    if let Some(node) = config.watchdog.filter(Watchdog::is_called).map(watchdog) {
        root.add_child(node);
    }
    root.add_child(counters());
    if let Some(arm) = config.platform.arm {
        let mut gic = gic(&arm, config.guest.vcpus.len() as u64);
        if config.guest.its {
            gic.add_child(its(&arm));
        }
        root.add_child(gic);
    }
    root.add_child(clock());
    for device in config.guest.devices.iter().map(|device| &device.value) {
        if let Some((model, irq)) = device.model {
            root.add_child(match model {
                Model::VirtioMmio => virtio(device, irq),
                _ => peripheral(device, model, irq),
            });
        }
    }
    finish(tree.to_dtb())
}

fn cpus(config: &Config) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("cpus");
    set(&mut node, "#address-cells", 1u32);
    set(&mut node, "#size-cells", 0u32);
    for cpu in 0..config.guest.vcpus.len() as u32 {
        let mut child = DeviceTreeNode::new_unchecked(format!("cpu@{cpu:x}"));
        set(&mut child, "device_type", "cpu");
        set(&mut child, "compatible", "arm,armv8");
        set(&mut child, "reg", cpu);
        set(&mut child, "enable-method", "psci");
        node.add_child(child);
    }
    node
}

fn psci() -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("psci");
    set(&mut node, "compatible", ["arm,psci-1.0", "arm,psci-0.2"].as_slice());
    set(&mut node, "method", "hvc");
    node
}

/// The interface by which Linux tells a panic from a shutdown. No event comes from it.
fn firmware() -> DeviceTreeNode {
    let mut sdei = DeviceTreeNode::new_unchecked("sdei");
    set(&mut sdei, "compatible", "arm,sdei-1.0");
    set(&mut sdei, "method", "hvc");
    let mut node = DeviceTreeNode::new_unchecked("firmware");
    node.add_child(sdei);
    node
}

/// The firmware's watchdog, as a stock driver feeds it.
fn watchdog(watchdog: Watchdog) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("watchdog");
    set(&mut node, "compatible", "arm,smc-wdt");
    set(&mut node, "arm,smc-id", FUNCTION);
    set(&mut node, "timeout-sec", watchdog.seconds);
    node
}

fn timer() -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("timer");
    set(&mut node, "compatible", "arm,armv8-timer");
    let list: Vec<u8> =
        TIMERS.iter().flat_map(|irq| [PRIVATE, *irq, LEVEL]).flat_map(u32::to_be_bytes).collect();
    set(&mut node, "interrupts", list);
    set(&mut node, "always-on", [0u8; 0]);
    node
}

/// All performance counters are the guest's. Whether the processor has any its registers say.
fn counters() -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("pmu");
    set(&mut node, "compatible", "arm,armv8-pmuv3");
    set(&mut node, "interrupts", [PRIVATE, COUNTERS, LEVEL]);
    node
}

fn gic(arm: &Arm, vcpus: u64) -> DeviceTreeNode {
    let at = arm.distributor.base;
    let mut node = DeviceTreeNode::new_unchecked(format!("interrupt-controller@{at:x}"));
    set(&mut node, "compatible", "arm,gic-v3");
    set(&mut node, "interrupt-controller", [0u8; 0]);
    set(&mut node, "#interrupt-cells", 3u32);
    set(&mut node, "#address-cells", 2u32);
    set(&mut node, "#size-cells", 2u32);
    set(&mut node, "ranges", [0u8; 0]);
    let frames = arm.redistributor.size * vcpus;
    set(&mut node, "reg", cells(&[at, arm.distributor.size, arm.redistributor.base, frames]));
    set(&mut node, "phandle", GIC);
    node
}

fn its(arm: &Arm) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked(format!("msi-controller@{:x}", arm.its.base));
    set(&mut node, "compatible", "arm,gic-v3-its");
    set(&mut node, "msi-controller", [0u8; 0]);
    set(&mut node, "#msi-cells", 1u32);
    set(&mut node, "reg", cells(&[arm.its.base, arm.its.size]));
    node
}

/// Arm's peripherals name a clock; what it says is 24 MHz everywhere on this platform.
fn clock() -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("peripheral-clock");
    set(&mut node, "compatible", "fixed-clock");
    set(&mut node, "#clock-cells", 0u32);
    set(&mut node, "clock-frequency", 24_000_000u32);
    set(&mut node, "phandle", CLOCK);
    node
}

fn virtio(device: &Device, irq: u32) -> DeviceTreeNode {
    let at = device.guest.base;
    let mut node = DeviceTreeNode::new_unchecked(format!("virtio_mmio@{at:x}"));
    set(&mut node, "compatible", "virtio,mmio");
    set(&mut node, "reg", cells(&[at, device.guest.size]));
    set(&mut node, "interrupts", [SHARED, irq, RISING_EDGE]);
    set(&mut node, "dma-coherent", [0u8; 0]);
    node
}

/// One of Arm's own.
fn peripheral(device: &Device, model: Model, irq: u32) -> DeviceTreeNode {
    let (name, compatible, clocks): (_, _, &[&str]) = match model {
        Model::Pl031 => ("rtc", "arm,pl031", &["apb_pclk"]),
        _ => ("serial", "arm,pl011", &["uartclk", "apb_pclk"]),
    };
    let at = device.guest.base;
    let mut node = DeviceTreeNode::new_unchecked(format!("{name}@{at:x}"));
    set(&mut node, "compatible", [compatible, "arm,primecell"].as_slice());
    set(&mut node, "reg", cells(&[at, device.guest.size]));
    set(&mut node, "interrupts", [SHARED, irq, LEVEL]);
    set(
        &mut node,
        "clocks",
        vec![CLOCK; clocks.len()].iter().flat_map(|c| c.to_be_bytes()).collect::<Vec<u8>>(),
    );
    set(&mut node, "clock-names", clocks);
    node
}
