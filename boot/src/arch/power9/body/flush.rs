// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The flushes between guest and firmware (`anchorite_hv::power9::flush`), put in place before any other
//! core is in. They stay as they are for all of a guest's lives.
use anchorite_hv::power9::entry::sites;
use anchorite_hv::power9::flush::{AREA_BYTES, Code, Mitigations, ROW_WORDS, call};
use anchorite_platform::powernv::{BootInfo, core as cpu};
use anchorite_spec::low;
use anchorite_spec::manifest::Manifest;

use crate::own::Own;

/// The row of indirect branches, if one is needed.
#[repr(align(128))]
struct Row([u32; ROW_WORDS]);
static ROW: Own<Row> = Own::new(Row([0; ROW_WORDS]));

/// Makes the code and has both copies of the vectors call it.
///
/// # Safety
/// The vectors stand, and no guest runs.
pub unsafe fn install(info: &BootInfo, manifest: &Manifest) {
    let wanted = info.mitigations;
    if wanted == Mitigations(0) {
        return;
    }
    let place = low::FLUSHES;
    let row = ROW.get();
    // What is loaded is the firmware's own code, of which the image is no secret. It
    // has 64 KiB at least, as the config says.
    let area = manifest.firmware.base;
    const { assert!(AREA_BYTES <= 64 << 10) };
    // SAFETY: both are the firmware's and for this alone; the vectors' words are replaced by whole
    // words, and all of it is made visible to instruction fetch before anything runs it.
    unsafe {
        let words = (place.size / 4) as usize;
        let words = core::slice::from_raw_parts_mut(place.base as *mut u32, words);
        let mut code = Code::new(place.base, words);
        let calls = wanted.assemble(&mut code, &mut Code::new(row as u64, &mut (*row).0), area);
        for ([one, other], target) in sites().into_iter().zip(calls) {
            let Some(target) = target else { continue };
            for copy in low::VECTORS {
                for site in [copy + one, copy + other] {
                    (site as *mut u32).write_volatile(call(site, target));
                }
            }
        }
        cpu::flush_code(place.base);
    }
}
