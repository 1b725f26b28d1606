// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A project directory of its own for each test, with small made-up firmware and guests in it.
#![allow(dead_code, reason = "each test binary uses some of this")]
pub mod forge;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A load segment of a made-up ELF.
pub struct Load {
    /// Its link address; the load address is the same.
    pub vaddr: u64,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its size in memory.
    pub memory_size: u64,
}

/// A made-up little-endian ELF64.
pub struct Elf {
    /// The number of its machine.
    pub machine: u16,
    /// Its entry point.
    pub entry: u64,
    /// Its segments.
    pub loads: Vec<Load>,
    /// Its symbols.
    pub symbols: Vec<(&'static str, u64)>,
    /// Its relocations: place, type, addend.
    pub relocations: Vec<(u64, u32, i64)>,
}

/// ELF's number of 64-bit PowerPC.
const PPC64: u16 = 21;
/// ELF's number of arm64.
const AARCH64: u16 = 183;

impl Default for Elf {
    fn default() -> Self {
        let (loads, symbols, relocations) = Default::default();
        Self { machine: PPC64, entry: 0, loads, symbols, relocations }
    }
}

impl Elf {
    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut file = vec![0; 64 + 56 * self.loads.len()];
        for (index, load) in self.loads.iter().enumerate() {
            let offset = file.len() as u64;
            file.extend_from_slice(&load.bytes);
            let at = 64 + 56 * index;
            put32(&mut file, at, 1);
            put32(&mut file, at + 4, 7);
            let fields =
                [offset, load.vaddr, load.vaddr, load.bytes.len() as u64, load.memory_size];
            for (field, value) in fields.into_iter().enumerate() {
                put64(&mut file, at + 8 + 8 * field, value);
            }
            put64(&mut file, at + 48, 0x1000);
        }
        let (names, symbols) = self.symbol_tables();
        let sections = [
            (0u32, Vec::new(), 0u32, 0u64),
            (3, names, 0, 0),
            (2, symbols, 1, 24),
            (4, self.rela(), 2, 24),
        ];
        let mut headers = Vec::new();
        for (kind, content, link, entry_size) in sections {
            let mut header = vec![0; 64];
            put32(&mut header, 4, kind);
            put64(&mut header, 24, file.len() as u64);
            put64(&mut header, 32, content.len() as u64);
            put32(&mut header, 40, link);
            put64(&mut header, 56, entry_size);
            headers.extend(header);
            file.extend(content);
        }
        self.header(&mut file);
        file.extend(headers);
        file
    }

    fn header(&self, file: &mut [u8]) {
        let sections = file.len() as u64;
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        put16(file, 16, 3);
        put16(file, 18, self.machine);
        put32(file, 20, 1);
        put64(file, 24, self.entry);
        put64(file, 32, 64);
        put64(file, 40, sections);
        put32(file, 48, 2);
        for (at, value) in
            [(52, 64), (54, 56), (56, self.loads.len() as u16), (58, 64), (60, 4), (62, 1)]
        {
            put16(file, at, value);
        }
    }

    fn symbol_tables(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut names, mut table) = (vec![0], vec![0; 24]);
        for (name, value) in &self.symbols {
            let mut entry = vec![0; 24];
            put32(&mut entry, 0, names.len() as u32);
            entry[4] = 0x10;
            put16(&mut entry, 6, 0xfff1);
            put64(&mut entry, 8, *value);
            table.extend(entry);
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
        (names, table)
    }

    fn rela(&self) -> Vec<u8> {
        let mut table = Vec::new();
        for (place, kind, addend) in &self.relocations {
            table.extend(place.to_le_bytes());
            table.extend(u64::from(*kind).to_le_bytes());
            table.extend(addend.to_le_bytes());
        }
        table
    }
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Puts a 64-bit little-endian number.
pub fn put64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Gets a 64-bit little-endian number.
pub fn get64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// A kernel linked as Linux is, that compresses somewhat.
pub fn kernel() -> Elf {
    let text: Vec<u8> = (0..0x8000u32).map(|i| ((i * i) >> 7) as u8).collect();
    Elf {
        entry: 0xC000_0000_0000_0000,
        loads: vec![
            Load { vaddr: 0xC000_0000_0000_0000, bytes: text, memory_size: 0x8000 },
            Load { vaddr: 0xC000_0000_0001_0000, bytes: vec![7; 0x1234], memory_size: 0x4_0000 },
        ],
        ..Elf::default()
    }
}

/// A body with one relocation and the symbols that the builder wants.
pub fn body() -> Elf {
    Elf {
        loads: vec![
            Load { vaddr: 0, bytes: vec![0x60; 0x3000], memory_size: 0x3000 },
            Load { vaddr: 0x3000, bytes: vec![1; 0x100], memory_size: 0x3000 },
        ],
        symbols: vec![("body_start", 0x40), ("LEDGER", 0x4000), ("EPITAPH", 0x5000)],
        relocations: vec![(0x3010, 22, 0x1230)],
        ..Elf::default()
    }
}

/// A loader with its header.
pub fn loader() -> Elf {
    let loads = vec![Load { vaddr: 0, bytes: vec![0x48; 0x1800], memory_size: 0x2100 }];
    Elf { loads, ..Elf::default() }
}

/// The body and the loader for arm64.
fn arm64_firmware() -> [Elf; 2] {
    /// R_AARCH64_RELATIVE.
    const RELATIVE: u32 = 1027;
    let mut body = body();
    body.machine = AARCH64;
    body.symbols.push(("body_data_start", 0x3000));
    body.relocations = vec![(0x3010, RELATIVE, 0x1230)];
    [body, Elf { machine: AARCH64, ..loader() }]
}

/// An arm64 `Image` of 32 KiB that asks for 4 MiB.
fn arm64_kernel() -> Vec<u8> {
    let mut image: Vec<u8> = (0..0x8000u32).map(|i| ((i * i) >> 7) as u8).collect();
    image[..64].fill(0);
    put64(&mut image, 16, 4 << 20);
    put64(&mut image, 24, 0xa);
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// The crates of a made-up firmware.
pub const CRATES: &str = "anchorite-boot v0.1.0|Apache-2.0 OR MIT\n\
    rust-core v1.96.0|Apache-2.0 OR MIT\nsubtle v2.6.1|BSD-3-Clause\n";

/// Whose config a project has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// `qemu-powernv9`.
    Power9,
    /// `qemu-arm64-virt`.
    Arm64,
}

/// A project directory.
pub struct Project {
    /// Where it is.
    pub root: PathBuf,
}

impl Project {
    /// Makes one for POWER9. The name must be the test's own.
    pub fn new(name: &str) -> Self {
        Self::of(Board::Power9, name)
    }

    /// Makes one.
    pub fn of(board: Board, name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&root);
        let (family, [body, loader], kernel) = match board {
            Board::Power9 => ("power9", [body(), loader()], kernel().bytes()),
            Board::Arm64 => ("arm64", arm64_firmware(), arm64_kernel()),
        };
        let firmware = format!("target/firmware/{family}");
        for dir in ["board-configs", &firmware, "target/guests/k", "target/guests/i"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let project = Self { root };
        project.write(&format!("{firmware}/loader.elf"), &loader.bytes());
        project.write(&format!("{firmware}/loader-verify.elf"), &loader.bytes());
        for list in ["loader.crates", "loader-verify.crates"] {
            project.write(&format!("{firmware}/{list}"), CRATES.as_bytes());
        }
        project.write(&format!("{firmware}/body.elf"), &body.bytes());
        project.write("target/guests/k/vmlinux", &kernel);
        project.write("target/guests/k/source", b"package=made-up\nversion=1\n");
        project.write("target/guests/i/initramfs.cpio", &[0x30; 5000]);
        project.write("board-configs/b.toml", board_text_of(board).as_bytes());
        project
    }

    /// Writes a file.
    pub fn write(&self, path: &str, bytes: &[u8]) {
        fs::write(self.root.join(path), bytes).unwrap();
    }

    /// Reads a file.
    pub fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.root.join(path)).unwrap()
    }

    /// Runs the program in the directory.
    pub fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_anchorite"))
            .args(args)
            .current_dir(&self.root)
            .env("ANCHORITE_ROOT", &self.root)
            .output()
            .unwrap()
    }

    /// Builds an image, with more options.
    pub fn build(&self, more: &[&str]) -> Output {
        let mut args = vec!["build", "--board", "board-configs/b.toml", "--out", "image.elf"];
        args.extend(more);
        self.run(&args)
    }

    /// Builds an image that must succeed, and reads it.
    pub fn image(&self, more: &[&str]) -> Vec<u8> {
        let output = self.build(more);
        assert!(output.status.success(), "{}", stderr(&output));
        self.read("image.elf")
    }
}

/// POWER9's shipped board config with the made-up guest.
pub fn board_text() -> String {
    board_text_of(Board::Power9)
}

/// A shipped board config with the made-up guest.
fn board_text_of(board: Board) -> String {
    let (name, kernel, initrd) = match board {
        Board::Power9 => ("qemu-powernv9", "debian-6.12-ppc64el", "shell-ppc64el"),
        Board::Arm64 => ("qemu-arm64-virt", "debian-6.12-arm64", "shell-arm64"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = root.join(format!("../board-configs/{name}.toml"));
    fs::read_to_string(shipped).unwrap().replace(kernel, "k").replace(initrd, "i")
}

/// What a program wrote to stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a program wrote to stdout.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
