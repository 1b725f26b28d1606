// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite build` from outside: the file that it makes, and the inputs that it refuses.
mod common;

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anchorite_spec::Manifest;
use anchorite_spec::manifest::{
    PART_BODY, PART_GUEST_TREE, PART_INITRD, PART_KERNEL, PART_LOADER, PART_RTAS, PART_TABLES,
};
use anchorite_tables::walk::{Item, radix};
use common::{Board, Elf, Load, Project, get64, kernel, put64, stderr};
use zerocopy::FromBytes;

fn manifest(image: &[u8]) -> Manifest {
    Manifest::read_from_prefix(&image[0x1000..]).unwrap().0
}

fn part(image: &[u8], kind: u32) -> &[u8] {
    let manifest = manifest(image);
    let part = manifest.part(kind).unwrap();
    &image[part.offset as usize..(part.offset + part.size) as usize]
}

#[test]
fn same_inputs_give_the_same_bytes() {
    let project = Project::new("same");
    let first = project.image(&[]);
    fs::remove_dir_all(project.root.join("target/cache")).unwrap();
    assert_eq!(first, project.image(&[]), "without the kept frames");
    assert_eq!(first, project.image(&[]), "with the kept frames");
    assert_ne!(first, project.image(&["--cmdline", "other"]));
}

/// Another directory, another day, another user's surroundings: the same bytes, and no word of any.
#[test]
fn where_and_when_an_image_is_built_does_not_show() {
    for (board, here, there) in
        [(Board::Power9, "here", "there"), (Board::Arm64, "here-arm64", "there-arm64")]
    {
        let project = Project::of(board, here);
        let first = project.image(&[]);
        let other = Project::of(board, there);
        let family = if here == "here" { "power9" } else { "arm64" };
        let files = [format!("target/firmware/{family}"), "target/guests/k".into()];
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for folder in files {
            for entry in fs::read_dir(other.root.join(folder)).unwrap() {
                let file = fs::File::options().append(true).open(entry.unwrap().path()).unwrap();
                file.set_modified(long_ago).unwrap();
            }
        }
        let line = ["build", "--board", "board-configs/b.toml", "--out", "image.elf"];
        let built = Command::new(env!("CARGO_BIN_EXE_anchorite"))
            .args(line)
            .current_dir(&other.root)
            .env_clear()
            .env("ANCHORITE_ROOT", ".")
            .env("USER", "somebody-else")
            .env("TZ", "Pacific/Chatham")
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", stderr(&built));
        assert!(other.read("image.elf") == first, "{here} and {there} differ");
        let tells = |word: &str| first.windows(word.len()).any(|at| at == word.as_bytes());
        let root = project.root.to_str().unwrap();
        assert!(![root, env!("CARGO_MANIFEST_DIR"), "somebody-else"].into_iter().any(tells));
    }
}

#[test]
fn a_damaged_kept_frame_is_not_used() {
    let project = Project::new("cache");
    let first = project.image(&[]);
    for entry in fs::read_dir(project.root.join("target/cache/zstd")).unwrap() {
        let path = entry.unwrap().path();
        let mut frame = fs::read(&path).unwrap();
        let last = frame.len() - 1;
        frame[last] ^= 1;
        fs::write(&path, frame).unwrap();
    }
    assert_eq!(first, project.image(&[]));
}

#[test]
fn the_file_is_what_skiboot_loads() {
    let project = Project::new("elf");
    let image = project.image(&[]);
    let manifest = manifest(&image);
    let loader = manifest.part(PART_LOADER).unwrap();
    assert_eq!(get64(&image, 24), 0x2000_0000 + loader.offset);
    assert_eq!(get64(&image, 40) + 64, image.len() as u64, "section table last");
    assert_eq!((get64(&image, 72), get64(&image, 80)), (0, 0x2000_0000));
    assert_eq!(manifest.image_size, image.len() as u64);
    assert!(manifest.parts.iter().all(|part| part.offset.is_multiple_of(0x1000)));
}

#[test]
fn the_loader_is_told_where_it_is() {
    let project = Project::new("loader");
    let image = project.image(&[]);
    let manifest = manifest(&image);
    let offset = manifest.part(PART_LOADER).unwrap().offset;
    let loader = part(&image, PART_LOADER);
    assert_eq!(get64(loader, 8) as i64, 0x1000 - offset as i64);
    assert_eq!(get64(loader, 16), manifest.boot_stack.end().unwrap());
    assert_eq!(get64(loader, 24), 0x2100);
    assert_eq!(get64(loader, 32), offset);
    assert!(loader[0x1800..0x2100].iter().all(|byte| *byte == 0));
}

#[test]
fn the_body_is_linked_to_its_place() {
    let project = Project::new("body");
    let image = project.image(&[]);
    let manifest = manifest(&image);
    assert_eq!(get64(part(&image, PART_BODY), 0x3010), 0x10_1230);
    assert_eq!(manifest.body_entry, 0x10_0040);
    assert_eq!(manifest.ledger, 0x10_4000);
    assert_eq!(manifest.epitaph, 0x10_5000);
    assert_eq!(manifest.part(PART_BODY).unwrap().memory_size, 0x6000);
    assert!(manifest.table_root.is_multiple_of(0x1_0000));
    let inside = [manifest.boot_stack, manifest.manifest_copy, manifest.tables];
    assert!(inside.iter().all(|range| manifest.firmware.contains(*range)));
    assert!(!manifest.boot_stack.overlaps(manifest.tables));
}

#[test]
fn the_kernel_is_laid_out_as_memory() {
    let project = Project::new("kernel");
    let image = project.image(&["--set", "guest.compression=none"]);
    let manifest = manifest(&image);
    let kernel = manifest.part(PART_KERNEL).unwrap();
    assert_eq!((kernel.dest, kernel.memory_size, kernel.unpacked_size), (0, 0x5_0000, 0x1_1234));
    let bytes = part(&image, PART_KERNEL);
    assert_eq!((bytes[0x8000], bytes[0x1_0000], bytes.len()), (0, 7, 0x1_1234));
    assert_eq!(manifest.guest_entry, 0);
    let zstd = project.image(&[]);
    let packed = part(&zstd, PART_KERNEL);
    assert_eq!(zstd::decode_all(packed).unwrap(), bytes);
}

#[test]
fn the_tree_names_what_the_guest_is_given() {
    let project = Project::new("tree");
    let image = project.image(&["--cmdline", "console=hvc0 quiet"]);
    let manifest = manifest(&image);
    let tree = part(&image, PART_GUEST_TREE);
    let fdt = fdt::Fdt::new(tree).unwrap();
    let value = |path: &str, name: &str| {
        fdt.find_node(path).unwrap().property(name).unwrap().value.to_vec()
    };
    assert_eq!(value("/chosen", "bootargs"), b"console=hvc0 quiet\0");
    let initrd = manifest.part(PART_INITRD).unwrap();
    assert_eq!(value("/chosen", "linux,initrd-start"), initrd.dest.to_be_bytes());
    assert_eq!(value("/chosen", "linux,initrd-end"), (initrd.dest + 5000).to_be_bytes());
    assert_eq!(value("/cpus/PowerPC,POWER9@0", "ibm,pa-features").len(), 68);
    let rtas = manifest.part(PART_RTAS).unwrap();
    assert_eq!(value("/rtas", "linux,rtas-entry"), (rtas.dest as u32).to_be_bytes());
    let seed = manifest.guest_seed_offset as usize;
    assert_eq!(tree[seed..seed + 32], [0; 32]);
    assert_eq!(tree[seed - 8..seed - 4], 32u32.to_be_bytes(), "the property's length");
    let reserved: Vec<_> =
        fdt.memory_reservations().map(|r| (r.address() as u64, r.size() as u64)).collect();
    let tree_part = manifest.part(PART_GUEST_TREE).unwrap();
    assert_eq!(
        reserved,
        [(initrd.dest, 5000), (tree_part.dest, tree.len() as u64), (rtas.dest, 0x1000)]
    );
}

#[test]
fn the_tables_are_read_by_the_processor_s_rules() {
    let project = Project::new("tables");
    let image = project.image(&[]);
    let manifest = manifest(&image);
    let mut leaves = Vec::new();
    let tables = part(&image, PART_TABLES);
    radix::walk(tables, manifest.tables.base, manifest.table_root, &mut |item| {
        if let Item::Leaf(leaf) = item {
            leaves.push((leaf.guest, leaf.host, leaf.size));
        }
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    let tima = 0x6_0302_031a_0000;
    assert_eq!(leaves, [(0, 0x4000_0000, 0x4000_0000), (tima, tima, 0x1_0000)]);
}

#[test]
fn overrides_are_recorded() {
    let project = Project::new("overrides");
    let image = project.image(&["--set", "guest.cmdline=a b", "--cmdline", "c", "--vcpus", "1"]);
    let manifest = manifest(&image);
    let text = Manifest::text(&manifest.overrides);
    assert_eq!(text, "guest.cmdline=a b\nguest.cmdline=c\nguest.vcpu=1\n");
    assert_eq!(Manifest::text(&manifest.sources).lines().next(), Some("kernel.package=made-up"));
}

#[test]
fn a_raw_kernel_is_put_where_the_config_says() {
    let project = Project::new("raw");
    project.write("raw.bin", &[0x48; 0x100]);
    let set =
        ["guest.format=raw", "guest.load=0x100000", "guest.entry=0x100020", "guest.endian=little"];
    let mut args = vec!["--guest", "./raw.bin"];
    args.extend(set.iter().flat_map(|set| ["--set", *set]));
    let image = project.image(&args);
    let manifest = manifest(&image);
    let kernel = manifest.part(PART_KERNEL).unwrap();
    assert_eq!((kernel.dest, manifest.guest_entry), (0x10_0000, 0x10_0020));
    assert_eq!(manifest.guest_little_endian, 1);
}

/// Builds with a kernel that must be refused, and returns the message.
fn refused(name: &str, kernel: &[u8]) -> String {
    let project = Project::new(name);
    project.write("bad", kernel);
    let output = project.build(&["--guest", "./bad"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let left: Vec<_> = fs::read_dir(&project.root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "bad" && name != "board-configs" && name != "target")
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    stderr(&output)
}

#[test]
fn kernels_that_no_machine_of_this_kind_runs_are_refused() {
    let good = kernel().bytes();
    let patch = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let cases = [
        ("k-empty", vec![], "is empty"),
        ("k-text", b"#!/bin/sh\n".to_vec(), "it is not an ELF file"),
        ("k-gzip", b"\x1f\x8b\x08\0\0".to_vec(), "compressed with gzip"),
        ("k-big", patch(5, &[2]), "big-endian ELF"),
        ("k-32", patch(4, &[1]), "32-bit ELF"),
        ("k-x86", patch(18, &[62, 0]), "another machine (62)"),
        ("k-object", patch(16, &[1, 0]), "not an executable ELF"),
        ("k-cut-header", good[..40].to_vec(), "cut off"),
        ("k-cut-segment", good[..0x2000].to_vec(), "segment 0 needs a file of"),
        ("k-cut-last", good[..0x8800].to_vec(), "segment 1 needs a file of"),
        ("k-entry", patch(24, &[3]), "entry point"),
    ];
    for (name, bytes, message) in cases {
        let text = refused(name, &bytes);
        assert!(text.contains(message), "{name}: {text}");
        assert!(text.contains("help:"), "{name}: {text}");
    }
}

#[test]
fn segments_that_cannot_be_loaded_are_refused() {
    let base = 0xC000_0000_0000_0000;
    let load = |vaddr, size: usize, memory_size| Load { vaddr, bytes: vec![0; size], memory_size };
    let with = |loads| Elf { entry: base, loads, ..Elf::default() }.bytes();
    let cases = [
        ("s-none", with(vec![]), "no segment to load"),
        ("s-sizes", with(vec![load(base, 0x100, 0x80)]), "impossible sizes"),
        ("s-overlap", with(vec![load(base, 16, 0x100), load(base + 0x80, 16, 16)]), "overlap"),
        ("s-far", with(vec![load(base, 16, 16), load(base + (1 << 40), 16, 16)]), "does not fit"),
        ("s-huge", with(vec![load(base, 16, 1 << 50)]), "does not fit"),
        ("s-wrap", with(vec![load(base, 16, u64::MAX)]), "impossible sizes"),
    ];
    for (name, bytes, message) in cases {
        let text = refused(name, &bytes);
        assert!(text.contains(message), "{name}: {text}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let project = Project::new("fit");
    fs::create_dir_all(project.root.join("images/guests")).unwrap();
    project.write("images/guests/lock.toml", b"[k]\n[not-made]\n");
    let cases = [
        (["--set", "guest.kernel=not-made"], "`make guests` fetches"),
        (["--set", "guest.kernel=nothing"], "recipes are k, not-made"),
        (["--guest", "./nothing"], "cannot be read"),
        (["--set", "firmware.flash.size=64KiB"], "larger than the flash partition `BOOTKERNEL`"),
        (["--set", "firmware.memory.size=64KiB"], "the firmware does not fit its memory"),
        (["--set", "firmware.memory.size=128KiB"], "the firmware does not fit its memory"),
        (["--set", "guest.memory.0.size=1MiB"], "do not fit the guest's low memory"),
        (["--set", "guest.memory.0.size=128KiB"], "the kernel does not fit the guest's memory"),
        (["--vcpus", "5"], "this version runs up to 4"),
    ];
    for (args, message) in cases {
        let output = project.build(&args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{args:?}: {}", stderr(&output));
        assert!(!project.root.join("image.elf").exists());
    }
}

#[test]
fn failures_that_are_nobody_s_input_have_their_own_code() {
    let project = Project::new("codes");
    let output = project.build(&["--set", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    fs::create_dir(project.root.join("image.elf")).unwrap();
    let output = project.build(&[]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    fs::remove_dir(project.root.join("image.elf")).unwrap();
    fs::remove_file(project.root.join("target/firmware/power9/body.elf")).unwrap();
    let output = project.build(&[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("`make tools`"));
    let mut body = common::body();
    body.relocations.push((0x3018, 38, 0));
    project.write("target/firmware/power9/body.elf", &body.bytes());
    assert!(stderr(&project.build(&[])).contains("relocation of type 38"));
}

#[test]
fn an_existing_image_survives_a_refused_build() {
    let project = Project::new("survives");
    let image = project.image(&[]);
    assert_eq!(project.build(&["--guest", "./nothing"]).status.code(), Some(1));
    assert_eq!(project.read("image.elf"), image);
}

#[test]
fn any_header_is_answered() {
    // Every 8-byte field of the headers, set to values that tempt arithmetic.
    let project = Project::new("headers");
    let good = kernel().bytes();
    for at in (16..64 + 2 * 56).step_by(8) {
        for value in [0, 1, u64::MAX, 1 << 63, 0x7fff_ffff_ffff_ffff] {
            let mut bytes = good.clone();
            put64(&mut bytes, at, value);
            project.write("bad", &bytes);
            let code = project.build(&["--guest", "./bad"]).status.code();
            assert!(matches!(code, Some(0 | 1)), "field {at} = {value:#x}: {code:?}");
        }
    }
}
