// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that starts a second kernel by itself: an initramfs with Debian's kexec and the kernel,
//! and the way from one kernel to the next, in order or by a crash.
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::guest::Guest;
use crate::{initramfs, root};

/// The kernel in the initramfs.
const KERNEL: &str = "boot/kernel.gz";
/// How much memory a crash kernel has.
pub const CRASH_MEMORY: &str = "crashkernel=256M";

/// A guest's architecture.
#[derive(Clone, Copy)]
pub struct Arch {
    /// Debian's name of it.
    pub name: &'static str,
    /// The program loader and its directory.
    loader: (&'static str, &'static str),
    /// Where the program loader looks for libraries.
    libraries: &'static str,
    /// The recipes that kexec consists of.
    parts: &'static [&'static str],
    /// What an image with such an initramfs needs besides.
    pub options: &'static [&'static str],
}

/// The POWER9 board's.
pub const PPC64EL: Arch = Arch {
    name: "ppc64el",
    loader: ("ld64.so.2", "lib64"),
    libraries: "lib/powerpc64le-linux-gnu",
    parts: &["kexec", "libc"],
    // More than the flash of a board holds.
    options: &["--set", "firmware.flash.size=64MiB"],
};
/// The arm64 board's.
pub const ARM64: Arch = Arch {
    name: "arm64",
    loader: ("ld-linux-aarch64.so.1", "lib"),
    libraries: "lib/aarch64-linux-gnu",
    parts: &["kexec", "libc", "libz"],
    options: &[],
};

impl Arch {
    /// An initramfs: the shell guest's, kexec with its libraries, and a kernel.
    ///
    /// # Errors
    ///
    /// A file that `scripts/guests` has not fetched, or one that cannot be written.
    pub fn initrd(&self, kernel: &str) -> Result<PathBuf> {
        let recipe =
            |name: &str| root().join("target/guests").join(format!("{name}-{}", self.name));
        let mut files = Vec::new();
        for part in self.parts {
            for entry in fs::read_dir(recipe(part)).with_context(|| format!("no {part}"))? {
                let name = entry?.file_name().into_string().unwrap_or_default();
                let directory = match name.as_str() {
                    "source" | "source-package" | "stamp" => continue,
                    "kexec" => "sbin",
                    name if name == self.loader.0 => self.loader.1,
                    _ => self.libraries,
                };
                files.push((
                    format!("{directory}/{name}"),
                    initramfs::fetched(&recipe(part).join(&name))?,
                ));
            }
        }
        // The same files give the same archive.
        files.sort();
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&initramfs::fetched(&recipe(kernel).join("vmlinux"))?)?;
        files.push((KERNEL.to_owned(), packed.finish()?));

        let directories = ["lib", "lib64", self.libraries, "boot"];
        let name = format!("kexec-{kernel}-{}", self.name);
        initramfs::with(self.name, &name, &directories, &files)
    }
}

/// Loads the kernel of the initramfs, with these options of kexec's and `more` on its command line.
fn load(guest: &mut Guest, options: &str, more: &str) -> Result<()> {
    let cmdline =
        format!("$(sed 's/ *crashkernel=[^ ]*//; s/ *life=[^ ]*//' /proc/cmdline) {more}");
    guest.shell(&format!("zcat /{KERNEL} >/tmp/kernel"))?;
    // What this kernel came with, so that the next one can go on: without what is mounted over it.
    guest.shell("mount -o bind / /mnt && cd /mnt")?;
    guest.shell("find . | cpio -o -H newc >/tmp/initrd; cd / && umount /mnt")?;
    let files = "--initrd=/tmp/initrd /tmp/kernel";
    guest.shell(&format!("kexec {options} --append=\"{cmdline}\" {files}"))?;
    guest.shell("rm /tmp/kernel /tmp/initrd")?;
    Ok(())
}

/// Waits for the next kernel's shell, and asks that kernel whether it is the one.
fn arrive(guest: &mut Guest, life: &str) -> Result<()> {
    guest.await_shell()?;
    let cmdline = guest.shell("cat /proc/cmdline")?;
    ensure!(cmdline.contains(life), "not the kernel that was loaded: {cmdline}");
    Ok(())
}

/// `kexec -e`: the same kernel once more, in order. `more` goes on its command line.
///
/// # Errors
///
/// It does not get to its shell.
pub fn restart(guest: &mut Guest, more: &str) -> Result<()> {
    load(guest, "-l", &format!("{more} life=second"))?;
    guest.send(b"kexec -e\n")?;
    arrive(guest, "life=second")
}

/// Crashes the kernel on this CPU. Another one takes over there, with the dead kernel's memory to
/// look at.
///
/// # Errors
///
/// It does not get to its shell.
pub fn crash(guest: &mut Guest, cpu: u32) -> Result<()> {
    load(guest, "-p", "maxcpus=1 life=after")?;
    guest
        .send(format!("taskset {:x} sh -c 'echo c >/proc/sysrq-trigger'\n", 1 << cpu).as_bytes())?;
    arrive(guest, "life=after")?;
    ensure!(guest.shell("head -c 4 /proc/vmcore | tail -c 3")? == "ELF", "no memory of the dead");
    Ok(())
}
