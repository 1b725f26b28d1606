// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an image is made of: a CycloneDX 1.5 bill of materials, and a note where the sources of its
//! guest are. Both follow from the inputs alone: no time, no serial number, no path, and the same
//! whether the image is signed or not.
use std::fmt::Write;

use anchorite_spec::Manifest;
use serde_json::{Value, json};

use super::inputs::Input;
use crate::image::{digest, hex};

/// What comes from Debian is published there, every version of it.
const ARCHIVE: &str = "https://snapshot.debian.org";

/// One guest file and where it came from.
pub struct Origin<'a> {
    part: &'static str,
    /// CycloneDX's word for it.
    kind: &'static str,
    input: &'a Input,
    /// SHA-256 of it, as digits.
    digest: String,
}

impl<'a> Origin<'a> {
    fn new(part: &'static str, kind: &'static str, input: &'a Input) -> Self {
        Self { part, kind, input, digest: hex(&digest(&input.bytes)) }
    }

    /// What the recipe says.
    fn fact(&self, key: &str) -> Option<&str> {
        let lines = self.input.source.lines().chain(self.input.source_package.lines());
        lines
            .filter_map(|line| line.split_once('='))
            .find_map(|(k, v)| (k == key).then_some(v.trim()))
    }

    /// Debian's package and its version.
    fn package(&self) -> Option<(&str, &str)> {
        Some((self.fact("package")?, self.fact("version")?))
    }

    fn component(&self, arch: &str) -> Value {
        let mut component = json!({
            "type": self.kind,
            "bom-ref": self.part,
            "name": self.part,
            "version": "unknown",
            "hashes": [{ "alg": "SHA-256", "content": self.digest }],
        });
        if let Some((name, version)) = self.package() {
            let (purl_name, purl_version) = (encoded(name), encoded(version));
            component["name"] = name.into();
            component["version"] = version.into();
            component["purl"] =
                format!("pkg:deb/debian/{purl_name}@{purl_version}?arch={arch}").into();
            component["externalReferences"] =
                json!([{ "type": "distribution", "url": self.source_address() }]);
        }
        if let Some(license) = self.license() {
            component["licenses"] = json!([{ "license": { "id": license } }]);
        }
        component
    }

    /// Of what the recipes fetch; of other files nothing is known.
    fn license(&self) -> Option<&'static str> {
        let (name, _) = self.package()?;
        let gpl = name.starts_with("linux-image-") || name.starts_with("busybox");
        gpl.then_some("GPL-2.0-only")
    }

    fn source_address(&self) -> String {
        match (self.fact("source"), self.fact("source-version"), self.package()) {
            (Some(name), Some(version), _) => {
                format!("{ARCHIVE}/package/{}/{}/", encoded(name), encoded(version))
            }
            (.., Some((name, _))) => format!("{ARCHIVE}/binary/{}/", encoded(name)),
            _ => String::new(),
        }
    }

    fn note(&self, out: &mut String) -> std::fmt::Result {
        let own = &self.digest;
        let Some((name, version)) = self.package() else {
            writeln!(out, "{}: a file with the SHA-256 {own}.", self.part)?;
            return writeln!(
                out,
                "  It was given by its path. Say here which program it is and where its source is.\n"
            );
        };
        writeln!(out, "{}: from Debian's package {name}, version {version}", self.part)?;
        if let Some(sha256) = self.fact("sha256") {
            writeln!(out, "  package's SHA-256: {sha256}")?;
        }
        writeln!(out, "  SHA-256 of the file in the image, unpacked: {own}")?;
        if let Some(license) = self.license() {
            writeln!(out, "  licence: {license}")?;
        }
        if let (Some(source), Some(version)) = (self.fact("source"), self.fact("source-version")) {
            writeln!(out, "  source package: {source}, version {version}")?;
        }
        if let Some(others) = self.fact("built-using") {
            writeln!(out, "  built using the sources: {others}")?;
        }
        writeln!(out, "  source: {}\n", self.source_address())
    }
}

/// A part of a package URL.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The guest's files.
#[must_use]
pub fn origins<'a>(kernel: &'a Input, initrd: Option<&'a Input>) -> Vec<Origin<'a>> {
    let kernel = Origin::new("kernel", "operating-system", kernel);
    let initrd = initrd.map(|input| Origin::new("initrd", "application", input));
    [kernel].into_iter().chain(initrd).collect()
}

/// A crate of the firmware, from a line `name vVERSION|LICENSE` of `scripts/build-firmware`.
fn library(line: &str) -> Option<Value> {
    let (name, license) = line.split_once('|')?;
    let (name, version) = name.split_once(" v")?;
    let own = name.starts_with("anchorite-");
    let purl = format!("pkg:cargo/{name}@{}", encoded(version));
    let mut component = json!({
        "type": "library",
        "bom-ref": format!("crate {name} {version}"),
        "name": name,
        "version": version,
        "licenses": [{ "expression": license }],
    });
    // The compiler's own and this project's are in no registry.
    if !own && !line.starts_with("rust-") {
        component["purl"] = purl.into();
    }
    Some(component)
}

/// The bill of materials. `crates` are the firmware's, one a line; `arch` is Debian's word.
#[must_use]
pub fn bill(manifest: &Manifest, crates: &str, arch: &str, guest: &[Origin<'_>]) -> Value {
    let mut components: Vec<Value> = crates.lines().filter_map(library).collect();
    components.extend(guest.iter().map(|origin| origin.component(arch)));
    let all: Vec<Value> = components.iter().map(|component| component["bom-ref"].clone()).collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "tools": { "components": [
                { "type": "application", "name": "anchorite", "version": env!("CARGO_PKG_VERSION") },
            ] },
            "component": {
                "type": "firmware",
                "bom-ref": "image",
                "name": format!("anchorite image for {}", manifest.board.as_str()),
                "version": manifest.image_version.to_string(),
                "properties": [
                    { "name": "anchorite:build-id", "value": hex(&manifest.build_id) },
                ],
            },
        },
        "components": components,
        "dependencies": [{ "ref": "image", "dependsOn": all }],
    })
}

/// The note.
#[must_use]
pub fn note(manifest: &Manifest, guest: &[Origin<'_>]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_note(&mut out, manifest, guest);
    out
}

fn write_note(out: &mut String, manifest: &Manifest, guest: &[Origin<'_>]) -> std::fmt::Result {
    let board = manifest.board.as_str();
    writeln!(out, "Sources of the guest in an Anchorite image for {board}")?;
    writeln!(out, "build id {}\n", hex(&manifest.build_id))?;
    guest.iter().try_for_each(|origin| origin.note(out))?;
    writeln!(
        out,
        "The firmware itself is under Apache-2.0 or MIT; the bill of materials beside this file has its\n\
         libraries. Whoever passes the image on passes on the programs above, and owes those who get it\n\
         their source: with the image, or by an offer such as this.\n\n\
         Written offer. This product contains software under the GNU General Public License, version 2.\n\
         For at least three years from the day on which you received it, we will give anyone who asks a\n\
         complete machine-readable copy of the corresponding source code, including the scripts that\n\
         control its compilation and installation, on a medium customarily used for software interchange,\n\
         for no more than the cost of physically performing the distribution. Ask, with the build id\n\
         above: ______________________________ (name and address of whoever passes the image on)"
    )
}
