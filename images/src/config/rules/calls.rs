// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls of an arm64 guest's that go on to the machine's own firmware.
use anchorite_spec::manifest::FORWARD;

use super::Rules;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::RawGuest;

impl Rules<'_> {
    /// The numbers that may be forwarded.
    pub(super) fn forward_calls(&mut self, raw: &RawGuest) -> Vec<u32> {
        let Some(list) = &raw.forward_calls else { return Vec::new() };
        if self.platform.arm.is_none() {
            let title = "`guest.forward_calls` is only for arm64";
            let help = "leave it out: on POWER9 no call of the guest's goes further";
            self.report(Diagnostic::new("calls", title, list.span(), "arm64's").help(help));
            return Vec::new();
        }
        self.count("guest.forward_calls", list, 0, FORWARD);
        let mut numbers = Vec::new();
        for written in list.get_ref() {
            let mut refuse = |why: &str, help: &str| {
                let title = format!("{:#x} cannot be forwarded", written.get_ref());
                let mistake = Diagnostic::new("calls", title, written.span(), why);
                self.report(mistake.help(help));
            };
            match u32::try_from(*written.get_ref()) {
                Ok(number) if numbers.contains(&number) => {
                    refuse("it is listed already", "name each function once");
                }
                Ok(number) => match owner(number) {
                    Ok(()) => numbers.push(number),
                    Err((why, help)) => refuse(why, help),
                },
                Err(_) => refuse("no function has this number", "function numbers have 32 bits"),
            }
        }
        numbers
    }
}

/// Whether a function can be the machine's own, and if not, whose it is and what to do (Arm DEN
/// 0028, 2.5 "Function Identifiers").
fn owner(number: u32) -> Result<(), (&'static str, &'static str)> {
    const LONG: u32 = 1 << 30;
    const LEAVE: &str = "leave it out: it is served";
    if number >> 31 == 0 {
        return Err((
            "a call that can be interrupted",
            "only fast calls are forwarded: bit 31 set",
        ));
    }
    match (number >> 24 & 0x3f, number & !LONG) {
        (0, 0x8000_0002) => Ok(()),
        (0, _) => Err(("a call of the architecture's", LEAVE)),
        (4, 0x8400_0000..=0x8400_001F) => Err(("PSCI, which the firmware itself serves", LEAVE)),
        (4, 0x8400_0020..=0x8400_003F) => Err((
            "SDEI, which would have the guest's handlers run at EL2",
            "leave it out: what Linux needs of it is served",
        )),
        (5 | 6, _) => Err(("a call of hypervisors", "leave it out: nobody below serves it")),
        (1..=4, _) => Ok(()),
        _ => Err(("a call of trusted applications", "leave it out")),
    }
}
