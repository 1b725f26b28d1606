// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an inspection found, for people and for programs.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::mem::offset_of;

use anchorite_hv::core::fault::Class;
use anchorite_spec::manifest::{
    CODEC_NONE, IMAGE_OFFSET, MAP_BOOT_LEAF, MAP_DEVICE, MAP_RAM, MAP_WITHIN, Mapping, ON_FAULT,
    PART_INITRD, PART_KERNEL, PART_LOADER, PART_TABLES, PERM_DMA, PERM_R, PERM_W, PERM_X, Part,
    SPACE_GUEST, SPACE_HOST, WATCHDOG_POWERS_OFF, WATCHDOG_RESTARTS, WATCHDOG_STOPS, codec_name,
    mitigations_name, part_name,
};
use anchorite_spec::{Form, Manifest, Range};
use serde_json::{Value, json};

use super::claims::{self, Wall, letters};
use super::{Inspected, clean, features, owners};
use crate::config::platform::Platform;
use crate::config::units;
use crate::image::hex;

/// The report as data.
#[must_use]
pub fn json(name: &str, image: &Inspected<'_>) -> Value {
    let manifest = &image.manifest;
    let mut report = json!({
        "image": name,
        "container_bytes": image.container,
        "form": image.form.map(Form::name),
        "size": image.bytes.len(),
        "build_id": hex(&manifest.build_id),
        "board": manifest.board.as_str(),
        "digests_ok": image.intact(),
        "manifest": {
            "offset": IMAGE_OFFSET,
            "size": size_of::<Manifest>(),
            "digest_offset": IMAGE_OFFSET as usize + offset_of!(Manifest, digest),
            "digest": hex(&manifest.digest),
            "ok": image.manifest_intact,
        },
        "frame": {
            "digest_offset": IMAGE_OFFSET as usize + offset_of!(Manifest, frame_digest),
            "digest": hex(&manifest.frame_digest),
            "ok": image.frame_intact,
        },
        "signature": signature_json(image),
        "parts": image.parts.iter().map(part_json).collect::<Vec<_>>(),
        "resident_bytes": manifest.resident_bytes,
        "boot_only_bytes": boot_only(manifest),
        "payload_bytes": payload(manifest),
        "ram_kept": ram_kept(manifest),
        "firmware": range_json(manifest.firmware),
        "firmware_used": used(manifest),
        "vectors": range_json(manifest.vectors),
        "load_window": range_json(manifest.load_window),
        "earlier": manifest.earlier().map(range_json).collect::<Vec<_>>(),
        "table_root": manifest.table_root,
        "tables": {
            "base": manifest.tables.base,
            "size": manifest.tables.size,
            "file_offset": manifest.part(PART_TABLES).map(|part| part.offset),
        },
        "ledger": manifest.ledger,
        "epitaph": manifest.epitaph,
        "vcpus": manifest.vcpus,
        "cores": manifest.cores,
        "cpu_owners": owners::json(&owners::cpus(manifest)),
        "interrupts": interrupts(manifest),
        "interrupt_owners": owners::json(&owners::interrupts(manifest)),
        "forced_write_back": manifest.arm64.forced_write_back != 0,
        "guest_entry": manifest.guest_entry,
        "guest_tree": manifest.guest_tree,
        "ram": manifest.ram().map(range_json).collect::<Vec<_>>(),
        "mappings": manifest.mappings().map(mapping_json).collect::<Vec<_>>(),
        "debug_boot": manifest.debug_boot != 0,
        "restart": restart_json(manifest),
        "features": features::json(manifest),
        "sources": lines(&manifest.sources),
        "overrides": lines(&manifest.overrides),
        "walls": image.walls.iter().map(wall_json).collect::<Vec<_>>(),
        "proved": image.proved(),
    });
    // More keys than the macro expands.
    report["place"] = place_json(image);
    report["mitigations"] = mitigations_name(manifest.mitigations).into();
    report["watchdog"] = watchdog_json(manifest);
    report["timing"] = json!(manifest.timing != 0);
    report
}

fn signature_json(image: &Inspected<'_>) -> Value {
    let trust = &image.trust;
    let required = trust.is_required();
    json!({
        "verify": if required { "required" } else { "none" },
        "public_key": required.then(|| hex(&trust.public_key)),
        "version": image.manifest.image_version,
        "min_version": required.then_some(trust.min_version),
        "state": image.signature.name(),
        "offset": IMAGE_OFFSET as usize + offset_of!(Manifest, signature),
        "started": image.refused().is_none(),
    })
}

fn part_json((index, part, intact): &(usize, Part, bool)) -> Value {
    let digest = offset_of!(Manifest, parts) + index * size_of::<Part>() + offset_of!(Part, digest);
    json!({
        "name": part_name(part.kind),
        "offset": part.offset,
        "size": part.size,
        "space": space(part),
        "dest": part.dest,
        "memory_size": part.memory_size,
        "unpacked_size": part.unpacked_size,
        "codec": codec_name(part.codec),
        "digest": hex(&part.digest),
        "digest_offset": IMAGE_OFFSET as usize + digest,
        "ok": intact,
    })
}

fn mapping_json(mapping: &Mapping) -> Value {
    json!({
        "name": mapping.name.as_str(),
        "kind": kind(mapping),
        "perms": perms(mapping),
        "guest": mapping.guest,
        "size": mapping.size,
        "host": mapping.host,
        "host_size": mapping.host_size,
        "dma": if mapping.perms & PERM_DMA != 0 { "trusted" } else { "none" },
    })
}

fn range_json(range: Range) -> Value {
    json!({ "base": range.base, "size": range.size })
}

/// The flash partition, if the file is a whole one.
fn partition(image: &Inspected<'_>) -> Option<usize> {
    (image.padding > 0).then(|| image.container + image.bytes.len() + image.padding)
}

fn percent(part: usize, whole: u64) -> u64 {
    (part as u64).saturating_mul(100) / whole.max(1)
}

/// What the machine has for the image, and the partition around it.
fn place_json(image: &Inspected<'_>) -> Value {
    let (store, name) = Platform::numbered(image.manifest.arch, image.manifest.boot).store();
    let partition = partition(image).map(|size| json!({ "size": size, "free": image.padding }));
    json!({ "name": name, "size": store.size, "partition": partition })
}

/// The report for people.
#[must_use]
pub fn text(name: &str, image: &Inspected<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_text(&mut out, name, image);
    out
}

fn write_text(out: &mut String, name: &str, image: &Inspected<'_>) -> std::fmt::Result {
    let manifest = &image.manifest;
    writeln!(out, "{name}: {} bytes for {}", image.bytes.len(), clean(manifest.board.as_str()))?;
    writeln!(out, "  build id       {}", hex(&manifest.build_id))?;
    let form = image.form.map_or("of none: its header was changed", Form::name);
    writeln!(out, "  form           {form}")?;
    let (store, place) = Platform::numbered(manifest.arch, manifest.boot).store();
    let (taken, most) = (percent(image.bytes.len(), store.size), units::size(store.size));
    writeln!(out, "  place          {taken}% of {most}: {place}")?;
    if let Some(partition) = partition(image) {
        let free = image.padding;
        writeln!(out, "  partition      {partition} bytes, {free} of them free")?;
    }
    let intact = if image.manifest_intact { "right" } else { "WRONG" };
    writeln!(out, "  manifest       {IMAGE_OFFSET:#x}, digest {intact}")?;
    let version = manifest.image_version;
    if image.trust.is_required() {
        let (key, least) = (hex(&image.trust.public_key), image.trust.min_version);
        writeln!(out, "  signature      {}, by the key {key}", image.signature.name())?;
        writeln!(out, "  version        {version}, started from {least} on")?;
    } else {
        writeln!(out, "  signature      {}, none is demanded", image.signature.name())?;
        writeln!(out, "  version        {version}")?;
    }
    if !image.frame_intact {
        writeln!(out, "  frame          headers or padding, digest WRONG")?;
    }
    for line in lines(&manifest.sources) {
        writeln!(out, "  built from     {line}")?;
    }
    for line in lines(&manifest.overrides) {
        writeln!(out, "  override       {line}")?;
    }
    writeln!(out, "\n  part        offset     in file    in memory  digest  goes to")?;
    for (_, part, intact) in &image.parts {
        writeln!(
            out,
            "  {:<10}  {:#09x}  {:>9}  {:>11}  {:<6}  {}{}{}",
            part_name(part.kind),
            part.offset,
            part.size,
            part.memory_size,
            if *intact { "right" } else { "WRONG" },
            space(part),
            if part.space == SPACE_HOST || part.space == SPACE_GUEST {
                format!(" {:#x}", part.dest)
            } else {
                String::new()
            },
            match part.codec {
                CODEC_NONE => String::new(),
                codec => format!(", {}", codec_name(codec)),
            },
        )?;
    }
    memory(out, manifest)?;
    writeln!(out, "\n  the guest reaches")?;
    for mapping in manifest.mappings() {
        let (range, host) =
            (units::range(claims::guest(mapping)), units::range(claims::host(mapping)));
        let kind = kind(mapping);
        let arrow = if mapping.kind == MAP_BOOT_LEAF { "somewhere in" } else { "at" };
        let (name, perms) = (clean(mapping.name.as_str()), perms(mapping));
        writeln!(out, "  {name:<12} {kind:<10} {perms}  {range} {arrow} {host}")?;
    }
    writeln!(out, "\n  CPUs and interrupts")?;
    for (what, whose, how) in owners::cpus(manifest).iter().chain(&owners::interrupts(manifest)) {
        writeln!(out, "  {what:<24} {whose:<17} {how}")?;
    }
    let features = features::list(manifest);
    if !features.is_empty() {
        let whose = if manifest.pvr_mask == 0 { "a" } else { "the named" };
        writeln!(
            out,
            "\n  optional features of {whose} processor, as the firmware decides at boot"
        )?;
    }
    for (name, verdict, why) in features {
        writeln!(out, "  {name:<12} {verdict:<10} {why}")?;
    }
    writeln!(out, "\n  walls")?;
    for wall in &image.walls {
        match &wall.why {
            None => writeln!(out, "  proved      {}", wall.claim)?,
            Some(why) => writeln!(out, "  NOT PROVED  {}\n              {why}", wall.claim)?,
        }
    }
    Ok(())
}

fn memory(out: &mut String, manifest: &Manifest) -> std::fmt::Result {
    writeln!(out)?;
    writeln!(out, "  resident       {} bytes of text and data", manifest.resident_bytes)?;
    let fate = if manifest.restarts() {
        "kept out of the guest's reach for its restarts"
    } else {
        "wiped before the guest runs"
    };
    writeln!(out, "  boot only      {} bytes, {fate}", boot_only(manifest))?;
    writeln!(out, "  payload        {} bytes, kept as loaded", payload(manifest))?;
    writeln!(
        out,
        "  RAM kept       {} bytes: {} (of which {} bytes used) and the vectors",
        ram_kept(manifest),
        units::range(manifest.firmware),
        used(manifest)
    )?;
    writeln!(out, "  table root     {:#x}", manifest.table_root)?;
    writeln!(out, "  ledger         {:#x}", manifest.ledger)?;
    writeln!(out, "  epitaph        {:#x}", manifest.epitaph)?;
    writeln!(out, "  vCPUs          {}", manifest.vcpus)?;
    writeln!(out, "  interrupts     {}", interrupts(manifest))?;
    if manifest.restarts() {
        let reboot = end_or_restart(manifest.restart_on_reboot);
        let panic = end_or_restart(manifest.restart_on_panic);
        let budget = match manifest.restart_budget {
            0 => "no limit".to_owned(),
            most => format!("{most} restarts at most"),
        };
        writeln!(out, "  on reboot      {reboot}; on panic {panic}; {budget}")?;
    }
    if let Some((action, progress)) = watchdog(manifest) {
        let seconds = manifest.watchdog_seconds;
        let budget = match manifest.watchdog_budget {
            0 => String::new(),
            most => format!(", {most} times at most"),
        };
        writeln!(out, "  watchdog       {action} after {seconds} s without {progress}{budget}")?;
    }
    let by_fault = on_fault(manifest).filter(|(_, policy)| *policy != ON_FAULT[0]);
    let by_fault: Vec<String> =
        by_fault.map(|(class, policy)| format!("{class} {policy}")).collect();
    if !by_fault.is_empty() {
        writeln!(out, "  on fault       {}", by_fault.join("; "))?;
    }
    if manifest.arm64.forced_write_back != 0 {
        writeln!(out, "  memory         cached in any case (FEAT_S2FWB)")?;
    }
    for ram in manifest.ram() {
        writeln!(out, "  RAM            {}", units::range(ram))?;
    }
    Ok(())
}

fn interrupts(manifest: &Manifest) -> &'static str {
    if manifest.arm64.guarded == 0 { "direct" } else { "guarded" }
}

fn wall_json(wall: &Wall) -> Value {
    json!({
        "id": wall.id, "claim": wall.claim, "proved": wall.why.is_none(), "why": wall.why,
    })
}

fn restart_json(manifest: &Manifest) -> Value {
    json!({
        "on_reboot": end_or_restart(manifest.restart_on_reboot),
        "on_panic": end_or_restart(manifest.restart_on_panic),
        "on_fault": on_fault(manifest).collect::<BTreeMap<_, _>>(),
        "budget": (manifest.restart_budget != 0).then_some(manifest.restart_budget),
    })
}

/// What the firmware's watchdog does, and for want of what.
fn watchdog(manifest: &Manifest) -> Option<(&'static str, &'static str)> {
    let action = match manifest.watchdog_action {
        WATCHDOG_RESTARTS => "restart",
        WATCHDOG_STOPS => "stop",
        WATCHDOG_POWERS_OFF => "power-off",
        _ => return None,
    };
    Some((action, if manifest.watchdog_looks == 0 { "ping" } else { "timer" }))
}

fn watchdog_json(manifest: &Manifest) -> Value {
    watchdog(manifest).map_or(Value::Null, |(action, progress)| {
        json!({
            "timeout": manifest.watchdog_seconds, "action": action, "progress": progress,
            "budget": (manifest.watchdog_budget != 0).then_some(manifest.watchdog_budget),
        })
    })
}

/// What becomes of the guest, by the class of a fault.
fn on_fault(manifest: &Manifest) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
    Class::ALL.into_iter().map(|class| {
        let number = usize::from(manifest.on_fault[class as usize]);
        (class.name(), ON_FAULT.get(number).copied().unwrap_or("?"))
    })
}

fn end_or_restart(restart: u32) -> &'static str {
    if restart == 0 { "end" } else { "restart" }
}

fn boot_only(manifest: &Manifest) -> u64 {
    manifest.part(PART_LOADER).map_or(0, |part| part.memory_size)
}

fn payload(manifest: &Manifest) -> u64 {
    let size = |kind| manifest.part(kind).map_or(0, |part| part.size);
    size(PART_KERNEL).saturating_add(size(PART_INITRD))
}

/// RAM that the guest never gets, besides the payload as loaded.
fn ram_kept(manifest: &Manifest) -> u64 {
    manifest.firmware.size.saturating_add(manifest.vectors.size)
}

/// Bytes of the firmware's memory up to its tables' end.
fn used(manifest: &Manifest) -> u64 {
    manifest.tables.end().unwrap_or(0).saturating_sub(manifest.firmware.base)
}

fn space(part: &Part) -> &'static str {
    match part.space {
        SPACE_HOST => "host",
        SPACE_GUEST => "guest",
        _ => "image",
    }
}

fn kind(mapping: &Mapping) -> &'static str {
    match mapping.kind {
        MAP_RAM => "ram",
        MAP_DEVICE => "device",
        MAP_BOOT_LEAF => "boot-leaf",
        MAP_WITHIN => "within",
        _ => "?",
    }
}

fn perms(mapping: &Mapping) -> String {
    let has = |bit| mapping.perms & bit != 0;
    letters(has(PERM_R), has(PERM_W), has(PERM_X))
}

fn lines(field: &[u8]) -> Vec<String> {
    Manifest::text(field).lines().map(clean).collect()
}
