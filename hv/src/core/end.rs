// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is known when a run ends: the input of the epitaph.
use anchorite_spec::epitaph::{MAGIC, STATE_COMPLETE, STATE_WRITING, TEXT_BYTES};
use anchorite_spec::{End, Epitaph, ExitReason};

/// The registers and counts that an epitaph records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Last {
    /// The vCPU that ends the run.
    pub cpu: u32,
    /// The exit being served.
    pub reason: Option<ExitReason>,
    /// Its vector.
    pub vector: u64,
    /// All exits so far.
    pub exits: u64,
    /// Program counter.
    pub pc: u64,
    /// Machine state.
    pub msr: u64,
    /// Faulting address.
    pub fault_address: u64,
    /// Fault cause.
    pub fault_cause: u64,
    /// Link register.
    pub link: u64,
    /// Stack pointer.
    pub stack: u64,
    /// General-purpose registers.
    pub gpr: [u64; 32],
}

/// Fills `epitaph`: who and why first, then the registers, then the text, then the state.
///
/// A record that was begun earlier is kept: the first death is the one that explains.
pub fn write_epitaph(epitaph: &mut Epitaph, end: End, last: &Last, text: &[u8]) {
    if epitaph.magic == MAGIC && epitaph.state != anchorite_spec::epitaph::STATE_NONE {
        return;
    }
    epitaph.end = end as u32;
    epitaph.state = STATE_WRITING;
    epitaph.magic = MAGIC;
    epitaph.cpu = last.cpu;
    epitaph.reason = last.reason.map_or(u32::MAX, |reason| reason.slot() as u32);
    epitaph.vector = last.vector;
    epitaph.exits = last.exits;
    epitaph.pc = last.pc;
    epitaph.msr = last.msr;
    epitaph.fault_address = last.fault_address;
    epitaph.fault_cause = last.fault_cause;
    epitaph.link = last.link;
    epitaph.stack = last.stack;
    epitaph.gpr = last.gpr;
    let len = text.len().min(TEXT_BYTES);
    epitaph.text[..len].copy_from_slice(&text[..len]);
    epitaph.text_len = len as u64;
    epitaph.state = STATE_COMPLETE;
}

#[cfg(test)]
mod tests {
    use super::{Last, write_epitaph};
    use anchorite_spec::{End, Epitaph};

    #[test]
    fn the_first_death_is_kept() {
        let mut epitaph = Epitaph::EMPTY;
        write_epitaph(&mut epitaph, End::FirmwareFault, &Last::default(), b"first");
        write_epitaph(&mut epitaph, End::PoweredOff, &Last::default(), b"second");
        assert_eq!(End::from_u32(epitaph.end), Some(End::FirmwareFault));
        assert_eq!(epitaph.text(), b"first");
    }
}
