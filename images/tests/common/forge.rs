// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images changed after the build, by someone who also computes every digest anew.
use anchorite_spec::Manifest;
use anchorite_spec::manifest::{ARCH_ARM64, Mapping, PART_TABLES, Part};
use serde_json::Value;
use sha2::{Digest, Sha256};
use zerocopy::{FromBytes, IntoBytes};

use super::{Board, Project, stderr, stdout};

/// Where the manifest stands in the file.
pub const MANIFEST: usize = 0x1000;

/// An image's manifest.
pub fn manifest(image: &[u8]) -> Manifest {
    Manifest::read_from_prefix(&image[MANIFEST..]).unwrap().0
}

/// An image that can be changed.
pub struct Forge {
    /// Its project directory.
    pub project: Project,
    /// The file.
    pub bytes: Vec<u8>,
    /// Where the tables stand in the file.
    pub tables: usize,
    /// Where the tables stand on the machine.
    pub base: u64,
}

impl Forge {
    /// An image of a board, built with these options.
    pub fn new(board: Board, name: &str, options: &[&str]) -> Self {
        let project = Project::of(board, name);
        let bytes = project.image(options);
        let manifest = manifest(&bytes);
        let tables = manifest.part(PART_TABLES).unwrap().offset as usize;
        Self { project, bytes, tables, base: manifest.tables.base }
    }

    /// A second image from the same build.
    pub fn again(&self) -> Self {
        let project = Project { root: self.project.root.clone() };
        Self { project, bytes: self.bytes.clone(), ..*self }
    }

    /// Its manifest.
    pub fn manifest(&self) -> Manifest {
        manifest(&self.bytes)
    }

    /// With another manifest.
    pub fn with_manifest(mut self, change: impl FnOnce(&mut Manifest)) -> Self {
        let mut manifest = self.manifest();
        change(&mut manifest);
        self.bytes[MANIFEST..MANIFEST + size_of::<Manifest>()].copy_from_slice(manifest.as_bytes());
        self
    }

    /// With another mapping, the first of a kind.
    pub fn with_mapping(self, kind: u32, change: impl FnOnce(&mut Mapping)) -> Self {
        self.with_manifest(|manifest| {
            change(manifest.mappings.iter_mut().find(|mapping| mapping.kind == kind).unwrap());
        })
    }

    /// With another part.
    pub fn with_part(self, kind: u32, change: impl FnOnce(&mut Part)) -> Self {
        self.with_manifest(|manifest| {
            change(manifest.parts.iter_mut().find(|part| part.kind == kind).unwrap());
        })
    }

    fn little_endian(&self) -> bool {
        self.manifest().arch == ARCH_ARM64
    }

    /// A table entry, by its place in the file.
    pub fn entry(&self, at: usize) -> u64 {
        let bytes = self.bytes[at..at + 8].try_into().unwrap();
        if self.little_endian() { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) }
    }

    /// With another table entry.
    pub fn with_entry(mut self, at: usize, entry: u64) -> Self {
        let bytes = if self.little_endian() { entry.to_le_bytes() } else { entry.to_be_bytes() };
        self.bytes[at..at + 8].copy_from_slice(&bytes);
        self
    }

    /// The file offset of the entry for a guest address, as deep as `levels`.
    pub fn slot(&self, guest: u64, levels: usize) -> usize {
        // The root's entries, then those of each table: where their bits of the address are.
        let (root, tables, address): (_, &[(u32, u32)], u64) = match self.little_endian() {
            true => ((30, 18), &[(21, 9), (12, 9)], 0x0000_ffff_ffff_f000),
            false => ((39, 13), &[(30, 9), (21, 9), (16, 5)], 0x0fff_ffff_ffff_ff00),
        };
        let index = |(shift, bits): (u32, u32)| (guest >> shift & ((1 << bits) - 1)) as usize;
        let mut at = self.tables + 8 * index(root);
        for table in tables.iter().take(levels - 1) {
            let next = (self.entry(at) & address) - self.base;
            at = self.tables + next as usize + 8 * index(*table);
        }
        at
    }

    /// Every digest computed anew, as a tester would from `docs/image-format.md`.
    pub fn seal(mut self) -> Self {
        let bytes = self.bytes.clone();
        self = self.with_manifest(|manifest| {
            for part in manifest.parts.iter_mut().filter(|part| part.kind != 0) {
                let end = part.offset.wrapping_add(part.size) as usize;
                if let Some(content) = bytes.get(part.offset as usize..end) {
                    part.digest = Sha256::digest(content).into();
                }
            }
            let mut frame = Sha256::new();
            for gap in manifest.frame() {
                let end = gap.base.saturating_add(gap.size) as usize;
                frame.update(bytes.get(gap.base as usize..end).unwrap_or_default());
            }
            manifest.frame_digest = frame.finalize().into();
            manifest.digest = [0; 32];
            manifest.digest = Sha256::digest(manifest.as_bytes()).into();
        });
        self
    }

    /// What `inspect` says: its exit code, and its report.
    pub fn inspect(&self, more: &[&str]) -> (i32, Value) {
        self.project.write("forged.elf", &self.bytes);
        let mut args = vec!["inspect", "forged.elf", "--json"];
        args.extend(more);
        let output = self.project.run(&args);
        let code = output.status.code().unwrap();
        assert!(matches!(code, 0 | 1 | 14), "{code}: {}", stderr(&output));
        (code, serde_json::from_str(&stdout(&output)).unwrap_or(Value::Null))
    }

    /// Inspects with right digests; the wall named must be refused.
    #[track_caller]
    pub fn refused(self, wall: &str) {
        let (code, report) = self.seal().inspect(&[]);
        assert_eq!(code, 1, "{report:#}");
        assert_eq!(report["digests_ok"], true);
        assert_eq!(report["proved"], false);
        let walls = report["walls"].as_array().unwrap();
        let found = walls.iter().find(|found| found["id"] == wall).unwrap();
        assert_eq!(found["proved"], false, "{wall} must not be proved: {walls:#?}");
        assert!(!found["why"].as_str().unwrap().is_empty());
    }
}
