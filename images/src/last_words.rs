// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The end of a run in words: what the epitaph and the ledger say, for people.
use std::fmt::Write;

use anchorite_spec::epitaph::{self, End, Epitaph};
use anchorite_spec::{ExitReason, Ledger};

use crate::stats::{grouped, rows, sum, table};

/// How many reasons the summary names.
const MOST: usize = 12;

/// The end that an epitaph states, if it is complete.
#[must_use]
pub fn end(epitaph: &Epitaph) -> Option<End> {
    End::from_u32(epitaph.end).filter(|_| epitaph.is_complete())
}

/// The report: one line that says how it ended, details where there are any, the ledger.
#[must_use]
pub fn report(end: End, epitaph: &Epitaph, ledger: Option<&Ledger>) -> String {
    let text = text(epitaph);
    let says = |what: &str| {
        if text.is_empty() { what.to_owned() } else { format!("{what}: {text}") }
    };
    let first = match end {
        End::PoweredOff => "the guest powered off".to_owned(),
        End::Rebooted => "the guest asked for a reboot, which ends the run".to_owned(),
        End::GuestPanic => says("the guest panicked"),
        End::PolicyStop => says("stopped by the board config's policy"),
        End::FirmwareFault => says("the firmware failed"),
        End::BoardMismatch => says("this machine is not the board that the image was built for"),
        End::ImageRefused => says("the firmware refused the image"),
        End::RestartBudget => says("the guest was restarted as often as the config allows"),
        End::Watchdog => says("the watchdog expired"),
        End::Silence => says("the guest was silent"),
    };
    let mut report = format!("anchorite: {first}\n");
    if epitaph.state == epitaph::STATE_DOUBLE {
        report += "anchorite: it faulted a second time while it died of that\n";
    }
    let with_state = [End::PolicyStop, End::FirmwareFault, End::Watchdog, End::Silence];
    if with_state.contains(&end) {
        registers(&mut report, epitaph);
    }
    if let Some(restarts) = ledger.map(|ledger| ledger.restarts).filter(|restarts| *restarts > 0) {
        let times =
            if restarts == 1 { "once".to_owned() } else { format!("{} times", grouped(restarts)) };
        let _ = writeln!(report, "anchorite: the guest was restarted {times}");
    }
    let counted = ledger.map(rows).filter(|rows| !rows.is_empty());
    if let Some(rows) = counted {
        let total = sum(rows.iter().flat_map(|row| row.count));
        let exits = if total == 1 { "exit" } else { "exits" };
        let _ = writeln!(report, "anchorite: {} {exits}", grouped(total));
        for line in table(rows, MOST) {
            let _ = writeln!(report, "{line}");
        }
    }
    report
}

/// What the epitaph has of the machine's state.
fn registers(report: &mut String, epitaph: &Epitaph) {
    let reason = usize::try_from(epitaph.reason).ok().and_then(ExitReason::from_slot);
    let reason = reason.map_or("?", ExitReason::name);
    let mut line = |text: String| {
        let _ = writeln!(report, "  {text}");
    };
    line(format!("cpu {}, serving {reason}, vector {:#x}", epitaph.cpu, epitaph.vector));
    line(format!("pc {:016x}  msr {:016x}", epitaph.pc, epitaph.msr));
    line(format!("lr {:016x}  sp  {:016x}", epitaph.link, epitaph.stack));
    line(format!("fault at {:#x}, cause {:#x}", epitaph.fault_address, epitaph.fault_cause));
    for (row, values) in (0..).step_by(4).zip(epitaph.gpr.chunks(4)) {
        let values: Vec<String> = values.iter().map(|value| format!("{value:016x}")).collect();
        line(format!("r{row:<2} {}", values.join(" ")));
    }
}

/// The epitaph's message. A guest may have written it, so nothing in it may act on the terminal.
fn text(epitaph: &Epitaph) -> String {
    let text = String::from_utf8_lossy(epitaph.text());
    let shown = text.chars().map(|c| if c.is_control() && c != '\n' { '.' } else { c });
    shown.collect::<String>().trim_end().replace('\n', "\n  ")
}

#[cfg(test)]
mod tests {
    use anchorite_spec::epitaph::{self, End, Epitaph};
    use anchorite_spec::{ExitReason, Ledger};

    use super::{end, report};

    fn epitaph_of(end: End, message: &[u8]) -> Epitaph {
        let mut epitaph = Epitaph {
            magic: epitaph::MAGIC,
            end: end as u32,
            state: epitaph::STATE_COMPLETE,
            text_len: message.len() as u64,
            ..Epitaph::EMPTY
        };
        epitaph.text[..message.len()].copy_from_slice(message);
        epitaph
    }

    #[test]
    fn only_a_complete_epitaph_counts() {
        let whole = epitaph_of(End::GuestPanic, b"");
        assert_eq!(end(&whole), Some(End::GuestPanic));
        assert_eq!(end(&Epitaph { state: epitaph::STATE_WRITING, ..whole }), None);
        assert_eq!(end(&Epitaph { magic: [0; 8], ..whole }), None);
        assert_eq!(end(&Epitaph { end: 99, ..whole }), None);
    }

    #[test]
    fn a_panic_is_quoted_without_its_control_characters() {
        let epitaph = epitaph_of(End::GuestPanic, b"Attempted to \x1b[2Jkill init\n");
        let mut ledger = Ledger::new(1, 0);
        ledger.row[0].count[ExitReason::RtasOsTerm.slot()] = 1;
        assert_eq!(
            report(End::GuestPanic, &epitaph, Some(&ledger)),
            "anchorite: the guest panicked: Attempted to .[2Jkill init\n\
             anchorite: 1 exit\n               1  rtas_os_term\n"
        );
    }

    #[test]
    fn a_firmware_fault_shows_the_machine() {
        let mut epitaph = epitaph_of(End::FirmwareFault, b"assert at exit.rs:1");
        epitaph.pc = 0x10_0040;
        epitaph.reason = u32::try_from(ExitReason::Hdsi.slot()).unwrap();
        let report = report(End::FirmwareFault, &epitaph, None);
        assert!(report.starts_with("anchorite: the firmware failed: assert at exit.rs:1\n"));
        assert!(report.contains("serving hdsi") && report.contains("pc 0000000000100040"));
    }
}
