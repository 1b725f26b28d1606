// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A board config as it was written, with the place of every value.
//!
//! These types are the config's keys: the JSON schema is generated from them, and the schema in
//! turn tells [`super::structure`] which keys exist, which must be there and what they hold. Values
//! are judged later, in [`super::rules`]. Every field is optional here, so that a file with a
//! missing key can still be judged in the rest.
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use toml::Spanned;

/// A value with its place, if it was written.
pub type Field<T> = Option<Spanned<T>>;

/// A board config: one machine, one guest.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// The machine.
    #[schemars(with = "RawBoard")]
    pub board: Field<RawBoard>,
    /// The machine's RAM that the image relies on.
    #[schemars(with = "Vec<RawRam>", length(min = 1))]
    pub ram: Field<Vec<Spanned<RawRam>>>,
    /// What the firmware takes for itself.
    #[schemars(with = "RawFirmware")]
    pub firmware: Field<RawFirmware>,
    /// The image: its version, and who vouches for it.
    #[schemars(with = "Option<RawImage>")]
    pub image: Field<RawImage>,
    /// The guest.
    #[schemars(with = "RawGuest")]
    pub guest: Field<RawGuest>,
}

/// The image: its version, and who vouches for it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawImage {
    /// The image's version: higher for a newer one. Default: `0`.
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub version: Field<i64>,
    /// What the firmware starts: `none`, any image, or `required`, only images that are signed with the
    /// key and not older than `min_version`. Default: `none`.
    #[schemars(with = "Option<String>")]
    pub verify: Field<String>,
    /// The public key's file: Ed25519 in PEM or DER (SPKI), or its 32 bytes. Default: `sign_key`'s own.
    #[schemars(with = "Option<String>")]
    pub public_key: Field<String>,
    /// The file of the private key that `build` signs with: Ed25519 in PEM or DER (PKCS#8), or its 32
    /// bytes. Default: none, `anchorite sign` does it later.
    #[schemars(with = "Option<String>")]
    pub sign_key: Field<String>,
    /// The lowest version that the firmware starts. Default: `0`.
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub min_version: Field<i64>,
}

/// The machine.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBoard {
    /// The board's name, at most 32 bytes.
    #[schemars(with = "String")]
    pub name: Field<String>,
    /// The architecture: `power9` or `arm64`.
    #[schemars(with = "String")]
    pub arch: Field<String>,
    /// The platform: `powernv` for POWER9, `qemu-virt` for arm64.
    #[schemars(with = "String")]
    pub platform: Field<String>,
    /// The processor that the machine must have: `power9`; for arm64 `cortex-a53`, `cortex-a72`,
    /// `cortex-a710`, `neoverse-n1`, `neoverse-n2`, `neoverse-v1` or `any`.
    #[schemars(with = "String")]
    pub cpu: Field<String>,
    /// How the machine starts the image: `opal-payload`, as skiboot's payload, or `bare`, in
    /// skiboot's place; on arm64, always at EL2, `arm64-image`, as a kernel's `Image`, `flat`, in
    /// place in flash, or `elf`, as an ELF.
    #[schemars(with = "String")]
    pub boot: Field<String>,
}

/// One range of the machine's RAM.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRam {
    /// First host real address.
    #[schemars(with = "String")]
    pub base: Field<String>,
    /// Size.
    #[schemars(with = "String")]
    pub size: Field<String>,
}

/// What the firmware takes for itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFirmware {
    /// RAM for the firmware's code, data and tables.
    #[schemars(with = "RawRam")]
    pub memory: Field<RawRam>,
    /// Where firmware and guest write text: `opal`, `uart` on POWER9 without skiboot, or `pl011` on
    /// arm64. (`uart` on other boards is half-built and refused.)
    #[schemars(with = "String")]
    pub console: Field<String>,
    /// Measure how long each exit keeps the guest, for `anchorite stats`; exits take longer then.
    /// Default: `false`.
    #[schemars(with = "Option<bool>")]
    pub timing: Field<bool>,
    /// How the firmware dies on purpose at the guest's first exit, to show what that looks like:
    /// `none`, `assert`, `exception`, `double` (an exception, and another one while it dies of it), on
    /// POWER9 `machine-check`, on arm64 `serror`. Default: `none`.
    #[schemars(with = "Option<String>")]
    pub debug_fault: Field<String>,
    /// Say on the console, before the guest is entered, how long the boot took by phase, and on arm64
    /// which of the processor's optional features the guest is given. Default: `false`.
    #[schemars(with = "Option<bool>")]
    pub debug_boot: Field<bool>,
    /// Flushes and barriers between guest and firmware, on POWER9: `auto`, those that the machine's
    /// firmware asks for (`fw-features` in its tree), `off`, or `on`, all. Default: `auto`.
    #[schemars(with = "Option<String>")]
    pub mitigations: Field<String>,
    /// The flash partition that the image goes to: it limits the image's size.
    #[schemars(with = "Option<RawFlash>")]
    pub flash: Field<RawFlash>,
    /// The firmware's watchdog, which ends the life of a silent guest. Default: none.
    #[schemars(with = "Option<RawWatchdog>")]
    pub watchdog: Field<RawWatchdog>,
}

/// A flash partition.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFlash {
    /// The partition's name, such as `BOOTKERNEL`.
    #[schemars(with = "String")]
    pub partition: Field<String>,
    /// Its size.
    #[schemars(with = "String")]
    pub size: Field<String>,
}

/// What to do with a silent guest.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWatchdog {
    /// Seconds of silence, 1 to 86400.
    #[schemars(with = "i64", range(min = 1, max = 86400))]
    pub timeout: Field<i64>,
    /// What to do then: `restart`, the guest begins again without a machine reset; `stop`, the run ends
    /// as stopped by policy (code 11); or `power-off`, it ends as the watchdog's doing (code 16).
    #[schemars(with = "String")]
    pub action: Field<String>,
    /// Restarts by the watchdog after which the run ends with code 15 instead. Only with `restart`.
    /// Default: no limit.
    #[schemars(with = "Option<i64>", range(min = 1))]
    pub budget: Field<i64>,
    /// What a sign of life is: `timer`, a CPU that sets its timer anew or goes to sleep, for which the
    /// firmware looks by itself; or `ping`, a call of the guest's. Default: `timer`.
    #[schemars(with = "Option<String>")]
    pub progress: Field<String>,
}

/// The guest.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawGuest {
    /// The kernel: a recipe's name, or a path (with a `/`, or of a file that exists).
    #[schemars(with = "String")]
    pub kernel: Field<String>,
    /// The initial file system: a recipe's name, or a path. Default: none.
    #[schemars(with = "Option<String>")]
    pub initrd: Field<String>,
    /// The kernel's command line, at most 2047 bytes. Default: empty.
    #[schemars(with = "Option<String>")]
    pub cmdline: Field<String>,
    /// How kernel and initrd are packed: `zstd`, `lz4` or `none`.
    /// Default: `zstd`.
    #[schemars(with = "Option<String>")]
    pub compression: Field<String>,
    /// How interrupts reach the guest: `direct`, or on arm64 `guarded`: EL2 keeps a timer interrupt
    /// that the guest can neither mask nor switch off. (Half-built and refused on POWER9.) Default:
    /// `direct`.
    #[schemars(with = "Option<String>")]
    pub interrupts: Field<String>,
    /// The interrupt translation service (ITS) on arm64: `absent`, or `trusted`: the guest has it, and
    /// no wall holds it. Default: `absent`.
    #[schemars(with = "Option<String>")]
    pub its: Field<String>,
    /// SMCCC functions of the machine's own firmware that the guest may call, by number: at most 16.
    /// Only for arm64. Default: none.
    #[schemars(with = "Option<Vec<i64>>")]
    pub forward_calls: Field<Vec<Spanned<i64>>>,
    /// Features of an arm64 processor that the guest is not to have: `pauth`, `sve` (and with it `sme`),
    /// `sme`, `mte`, `mops`. Default: none.
    #[schemars(with = "Option<Vec<String>>")]
    pub hide: Field<Vec<Spanned<String>>>,
    /// Offer the machine's random number generator as a device (H_RANDOM): Linux then asks it every
    /// minute or so, an exit each. The guest gets a fresh seed at boot in any case. Default: `false`.
    #[schemars(with = "Option<bool>")]
    pub hwrng: Field<bool>,
    /// What becomes of a guest that asks for a reboot: `end`, the run ends and the machine is reset, or
    /// `restart`, it starts again from the image without a machine reset. Default: `end`.
    #[schemars(with = "Option<String>")]
    pub on_reboot: Field<String>,
    /// What becomes of a guest that panics: `end`, the run ends with code 10, or `restart`. Default:
    /// `end`.
    #[schemars(with = "Option<String>")]
    pub on_panic: Field<String>,
    /// What becomes of a guest that makes a fault, by the fault's class.
    #[schemars(with = "Option<RawOnFault>")]
    pub on_fault: Field<RawOnFault>,
    /// Restarts after which the run ends with code 15 instead. Only with `restart`. Default: no limit.
    #[schemars(with = "Option<i64>", range(min = 1))]
    pub restart_budget: Field<i64>,
    /// The kernel's format: `auto` (what the file is), `elf` or `raw`. Default: `auto`.
    #[schemars(with = "Option<String>")]
    pub format: Field<String>,
    /// The byte order that the kernel is entered in: `big`, as Linux wants it, or `little`.
    /// Default: `big`.
    #[schemars(with = "Option<String>")]
    pub endian: Field<String>,
    /// Guest real address of a raw kernel's first byte. Only for `format = "raw"`. Default: `0`.
    #[schemars(with = "Option<String>")]
    pub load: Field<String>,
    /// Guest real address at which a raw kernel is entered. Only for `format = "raw"`. Default: the
    /// value of `load`.
    #[schemars(with = "Option<String>")]
    pub entry: Field<String>,
    /// The guest's interrupt controller on POWER9. Must be there on POWER9, and nowhere else.
    #[schemars(with = "Option<RawXive>")]
    pub xive: Field<RawXive>,
    /// Second-stage translation. Only for arm64.
    #[schemars(with = "Option<RawStage2>")]
    pub stage2: Field<RawStage2>,
    /// The guest's CPUs: one on POWER9, up to four on arm64.
    #[schemars(with = "Vec<RawVcpu>", length(min = 1))]
    pub vcpu: Field<Vec<Spanned<RawVcpu>>>,
    /// The guest's RAM.
    #[schemars(with = "Vec<RawMemory>", length(min = 1))]
    pub memory: Field<Vec<Spanned<RawMemory>>>,
    /// Devices whose registers the guest reaches directly.
    #[schemars(with = "Option<Vec<RawDevice>>")]
    pub device: Field<Vec<Spanned<RawDevice>>>,
}

/// What becomes of a guest that makes a fault.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawOnFault {
    /// For an access to nothing: `inject`, the guest gets the architecture's own fault; `restart`, it
    /// starts again from the image; `stop`, the run ends with code 11; `power-off`, it ends as if the
    /// guest had asked for it. Default: `inject`.
    #[schemars(with = "Option<String>")]
    pub hole: Field<String>,
    /// The same for an access that the region does not allow.
    #[schemars(with = "Option<String>")]
    pub permission: Field<String>,
    /// The same for an instruction that the guest does not have, outside its programs.
    #[schemars(with = "Option<String>")]
    pub instruction: Field<String>,
    /// The same for a register or facility that the guest does not have, outside its programs.
    #[schemars(with = "Option<String>")]
    pub register: Field<String>,
}

/// The guest's interrupt controller (XIVE).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawXive {
    /// Guest real address of the OS page of the thread interrupt management area.
    #[schemars(with = "String")]
    pub tima: Field<String>,
    /// Host real address of that page. Default: the value of `tima`.
    #[schemars(with = "Option<String>")]
    pub tima_host: Field<String>,
    /// Guest real address of the first interrupt source's pages.
    #[schemars(with = "String")]
    pub esb: Field<String>,
    /// Interrupt sources, two 64 KiB pages each: 1 to 256.
    #[schemars(with = "i64", range(min = 1, max = 256))]
    pub sources: Field<i64>,
    /// What the guest is offered: `exploitation`, the controller itself. (`xics`, the hypercalls of
    /// its predecessor, is half-built and refused.) Default: `exploitation`.
    #[schemars(with = "Option<String>")]
    pub interface: Field<String>,
}

/// Second-stage translation of arm64.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawStage2 {
    /// Bits of guest addresses, 32 to 48. A processor needs as many bits of physical address.
    /// Default: `40`.
    #[schemars(with = "Option<i64>", range(min = 32, max = 48))]
    pub ipa_bits: Field<i64>,
    /// Guest memory is cached whatever the guest's own attributes say (FEAT_S2FWB). Default: as
    /// `board.cpu` can; `false` for `any`.
    #[schemars(with = "Option<bool>")]
    pub fwb: Field<bool>,
}

/// One CPU of the guest.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawVcpu {
    /// The machine's CPU: its position in the machine's device tree.
    #[schemars(with = "i64", range(min = 0, max = 3))]
    pub cpu: Field<i64>,
}

/// One range of the guest's RAM.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawMemory {
    /// A name for messages and reports, at most 32 bytes.
    #[schemars(with = "String")]
    pub name: Field<String>,
    /// First guest real address.
    #[schemars(with = "String")]
    pub guest: Field<String>,
    /// First host real address.
    #[schemars(with = "String")]
    pub host: Field<String>,
    /// Size.
    #[schemars(with = "String")]
    pub size: Field<String>,
}

/// A device that the guest reaches directly.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDevice {
    /// A name for messages and reports, at most 32 bytes.
    #[schemars(with = "String")]
    pub name: Field<String>,
    /// Its registers.
    #[schemars(with = "RawMmio")]
    pub mmio: Field<RawMmio>,
    /// What it is, for the guest's tree: `pl011`, `pl031` or `virtio-mmio`. Only for arm64. Default:
    /// not described.
    #[schemars(with = "Option<String>")]
    pub model: Field<String>,
    /// The number of its interrupt among the shared peripheral interrupts. Only for arm64, with
    /// `model`. (Half-built and refused on POWER9.)
    #[schemars(with = "Option<i64>")]
    pub irq: Field<i64>,
    /// Whether it moves data by itself: `none`, or `trusted`, which no wall holds. Default: `none`.
    #[schemars(with = "Option<String>")]
    pub dma: Field<String>,
    /// What `anchorite run` puts into a `virtio-mmio` slot: `disk` or `network`. Default: nothing.
    #[schemars(with = "Option<String>")]
    pub virtio: Field<String>,
}

/// A device's registers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawMmio {
    /// First guest real address.
    #[schemars(with = "String")]
    pub guest: Field<String>,
    /// First host real address.
    #[schemars(with = "String")]
    pub host: Field<String>,
    /// Size.
    #[schemars(with = "String")]
    pub size: Field<String>,
}

/// The JSON schema of a board config, every type in its place.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut schema = settings.into_generator().into_root_schema_for::<RawConfig>().to_value();
    without_null(&mut schema);
    schema
}

/// TOML has no null: an optional key is left out.
fn without_null(schema: &mut serde_json::Value) {
    if let Some(map) = schema.as_object_mut() {
        if let Some(types) = map.get_mut("type").and_then(|kind| kind.as_array_mut()) {
            types.retain(|kind| kind != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                map.insert("type".into(), only);
            }
        }
        if let Some(mut choices) = map.remove("anyOf") {
            let real = choices.as_array_mut().and_then(|list| {
                list.retain(|choice| choice["type"] != "null");
                list.pop()
            });
            if let Some(serde_json::Value::Object(real)) = real {
                for (key, value) in real {
                    map.entry(key).or_insert(value);
                }
            }
        }
        map.values_mut().for_each(without_null);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::Value;

    fn repository(path: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
    }

    /// `UPDATE=1 cargo test -p anchorite schema` writes the schema anew.
    #[test]
    fn schema_is_current() {
        let path = repository("board-configs/schema.json");
        let text = serde_json::to_string_pretty(&super::schema()).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text);
    }

    /// Each key has a row, under the heading of its table, and one that says where it comes from.
    #[test]
    fn every_key_is_documented() {
        let docs = fs::read_to_string(repository("docs/config.md")).unwrap();
        let mut keys = Vec::new();
        collect(&super::schema(), "", &mut keys);
        let missing: Vec<_> =
            keys.iter().filter(|key| docs.matches(&format!("\n| `{key}` |")).count() < 2).collect();
        assert!(
            missing.is_empty(),
            "docs/config.md needs two rows for each key, in its table and in \"Where values come \
             from\": {missing:?}"
        );
    }

    fn collect(schema: &Value, path: &str, keys: &mut Vec<String>) {
        for (key, sub) in schema["properties"].as_object().into_iter().flatten() {
            let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let inner = if sub["type"] == "array" { &sub["items"] } else { sub };
            if inner["properties"].is_object() {
                collect(inner, &full, keys);
            } else {
                keys.push(full);
            }
        }
    }
}
