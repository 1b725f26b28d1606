// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the guest can reach: the list for the manifest, and the tables made from the same list.
use anchorite_spec::manifest::{
    ATTACHED_DISK, ATTACHED_NETWORK, ATTACHED_NOTHING, MAP_BOOT_LEAF, MAP_DEVICE, MAP_RAM,
    MAP_WITHIN, Mapping, Name, PERM_DMA, PERM_R, PERM_W, PERM_X, PROCESS_TABLE_BYTES,
};
use anchorite_spec::{Range, low};
use anchorite_tables::radix::{self, MapError, Memory, RadixBuilder, Region};
use anchorite_tables::stage2::{self, Stage2};

use super::fault::Fault;
use super::layout::firmware_too_small;
use crate::config::checked::{Config, Device, Virtio, XIVE_PAGE};
use crate::config::diagnostic::Diagnostic;

/// Stage 2 leaves of the guest bear this owner.
const GUEST: u8 = 1;
/// Pages from this size on can stand beside boot leaves.
const LARGE_PAGE: u64 = 0x1_0000;
/// Tables take no more than this.
const MOST_TABLES: usize = 64 << 20;

/// Everything that the guest can reach.
#[must_use]
pub fn mappings(config: &Config) -> Vec<Mapping> {
    let guest = &config.guest;
    let mapping = |name: &str, kind, perms, guest: Range, host: Range| Mapping {
        name: Name::new(name),
        kind,
        perms,
        guest: guest.base,
        size: guest.size,
        host: host.base,
        host_size: host.size,
        attached: ATTACHED_NOTHING,
        reserved: 0,
    };
    let mut list = Vec::new();
    for memory in guest.memory.iter().map(|memory| &memory.value) {
        let perms = PERM_R | PERM_W | PERM_X;
        list.push(mapping(&memory.name, MAP_RAM, perms, memory.guest, memory.host));
    }
    let registers = PERM_R | PERM_W;
    if let Some(arm) = config.platform.arm {
        let device = |name: &str, perms, range| mapping(name, MAP_DEVICE, perms, range, range);
        // With a guard all stores to the interrupt controller go through the firmware's filter.
        let filtered = if guest.guarded { PERM_R } else { registers };
        list.push(device("gic-distributor", filtered, arm.distributor));
        if guest.its {
            list.push(device("gic-its", registers | PERM_DMA, arm.its));
        }
        for cpu in 0..guest.vcpus.len() as u64 {
            // Control frames are read directly; what is written to them goes through a filter.
            let control = Range::new(
                arm.redistributor.base + cpu * arm.redistributor.size,
                arm.redistributor.size / 2,
            );
            let local = Range::new(control.base + control.size, control.size);
            list.push(device(&format!("gic-control-{cpu}"), PERM_R, control));
            list.push(device(&format!("gic-local-{cpu}"), filtered, local));
        }
        return with_devices(list, config);
    }
    let xive = &guest.xive;
    let tima = Range::new(xive.tima, XIVE_PAGE);
    let tima_host = Range::new(xive.tima_host, XIVE_PAGE);
    list.push(mapping("xive-tima", MAP_DEVICE, registers, tima, tima_host));
    let window = config.platform.esb_window;
    list.push(mapping("xive-esb", MAP_BOOT_LEAF, registers, xive.esb_range(), window));
    with_devices(list, config)
}

/// Devices in pages of their own are mapped one by one; a page that small devices share is mapped
/// once, whole, and the devices are named beside it.
fn with_devices(mut list: Vec<Mapping>, config: &Config) -> Vec<Mapping> {
    let devices = || config.guest.devices.iter().map(|device| &device.value);
    for device in devices() {
        let kind = if device.is_small() { MAP_WITHIN } else { MAP_DEVICE };
        list.push(registers(&device.name, kind, device, (device.guest, device.host)));
    }
    for device in devices().filter(|device| device.is_small()) {
        let (guest, host) = device.pages();
        let name = format!("page-{:x}", host.base);
        let page = registers(&name, MAP_DEVICE, device, (guest, host));
        match list.iter_mut().find(|known| known.kind == MAP_DEVICE && known.host == host.base) {
            Some(known) => known.perms |= page.perms,
            None => list.push(Mapping { attached: ATTACHED_NOTHING, ..page }),
        }
    }
    list
}

fn registers(name: &str, kind: u32, device: &Device, (guest, host): (Range, Range)) -> Mapping {
    Mapping {
        name: Name::new(name),
        kind,
        perms: PERM_R | PERM_W | if device.dma_trusted { PERM_DMA } else { 0 },
        guest: guest.base,
        size: guest.size,
        host: host.base,
        host_size: host.size,
        attached: match device.virtio {
            Some(Virtio::Disk) => ATTACHED_DISK,
            Some(Virtio::Network) => ATTACHED_NETWORK,
            None => ATTACHED_NOTHING,
        },
        reserved: 0,
    }
}

/// Tables at their place in the firmware's memory.
pub struct Tables {
    /// Their bytes.
    pub bytes: Vec<u8>,
    /// Host real address of the root.
    pub root: u64,
}

/// Makes the tables for a list of mappings, at host real address `base`.
///
/// # Errors
/// They do not fit the firmware's memory, or two devices want pages that cannot stand together.
pub fn make(config: &Config, mappings: &[Mapping], base: u64) -> Result<Tables, Fault> {
    if config.platform.arm.is_some() {
        return stage2(config, mappings, base);
    }
    let mut arena = vec![0; MOST_TABLES];
    let mut builder = RadixBuilder::new(&mut arena, base).map_err(anyhow::Error::new)?;
    let small = |mapping: &&Mapping| {
        let all = mapping.guest | mapping.host | mapping.size;
        !all.is_multiple_of(LARGE_PAGE)
    };
    // Small pages first: large ones can join a table of small ones, but not the reverse.
    let order = mappings.iter().filter(small).chain(mappings.iter().filter(|m| !small(m)));
    for mapping in order {
        add(&mut builder, mapping).map_err(|error| match error {
            MapError::ArenaFull => too_many(config, mapping),
            other => refuse(config, mapping, &other),
        })?;
    }
    let (root, used) = builder.finish();
    placed(config, arena, root, used)
}

/// Tables at the front of an arena, if there is room for them behind the firmware.
fn placed(config: &Config, mut arena: Vec<u8>, root: u64, used: usize) -> Result<Tables, Fault> {
    let memory = &config.firmware;
    let needed = root.saturating_sub(memory.value.base) + used as u64;
    if needed > memory.value.size {
        return Err(firmware_too_small(memory, needed).into());
    }
    arena.truncate(used);
    Ok(Tables { bytes: arena, root })
}

/// Makes the tables by which the firmware's own vectors translate: the tree of process 0 of partition
/// 0 and, in the last page, the process table that leads to it. The partition's own tree is the same
/// one, by which the core finds that page.
///
/// # Errors
/// The place is not one for tables.
pub fn own(place: Range) -> Result<Vec<u8>, MapError> {
    let mut bytes = vec![0; place.size as usize];
    let processes = Range::new(place.base + place.size - PROCESS_TABLE_BYTES, PROCESS_TABLE_BYTES);
    let (arena, table) = bytes.split_at_mut((place.size - PROCESS_TABLE_BYTES) as usize);
    let mut builder = RadixBuilder::new_privileged(arena, place.base)?;
    for (range, permissions) in
        [(low::CONTEXTS, PERM_R | PERM_W), (low::RELOCATED, PERM_R | PERM_X), (processes, PERM_R)]
    {
        let Range { base, size } = range;
        builder.map(&Region::new(base, base, size, permissions, Memory::Normal))?;
    }
    table[..8].copy_from_slice(&radix::process_entry(builder.finish().0).to_be_bytes());
    Ok(bytes)
}

/// The same for arm64.
fn stage2(config: &Config, mappings: &[Mapping], base: u64) -> Result<Tables, Fault> {
    let context = Stage2::smallest(config.guest.ipa_bits)
        .map_err(anyhow::Error::new)?
        .with_forced_write_back(config.guest.forced_write_back);
    let mut arena = vec![0; MOST_TABLES];
    let mut tables = stage2::Tables::new(context, &mut arena, base).map_err(anyhow::Error::new)?;
    for mapping in mappings.iter().filter(|mapping| mapping.kind != MAP_WITHIN) {
        let kind =
            if mapping.kind == MAP_RAM { stage2::Memory::Normal } else { stage2::Memory::Device };
        let region = stage2::Region {
            guest: mapping.guest,
            host: mapping.host,
            size: mapping.size,
            perms: mapping.perms & (PERM_R | PERM_W | PERM_X),
            memory: kind,
            pages_only: false,
            owner: GUEST,
        };
        tables.map(&region).map_err(|error| match error {
            stage2::MapError::ArenaFull => too_many(config, mapping),
            other => refuse(config, mapping, &other),
        })?;
    }
    let (root, used) = tables.finish();
    placed(config, arena, root, used)
}

fn add(builder: &mut RadixBuilder<'_>, mapping: &Mapping) -> Result<(), MapError> {
    let memory = match mapping.kind {
        MAP_BOOT_LEAF => return builder.reserve_boot_leaf(mapping.guest, mapping.size),
        MAP_RAM => Memory::Normal,
        _ => Memory::Device,
    };
    let perms = mapping.perms & (PERM_R | PERM_W | PERM_X);
    builder.map(&Region::new(mapping.guest, mapping.host, mapping.size, perms, memory))
}

fn refuse(config: &Config, mapping: &Mapping, error: &dyn std::error::Error) -> Fault {
    let help = "align it to 64KiB, or move it away from other small regions";
    unmapped(config, mapping, error.to_string(), help)
}

fn too_many(config: &Config, mapping: &Mapping) -> Fault {
    let label = "4KiB pages throughout: its tables would take more than 64MiB";
    let help =
        "let `guest` and `host` differ by a multiple of 2MiB: one entry then maps as much as 512";
    unmapped(config, mapping, label.into(), help)
}

fn unmapped(config: &Config, mapping: &Mapping, label: String, help: &str) -> Fault {
    let name = mapping.name.as_str();
    let places = config.guest.devices.iter().map(|device| (&device.value.name, &device.span));
    let place = places
        .chain(config.guest.memory.iter().map(|memory| (&memory.value.name, &memory.span)))
        .find(|(known, _)| known.as_str() == name);
    let span = place.map_or(0..0, |(_, span)| span.clone());
    let title = format!("`{name}` cannot be mapped");
    Diagnostic::new("tables", title, span, label).help(help).into()
}

#[cfg(test)]
mod tests {
    use anchorite_spec::manifest::{MAP_DEVICE, MAP_WITHIN, PERM_DMA, PERM_R, PERM_W};

    use super::mappings;
    use crate::config::judge;
    use crate::config::overrides::Override;

    const BOARD: &str = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../board-configs/qemu-arm64-virt-devices.toml"
    ));

    /// Name, kind, guest, host and permissions of what is in the virtio slots' range.
    fn slots(sets: &[&str]) -> Vec<(String, u32, u64, u64, u32)> {
        let sets = sets.iter().map(|set| Override::from_set(set).unwrap()).collect();
        let config = judge("board.toml", BOARD.into(), sets).unwrap().config;
        let all = mappings(&config).into_iter().filter(|mapping| mapping.host >> 16 == 0xa00);
        all.map(|m| (m.name.as_str().into(), m.kind, m.guest, m.host, m.perms)).collect()
    }

    #[test]
    fn a_shared_page_is_mapped_once() {
        let perms = PERM_R | PERM_W | PERM_DMA;
        let disk = ("disk".into(), MAP_WITHIN, 0xa00_3e00, 0xa00_3e00, perms);
        let net = ("net".into(), MAP_WITHIN, 0xa00_3c00, 0xa00_3c00, perms);
        let page = ("page-a003000".into(), MAP_DEVICE, 0xa00_3000, 0xa00_3000, perms);
        assert_eq!(slots(&[]), [disk.clone(), net, page.clone()]);
        let elsewhere = [
            "guest.device.3.mmio.guest=0xb000000",
            "guest.device.3.mmio.host=0xa000000",
            "guest.device.3.irq=16",
        ];
        let net = ("net".into(), MAP_WITHIN, 0xb00_0000, 0xa00_0000, perms);
        let other = ("page-a000000".into(), MAP_DEVICE, 0xb00_0000, 0xa00_0000, perms);
        assert_eq!(slots(&elsewhere), [disk, net, page, other]);
    }
}
