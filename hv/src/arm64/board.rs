// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an arm64 machine does for the exit handlers.
use crate::core::Machine;
use crate::mem::Hpa;

/// The fault registers that an abort leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// FAR_EL2: the guest's virtual address.
    pub far: u64,
    /// HPFAR_EL2: the page of the guest physical address, where the fault defines it.
    pub hpfar: u64,
}

/// PAR_EL1: the look-up failed.
pub const PAR_FAILED: u64 = 1;
/// PAR_EL1: the page, where it did not.
pub const PAR_PAGE: u64 = 0x000f_ffff_ffff_f000;

/// An arm64 machine. All methods act on the calling CPU.
pub trait Arm64: Machine {
    /// What the last abort left.
    fn fault(&self) -> Fault;
    /// PAR_EL1 after a look-up of a virtual address in the guest's own tables, for this access.
    fn look_up(&mut self, address: u64, write: bool, user: bool) -> u64;
    /// The guest physical page of a virtual address through the guest's own tables, as this access
    /// would see it; `None` when they do not allow it.
    fn translate(&mut self, address: u64, write: bool, user: bool) -> Option<u64> {
        let par = self.look_up(address, write, user);
        (par & PAR_FAILED == 0).then_some(par & PAR_PAGE)
    }
    /// Registers of the guest's that a report shows.
    fn guest_registers(&self) -> [(&'static str, u64); 7];
    /// The CPU's own ID register S3_0_C0_C`crm`_`op2`, `crm` from 1 to 7.
    fn id_register(&self, crm: u32, op2: u32) -> u64;
    /// The guest's VBAR_EL1 and SCTLR_EL1.
    fn vectors(&self) -> (u64, u64);
    /// Sets ELR_EL1, SPSR_EL1, ESR_EL1 and, for aborts, FAR_EL1.
    fn set_exception(&mut self, elr: u64, spsr: u64, esr: u64, far: Option<u64>);
    /// Calls the firmware at EL3, or what stands in for it.
    fn firmware_call(&mut self, args: [u64; 4]) -> u64;
    /// The same with all registers that a call has, x0 to x17, which then hold its results.
    fn forward_call(&mut self, registers: &mut [u64; 18]);
    /// Asks that firmware to start a vCPU's CPU in this firmware, which then finds the vCPU's start
    /// in [`super::Shared`]; returns a PSCI code.
    fn start_cpu(&mut self, vcpu: usize, mpidr: u64) -> i64;
    /// Serves an FIQ; true if it was EL2's own timer, which then counts on.
    fn serve_fiq(&mut self) -> bool;
    /// Takes Group 0 of the interrupt controller for EL2's own timer on this CPU and starts it; false
    /// if it cannot be had.
    fn guard(&mut self) -> bool;
    /// Gives up what [`Arm64::guard`] took: the guest's interrupts are its own again.
    fn unguard(&mut self);
    /// Starts EL2's own timer, or stops it before the CPU goes off.
    fn keep_time(&mut self, on: bool);
    /// The counter.
    fn counter(&self) -> u64;
    /// When the guest's timers on this CPU come, or came: another number whenever it sets one.
    fn timers(&self) -> u64;
    /// Has the guest's next WFI on this CPU come to EL2, or not.
    fn trap_sleep(&mut self, on: bool);
    /// Sends an interrupt to other CPUs, or this one: a value for ICC_SGI1R_EL1.
    fn send_sgi(&mut self, value: u64);
    /// Stores to a device's register: `size` is 1, 4 or 8 bytes, the address is a multiple of it.
    fn device_write(&mut self, address: Hpa, size: u32, value: u64);
    /// Waits until an interrupt is pending.
    fn wait_for_interrupt(&mut self);
}
