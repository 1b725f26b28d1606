// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a boot ends that does not reach the guest: the epitaph, the reason on the console, power-off.
use core::cell::Cell;
use core::fmt::{self, Write};
use core::panic::PanicInfo;

use anchorite_hv::core::Last;
use anchorite_hv::core::end::write_epitaph;
use anchorite_hv::core::text::Text;
use anchorite_spec::{End, Epitaph};

use crate::{arch, say};

struct Place(Cell<u64>);

// SAFETY: the loader runs on one thread.
unsafe impl Sync for Place {}

static EPITAPH: Place = Place(Cell::new(0));

/// Where the epitaph goes; until this is said there is none.
pub fn epitaph_at(address: u64) {
    EPITAPH.0.set(address);
}

/// Ends the boot.
pub fn end(how: End, reason: fmt::Arguments) -> ! {
    let mut text = Text::new();
    let _ = write!(text, "{reason}");
    if EPITAPH.0.get() != 0 {
        // SAFETY: the address lies in memory that the image reserves for the firmware; a rest of
        // an earlier boot there is not this boot's end.
        let epitaph = unsafe { &mut *(EPITAPH.0.get() as *mut Epitaph) };
        *epitaph = Epitaph::EMPTY;
        write_epitaph(epitaph, how, &Last::default(), text.as_bytes());
    }
    say::line(format_args!("{}: {reason}", how.name()));
    say::raw(format_args!("@end status={} code={}", how.name(), how.exit_code()));
    arch::power_down();
    loop {
        core::hint::spin_loop();
    }
}

/// Ends the boot as a board mismatch unless `holds`.
pub fn require(holds: bool, what: &str) {
    if !holds {
        end(End::BoardMismatch, format_args!("{what}"));
    }
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    match info.location() {
        Some(at) => end(
            End::FirmwareFault,
            format_args!("{} ({}:{})", info.message(), at.file(), at.line()),
        ),
        None => end(End::FirmwareFault, format_args!("{}", info.message())),
    }
}
