// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The loader's second use: a guest that is restarted begins as the first one did.
use anchorite_spec::Manifest;
use anchorite_spec::ledger::LAST_LIFE_BYTES;
use anchorite_spec::phases::Phases;

use crate::{arch, clock, guest, image};

/// [`anchorite_hv::core::restart::Refill`].
pub extern "C" fn refill(
    image: u64,
    manifest: &Manifest,
    phases: &mut Phases,
    last_life: &[u8; LAST_LIFE_BYTES],
) {
    clock::started(arch::ticks());
    image::verify_again(image, manifest);
    arch::put_back(image, manifest);
    guest::fill(image, manifest, arch::seed(), Some(last_life));
    let taken = clock::record();
    for (phase, ticks) in taken.list() {
        phases.add(phase, ticks);
    }
}
