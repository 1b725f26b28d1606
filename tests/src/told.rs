// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the guest is told of its image, beside what `inspect` says of the file.
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::guest::Guest;
use crate::{anchorite, output};

/// The digest of each stage, as the guest finds it in its tree, is the one that `inspect` shows.
///
/// # Errors
///
/// It is not.
pub fn digests(guest: &mut Guest, image: &Path) -> Result<()> {
    let report = output(anchorite().arg("inspect").arg("--json").arg(image))?;
    let report: Value = serde_json::from_slice(&report.stdout)?;
    let told = guest.shell(
        "cd /proc/device-tree/chosen/anchorite; for f in digest-* build-id; do echo $f $(hexdump -ve \
         '1/1 \"%02x\"' $f); done; cd /",
    )?;
    let parts = report["parts"].as_array().context("no parts")?.iter();
    let parts = parts.filter(|part| part["name"] != "guest-tree");
    let named =
        |part: &Value| Some((format!("digest-{}", part["name"].as_str()?), part["digest"].clone()));
    let mut stated: Vec<_> = parts.filter_map(named).collect();
    stated.push(("digest-manifest".into(), report["manifest"]["digest"].clone()));
    stated.push(("build-id".into(), report["build_id"].clone()));
    ensure!(told.lines().count() == stated.len(), "{told}\n{report:#}");
    for (name, digest) in stated {
        let line = format!("{name} {}", digest.as_str().context("no digest")?);
        ensure!(told.lines().any(|told| told.trim() == line), "{line} is not told:\n{told}");
    }
    Ok(())
}
