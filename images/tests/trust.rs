// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images that are signed, and what the guest is told of its image.
mod common;

use std::mem::offset_of;
use std::path::Path;

use anchorite_spec::Manifest;
use anchorite_spec::manifest::PART_GUEST_TREE;
use anchorite_spec::trust::{LOADER_OFFSET, UNSIGNED};
use common::forge::{Forge, MANIFEST};
use common::{Board, Project, put64, stderr, stdout};
use fdt::Fdt;
use serde_json::Value;

const REQUIRED: [&str; 6] =
    ["--set", "image.verify=required", "--set", "image.version=3", "--set", "image.min_version=2"];

/// A key of the rejected configs'.
fn key(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reject/files").join(name);
    file.to_str().unwrap().to_owned()
}

/// What `inspect` says of the signature, and its exit code.
fn inspected(project: &Project, more: &[&str]) -> (i32, Value) {
    let output = project.run(&[&["inspect", "image.elf", "--json"], more].concat());
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    (output.status.code().unwrap(), report["signature"].clone())
}

#[test]
fn an_image_is_signed_when_it_is_built_or_later() {
    for (board, name) in [(Board::Power9, "t-sign"), (Board::Arm64, "t-sign-arm64")] {
        let project = Project::of(board, name);
        let private = key("private.pem");
        let signed = project.image(&[&REQUIRED[..], &["--sign-key", &private]].concat());
        let (code, signature) = inspected(&project, &[]);
        assert_eq!((code, signature["state"].as_str()), (0, Some("right")), "{signature}");
        assert_eq!(signature["verify"], "required");
        assert_eq!((&signature["version"], &signature["min_version"]), (&3.into(), &2.into()));
        let public_half = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        assert_eq!(signature["public_key"], public_half);
        assert_eq!(inspected(&project, &["--public-key", &key("public.pem")]).0, 0);

        let set = format!("image.public_key={}", key("public.pem"));
        let unsigned = project.image(&[&REQUIRED[..], &["--set", &set]].concat());
        let (code, signature) = inspected(&project, &[]);
        assert_eq!((code, signature["state"].as_str()), (1, Some("none")), "{signature}");
        assert_ne!(unsigned, signed);
        let output = project.run(&["sign", "image.elf", "--key", &private]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(inspected(&project, &[]).0, 0);
        // Another key is refused before its signature is.
        project.write("other.key", &[9; 32]);
        let output = project.run(&["sign", "image.elf", "--key", "other.key"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(public_half), "{}", stderr(&output));
    }
}

/// Where the private key lies leaves no trace, and its form makes no difference.
#[test]
fn the_same_key_gives_the_same_bytes() {
    let project = Project::new("t-same");
    let build = |file: &str| project.image(&[&REQUIRED[..], &["--sign-key", file]].concat());
    let image = build(&key("private.pem"));
    let pem = std::fs::read_to_string(key("private.pem")).unwrap();
    let seed = hex_of("D4EE72DBF913584AD5B6D8F1F769F8AD3AFE7C28CBF1D4FBE097A88F44755842");
    project.write("elsewhere.pem", pem.as_bytes());
    project.write("seed", &seed);
    assert_eq!(image, build("elsewhere.pem"));
    assert_eq!(image, build("./seed"));
    let text = String::from_utf8_lossy(&image).into_owned();
    assert!(!text.contains("private.pem") && !text.contains("sign_key"));
}

fn hex_of(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// By someone who computes all digests anew, but has not the key.
#[test]
fn a_changed_image_is_told_by_its_signature() {
    let private = key("private.pem");
    let options = [&REQUIRED[..], &["--sign-key", &private]].concat();
    let forge = Forge::new(Board::Power9, "t-forge", &options);
    for part in forge.manifest().parts.iter().filter(|part| part.kind != 0) {
        let mut changed = forge.again();
        changed.bytes[part.offset as usize + LOADER_OFFSET + 0x40] ^= 1;
        assert_eq!(changed.seal().inspect(&[]).0, 14, "part {}", part.kind);
    }
    let older = forge.again().with_manifest(|manifest| manifest.image_version = 1).seal();
    assert_eq!(older.inspect(&[]).0, 14);
    assert_eq!(older.inspect(&["--ignore-digests"]).0, 0);
    let bare = forge.again().with_manifest(|manifest| manifest.signature = UNSIGNED).seal();
    assert_eq!(bare.inspect(&[]).1["signature"]["state"], "none");
    // With the key, as an old release was: right, and too old.
    let sign = ["sign", "forged.elf", "--key", &private, "--out", "image.elf"];
    older.inspect(&[]);
    assert!(older.project.run(&sign).status.success());
    let (code, signature) = inspected(&older.project, &[]);
    assert_eq!((code, signature["state"].as_str()), (14, Some("too-old")), "{signature}");
    // Without what the loader demands, which is not the manifest's to say.
    let mut other = forge.again();
    let loader = other.manifest().parts[0].offset as usize;
    put64(&mut other.bytes, loader + LOADER_OFFSET, 0);
    let (code, report) = other.seal().inspect(&["--public-key", &key("public.pem")]);
    assert_eq!((code, report["signature"]["state"].as_str()), (14, Some("wrong")));
}

#[test]
fn what_cannot_be_signed_is_refused() {
    let project = Project::new("t-refused");
    let private = key("private.pem");
    let mut image = project.image(&[]);
    let refused = |words: &str, arguments: &[&str]| {
        let output = project.run(&[&["sign", "image.elf", "--key"], arguments].concat());
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        output.status.code().unwrap()
    };
    assert_eq!(refused("holds a public key", &[&key("public.pem")]), 1);
    assert_eq!(refused("is encrypted", &[&key("encrypted.pem")]), 1);
    assert_eq!(refused("cannot read", &["none.pem"]), 1);
    let packed = ["pack", "--format", "stb", "image.elf", "--out", "packed"];
    assert!(project.run(&packed).status.success());
    let output = project.run(&["sign", "packed", "--key", &private]);
    assert!(stderr(&output).contains("then pack it again"), "{}", stderr(&output));
    image[MANIFEST + offset_of!(Manifest, board)] ^= 1;
    project.write("image.elf", &image);
    assert_eq!(refused("the digest of `manifest` does not match", &[&private]), 14);
}

/// What stands in the guest's tree is what `inspect` shows.
#[test]
fn the_guests_tree_has_the_digests() {
    for (board, name, parts) in [(Board::Power9, "t-told", 7), (Board::Arm64, "t-told-arm64", 5)] {
        let project = Project::of(board, name);
        let image = project.image(&["--set", "image.version=7"]);
        let output = project.run(&["inspect", "image.elf", "--json"]);
        let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let manifest = common::forge::manifest(&image);
        let part = manifest.part(PART_GUEST_TREE).unwrap();
        let tree = &image[part.offset as usize..][..part.size as usize];
        let place = manifest.guest_digest_offset as usize;
        assert_eq!(tree[place..place + 32], [0; 32], "filled in at boot");
        let tree = Fdt::new(tree).unwrap();
        let node = tree.find_node("/chosen/anchorite").unwrap();
        let hex = |name: &str| {
            let value = node.property(name).unwrap().value;
            value.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let told: Vec<_> = node.properties().filter(|p| p.name.starts_with("digest-")).collect();
        assert_eq!(told.len(), parts + 1);
        for part in report["parts"].as_array().unwrap() {
            let name = part["name"].as_str().unwrap();
            if name != "guest-tree" {
                assert_eq!(part["digest"], hex(&format!("digest-{name}")), "{name}");
            }
        }
        assert_eq!(report["build_id"], hex("build-id"));
        assert_eq!(hex("image-version"), "0000000000000007");
        assert_eq!(node.property("verify").unwrap().as_str(), Some("none"));
    }
}
