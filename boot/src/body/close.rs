// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The closing lines for people: why, the exits by reason, the end.
use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use anchorite_hv::core::Last;
use anchorite_hv::core::report::TAG;
use anchorite_hv::core::text::Text;
use anchorite_spec::epitaph::{STATE_COMPLETE, STATE_DOUBLE, TEXT_BYTES};
use anchorite_spec::manifest::DEBUG_FAULT_DOUBLE;
use anchorite_spec::{End, ExitReason, Ledger, Manifest};

use crate::arch;
use crate::known::image;
use crate::own::EPITAPH;

/// Bytes of the guest's or the firmware's text that are shown: a line, with what stands around it.
const TEXT_ROOM: usize = TEXT_BYTES - 64;

/// Whether the second fault was told of.
static TOLD: AtomicBool = AtomicBool::new(false);

/// The firmware has faulted once more while it died: the epitaph stays the first one's and says so, and
/// so does the console, in bytes that nothing has to be made of. A third time there is no word.
pub fn second_fault(write: &dyn Fn(&[u8])) {
    if TOLD.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: only the vCPU that has written the record, and is here because it dies, does this.
    unsafe {
        let state = &raw mut (*EPITAPH.get()).state;
        if state.read_volatile() == STATE_COMPLETE {
            state.write_volatile(STATE_DOUBLE);
        }
    }
    write(b"\r\nanchorite: a second fault, while dying of the first\r\n");
}

/// In an image built for this, the second fault: once the epitaph is written.
pub fn fault_again() {
    let wanted = |(_, manifest): (_, &Manifest)| manifest.debug_fault == DEBUG_FAULT_DOUBLE;
    if image().is_some_and(wanted) {
        arch::exception();
    }
}

use crate::timing;

/// What a panic of the firmware says.
pub fn panic_text(info: &PanicInfo) -> Text {
    let mut text = Text::new();
    let _ = write!(text, "{}", info.message());
    if let Some(place) = info.location() {
        text.f(" (%s:%d)", &[place.file()], &[place.line().into()]);
    }
    text
}

/// Lines, each written whole.
pub struct Lines<'a> {
    write: &'a dyn Fn(&[u8]),
    line: Text,
}

impl Lines<'_> {
    /// Writes one: see [`Out::f`](anchorite_hv::core::text::Out::f).
    #[inline(never)]
    pub fn f(&mut self, format: &str, texts: &[&str], numbers: &[u64]) {
        self.line.f(format, texts, numbers);
        self.end();
    }

    #[inline(never)]
    fn end(&mut self) {
        self.line.push(b"\r\n");
        (self.write)(self.line.out().take());
    }
}

/// Writes the closing lines with `write`, which takes whole lines and may drop them.
pub fn lines(write: &dyn Fn(&[u8]), ledger: &Ledger, how: End, last: &Last, text: &[u8]) {
    let mut lines = Lines { write, line: Text::new() };
    lines.end();
    if !text.is_empty() {
        lines.line.f("%s%s: ", &[TAG, how.name()], &[]);
        // Whatever it is, with room for the line's end.
        lines.line.push(text.get(..TEXT_ROOM).unwrap_or(text));
        lines.end();
    }
    if how.exit_code() != 0 {
        lines.f(
            "anchorite: pc %x msr %x lr %x vector %x address %x cause %x",
            &[],
            &[last.pc, last.msr, last.link, last.vector, last.fault_address, last.fault_cause],
        );
    }
    for (cpu, row) in ledger.row.iter().enumerate() {
        for reason in ExitReason::ALL {
            let count = row.count[reason.slot()];
            if count != 0 {
                lines.f("@exit reason=%s cpu=%d count=%d", &[reason.name()], &[cpu as u64, count]);
            }
        }
    }
    timing::lines(ledger, &mut lines);
    lines.f("@end status=%s code=%d", &[how.name()], &[how.exit_code().into()]);
}
