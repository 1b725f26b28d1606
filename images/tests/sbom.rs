// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What stands beside an image: its bill of materials, and where its guest's sources are.
mod common;

use common::{Board, CRATES, Project};
use cyclonedx_bom::models::bom::{Bom, SpecVersion};
use cyclonedx_bom::validation::Validate;
use serde_json::Value;

const DEBIAN: &str = "package=linux-image-6.12+x\nversion=6.12-1~bpo12+1\nsha256=00\npinned=yes\n";
const SOURCE: &str = "source=linux\nsource-version=6.12-1\nbuilt-using=gcc-12 (= 12.2-14)\n";

fn bill(project: &Project) -> Value {
    serde_json::from_slice(&project.read("image.elf.cdx.json")).unwrap()
}

#[test]
fn the_bill_of_materials_keeps_to_its_standard() {
    for (board, name) in [(Board::Power9, "s-bill"), (Board::Arm64, "s-bill-arm64")] {
        let project = Project::of(board, name);
        project.write("target/guests/k/source", DEBIAN.as_bytes());
        project.write("target/guests/k/source-package", SOURCE.as_bytes());
        project.image(&["--set", "image.version=5"]);
        let text = project.read("image.elf.cdx.json");
        let bom = Bom::parse_from_json_v1_5(&text[..]).unwrap();
        let result = bom.validate_version(SpecVersion::V1_5);
        assert!(result.passed(), "{result:#?}");
        let bill = bill(&project);
        assert_eq!(bill["metadata"]["component"]["version"], "5");
        let components = bill["components"].as_array().unwrap();
        assert_eq!(components.len(), CRATES.lines().count() + 2, "crates, kernel, initrd");
        let kernel = components.iter().find(|c| c["bom-ref"] == "kernel").unwrap();
        let arch = if name == "s-bill" { "ppc64el" } else { "arm64" };
        let purl = format!("pkg:deb/debian/linux-image-6.12%2Bx@6.12-1~bpo12%2B1?arch={arch}");
        assert_eq!(kernel["purl"], purl.as_str());
        assert_eq!(kernel["licenses"][0]["license"]["id"], "GPL-2.0-only");
        let own = components.iter().find(|c| c["name"] == "subtle").unwrap();
        assert_eq!(own["purl"], "pkg:cargo/subtle@2.6.1");
        let refs = bill["dependencies"][0]["dependsOn"].as_array().unwrap();
        assert_eq!(refs.len(), components.len());
    }
}

/// A bill that leaves something out is told by the same judge.
#[test]
fn a_broken_bill_is_not_valid() {
    let project = Project::new("s-broken");
    project.image(&[]);
    let mut bill = bill(&project);
    bill["components"][0]["type"] = "nonsense".into();
    let bom = Bom::parse_from_json_v1_5(bill.to_string().as_bytes()).unwrap();
    assert!(!bom.validate_version(SpecVersion::V1_5).passed());
}

#[test]
fn what_stands_beside_an_image_is_the_same_each_time() {
    let beside = ["image.elf.cdx.json", "image.elf.sources.txt"];
    let read = |project: &Project| beside.map(|file| project.read(file));
    let (here, there) = (Project::new("s-here"), Project::new("s-there"));
    here.image(&[]);
    there.image(&[]);
    assert_eq!(read(&here), read(&there));
    let text = read(&here).concat();
    let place = here.root.to_str().unwrap().as_bytes();
    assert!(!text.windows(place.len()).any(|window| window == place));
}

#[test]
fn the_note_says_where_the_sources_are() {
    let project = Project::new("s-note");
    let note =
        |project: &Project| String::from_utf8(project.read("image.elf.sources.txt")).unwrap();
    project.write("target/guests/k/source", DEBIAN.as_bytes());
    project.image(&[]);
    let text = note(&project);
    assert!(text.contains("https://snapshot.debian.org/binary/linux-image-6.12%2Bx/\n"), "{text}");
    project.write("target/guests/k/source-package", SOURCE.as_bytes());
    project.image(&[]);
    let text = note(&project);
    for words in [
        "kernel: from Debian's package linux-image-6.12+x, version 6.12-1~bpo12+1\n",
        "  source package: linux, version 6.12-1\n",
        "  built using the sources: gcc-12 (= 12.2-14)\n",
        "  source: https://snapshot.debian.org/package/linux/6.12-1/\n",
        "initrd: a file with the SHA-256 ",
        "Written offer.",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}
