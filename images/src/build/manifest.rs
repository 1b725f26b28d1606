// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes down what an image holds.
use anchorite_spec::manifest::{
    Arm64, EARLIER_RANGES, FORWARD, MAGIC, MAPPINGS, Mapping, Name, PARTS, Part, RAM_RANGES,
    SPARE_AS_GUEST, VCPUS, VERSION,
};
use anchorite_spec::trust::UNSIGNED;
use anchorite_spec::{Manifest, Range, Trust};
use anchorite_tables::stage2::Stage2;
use anyhow::ensure;
use sha2::{Digest, Sha256};
use zerocopy::{FromZeros, IntoBytes};

use super::Inputs;
use super::firmware::Body;
use super::kernel::Kernel;
use super::layout::FirmwareLayout;
use super::tables::Tables;
use super::tree::GuestTree;
use crate::config::Loaded;
use crate::config::checked::Config;
use crate::config::overrides::Override;
use crate::config::platform::Platform;
use crate::config::space::lowest_free;
use crate::image::{digest, hex};

/// What the manifest is written from.
pub struct Facts<'a> {
    /// The config.
    pub loaded: &'a Loaded,
    /// The inputs.
    pub inputs: &'a Inputs,
    /// See [`build_id`].
    pub build_id: [u8; 32],
    /// Where the firmware's memory goes.
    pub layout: &'a FirmwareLayout,
    /// The body.
    pub body: &'a Body,
    /// The tables.
    pub tables: &'a Tables,
    /// What the guest can reach.
    pub mappings: &'a [Mapping],
    /// The kernel.
    pub kernel: &'a Kernel,
    /// Guest real address of the device tree.
    pub tree_address: u64,
    /// The device tree.
    pub tree: &'a GuestTree,
}

impl Facts<'_> {
    /// The manifest, but for its parts, the image's size and its digest.
    ///
    /// # Errors
    /// Something does not fit the manifest.
    pub fn manifest(&self) -> anyhow::Result<Manifest> {
        let config = &self.loaded.config;
        let (guest, platform) = (&config.guest, &config.platform);
        let cores = guest.vcpus.iter().max().map_or(0, |cpu| cpu + 1);
        let vcpu_cpu = fill(&guest.vcpus, [0; VCPUS])?;
        Ok(Manifest {
            magic: MAGIC,
            version: VERSION,
            size: size_of::<Manifest>() as u32,
            digest: [0; 32],
            frame_digest: [0; 32],
            signature: UNSIGNED,
            image_version: config.signing.version,
            build_id: self.build_id,
            board: Name::new(&config.board),
            arch: platform.arch,
            boot: platform.boot,
            vcpus: guest.vcpus.len() as u32,
            cores,
            vcpu_cpu,
            guest_little_endian: guest.little_endian.into(),
            debug_fault: config.debug_fault,
            debug_boot: config.debug_boot.into(),
            restart_on_reboot: guest.restart.on_reboot.into(),
            restart_on_panic: guest.restart.on_panic.into(),
            restart_budget: guest.restart.budget,
            mitigations: config.mitigations,
            timing: config.timing.into(),
            watchdog_seconds: config.watchdog.map_or(0, |watchdog| watchdog.seconds),
            watchdog_action: config.watchdog.map_or(0, |watchdog| watchdog.action),
            watchdog_budget: config.watchdog.map_or(0, |watchdog| watchdog.budget),
            watchdog_looks: config.watchdog.is_some_and(|watchdog| watchdog.looks).into(),
            on_fault: guest.on_fault,
            spare: spare(config),
            pvr: config.pvr,
            pvr_mask: config.pvr_mask,
            timebase_hz: platform.timebase_hz,
            image_size: 0,
            load_window: platform.load_window,
            firmware: config.firmware.value,
            vectors: platform.vectors,
            boot_stack: self.layout.stack,
            manifest_copy: self.layout.manifest,
            tables: Range::new(self.layout.tables, self.tables.bytes.len() as u64),
            table_root: self.tables.root,
            ledger: self.body.ledger,
            epitaph: self.body.epitaph,
            body_entry: self.body.entry,
            resident_bytes: self.body.bytes.len() as u64,
            guest_entry: self.kernel.entry,
            guest_tree: self.tree_address,
            guest_seed_offset: self.tree.seed_offset,
            guest_digest_offset: self.tree.digest_offset,
            guest_last_life_offset: self.tree.last_life_offset,
            xive_tima_guest: guest.xive.tima,
            xive_tima_host: guest.xive.tima_host,
            xive_esb_guest: guest.xive.esb,
            xive_sources: guest.xive.sources,
            arm64: arm64(config, self.body)?,
            ram: fill(&config.ram, [Range::default(); RAM_RANGES])?,
            earlier: fill(&[platform.earlier], [Range::default(); EARLIER_RANGES])?,
            parts: [Part::new_zeroed(); PARTS],
            mappings: fill(self.mappings, [Mapping::new_zeroed(); MAPPINGS])?,
            sources: text(&self.sources()),
            overrides: text(&overrides(recorded(self.loaded))),
        })
    }

    /// What the guest was built from.
    fn sources(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let parts =
            [("kernel", Some(&self.inputs.kernel)), ("initrd", self.inputs.initrd.as_ref())];
        for (name, input) in parts.into_iter().filter_map(|(name, input)| Some((name, input?))) {
            let written = input.source.lines().filter(|line| line.contains('='));
            lines.extend(written.map(|line| format!("{name}.{}", line.trim())));
            if input.source.is_empty() {
                lines.push(format!("{name}.file-sha256={}", hex(&digest(&input.bytes))));
            }
        }
        lines
    }
}

/// RAM for a region of guest memory that a report names.
fn spare(config: &Config) -> u64 {
    const SIZE: u64 = 0x1_0000;
    let (guest, platform) = (&config.guest, &config.platform);
    // Devices that move data take the addresses that the guest knows.
    if guest.its || guest.devices.iter().any(|device| device.value.dma_trusted) {
        return SPARE_AS_GUEST;
    }
    let Platform { vectors, load_window, earlier, .. } = *platform;
    let mut owned =
        vec![vectors, load_window, earlier, platform.handed_tree(), config.firmware.value];
    owned.extend(guest.memory.iter().map(|memory| memory.value.host));
    lowest_free(SIZE, &owned, &config.ram).unwrap_or(0)
}

/// SHA-256 over the digests of everything that decides an image's bytes, its signature apart.
#[must_use]
pub fn build_id(loaded: &Loaded, inputs: &Inputs, trust: &Trust) -> [u8; 32] {
    let initrd = inputs.initrd.as_ref().map_or(&[][..], |initrd| &initrd.bytes);
    let over: String = recorded(loaded).map(|o| format!("{}={}\n", o.key, o.value)).collect();
    let inputs = [
        env!("CARGO_PKG_VERSION").as_bytes(),
        loaded.text.as_bytes(),
        over.as_bytes(),
        &inputs.loader,
        &inputs.body,
        &inputs.kernel.bytes,
        initrd,
        trust.as_bytes(),
    ];
    let mut hash = Sha256::new();
    inputs.iter().for_each(|input| hash.update(digest(input)));
    hash.finalize().into()
}

/// The overrides that the image tells of. Where a private key lies is nobody's business, and what it
/// does the signature shows.
fn recorded(loaded: &Loaded) -> impl Iterator<Item = &Override> {
    loaded.overrides.iter().filter(|over| over.key != "image.sign_key")
}

fn arm64(config: &Config, body: &Body) -> anyhow::Result<Arm64> {
    let Some(arm) = config.platform.arm else { return Ok(Arm64::new_zeroed()) };
    let context = Stage2::smallest(config.guest.ipa_bits)?;
    Ok(Arm64 {
        vtcr: context.vtcr(),
        ipa_bits: context.ipa_bits(),
        start_level: context.start_level(),
        root_tables: context.root_tables() as u32,
        pa_range: (context.vtcr() >> 16 & 7) as u32,
        distributor: arm.distributor.base,
        redistributor: arm.redistributor.base,
        redistributor_guest: arm.redistributor.base,
        uart: arm.uart(),
        machine_tree: arm.machine_tree,
        code_bytes: body.code,
        guarded: config.guest.guarded.into(),
        its: if config.guest.its { arm.its.base } else { 0 },
        flash: arm.flash,
        forward: fill(&config.guest.forward, [0; FORWARD])?,
        forced_write_back: config.guest.forced_write_back.into(),
        hidden: config.guest.hidden.0.into(),
    })
}

/// The overrides as lines. A long value is named by its digest, so that all keys stay readable.
fn overrides<'a>(list: impl Iterator<Item = &'a Override>) -> Vec<String> {
    const LONG: usize = 96;
    list.map(|over| match over.value.replace('\n', " ") {
        value if value.len() <= LONG => format!("{}={value}", over.key),
        value => format!("{}=sha256:{}", over.key, &hex(&digest(value.as_bytes()))[..32]),
    })
    .collect()
}

/// Whole lines as far as there is room, padded with zeros. What is left out is told.
fn text<const N: usize>(lines: &[String]) -> [u8; N] {
    const CUT: &str = "…\n";
    let mut field = [0; N];
    let mut used = 0;
    for (index, line) in lines.iter().enumerate() {
        let rest: usize = lines[index + 1..].iter().map(|line| line.len() + 1).sum();
        let reserve = if used + line.len() + 1 + rest <= N { 0 } else { CUT.len() };
        let (line, last) = match used + line.len() + 1 + reserve <= N {
            true => (format!("{line}\n"), false),
            false => (CUT.to_owned(), true),
        };
        field[used..used + line.len()].copy_from_slice(line.as_bytes());
        used += line.len();
        if last {
            break;
        }
    }
    field
}

fn fill<T: Copy, const N: usize>(list: &[T], mut slots: [T; N]) -> anyhow::Result<[T; N]> {
    ensure!(list.len() <= N, "the manifest has room for {N} entries, not for {}", list.len());
    slots[..list.len()].copy_from_slice(list);
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn text_keeps_whole_lines() {
        let lines: Vec<String> = (0..4).map(|i| format!("k{i}=v")).collect();
        assert_eq!(&text::<24>(&lines)[..20], b"k0=v\nk1=v\nk2=v\nk3=v\n");
        let cut = text::<18>(&lines);
        assert_eq!(core::str::from_utf8(&cut).unwrap().trim_end_matches('\0'), "k0=v\nk1=v\n…\n");
    }
}
