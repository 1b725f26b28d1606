// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an arm64 guest may ask the machine's own firmware for.
use super::{Image, Outcome, claim};

impl Image<'_> {
    /// Random numbers and the SoC's name are asked for, and nothing is done.
    pub(super) fn calls(&self) -> Outcome {
        let harmless = |function: u32| {
            matches!(function, 0 | 0x8000_0002 | 0x8400_0050..=0x8400_0053 | 0xC400_0053)
        };
        let forward = self.manifest.arm64.forward.iter().filter(|function| !harmless(**function));
        let trusted: Vec<String> = forward.map(|function| format!("{function:#010x}")).collect();
        claim(trusted.is_empty(), || format!("trusted to be harmless: {}", trusted.join(", ")))
    }
}
