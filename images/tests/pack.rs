// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite pack`: what the forms of one image have in common, and that none of their bytes is
//! free.
mod common;

use anchorite_spec::Manifest;
use anchorite_spec::form::HEADER_BYTES;
use anchorite_spec::manifest::PART_KERNEL;
use common::{Board, Project, put64, stderr, stdout};
use serde_json::Value;
use sha2::{Digest, Sha256};
use zerocopy::{FromBytes, IntoBytes};

const BOARD: &str = "board-configs/b.toml";
const MANIFEST: usize = 0x1000;
const PACKED: [&str; 2] = ["arm64-image", "raw"];

/// The arm64 board with a made-up raw guest of some size.
struct Arm64 {
    project: Project,
}

impl Arm64 {
    fn new(name: &str, kernel_bytes: usize, more: &[&str]) -> Self {
        let project = Project::of(Board::Arm64, name);
        project.write("kernel.raw", &vec![0x5a; kernel_bytes]);
        let arm64 = Self { project };
        let mut line = vec!["build", "--board", BOARD, "--out", "a.elf"];
        line.extend(["--guest", "./kernel.raw", "--set", "guest.format=raw"]);
        line.extend(["--set", "guest.load=1GiB"]);
        line.extend(more);
        arm64.ok(&line);
        for form in PACKED {
            arm64.project.run(&["pack", "--format", form, "a.elf", "--out", form]);
        }
        arm64
    }

    #[track_caller]
    fn ok(&self, line: &[&str]) -> String {
        let output = self.project.run(line);
        assert!(output.status.success(), "{line:?}: {}", stderr(&output));
        stdout(&output)
    }

    fn run(&self, file: &str) -> (i32, String) {
        let line = ["run", "--board", BOARD, "--image", file, "--print-command"];
        let output = self.project.run(&line);
        (output.status.code().unwrap(), stdout(&output) + &stderr(&output))
    }
}

#[test]
fn forms_differ_in_their_header_only_and_lead_to_each_other() {
    let arm64 = Arm64::new("p-forms", 0x8000, &[]);
    let elf = arm64.project.read("a.elf");
    for form in PACKED {
        let packed = arm64.project.read(form);
        assert_eq!(packed[HEADER_BYTES..], elf[HEADER_BYTES..], "{form}");
        assert_ne!(packed[..HEADER_BYTES], elf[..HEADER_BYTES], "{form}");
        for other in ["elf", "arm64-image", "raw"] {
            arm64.ok(&["pack", "--format", other, form, "--out", "back"]);
            let expected = arm64.project.read(if other == "elf" { "a.elf" } else { other });
            assert_eq!(arm64.project.read("back"), expected, "{form} to {other}");
        }
        let report: Value = serde_json::from_str(&arm64.ok(&["inspect", form, "--json"])).unwrap();
        assert_eq!((&report["form"], &report["proved"]), (&form.into(), &true.into()));
    }
}

#[test]
fn run_starts_each_form_as_it_wants_to_be_started() {
    let arm64 = Arm64::new("p-run", 0x8000, &[]);
    for (file, start) in [
        ("a.elf", "-kernel a.elf.arm64-image "),
        ("arm64-image", "-kernel arm64-image "),
        ("raw", "-bios raw "),
    ] {
        let (code, line) = arm64.run(file);
        assert!(code == 0 && line.contains(start), "{file}: {line}");
        assert_eq!(line.contains(" pack --format "), file == "a.elf", "{line}");
    }
    for (boot, start) in [("flat", "-bios a.elf.raw "), ("elf", "-kernel a.elf ")] {
        let arm64 = Arm64::new("p-boot", 0x8000, &["--set", &format!("board.boot={boot}")]);
        let (code, line) = arm64.run("a.elf");
        assert!(code == 0 && line.contains(start), "{boot}: {line}");
    }
}

#[test]
fn no_byte_of_a_packed_image_is_free() {
    let arm64 = Arm64::new("p-bytes", 0x8000, &[]);
    for form in PACKED {
        let packed = arm64.project.read(form);
        // All of the header, and what the board cannot check itself: program header, manifest,
        // padding, loader, section table.
        let manifest = Manifest::read_from_prefix(&packed[MANIFEST..]).unwrap().0;
        let loader = manifest.parts[0].offset as usize;
        let rest = [64, 100, 119, 0x800, 0x1010, 0x1800, loader, loader + 0x30, loader + 0x2000];
        for at in (0..HEADER_BYTES).chain(rest).chain([packed.len() - 1]) {
            let mut changed = packed.clone();
            changed[at] ^= 0x10;
            arm64.project.write("changed", &changed);
            let (code, said) = arm64.run("changed");
            assert_eq!(code, 14, "{form}, byte {at:#x}: {said}");
            let again = ["pack", "--format", "elf", "changed", "--out", "no"];
            assert_eq!(arm64.project.run(&again).status.code(), Some(14), "{form}, byte {at:#x}");
        }
        // The payload is left to the board by `run`, and to nobody by `pack`.
        let mut changed = packed;
        changed[manifest.part(PART_KERNEL).unwrap().offset as usize] ^= 1;
        arm64.project.write("changed", &changed);
        let again = ["pack", "--format", "elf", "changed", "--out", "no"];
        assert_eq!(arm64.project.run(&again).status.code(), Some(14), "{form}");
    }
}

/// Who changes a header and computes every digest anew, as the ELF's or over the file as it is.
#[test]
fn right_digests_do_not_make_a_header_right() {
    let arm64 = Arm64::new("p-forge", 0x8000, &[]);
    for form in PACKED {
        for at in 0..HEADER_BYTES {
            let mut forged = arm64.project.read(form);
            forged[at] ^= 1;
            let mut manifest = Manifest::read_from_prefix(&forged[MANIFEST..]).unwrap().0;
            let mut hash = Sha256::new();
            for gap in manifest.frame() {
                hash.update(&forged[gap.base as usize..(gap.base + gap.size) as usize]);
            }
            manifest.frame_digest = hash.finalize().into();
            manifest.digest = [0; 32];
            manifest.digest = Sha256::digest(manifest.as_bytes()).into();
            let end = MANIFEST + size_of::<Manifest>();
            forged[MANIFEST..end].copy_from_slice(manifest.as_bytes());
            arm64.project.write("forged", &forged);
            assert_eq!(arm64.run("forged").0, 14, "{form}, byte {at}");
            let output = arm64.project.run(&["inspect", "forged", "--json"]);
            assert_eq!(output.status.code(), Some(1), "{form}, byte {at}");
            let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
            let fallen = report["walls"].as_array().unwrap().iter().find(|w| w["proved"] == false);
            assert_eq!(fallen.unwrap()["id"], "entry");
        }
    }
}

#[test]
fn a_loader_sent_elsewhere_is_refused() {
    let arm64 = Arm64::new("p-loader", 0x8000, &[]);
    let elf = arm64.project.read("a.elf");
    let loader = Manifest::read_from_prefix(&elf[MANIFEST..]).unwrap().0.parts[0].offset as usize;
    for word in [0x28, 0x30, 0x38] {
        let mut forged = elf.clone();
        put64(&mut forged, loader + word, 0x5000_0000);
        arm64.project.write("forged", &forged);
        let output = arm64.project.run(&["inspect", "forged", "--json", "--ignore-digests"]);
        let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let fallen = report["walls"].as_array().unwrap().iter().find(|w| w["proved"] == false);
        assert_eq!(fallen.unwrap()["id"], "entry", "{word:#x}");
    }
}

#[test]
fn what_cannot_be_is_said() {
    let large = ["--set", "board.boot=flat", "--set", "guest.compression=none"];
    let arm64 = Arm64::new("p-large", 3 << 20, &large);
    let pack = |format: &str, image: &str| {
        let output = arm64.project.run(&["pack", "--format", format, image, "--out", "x"]);
        (output.status.code().unwrap(), stderr(&output))
    };
    let (code, said) = pack("arm64-image", "a.elf");
    assert!(code == 1 && said.contains("the RAM in which the loader runs (2MiB)"), "{said}");
    assert_eq!(pack("raw", "a.elf").0, 0);
    let (code, said) = pack("fit", "a.elf");
    assert!(code == 1 && said.contains("the RAM in which the loader runs (2MiB)"), "{said}");
    for format in ["stb", "pnor"] {
        let (code, said) = pack(format, "a.elf");
        assert!(code == 1 && said.contains("stand in no OpenPOWER container"), "{said}");
    }
    assert_eq!(pack("zip", "a.elf").0, 2);
    assert_eq!(pack("elf", "kernel.raw").0, 1);
    // A POWER9 image has one form, with or without a container.
    let power9 = Project::new("p-power9").image(&[]);
    arm64.project.write("power9.elf", &power9);
    assert_eq!(pack("elf", "power9.elf").0, 0);
    let (code, said) = pack("raw", "power9.elf");
    assert!(code == 1 && said.contains("have no form `raw`"), "{said}");
    let (code, said) = pack("fit", "power9.elf");
    assert!(code == 1 && said.contains("stand in no FIT"), "{said}");
}

/// What U-Boot reads of it; that U-Boot does is one of the QEMU tests.
#[test]
fn a_fit_holds_an_image() {
    let arm64 = Arm64::new("p-fit", 0x8000, &[]);
    let line = ["pack", "--format", "fit", "raw", "--out"];
    for out in ["fit", "again"] {
        arm64.ok(&[&line[..], &[out]].concat());
    }
    let fit = arm64.project.read("fit");
    assert_eq!(arm64.project.read("again"), fit);
    let image = arm64.project.read("arm64-image");
    let at = fit.windows(image.len()).position(|window| window == image).unwrap();
    // At the end of the board's window, so that the FIT can be at its start.
    let load = 0x4800_0000_u64 - (image.len() as u64).next_multiple_of(2 << 20);
    let holds = |bytes: &[u8]| fit.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(&Sha256::digest(&image)) && holds(&load.to_be_bytes()));
    let report: Value = serde_json::from_str(&arm64.ok(&["inspect", "fit", "--json"])).unwrap();
    assert_eq!((&report["container_bytes"], &report["proved"]), (&at.into(), &true.into()));
    for (format, file) in [("elf", "a.elf"), ("raw", "raw"), ("fit", "fit")] {
        arm64.ok(&["pack", "--format", format, "fit", "--out", "back"]);
        assert_eq!(arm64.project.read("back"), arm64.project.read(file), "{format}");
    }
    assert!(arm64.run("fit").1.contains("-kernel fit.arm64-image "));
    let mut changed = fit;
    changed[at + image.len() / 2] ^= 1;
    arm64.project.write("changed", &changed);
    assert_eq!(arm64.project.run(&["inspect", "changed"]).status.code(), Some(14));
}

/// An image of POWER9, as it is stored in flash.
#[test]
fn a_container_holds_an_image_and_a_partition_a_container() {
    let project = Project::new("p-container");
    let elf = project.image(&[]);
    let run = |line: &[&str]| {
        let output = project.run(line);
        (output.status.code().unwrap(), stdout(&output) + &stderr(&output))
    };
    let pack = |format: &str, image: &str, out: &str, more: &[&str]| {
        run(&[&["pack", "--format", format, image, "--out", out], more].concat())
    };
    assert_eq!(pack("stb", "image.elf", "stb", &[]).0, 0);
    assert_eq!(pack("pnor", "stb", "pnor", &[]).0, 0);
    assert_eq!(pack("pnor", "image.elf", "small", &["--partition-size", "1MiB"]).0, 0);
    let (stb, pnor) = (project.read("stb"), project.read("pnor"));
    assert_eq!((stb.len(), pnor.len()), (4096 + elf.len(), 16 << 20));
    assert_eq!(project.read("small").len(), 1 << 20);
    assert!(pnor.starts_with(&stb) && pnor[stb.len()..].iter().all(|byte| *byte == 0xff));
    assert_eq!(stb[4096..], elf);
    for file in ["stb", "pnor", "small"] {
        let (code, report) = run(&["inspect", file, "--json"]);
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!((code, &report["proved"]), (0, &true.into()), "{file}");
        assert_eq!(pack("elf", file, "back", &[]).0, 0);
        assert_eq!(project.read("back"), elf, "{file}");
    }
    // A changed image is found in its container as well.
    let mut changed = pnor.clone();
    changed[4096 + elf.len() / 2] ^= 1;
    project.write("changed", &changed);
    assert_eq!(run(&["inspect", "changed"]).0, 14);
    let (code, said) = pack("pnor", "image.elf", "x", &["--partition-size", "64KiB"]);
    assert!(code == 1 && said.contains("too many for a partition of 64KiB"), "{said}");
    assert_eq!(pack("pnor", "image.elf", "x", &["--partition-size", "much"]).0, 2);
    assert_eq!(pack("stb", "image.elf", "x", &["--partition-size", "1MiB"]).0, 2);
    assert!(!project.root.join("x").exists());
}
