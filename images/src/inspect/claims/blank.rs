// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the loader clears instead of copying is zero in the file, so that memory holds what was walked.
use anchorite_spec::Range;
use anchorite_spec::manifest::{Part, SPACE_HOST, STRETCHES, part_name};

use super::{Image, Outcome, claim};
use crate::image::part_bytes;

impl Image<'_> {
    pub(super) fn blank(&self, part: &Part) -> Outcome {
        let name = part_name(part.kind);
        claim(part.space == SPACE_HOST || part.blank == [0; STRETCHES / 64], || {
            format!("part `{name}` has stretches to be cleared, and is not copied")
        })?;
        let bytes = part_bytes(self.bytes, part)
            .ok_or_else(|| format!("part `{name}` is not in the file"))?;
        let mut at = 0;
        for run in part.content().chain([Range::new(part.size, 0)]) {
            let cleared = bytes.get(at as usize..run.base as usize).unwrap_or_default();
            if let Some(found) = cleared.iter().position(|byte| *byte != 0) {
                let found = at as usize + found;
                return Err(format!("part `{name}` has something at {found:#x} that is cleared"));
            }
            at = run.base + run.size;
        }
        Ok(())
    }
}
