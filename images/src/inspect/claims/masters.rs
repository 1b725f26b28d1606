// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Devices that move data by themselves, and devices that share a page: who reaches one register of
//! a page reaches all of it.
use anchorite_spec::manifest::{MAP_DEVICE, MAP_RAM, MAP_WITHIN, Mapping, PERM_DMA};

use super::{Image, Outcome, claim, disjoint, guest, host, name};
use crate::config::units;

impl Image<'_> {
    /// Devices that share a page lie in one that is stated, apart from each other.
    pub(super) fn within(&self) -> Outcome {
        let within: Vec<_> = self.of_kind(MAP_WITHIN).map(|m| (name(m), host(m))).collect();
        disjoint(&within)?;
        self.of_kind(MAP_WITHIN).try_for_each(|device| {
            claim(self.page_of(device).is_some(), || {
                format!("`{}` lies in no stated page", name(device))
            })
        })
    }

    /// The page that a device shares with others, which it sees at one place in guest and host.
    fn page_of(&self, device: &Mapping) -> Option<&Mapping> {
        let same = |page: &Mapping| {
            let place =
                device.guest.wrapping_sub(page.guest) == device.host.wrapping_sub(page.host);
            place && device.size == device.host_size && !guest(device).is_empty()
        };
        self.of_kind(MAP_DEVICE).find(|page| {
            host(page).contains(host(device)) && guest(page).contains(guest(device)) && same(page)
        })
    }

    /// No device moves data past the tables: none is trusted to, and none can that is not.
    pub(super) fn masters(&self) -> Outcome {
        let trusted = |mapping: &Mapping| mapping.perms & PERM_DMA != 0;
        for (owner, registers) in self.platform.masters() {
            let theirs = |m: &&Mapping| m.kind != MAP_RAM && host(m).overlaps(registers);
            for mapping in self.manifest.mappings().filter(theirs) {
                claim(trusted(mapping), || {
                    let name = name(mapping);
                    format!(
                        "`{name}` has registers of {owner} and can move data, which is not stated"
                    )
                })?;
            }
        }
        // A page is told by those who share it, and as what else is in it.
        let shared = |page: &Mapping| {
            self.of_kind(MAP_WITHIN).any(|device| self.page_of(device).is_some_and(|p| p == page))
        };
        let all = || self.manifest.mappings().filter(|mapping| trusted(mapping));
        let mut names: Vec<String> = all().filter(|m| !shared(m)).map(name).collect();
        names.extend(
            all().filter(|m| shared(m)).map(|m| format!("all else in {}", units::range(host(m)))),
        );
        claim(names.is_empty(), || format!("trusted to move data: {}", names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use anchorite_spec::manifest::{ARCH_ARM64, ATTACHED_NOTHING, Mapping, Name, PERM_R, PERM_W};
    use anchorite_spec::{Manifest, Range};
    use zerocopy::FromZeros;

    use super::*;
    use crate::config::platform::QEMU_VIRT;

    const PAGE: Range = Range::new(0xa00_3000, 0x1000);
    const DISK: Range = Range::new(0xa00_3e00, 0x200);

    fn mapping(name: &str, kind: u32, range: Range, dma: u32) -> Mapping {
        Mapping {
            name: Name::new(name),
            kind,
            perms: PERM_R | PERM_W | dma,
            guest: range.base,
            size: range.size,
            host: range.base,
            host_size: range.size,
            attached: ATTACHED_NOTHING,
            reserved: 0,
        }
    }

    /// What the two claims say of mappings.
    fn judge(mappings: &[Mapping]) -> [Option<String>; 2] {
        let mut manifest = Manifest::new_zeroed();
        manifest.arch = ARCH_ARM64;
        manifest.arm64.ipa_bits = 40;
        manifest.mappings[..mappings.len()].copy_from_slice(mappings);
        let platform = QEMU_VIRT;
        let image = Image { manifest: &manifest, form: None, tables: &[], bytes: &[], platform };
        [image.mappings().err(), image.masters().err()]
    }

    #[test]
    fn who_shares_a_page_is_named_and_the_page_too() {
        let disk = mapping("disk", MAP_WITHIN, DISK, PERM_DMA);
        let page = mapping("page", MAP_DEVICE, PAGE, PERM_DMA);
        let [mappings, masters] = judge(&[disk, page]);
        assert_eq!(mappings, None);
        let told = "trusted to move data: disk, all else in 0xa003000..0xa004000";
        assert_eq!(masters.as_deref(), Some(told));
        // A page of slots by itself is no less of a master.
        let told = "trusted to move data: page";
        assert_eq!(judge(&[page])[1].as_deref(), Some(told));
    }

    #[test]
    fn slots_are_masters_whatever_is_stated() {
        let page = mapping("page", MAP_DEVICE, PAGE, 0);
        assert_eq!(
            judge(&[page])[1].as_deref(),
            Some("`page` has registers of virtio slots and can move data, which is not stated")
        );
        let disk = mapping("disk", MAP_WITHIN, DISK, 0);
        let trusted = mapping("page", MAP_DEVICE, PAGE, PERM_DMA);
        assert!(judge(&[trusted, disk])[1].as_deref().is_some_and(|why| why.contains("`disk`")));
        let uart = mapping("uart", MAP_DEVICE, Range::new(0x900_0000, 0x1000), 0);
        assert_eq!(judge(&[uart]), [None, None]);
    }

    #[test]
    fn a_device_beside_its_page_is_refused() {
        let page = mapping("page", MAP_DEVICE, PAGE, PERM_DMA);
        let disk = mapping("disk", MAP_WITHIN, DISK, PERM_DMA);
        let told = Some("`disk` lies in no stated page".to_owned());
        for change in [
            |disk: &mut Mapping| disk.host += 0x1000,
            |disk: &mut Mapping| disk.guest -= 0x200,
            |disk: &mut Mapping| disk.size = 0,
            |disk: &mut Mapping| (disk.guest, disk.host) = (u64::MAX, u64::MAX),
        ] {
            let mut disk = disk;
            change(&mut disk);
            assert_eq!(judge(&[page, disk])[0], told);
        }
        assert!(
            judge(&[page, disk, disk])[0].as_deref().is_some_and(|why| why.contains("overlap"))
        );
        assert!(judge(&[disk])[0].is_some());
    }
}
