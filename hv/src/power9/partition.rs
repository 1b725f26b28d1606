// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The one partition: what the firmware knows about its guest between exits.
use anchorite_spec::ledger::Ledger;
use anchorite_spec::{ExitReason, Manifest};

use super::interrupts::Interrupts;
use crate::core::ConsoleTail;
use crate::core::end::Text;
use crate::core::report::Reach;
use crate::mem::{Gpa, GuestMemory};

/// A vCPU's state that no register holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vcpu {
    /// H_PROD came; the next H_CEDE returns at once.
    pub prodded: bool,
    /// The registered virtual processor area.
    pub vpa: Option<Gpa>,
    /// The registered dispatch trace log.
    pub dispatch_log: Option<Gpa>,
    /// The registered SLB shadow buffer.
    pub slb_shadow: Option<Gpa>,
    /// The exit being served.
    pub reason: Option<ExitReason>,
}

/// The partition.
pub struct Partition<M> {
    /// The machine underneath.
    pub machine: M,
    /// Guest RAM.
    pub memory: GuestMemory,
    /// The vCPU.
    pub vcpu: Vcpu,
    /// The guest's interrupt sources and queues.
    pub interrupts: Interrupts,
    /// The exit ledger.
    pub ledger: &'static mut Ledger,
    /// The end of the guest's console output.
    pub tail: ConsoleTail,
    /// Text for the epitaph, once a handler has ended the run.
    pub last_words: Text,
    /// Reports so far, by the exit's reason.
    pub reports: [u32; anchorite_spec::ledger::SLOTS],
    /// What the guest can reach.
    pub reach: Reach,
}

impl<M> Partition<M> {
    /// The partition that `manifest` describes, before its first entry.
    #[must_use]
    pub fn new(
        machine: M,
        memory: GuestMemory,
        ledger: &'static mut Ledger,
        manifest: &Manifest,
    ) -> Self {
        ledger.cpus = manifest.vcpus;
        ledger.timebase_hz = manifest.timebase_hz;
        Self {
            machine,
            memory,
            vcpu: Vcpu::default(),
            interrupts: Interrupts::new(manifest.xive_sources as u32),
            ledger,
            tail: ConsoleTail::new(),
            last_words: Text::new(),
            reports: [0; anchorite_spec::ledger::SLOTS],
            reach: Reach::new(manifest),
        }
    }

    /// Counts an exit.
    pub fn count(&mut self, reason: ExitReason) {
        self.vcpu.reason = Some(reason);
        self.ledger.row[0].count[reason.slot()] += 1;
    }
}
