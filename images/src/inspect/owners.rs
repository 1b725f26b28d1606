// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whose the machine's CPUs and interrupts are.
use anchorite_spec::Manifest;
use anchorite_spec::manifest::{ARCH_ARM64, BOOT_BARE};
use serde_json::{Value, json};

const GUEST: &str = "guest";
const FIRMWARE: &str = "firmware";
const EARLIER: &str = "earlier firmware";

/// What it is, whose it is, and how that is.
pub type Owned = (String, &'static str, String);

/// The CPUs, by their place in the machine's tree.
pub fn cpus(manifest: &Manifest) -> Vec<Owned> {
    let given = manifest.vcpu_cpu.iter().take(manifest.vcpus as usize).enumerate();
    let mut list: Vec<Owned> =
        given.map(|(vcpu, cpu)| (format!("CPU {cpu}"), GUEST, format!("its CPU {vcpu}"))).collect();
    if manifest.arch == ARCH_ARM64 || manifest.boot == BOOT_BARE {
        let why = format!("the machine must have {} CPUs", manifest.cores);
        list.push(("other CPUs".into(), "nobody", why));
    } else {
        list.push(("other CPUs".into(), EARLIER, "they stay with skiboot".into()));
    }
    list
}

/// The interrupts.
pub fn interrupts(manifest: &Manifest) -> Vec<Owned> {
    let owned = |what: &str, whose, why: &str| (what.to_owned(), whose, why.to_owned());
    if manifest.arch == ARCH_ARM64 {
        let mut list = if manifest.arm64.guarded == 0 {
            vec![owned("all interrupts", GUEST, "taken at EL1, without exits")]
        } else {
            vec![
                owned("EL2's timer (26)", FIRMWARE, "Group 0, taken at EL2 as an FIQ"),
                owned("CPU to CPU", GUEST, "sent by the firmware: an exit each"),
                owned("all others", GUEST, "Group 1, taken at EL1, without exits"),
            ]
        };
        if manifest.arm64.its != 0 {
            list.push(owned("messages", GUEST, "by the machine's ITS"));
        }
        return list;
    }
    let sources = format!("{} sources", manifest.xive_sources);
    let place = format!("at guest real {:#x}, without exits", manifest.xive_esb_guest);
    let mut list = vec![
        (sources, GUEST, place),
        owned("decrementers", GUEST, "without exits"),
        owned("hypervisor decrementers", FIRMWARE, "on every CPU of the guest's"),
    ];
    list.push(if manifest.boot == BOOT_BARE {
        owned("other sources", FIRMWARE, "masked, but for those by which it pulls CPUs")
    } else {
        owned("other sources", EARLIER, "skiboot's own, which the firmware passes to it")
    });
    list
}

/// The same as data.
pub fn json(list: &[Owned]) -> Value {
    list.iter()
        .map(|(what, whose, how)| json!({ "name": what, "owner": whose, "how": how }))
        .collect()
}
