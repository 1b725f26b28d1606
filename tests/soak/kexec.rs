// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernels that start the next one, and crash: each kernel, alone and on four CPUs.
use anchorite_tests::guest::Guest;
use anchorite_tests::image::{image_of, kernel};
use anchorite_tests::kexec::{self, ARM64, Arch, CRASH_MEMORY, PPC64EL};
use anchorite_tests::{arm64_board, board, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

/// One test for each architecture, kernel and number of vCPUs.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for arch in [PPC64EL, ARM64] {
        for release in ["6.1", "6.12"] {
            for vcpus in [1, 4] {
                let name = format!("kexec::debian-{release}-{}::{vcpus}", arch.name);
                trials.push(trial(name, move || next_kernels(&arch, release, vcpus)));
            }
        }
    }
    trials
}

/// Twice in order, then behind a crash on the last CPU.
fn next_kernels(arch: &Arch, release: &str, vcpus: u32) -> Result<()> {
    let recipe = format!("debian-{release}");
    let (initrd, kernel) = (arch.initrd(&recipe)?, kernel(&format!("{recipe}-{}", arch.name)));
    let text = |path: &std::path::Path| path.to_str().map(str::to_owned).context("no UTF-8 path");
    let (initrd, kernel, count) = (text(&initrd)?, text(&kernel)?, vcpus.to_string());
    let mut arguments = vec!["--guest", &kernel, "--initrd", &initrd, "--vcpus", &count];
    arguments.extend(arch.options);
    let power9 = arch.name == PPC64EL.name;
    let board = if power9 { board() } else { arm64_board() };
    let name = format!("soak-kexec-{recipe}-{}-{vcpus}", arch.name);
    let image = image_of(&board, &name, &arguments)?;
    // Linux 6.12 oopses in `kexec -l` on a processor with LPA2, without any firmware beneath as well.
    let cpu = if power9 { &[][..] } else { &["--cpu", "max,lpa2=off"] };
    let mut guest = Guest::boot(&image.path, cpu)?;
    for _ in 0..2 {
        kexec::restart(&mut guest, CRASH_MEMORY)?;
        ensure!(guest.shell("nproc")? == count);
    }
    kexec::crash(&mut guest, vcpus - 1)?;
    guest.power_off()?;
    Ok(())
}
