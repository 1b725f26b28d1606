// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `anchorite run` puts into an image's virtio slots: disks and networks, as the board config
//! said and the manifest says.
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::PathBuf;

use anchorite_spec::Manifest;
use anchorite_spec::manifest::{ATTACHED_DISK, ATTACHED_NETWORK};
use anyhow::{Context, Result};

use crate::cli::RunArgs;
use crate::config::platform::QEMU_VIRT;
use crate::exit::Exit;
use crate::qemu::option_with_path;
use crate::say;

/// A disk that nobody gave.
const SCRATCH_BYTES: u64 = 64 << 20;

/// A slot that is not empty.
struct Slot {
    /// QEMU numbers the slots from the lowest address.
    number: u64,
    /// What stands in it: a disk's file, or a network.
    disk: Option<Disk>,
}

struct Disk {
    path: PathBuf,
    scratch: bool,
}

/// The filled slots, in the config's order; disks take the command line's files in that order.
fn slots(args: &RunArgs, manifest: &Manifest) -> Vec<Slot> {
    let Some(arm) = QEMU_VIRT.arm else { return Vec::new() };
    let mut files = args.drive.iter();
    let mut slots = Vec::new();
    for mapping in manifest.mappings() {
        let disk = match mapping.attached {
            ATTACHED_DISK => Some(match files.next() {
                Some(path) => Disk { path: path.clone(), scratch: false },
                None => Disk { path: scratch(args, mapping.name.as_str()), scratch: true },
            }),
            ATTACHED_NETWORK => None,
            _ => continue,
        };
        let number = mapping.host.saturating_sub(arm.virtio.range.base) / arm.virtio.size;
        slots.push(Slot { number, disk });
    }
    slots
}

/// Beside the image: `IMAGE.NAME.img`. The name comes out of a file and may hold anything.
fn scratch(args: &RunArgs, name: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let mut path = args.image.clone().into_os_string();
    path.push(format!(".{name}.img"));
    path.into()
}

/// Refuses files for which there is no slot.
///
/// # Errors
/// More files than disks.
pub fn check(args: &RunArgs, manifest: &Manifest) -> Result<()> {
    let disks = slots(args, manifest).iter().filter(|slot| slot.disk.is_some()).count();
    if args.drive.len() > disks {
        let files = args.drive.len();
        return Err(Exit::usage(format!(
            "--drive is given {files} times, but the image has {disks} slots for disks \
             (`virtio = \"disk\"` in the board config)"
        )));
    }
    Ok(())
}

/// Makes the scratch disks that are not there yet, empty.
///
/// # Errors
/// One cannot be written.
pub fn make_disks(args: &RunArgs, manifest: &Manifest) -> Result<()> {
    for disk in slots(args, manifest).into_iter().filter_map(|slot| slot.disk) {
        let path = disk.path.display();
        if !disk.scratch {
            continue;
        }
        match OpenOptions::new().write(true).create_new(true).open(&disk.path) {
            Ok(file) => {
                let made = file.set_len(SCRATCH_BYTES);
                made.with_context(|| format!("cannot make the scratch disk {path}"))?;
                say::aside(format_args!("anchorite: scratch disk {path} made, empty"));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                say::aside(format_args!("anchorite: scratch disk {path}"));
            }
            Err(error) => {
                let why = format!("cannot make the scratch disk {path}; --drive names another");
                return Err(anyhow::Error::new(error).context(why));
            }
        }
    }
    Ok(())
}

/// QEMU's arguments for them.
#[must_use]
pub fn arguments(args: &RunArgs, manifest: &Manifest) -> Vec<OsString> {
    let slots = slots(args, manifest);
    let mut line: Vec<OsString> = Vec::new();
    if !slots.is_empty() {
        line.extend(["-global".into(), "virtio-mmio.force-legacy=false".into()]);
    }
    for Slot { number, disk } in slots {
        let device = match disk {
            Some(disk) => {
                line.push("-drive".into());
                let before = format!("if=none,id=slot{number},format=raw,file=");
                line.push(option_with_path(&before, &disk.path, ""));
                format!("virtio-blk-device,drive=slot{number}")
            }
            None => {
                line.extend(["-netdev".into(), format!("user,id=slot{number}").into()]);
                format!("virtio-net-device,netdev=slot{number}")
            }
        };
        line.push("-device".into());
        line.push(format!("{device},bus=virtio-mmio-bus.{number}").into());
    }
    line
}

#[cfg(test)]
mod tests {
    use anchorite_spec::manifest::{MAP_DEVICE, MAP_WITHIN, Name};
    use clap::Parser;
    use zerocopy::FromZeros;

    use super::*;
    use crate::cli::{Cli, Command};

    fn manifest() -> Manifest {
        let mut manifest = Manifest::new_zeroed();
        for (slot, (name, kind, host, attached)) in manifest.mappings.iter_mut().zip([
            ("a/b", MAP_WITHIN, 0xa00_3e00, ATTACHED_DISK),
            ("net", MAP_WITHIN, 0xa00_3c00, ATTACHED_NETWORK),
            ("page", MAP_DEVICE, 0xa00_3000, 0),
            ("more", MAP_WITHIN, 0xa00_0000, ATTACHED_DISK),
        ]) {
            slot.name = Name::new(name);
            (slot.kind, slot.host, slot.attached) = (kind, host, attached);
        }
        manifest
    }

    fn args(directory: &std::path::Path, drives: &[&str]) -> RunArgs {
        let image = directory.join("image.elf");
        let mut line = vec!["anchorite", "run", "--board", "b", "--image", image.to_str().unwrap()];
        line.extend(drives.iter().flat_map(|drive| ["--drive", drive]));
        match Cli::parse_from(line).command {
            Command::Run(args) => args,
            _ => panic!("another command"),
        }
    }

    #[test]
    fn slots_are_filled_where_they_are() {
        let line = arguments(&args("".as_ref(), &["x,y"]), &manifest());
        let line: Vec<_> = line.iter().map(|word| word.to_str().unwrap()).collect();
        let expected = [
            ["-global", "virtio-mmio.force-legacy=false"],
            ["-drive", "if=none,id=slot31,format=raw,file=x,,y"],
            ["-device", "virtio-blk-device,drive=slot31,bus=virtio-mmio-bus.31"],
            ["-netdev", "user,id=slot30"],
            ["-device", "virtio-net-device,netdev=slot30,bus=virtio-mmio-bus.30"],
            ["-drive", "if=none,id=slot0,format=raw,file=image.elf.more.img"],
            ["-device", "virtio-blk-device,drive=slot0,bus=virtio-mmio-bus.0"],
        ];
        assert_eq!(line, expected.concat());
        assert!(arguments(&args("".as_ref(), &[]), &Manifest::new_zeroed()).is_empty());
    }

    #[test]
    fn there_are_as_many_files_as_disks_at_most() {
        let most = args("".as_ref(), &["x", "y"]);
        assert!(check(&most, &manifest()).is_ok());
        let error = check(&args("".as_ref(), &["x", "y", "z"]), &manifest()).unwrap_err();
        assert!(error.to_string().contains("has 2 slots"), "{error}");
    }

    #[test]
    fn scratch_disks_are_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let args = args(directory.path(), &[]);
        make_disks(&args, &manifest()).unwrap();
        let disk = directory.path().join("image.elf.a_b.img");
        assert_eq!(disk.metadata().unwrap().len(), SCRATCH_BYTES);
        std::fs::write(&disk, b"kept").unwrap();
        make_disks(&args, &manifest()).unwrap();
        assert_eq!(std::fs::read(&disk).unwrap(), b"kept");
    }
}
