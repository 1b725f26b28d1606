// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a POWER9 machine does for the exit handlers: the registers that stay live in the core, and
//! the interrupt controller underneath the guest's hypercalls.
use super::escalation::Thread;
use crate::core::Machine;
use crate::mem::{Gpa, Hpa};

/// The fault registers that a hypervisor storage interrupt leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageFault {
    /// HDAR: the guest's effective address (data side only).
    pub hdar: u64,
    /// HDSISR: the causes (data side only).
    pub hdsisr: u64,
    /// ASDR: the guest real address, page part.
    pub asdr: u64,
}

/// What became of a hypervisor virtualization interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HviSource {
    /// One of the earlier firmware's devices; it was told.
    Firmware,
    /// Another vCPU's [`Power9::kick`].
    Kick,
    /// None, or an escalation that the vCPU no longer waits for.
    Spurious,
}

/// The machine underneath could not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardwareError;

/// Where an interrupt source of the guest goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The guest's server number.
    pub server: u32,
    /// Priority 0–6, or [`super::interrupts::MASKED`].
    pub priority: u8,
    /// What the guest finds in its queue: 31 bits.
    pub eisn: u32,
}

/// A POWER9 machine. All methods act on the calling core.
pub trait Power9: Machine + Thread {
    /// Sets the guest's SRR0 and SRR1.
    fn set_srr(&mut self, srr0: u64, srr1: u64);
    /// Sets the guest's DAR and DSISR.
    fn set_dar_dsisr(&mut self, dar: u64, dsisr: u64);
    /// The guest's DAR and DSISR.
    fn dar_dsisr(&self) -> (u64, u64);
    /// What the last HDSI or HISI left.
    fn storage_fault(&self) -> StorageFault;
    /// Puts [`super::regs::storage::CANARY`] into HDSISR, by which an HDSI that leaves it unwritten is told,
    /// where a core may do so.
    fn arm_storage_fault(&mut self);
    /// HEIR: the instruction that the core did not know.
    fn heir(&self) -> u32;
    /// HFSCR, whose top byte says which facility was unavailable.
    fn hfscr(&self) -> u64;
    /// Changes LPCR: `clear` first, then `set`.
    fn update_lpcr(&mut self, clear: u64, set: u64);
    /// Reads LPCR.
    fn lpcr(&self) -> u64;
    /// Whether interrupts may keep translation on: the core does it rightly, and the vectors of those
    /// that come to the firmware are mapped.
    fn can_relocate(&self) -> bool;
    /// Sets CIABR, the guest's instruction breakpoint.
    fn set_ciabr(&mut self, value: u64);
    /// That doubleword of [`Power9::set_process_table`]'s, and the number of the present process.
    fn process(&self) -> (u64, u64);
    /// Makes `entry` the second doubleword of the guest's partition-table entry, and forgets all
    /// translations that were cached for it.
    fn set_process_table(&mut self, entry: u64);
    /// Forgets cached translations: of one process, or with `None` of the whole guest.
    fn invalidate(&mut self, pid: Option<u32>, page_walk_cache: bool);
    /// Waits in the core's idle state until a kick, which is taken note of, deaf to the guest's
    /// interrupts. May return without one.
    fn park(&mut self);
    /// Has another vCPU leave the guest or its wait, whatever interrupts it has enabled.
    fn kick(&mut self, vcpu: usize);
    /// Puts what only the guest's last life decided as it is at first: its decrementer far away, its
    /// breakpoint off, its interrupt priority shut.
    fn forget_guest(&mut self);
    /// Clears the registers that only the guest uses, as a CPU starts.
    fn clear_registers(&mut self);
    /// Puts the guest's interrupt priorities as they are at first, with nothing pending, whatever the
    /// interrupt controller has brought this core.
    fn renew_interrupts(&mut self);
    /// The timebase.
    fn timebase(&self) -> u64;
    /// When the guest's decrementer comes, or came, in timebase ticks.
    fn decrementer_at(&self) -> u64;
    /// Has the hypervisor decrementer interrupt the guest at `at`, in timebase ticks, once; beside
    /// the heartbeat's own times.
    fn set_timer(&mut self, at: u64);
    /// The processor utilization of resources register.
    fn purr(&self) -> u64;
    /// Serves the earlier firmware's heartbeat and arms the hypervisor decrementer for the next;
    /// false when none was due.
    fn heartbeat(&mut self) -> bool;
    /// Serves a hypervisor virtualization interrupt.
    fn virtualization_interrupt(&mut self) -> HviSource;
    /// Hands a hypervisor maintenance interrupt to the earlier firmware.
    ///
    /// # Errors
    /// When it cannot be recovered.
    fn maintenance_interrupt(&mut self) -> Result<(), HardwareError>;
    /// Clears a pending hypervisor doorbell.
    fn clear_doorbell(&mut self);

    /// H_GET_CPU_CHARACTERISTICS' two words for this machine.
    fn cpu_characteristics(&self) -> (u64, u64);

    /// Routes source `lisn`; the number was checked.
    ///
    /// # Errors
    /// When the interrupt controller refuses.
    fn route_source(&mut self, lisn: u32, route: Route) -> Result<(), HardwareError>;
    /// Waits until `lisn`'s events under way have reached their queue.
    ///
    /// # Errors
    /// As above.
    fn sync_source(&mut self, lisn: u32) -> Result<(), HardwareError>;
    /// Gives the vCPU's queue of `priority` the memory at `page`, of 2^`log2` bytes, or takes it
    /// away with `None`.
    ///
    /// # Errors
    /// As above.
    fn set_queue(
        &mut self,
        server: u32,
        priority: u8,
        page: Option<(Hpa, u32)>,
    ) -> Result<(), HardwareError>;
    /// The generation bit and the next index of a queue.
    ///
    /// # Errors
    /// As above.
    fn queue_state(&mut self, server: u32, priority: u8) -> Result<(u32, u32), HardwareError>;
    /// An 8-byte load from a source's event state buffer management page.
    fn esb_load(&mut self, lisn: u32, offset: u64) -> u64;
    /// An 8-byte store to it.
    fn esb_store(&mut self, lisn: u32, offset: u64, value: u64);
    /// Guest real address of a source's trigger page; its management page follows.
    fn esb_trigger_page(&self, lisn: u32) -> Gpa;
}
