// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The checker against a slow one that is obviously right: it paints every page of both address
//! spaces with its owners and looks for pages with two, or with none where there must be one.
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::judge;

/// Pages of this many bytes: what configs are made of here is aligned to it.
const PAGE: u64 = 0x10_0000;
/// What lies above is out of the oracle's sight.
const PAGES: u64 = 4096;

/// Pages from `base` on, `size` of them.
#[derive(Clone, Copy, Debug)]
struct Pages {
    base: u64,
    size: u64,
}

impl Pages {
    fn all(self) -> std::ops::Range<u64> {
        self.base..self.base + self.size
    }

    /// The pages that bytes touch.
    fn of_bytes(base: u64, size: u64) -> Self {
        let first = base / PAGE;
        Self { base: first, size: (base + size).div_ceil(PAGE) - first }
    }
}

/// A config with everything in it that lies somewhere.
#[derive(Clone, Debug)]
struct Draft {
    ram: Vec<Pages>,
    firmware: Pages,
    /// Guest side, host side's base.
    memory: Vec<(Pages, u64)>,
    devices: Vec<(Pages, u64)>,
    cpus: Vec<u64>,
}

/// Where devices stand in the machine: pages of registers that nobody else has.
const REGISTERS: u64 = 0x0006_0302_0400_0000;

impl Draft {
    fn text(&self) -> String {
        let at = |page: u64| format!("\"{:#x}\"", page * PAGE);
        let mut text = String::from(
            "[board]\nname = \"oracle\"\narch = \"power9\"\nplatform = \"powernv\"\n\
             cpu = \"power9\"\nboot = \"opal-payload\"\n",
        );
        for ram in &self.ram {
            text += &format!("[[ram]]\nbase = {}\nsize = {}\n", at(ram.base), at(ram.size));
        }
        text += &format!(
            "[firmware]\nconsole = \"opal\"\nmemory = {{ base = {}, size = {} }}\n[guest]\n\
             kernel = \"k\"\n[guest.xive]\ntima = \"{:#x}\"\ntima_host = \"0x60302031a0000\"\n\
             esb = \"{:#x}\"\nsources = 8\n",
            at(self.firmware.base),
            at(self.firmware.size),
            TIMA,
            ESB,
        );
        for cpu in &self.cpus {
            text += &format!("[[guest.vcpu]]\ncpu = {cpu}\n");
        }
        for (index, (guest, host)) in self.memory.iter().enumerate() {
            text += &format!(
                "[[guest.memory]]\nname = \"m{index}\"\nguest = {}\nhost = {}\nsize = {}\n",
                at(guest.base),
                at(*host),
                at(guest.size)
            );
        }
        for (index, (guest, host)) in self.devices.iter().enumerate() {
            let host = REGISTERS + host * PAGE;
            text += &format!(
                "[[guest.device]]\nname = \"d{index}\"\n\
                 mmio = {{ guest = {}, host = \"{host:#x}\", size = {} }}\n",
                at(guest.base),
                at(guest.size)
            );
        }
        text
    }

    /// What the machine has before anyone writes a config.
    fn given() -> [(&'static str, Pages); 3] {
        [
            ("exception vectors", Pages::of_bytes(0, 0x6000)),
            ("skiboot loads the image", Pages::of_bytes(0x2000_0000, 0x0800_0000)),
            ("skiboot's own memory", Pages::of_bytes(0x3000_0000, 0x0300_0000)),
        ]
    }

    fn hosts(&self) -> impl Iterator<Item = (String, Pages)> {
        let region = |(index, (guest, host)): (usize, &(Pages, u64))| {
            (format!("guest memory `m{index}`"), Pages { base: *host, size: guest.size })
        };
        self.memory.iter().enumerate().map(region)
    }

    /// Every mistake, as a rule and the words that its message must hold.
    fn mistakes(&self) -> Vec<(String, Vec<String>)> {
        let mut pairs = BTreeSet::new();
        let mut painted = |rule: &str, owners: &[(String, Pages)], given: usize| {
            let mut owned = vec![Vec::new(); PAGES as usize];
            for (index, (_, pages)) in owners.iter().enumerate() {
                pages.all().for_each(|page| owned[page as usize].push(index));
            }
            for page in owned {
                for (a, b) in page.iter().flat_map(|a| page.iter().map(move |b| (*a, *b))) {
                    if a < b && b >= given {
                        let mut names = vec![owners[a].0.clone(), owners[b].0.clone()];
                        names.sort();
                        pairs.insert((rule.to_owned(), names));
                    }
                }
            }
        };
        let ram: Vec<_> =
            self.ram.iter().enumerate().map(|(n, ram)| (format!("ram.{n}"), *ram)).collect();
        painted("overlap-host", &ram, 0);
        let mut host: Vec<_> = Self::given().map(|(name, pages)| (name.to_owned(), pages)).to_vec();
        host.push(("the firmware's memory".into(), self.firmware));
        host.extend(self.hosts());
        painted("overlap-host", &host, 3);
        let side =
            |(index, (guest, _)): (usize, &(Pages, u64))| (format!("device `d{index}`"), *guest);
        let mut guest: Vec<_> = self
            .memory
            .iter()
            .enumerate()
            .map(|(index, (guest, _))| (format!("guest memory `m{index}`"), *guest))
            .collect();
        guest.push(("the TIMA pages".into(), Pages::of_bytes(TIMA, 0x2_0000)));
        guest.push(("the sources' pages".into(), Pages::of_bytes(ESB, 0x10_0000)));
        guest.extend(self.devices.iter().enumerate().map(side));
        painted("overlap-guest", &guest, 0);
        let registers: Vec<_> = self
            .devices
            .iter()
            .enumerate()
            .map(|(index, (guest, host))| {
                (format!("device `d{index}`"), Pages { base: *host, size: guest.size })
            })
            .collect();
        painted("overlap-host", &registers, 0);

        let mut found: Vec<_> = pairs.into_iter().collect();
        let in_one_ram = |pages: Pages| {
            self.ram.iter().any(|ram| pages.all().all(|page| ram.all().contains(&page)))
        };
        let mut must = host;
        must.retain(|(_, pages)| !in_one_ram(*pages));
        found.extend(must.into_iter().map(|(name, _)| ("ram-bounds".to_owned(), vec![name])));
        if !self.memory.iter().any(|(guest, _)| guest.base == 0) {
            found.push(("guest-zero".into(), vec![]));
        }
        for (index, cpu) in self.cpus.iter().enumerate() {
            if *cpu > 3 {
                found.push(("vcpu".into(), vec![format!("at {index}")]));
            } else if self.cpus[..index].contains(cpu) {
                found.push(("vcpu".into(), vec![format!("CPU {cpu} ")]));
            }
        }
        found
    }
}

/// Guest addresses of the interrupt controller: in the oracle's sight.
const TIMA: u64 = 0xD000_0000;
const ESB: u64 = 0xD800_0000;

/// What the checker says of a config: rule and title of each mistake.
fn judged(text: &str) -> Vec<(&'static str, String)> {
    match judge("oracle.toml", text.to_owned(), Vec::new()) {
        Ok(_) => Vec::new(),
        Err(refusal) => refusal.diagnostics.into_iter().map(|d| (d.rule, d.title)).collect(),
    }
}

/// The same mistakes, each once.
fn agree(draft: &Draft) -> Result<(), TestCaseError> {
    let text = draft.text();
    let mut said = judged(&text);
    for (rule, names) in draft.mistakes() {
        // A CPU out of range is named by its number alone: any such message will do.
        let range = rule == "vcpu" && names.iter().any(|name| name.starts_with("at "));
        let found = said.iter().position(|(known, title)| {
            let named = names.iter().all(|name| title.contains(name.as_str()));
            *known == rule && (named || range && title.contains("is 0 to"))
        });
        prop_assert!(found.is_some(), "not told: {rule} {names:?} of\n{text}\ntold: {said:?}");
        said.remove(found.unwrap_or_default());
    }
    prop_assert!(said.is_empty(), "no mistake: {said:?} of\n{text}");
    Ok(())
}

fn pages(most: u64) -> impl Strategy<Value = Pages> {
    // Small sizes and round places make neighbours and hits likely.
    let base = prop_oneof![0..most, (0..most.div_ceil(256)).prop_map(|n| n * 256)];
    let size = prop_oneof![1..5u64, (1..4u64).prop_map(|n| n * 256), 1..most];
    (base, size).prop_map(move |(base, size)| Pages { base, size: size.min(most - base) })
}

fn draft() -> impl Strategy<Value = Draft> {
    const MOST: u64 = PAGES - 64;
    let usual = Just(vec![Pages { base: 0, size: 4096 - 64 }]);
    let ram = prop_oneof![usual, prop::collection::vec(pages(MOST), 1..4)];
    let placed = |size: u64| (pages(1024), 0..size);
    let memory = prop::collection::vec(placed(3000), 1..5);
    let devices = prop::collection::vec((pages(64), 0..200u64), 0..3).prop_map(|list| {
        let far = |(at, host): (Pages, u64)| (Pages { base: at.base + 0xCF0, ..at }, host);
        list.into_iter().map(far).collect()
    });
    let cpus = prop::collection::vec(0..6u64, 1..4);
    (ram, pages(MOST), memory, devices, cpus).prop_map(|(ram, firmware, memory, devices, cpus)| {
        Draft { ram, firmware, memory, devices, cpus }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn the_checker_finds_what_a_slow_one_finds(draft in draft()) {
        agree(&draft)?;
    }

    /// Nothing but the firmware moves, so that many of these are in order.
    #[test]
    fn the_firmware_is_right_in_the_same_places(firmware in pages(3000)) {
        agree(&Draft {
            ram: vec![Pages { base: 0, size: 2048 }],
            firmware,
            memory: vec![(Pages { base: 0, size: 512 }, 1024)],
            devices: vec![],
            cpus: vec![0, 3],
        })?;
    }
}
