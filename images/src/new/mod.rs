// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite new`: a board config for the machine that a device tree describes.
//!
//! The tree is taken as hostile. What comes out is judged as any config is before it is written: a
//! config from here passes `check`.
mod machine;
mod plan;
mod text;

use std::fmt;

use anchorite_hv::core::fdt::TreeError;
use anyhow::Context;
use zerocopy::IntoBytes;

use crate::build::{output, root};
use crate::check::refuse;
use crate::cli::NewArgs;
use crate::config::{judge, units};
use crate::exit::{self, Exit};
use crate::say;
use machine::Machine;
use plan::Plan;

/// Why no config can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewError {
    /// The file is no tree.
    Tree(TreeError),
    /// It describes a machine for which there is no platform.
    Machine(String),
    /// There is no RAM, or not where it is needed.
    Ram(String),
}

impl fmt::Display for NewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(error) => write!(f, "cannot be read as a device tree: {error}"),
            Self::Machine(why) | Self::Ram(why) => f.write_str(why),
        }
    }
}

/// A board config for a tree.
///
/// # Errors
/// See [`NewError`].
pub fn config(name: &str, tree: &[u8]) -> Result<String, NewError> {
    let machine = aligned(tree, Machine::read)?;
    let plan = Plan::new(&machine)?;
    Ok(text::write(name, &machine, &plan))
}

/// Reads a flattened tree: these are made of words, and read where they lie.
pub fn aligned<T>(tree: &[u8], read: impl FnOnce(&[u8]) -> T) -> T {
    let mut words = vec![0u32; tree.len().div_ceil(4)];
    words.as_mut_bytes()[..tree.len()].copy_from_slice(tree);
    read(&words.as_bytes()[..tree.len()])
}

/// Runs the command.
///
/// # Errors
/// The tree cannot be read or is no tree of a machine that works here; the config is there already.
pub fn new(args: &NewArgs) -> anyhow::Result<u8> {
    check_name(&args.name)?;
    let file = args.from_dtb.display();
    let tree = exit::read(&args.from_dtb)?;
    let config =
        config(&args.name, &tree).map_err(|error| Exit::refused(format!("{file}: {error}")))?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => root()?.join("board-configs").join(format!("{}.toml", args.name)),
    };
    if let Err(refusal) = judge(&out.display().to_string(), config.clone(), Vec::new()) {
        say::aside(format_args!("{file} describes a machine that no config here can be for:"));
        return Ok(refuse(&refusal, false));
    }
    if out.exists() {
        let what = format!("{} is there already: choose another name, or --out", out.display());
        return Err(Exit::refused(what));
    }
    output::write(&out, config.as_bytes())
        .with_context(|| format!("cannot write {}", out.display()))?;
    say::line(format!("{}: written; `anchorite check --board` judges it", out.display()));
    Ok(exit::OK)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=32).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with(['.', '-']) {
        return Ok(());
    }
    let what = "a board's name has 1 to 32 letters, digits, `-`, `_` and `.`, and begins with a \
                letter or digit";
    Err(Exit::usage(format!("{name}: {what}")))
}

/// A size as configs write it.
fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 10) { units::size(bytes) } else { bytes.to_string() }
}

/// Trees to start from.
#[cfg(test)]
pub fn samples() -> Vec<Vec<u8>> {
    tests::samples()
}

#[cfg(test)]
mod tests {
    use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
    use proptest::prelude::*;

    use super::{NewError, config};
    use crate::config::judge;

    /// A tree with these memory nodes and CPUs.
    struct Sample {
        ram: Vec<(u64, u64)>,
        cpus: u32,
        arm: bool,
    }

    fn node(name: &str, properties: &[(&str, Vec<u8>)]) -> DeviceTreeNode {
        let mut node = DeviceTreeNode::new_unchecked(name);
        for (name, value) in properties {
            node.add_property(DeviceTreeProperty::new_unchecked(*name, value.clone()));
        }
        node
    }

    fn pairs(list: &[u64]) -> Vec<u8> {
        list.iter().flat_map(|value| value.to_be_bytes()).collect()
    }

    impl Sample {
        fn tree(&self) -> Vec<u8> {
            let two = 2u32.to_be_bytes().to_vec();
            let compatible: &[u8] =
                if self.arm { b"linux,dummy-virt\0" } else { b"qemu,powernv9\0ibm,powernv\0" };
            let mut root = node(
                "",
                &[
                    ("#address-cells", two.clone()),
                    ("#size-cells", two),
                    ("compatible", compatible.to_vec()),
                ],
            );
            for (base, size) in &self.ram {
                let properties =
                    [("device_type", b"memory\0".to_vec()), ("reg", pairs(&[*base, *size]))];
                root.add_child(node(&format!("memory@{base:x}"), &properties));
            }
            let mut cpus = DeviceTreeNode::new_unchecked("cpus");
            for cpu in 0..self.cpus {
                let mut properties =
                    vec![("device_type", b"cpu\0".to_vec()), ("reg", cpu.to_be_bytes().to_vec())];
                properties.push(match self.arm {
                    true => ("compatible", b"arm,cortex-a72\0".to_vec()),
                    false => ("cpu-version", 0x004e_1202u32.to_be_bytes().to_vec()),
                });
                cpus.add_child(node(&format!("cpu@{cpu}"), &properties));
            }
            root.add_child(cpus);
            if self.arm {
                let gic = pairs(&[0x0800_0000, 0x1_0000, 0x080A_0000, 0x00F6_0000]);
                for (name, compatible, reg) in [
                    ("intc@8000000", &b"arm,gic-v3\0"[..], gic),
                    ("pl011@9000000", b"arm,pl011\0arm,primecell\0", pairs(&[0x0900_0000, 0x1000])),
                    ("pl031@9010000", b"arm,pl031\0arm,primecell\0", pairs(&[0x0901_0000, 0x1000])),
                ] {
                    root.add_child(node(
                        name,
                        &[("compatible", compatible.to_vec()), ("reg", reg)],
                    ));
                }
                let psci =
                    [("compatible", b"arm,psci-1.0\0".to_vec()), ("method", b"smc\0".to_vec())];
                root.add_child(node("psci", &psci));
            }
            let mut tree = DeviceTree::new();
            tree.root = root;
            tree.to_dtb()
        }
    }

    /// The config of a tree, which passes.
    fn passes(sample: &Sample) -> crate::config::Config {
        let text = config("sample", &sample.tree()).unwrap();
        match judge("sample.toml", text.clone(), vec![]) {
            Ok(loaded) => loaded.config,
            Err(refusal) => panic!("{}\n{text}", refusal.render(false)),
        }
    }

    const GIB: u64 = 1 << 30;

    pub fn samples() -> Vec<Vec<u8>> {
        [(true, GIB), (false, 0)]
            .map(|(arm, base)| Sample { ram: vec![(base, 2 * GIB)], cpus: 2, arm }.tree())
            .to_vec()
    }

    #[test]
    fn machines_of_every_size_get_a_config() {
        for cpus in 1..=4 {
            for gib in [1, 2, 3, 4, 16, 64] {
                for arm in [true, false] {
                    let base = if arm { GIB } else { 0 };
                    let config = passes(&Sample { ram: vec![(base, gib * GIB)], cpus, arm });
                    assert_eq!(config.guest.vcpus.len(), cpus as usize);
                    let total: u64 = config.guest.memory.iter().map(|m| m.value.guest.size).sum();
                    // The most of it is the guest's.
                    assert!(total >= gib * GIB / 10 * 7, "{arm} {gib}: {total:#x}");
                    assert!(config.ram[0].size == gib * GIB);
                }
            }
        }
    }

    #[test]
    fn a_second_range_is_the_guest_s_too() {
        for (arm, first, second) in
            [(true, (GIB, GIB), (16 * GIB, 4 * GIB)), (false, (0, 2 * GIB), (1 << 42, 4 * GIB))]
        {
            let config = passes(&Sample { ram: vec![first, second], cpus: 2, arm });
            let used = |range: &anchorite_spec::Range| {
                config.guest.memory.iter().any(|memory| range.contains(memory.value.host))
            };
            assert_eq!(config.ram.len(), 2);
            assert!(config.ram.iter().all(used));
        }
        // Ranges side by side are one.
        let config = passes(&Sample { ram: vec![(2 * GIB, GIB), (GIB, GIB)], cpus: 1, arm: true });
        assert_eq!(config.ram.len(), 1);
    }

    #[test]
    fn machines_that_do_not_work_here_are_told() {
        let refused = |sample: Sample| config("s", &sample.tree()).unwrap_err().to_string();
        let arm = |ram: &[(u64, u64)], cpus| Sample { ram: ram.to_vec(), cpus, arm: true };
        assert!(refused(arm(&[], 1)).contains("no RAM"));
        assert!(refused(arm(&[(GIB, 64 << 20)], 1)).contains("the window into which QEMU"));
        assert!(refused(arm(&[(GIB, 136 << 20)], 1)).contains("for the guest"));
        assert!(refused(arm(&[(GIB, GIB)], 5)).contains("5 CPUs"));
        assert!(refused(arm(&[(GIB, GIB)], 0)).contains("no CPU"));
        assert!(matches!(config("s", b"no tree"), Err(NewError::Tree(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = config("s", &bytes);
        }

        #[test]
        fn any_damage_is_answered(
            arm: bool, cpus in 0..6u32, changes in prop::collection::vec((0..2000usize, any::<u8>()), 0..12),
            cut in 0..2000usize,
        ) {
            let mut tree = Sample { ram: vec![(GIB, 2 * GIB), (8 * GIB, GIB)], cpus, arm }.tree();
            for (at, value) in changes {
                let at = at % tree.len();
                tree[at] = value;
            }
            if cut % 4 == 0 {
                tree.truncate(cut);
            }
            if let Ok(text) = config("s", &tree) {
                let judged = judge("s.toml", text.clone(), vec![]);
                prop_assert!(judged.is_ok(), "{}\n{text}", judged.unwrap_err().render(false));
            }
        }

        #[test]
        fn any_ram_is_answered(ram: Vec<(u64, u64)>, shift in 0..64u32, arm: bool) {
            let ram = ram.into_iter().map(|(base, size)| (base >> shift, size >> shift)).collect();
            if let Ok(text) = config("s", &Sample { ram, cpus: 1, arm }.tree()) {
                let judged = judge("s.toml", text.clone(), vec![]);
                prop_assert!(judged.is_ok(), "{}\n{text}", judged.unwrap_err().render(false));
            }
        }
    }
}
