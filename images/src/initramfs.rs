// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes the shell guest's initial file system: a cpio archive (newc) with a static busybox, a
//! link for each of its applets, and the recipe's own files.
//!
//! The archive depends on nothing but its inputs: entries are sorted, times and owners are 0.
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Applets that the shell guest and the tests rely on.
const REQUIRED: &[&str] = &[
    "cat",
    "cttyhack",
    "dd",
    "devmem",
    "halt",
    "head",
    "init",
    "insmod",
    "mke2fs",
    "mount",
    "poweroff",
    "reboot",
    "setsid",
    "sh",
    "sha256sum",
    "sleep",
    "stty",
];

/// Directories that exist before anything is mounted.
const DIRECTORIES: &[&str] =
    &["bin", "dev", "etc", "lib", "mnt", "proc", "root", "sbin", "sys", "tmp"];

/// The recipe's own files: name there, name in the archive, permissions.
const FILES: &[(&str, &str, u32)] = &[
    ("init", "init", 0o755),
    ("inittab", "etc/inittab", 0o644),
    ("session", "etc/session", 0o755),
    ("shrc", "etc/shrc", 0o644),
];

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;

/// One entry: mode, device number, content.
struct Entry {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

impl Entry {
    fn new(mode: u32, content: impl Into<Vec<u8>>) -> Self {
        Self { mode, device: (0, 0), content: content.into() }
    }
}

/// Writes the archive from `busybox`, the recipe's own files and the modules that init loads, in
/// the order of `etc/modules`.
///
/// # Errors
///
/// An input that cannot be read, or a busybox without an applet that the guest needs.
pub fn write(busybox: &Path, recipe: &Path, modules: &[PathBuf], out: &Path) -> Result<()> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let program = read(busybox)?;
    let applets = applets(&program)
        .with_context(|| format!("{} holds no table of applets", busybox.display()))?;
    if let Some(missing) = REQUIRED.iter().find(|name| !applets.contains(&(**name).to_owned())) {
        bail!("{} was built without the applet \"{missing}\"", busybox.display());
    }

    let mut entries = BTreeMap::new();
    for directory in DIRECTORIES {
        entries.insert((*directory).to_owned(), Entry::new(S_IFDIR | 0o755, []));
    }
    for applet in applets.iter().filter(|name| *name != "busybox") {
        entries.insert(format!("bin/{applet}"), Entry::new(S_IFLNK | 0o777, "busybox"));
    }
    entries.insert("bin/busybox".to_owned(), Entry::new(S_IFREG | 0o755, program));
    for (source, name, mode) in FILES {
        let content = read(&recipe.join(source))?;
        entries.insert((*name).to_owned(), Entry::new(S_IFREG | mode, content));
    }
    let mut order = String::new();
    for module in modules {
        let name = module.file_name().and_then(|name| name.to_str()).context("no module's name")?;
        entries.insert(format!("lib/{name}"), Entry::new(S_IFREG | 0o644, read(module)?));
        order.push_str(&format!("{name}\n"));
    }
    entries.insert("etc/modules".to_owned(), Entry::new(S_IFREG | 0o644, order));
    // The kernel opens /dev/console for init before init can mount anything.
    for (name, mode, device) in [("console", 0o600, (5, 1)), ("null", 0o666, (1, 3))] {
        let entry = Entry { mode: S_IFCHR | mode, device, content: Vec::new() };
        entries.insert(format!("dev/{name}"), entry);
    }
    let archive = archive(&entries)?;
    fs::write(out, archive).with_context(|| format!("cannot write {}", out.display()))
}

fn archive(entries: &BTreeMap<String, Entry>) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (inode, (name, entry)) in (1..).zip(entries) {
        let size = u32::try_from(entry.content.len()).context("an entry exceeds 4 GiB")?;
        let mut writer = cpio::newc::Builder::new(name)
            .ino(inode)
            .mode(entry.mode)
            .rdev_major(entry.device.0)
            .rdev_minor(entry.device.1)
            .write(&mut archive, size);
        writer.write_all(&entry.content)?;
        writer.finish()?;
    }
    cpio::newc::trailer(&mut archive)?;
    Ok(archive)
}

/// The applets of a busybox program, from its own sorted name table. (`busybox --list` cannot run:
/// the program is of the guest's architecture.)
fn applets(program: &[u8]) -> Option<Vec<String>> {
    const FIRST: &[u8] = b"[\0[[\0";
    let start = program.windows(FIRST.len()).position(|window| window == FIRST)?;
    let table = &program[start..];
    let end = table.windows(2).position(|window| window == b"\0\0")?;
    let names: Option<Vec<String>> = table[..end]
        .split(|byte| *byte == 0)
        .map(|name| {
            let is_name = name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'/');
            is_name.then(|| String::from_utf8_lossy(name).into_owned())
        })
        .collect();
    names.filter(|names| names.is_sorted())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Entry, S_IFREG, applets, archive};

    #[test]
    fn the_applet_table_is_found() {
        let program = b"\x7fELF..\0usage\0\0[\0[[\0ash\0cat\0zcat\0\0more";
        assert_eq!(applets(program).unwrap(), ["[", "[[", "ash", "cat", "zcat"]);
        assert_eq!(applets(b"\x7fELF [\0[[\0b\0a\0\0"), None);
        assert_eq!(applets(b"\x7fELF"), None);
    }

    #[test]
    fn the_archive_is_newc_and_ends_with_its_trailer() {
        let entry = |content: &[u8]| Entry::new(S_IFREG | 0o644, content);
        let entries = BTreeMap::from([("b".into(), entry(b"two")), ("a".into(), entry(b"one"))]);
        let bytes = archive(&entries).unwrap();
        assert!(bytes.starts_with(b"070701"));
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.find("one").unwrap() < text.find("two").unwrap());
        assert!(text.contains("TRAILER!!!"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
