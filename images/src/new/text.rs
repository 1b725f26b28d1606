// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A config as a person would write it: what each value is, and what to change.
use std::fmt::Write;

use super::machine::Machine;
use super::plan::Plan;
use super::size;
use crate::config::checked::Model;

/// The config's text.
#[must_use]
pub fn write(name: &str, machine: &Machine, plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = parts(&mut text, name, machine, plan);
    text
}

fn parts(text: &mut String, name: &str, machine: &Machine, plan: &Plan) -> std::fmt::Result {
    let arm = machine.platform.arm;
    let (arch, platform, boot) = match arm {
        Some(_) => ("arm64", "qemu-virt", "arm64-image"),
        None => ("power9", "powernv", "opal-payload"),
    };
    writeln!(
        text,
        "#:schema ./schema.json\n\
         # Written by `anchorite new` from the machine's device tree. `anchorite explain KEY` says what a\n\
         # key means, where its value comes from and what goes wrong when it is off.\n\n\
         [board]\n\
         name = \"{name}\"\n\
         arch = \"{arch}\"\n\
         platform = \"{platform}\"\n\
         # Checked against the processor at boot.\n\
         cpu = \"{}\"\n\
         # Who starts the image.\n\
         boot = \"{boot}\"\n\n\
         # The machine's RAM, as its tree's memory nodes say. At boot the machine must have all of it.",
        machine.cpu
    )?;
    for ram in &plan.ram {
        writeln!(text, "[[ram]]\nbase = \"{:#x}\"\nsize = \"{}\"\n", ram.base, size(ram.size))?;
    }
    writeln!(
        text,
        "[firmware]\n\
         # The lowest RAM that nobody else has. `anchorite build` says when it is too small.\n\
         memory = {{ base = \"{:#x}\", size = \"{}\" }}\n\
         console = \"{}\"",
        plan.firmware.base,
        size(plan.firmware.size),
        if arm.is_some() { "pl011" } else { "opal" }
    )?;
    if arm.is_none() {
        writeln!(
            text,
            "# Real boards keep the payload in this partition. Without such flash, take the line out.\n\
             flash = {{ partition = \"BOOTKERNEL\", size = \"16MiB\" }}"
        )?;
    }
    let (kernel, initrd, cmdline) = match arm {
        Some(arm) => (
            "debian-6.12-arm64",
            "shell-arm64",
            format!("console=ttyAMA0 earlycon=pl011,{:#x}", arm.uart()),
        ),
        None => ("debian-6.12-ppc64el", "shell-ppc64el", "console=hvc0".into()),
    };
    writeln!(
        text,
        "\n[guest]\n\
         # A recipe of images/guests/, or the path of a kernel and of an initial file system.\n\
         kernel = \"{kernel}\"\n\
         initrd = \"{initrd}\"\n\
         cmdline = \"{cmdline}\"\n"
    )?;
    if arm.is_none() {
        xive(text, machine)?;
    }
    writeln!(
        text,
        "# One vCPU on each of the machine's CPUs{}.",
        match (arm, machine.cpus > machine.platform.vcpus) {
            (Some(_), _) => ": it must have exactly these",
            (None, true) => ", as far as this version runs; the others stay with skiboot",
            (None, false) => "",
        }
    )?;
    for cpu in 0..machine.cpus.min(machine.platform.vcpus) {
        writeln!(text, "[[guest.vcpu]]\ncpu = {cpu}\n")?;
    }
    writeln!(
        text,
        "# The RAM that is left, in large pieces. {}",
        match arm {
            Some(_) => "The guest knows it by the machine's addresses.",
            None => "One piece must begin at guest address 0.",
        }
    )?;
    for (index, region) in plan.regions.iter().enumerate() {
        let name = if index == 0 { "ram".into() } else { format!("ram{}", index + 1) };
        writeln!(
            text,
            "[[guest.memory]]\nname = \"{name}\"\nguest = \"{:#x}\"\nhost = \"{:#x}\"\nsize = \"{}\"\n",
            region.guest,
            region.host.base,
            size(region.host.size)
        )?;
    }
    for fixed in arm.iter().flat_map(|arm| &arm.fixed) {
        let (name, model, why) = match fixed.model {
            Model::Pl011 => ("uart", "pl011", "The console is the guest's while it runs."),
            Model::Pl031 if machine.clock => ("rtc", "pl031", "The time of day."),
            _ => continue,
        };
        writeln!(
            text,
            "# {why}\n[[guest.device]]\nname = \"{name}\"\nmodel = \"{model}\"\nirq = {}\n\
             mmio = {{ guest = \"{:#x}\", host = \"{:#x}\", size = \"{}\" }}\n",
            fixed.irq,
            fixed.range.base,
            fixed.range.base,
            size(fixed.range.size)
        )?;
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    Ok(())
}

fn xive(text: &mut String, machine: &Machine) -> std::fmt::Result {
    /// The same on every POWER9 machine's first chip.
    const TIMA: u64 = 0x0006_0302_031A_0000;
    writeln!(
        text,
        "# The interrupt controller's pages, for the guest at the machine's own addresses. One source\n\
         # for each vCPU is needed; devices take more.\n\
         [guest.xive]\n\
         tima = \"{TIMA:#x}\"\n\
         esb = \"{:#x}\"\n\
         sources = 16\n",
        machine.platform.esb_window.base
    )
}
