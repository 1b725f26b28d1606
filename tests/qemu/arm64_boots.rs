// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Debian's boots on arm64. There are these and no more: a test that needs one takes one of them and
//! does its work there. Each pair of kernel, processor and number of vCPUs is among them; `make soak`
//! has all combinations.
use std::collections::BTreeSet;
use std::path::Path;

use anchorite_spec::manifest::{PART_KERNEL, codec_name};
use anchorite_tests::guest::Guest;
use anchorite_tests::image::{Image, image_of, kernel};
use anchorite_tests::{Tests, arm64_board};
use anyhow::{Context, Result, ensure};

pub const TESTS: Tests = &[("arm64_boots::every_pair_is_covered", every_pair_is_covered)];

/// One of them.
pub struct Boot {
    /// The kernel's version.
    pub kernel: &'static str,
    /// The processor, as QEMU calls it.
    pub cpu: &'static str,
    vcpus: &'static str,
    ipa_bits: &'static str,
    /// How the machine starts the image.
    form: &'static str,
    /// How the guest's files are packed.
    codec: &'static str,
}

const BOOTS: [Boot; 8] = [
    boot("6.12", "max", "4", "40", "arm64-image", "zstd"),
    boot("6.1", "cortex-a53", "1", "39", "flat", "zstd"),
    boot("6.1", "cortex-a72", "4", "40", "elf", "lz4"),
    boot("6.12", "neoverse-n1", "4", "40", "arm64-image", "none"),
    boot("6.1", "neoverse-n1", "1", "44", "flat", "lz4"),
    boot("6.12", "cortex-a72", "1", "43", "arm64-image", "zstd"),
    boot("6.12", "cortex-a53", "4", "40", "arm64-image", "zstd"),
    boot("6.1", "max", "1", "48", "arm64-image", "zstd"),
];
pub const FEATURES: &Boot = &BOOTS[0];
pub const OLD_CORE: &Boot = &BOOTS[1];
pub const LOAD: &Boot = &BOOTS[2];
pub const GUARDED: &Boot = &BOOTS[3];
pub const CONSOLE: &Boot = &BOOTS[4];
pub const DISK: &Boot = &BOOTS[5];
pub const DISK_AGAIN: &Boot = &BOOTS[6];
pub const NOTHING_ELSE: &Boot = &BOOTS[7];

const fn boot(
    kernel: &'static str,
    cpu: &'static str,
    vcpus: &'static str,
    ipa_bits: &'static str,
    form: &'static str,
    codec: &'static str,
) -> Boot {
    Boot { kernel, cpu, vcpus, ipa_bits, form, codec }
}

impl Boot {
    /// Its image, of this board and with these options besides.
    pub fn image_of(&self, board: &Path, more: &[&str]) -> Result<Image> {
        let Self { kernel: version, cpu, vcpus, ipa_bits, form, codec } = self;
        let set = format!("guest.stage2.ipa_bits={ipa_bits}");
        let form = format!("board.boot={form}");
        let packed = format!("guest.compression={codec}");
        let arguments = ["--vcpus", vcpus, "--set", &set, "--set", &form, "--set", &packed];
        let name = format!("arm64-{version}-{cpu}-{vcpus}");
        let image = image_of(board, &name, &[&arguments, more].concat())?;
        ensure!(image.manifest.arm64.ipa_bits.to_string() == *ipa_bits);
        ensure!(codec_name(image.part(PART_KERNEL)?.0.codec) == *codec);
        Ok(image)
    }

    /// Its image with the kernel as it comes.
    pub fn image(&self, more: &[&str]) -> Result<Image> {
        let kernel = kernel(&format!("debian-{}-arm64", self.kernel));
        let kernel = kernel.to_str().context("no UTF-8 path")?;
        self.image_of(&arm64_board(), &[&["--guest", kernel], more].concat())
    }

    /// Runs an image to the shell, in which the kernel and its CPUs are as asked for.
    pub fn run(&self, image: &Image, more: &[&str]) -> Result<Guest> {
        let mut guest = Guest::boot(&image.path, &[&["--cpu", self.cpu], more].concat())?;
        let release = guest.shell("uname -r")?;
        ensure!(release.starts_with(&format!("{}.", self.kernel)), "{release}");
        ensure!(guest.shell("nproc")? == self.vcpus);
        Ok(guest)
    }

    /// Both, with nothing besides.
    pub fn shell(&self) -> Result<(Guest, Image)> {
        let image = self.image(&[])?;
        Ok((self.run(&image, &[])?, image))
    }
}

fn every_pair_is_covered() -> Result<()> {
    let factors = BOOTS.each_ref().map(|boot| [boot.kernel, boot.cpu, boot.vcpus]);
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let all =
            |factor: usize| factors.map(|row| row[factor]).into_iter().collect::<BTreeSet<_>>();
        let covered: BTreeSet<_> = factors.iter().map(|row| (row[one], row[other])).collect();
        ensure!(covered.len() == all(one).len() * all(other).len(), "only {covered:?}");
    }
    Ok(())
}
