// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hypervisor's machine: one CPU of an Arm machine with PSCI below.
use core::arch::asm;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use anchorite_hv::arm64::Arm64;
use anchorite_hv::arm64::board::Fault;
use anchorite_hv::arm64::context::SecondaryStart;
use anchorite_hv::arm64::entry::a64_secondary;
use anchorite_hv::arm64::regs::HCR_TWI;
use anchorite_hv::core::{DateTime, Machine};
use anchorite_hv::mem::Hpa;

use super::uart::Uart;
use super::{cpu, guard};
use crate::{read_register, write_register};

/// PSCI CPU_ON, 64-bit form.
const CPU_ON: u64 = 0xC400_0003;

/// One CPU.
pub struct Virt {
    /// The UART.
    pub uart: Uart,
    starts: *const SecondaryStart,
    gic: Gic,
}

/// Where a CPU finds its interrupt controller.
#[derive(Clone, Copy)]
pub struct Gic {
    /// The distributor.
    pub distributor: u64,
    /// Its own redistributor's frames.
    pub redistributor: u64,
}

impl Virt {
    /// The calling CPU.
    ///
    /// # Safety
    /// `starts` must be one entry for each vCPU, which nobody changes, cleaned to memory; EL2 must
    /// map the frames of `gic`.
    #[must_use]
    pub const unsafe fn new(uart: Uart, starts: *const SecondaryStart, gic: Gic) -> Self {
        Self { uart, starts, gic }
    }
}

/// Set once: only the last words are written from now on.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Whatever handlers on other CPUs have to say is dropped from now on.
pub fn silence() {
    QUIET.store(true, Ordering::SeqCst);
}

impl Machine for Virt {
    fn console_write(&mut self, bytes: &[u8]) -> bool {
        !QUIET.load(Ordering::Relaxed) && self.uart.send(bytes)
    }

    fn console_read(&mut self, _: &mut [u8]) -> usize {
        // The UART is the guest's.
        0
    }

    fn clock(&mut self) -> Option<DateTime> {
        None
    }

    fn set_clock(&mut self, _: DateTime) -> bool {
        false
    }

    fn random(&mut self) -> Option<u64> {
        cpu::random()
    }
}

impl Arm64 for Virt {
    fn fault(&self) -> Fault {
        Fault { far: read_register!("far_el2"), hpfar: read_register!("hpfar_el2") }
    }

    fn id_register(&self, crm: u32, op2: u32) -> u64 {
        cpu::id_register(crm, op2)
    }

    fn look_up(&mut self, address: u64, write: bool, user: bool) -> u64 {
        let kept = read_register!("par_el1");
        // SAFETY: looks an address up in the guest's tables; PAR_EL1 is put back.
        unsafe {
            match (user, write) {
                (false, false) => asm!("at s1e1r, {0}", in(reg) address, options(nostack)),
                (false, true) => asm!("at s1e1w, {0}", in(reg) address, options(nostack)),
                (true, false) => asm!("at s1e0r, {0}", in(reg) address, options(nostack)),
                (true, true) => asm!("at s1e0w, {0}", in(reg) address, options(nostack)),
            }
            asm!("isb", options(nostack));
        }
        let par = read_register!("par_el1");
        // SAFETY: as above.
        unsafe { write_register!("par_el1", kept) };
        par
    }

    fn guest_registers(&self) -> [(&'static str, u64); 7] {
        [
            ("sp_el0", read_register!("sp_el0")),
            ("sp_el1", read_register!("sp_el1")),
            ("sctlr", read_register!("sctlr_el1")),
            ("tcr", read_register!("tcr_el1")),
            ("ttbr0", read_register!("ttbr0_el1")),
            ("ttbr1", read_register!("ttbr1_el1")),
            ("vbar", read_register!("vbar_el1")),
        ]
    }

    fn vectors(&self) -> (u64, u64) {
        (read_register!("vbar_el1"), read_register!("sctlr_el1"))
    }

    fn set_exception(&mut self, elr: u64, spsr: u64, esr: u64, far: Option<u64>) {
        // SAFETY: only the guest reads these.
        unsafe {
            write_register!("elr_el1", elr);
            write_register!("spsr_el1", spsr);
            write_register!("esr_el1", esr);
            if let Some(far) = far {
                write_register!("far_el1", far);
            }
        }
    }

    fn firmware_call(&mut self, args: [u64; 4]) -> u64 {
        cpu::smc(args)
    }

    fn forward_call(&mut self, registers: &mut [u64; 18]) {
        cpu::smc_all(registers);
    }

    fn start_cpu(&mut self, vcpu: usize, mpidr: u64) -> i64 {
        // SAFETY: `new`'s caller vouched for an entry for each vCPU.
        let start = unsafe { self.starts.add(vcpu) };
        let entry = &raw const a64_secondary as u64;
        i64::from(cpu::smc([CPU_ON, mpidr, entry, start as u64]) as i32)
    }

    fn serve_fiq(&mut self) -> bool {
        guard::serve()
    }

    fn guard(&mut self) -> bool {
        // SAFETY: `new`'s caller vouched for the frames.
        unsafe { guard::take(self.gic.distributor, self.gic.redistributor) }
    }

    fn unguard(&mut self) {
        guard::give_back();
    }

    fn keep_time(&mut self, on: bool) {
        guard::keep_time(on);
    }

    fn counter(&self) -> u64 {
        cpu::counter()
    }

    fn timers(&self) -> u64 {
        read_register!("cntv_cval_el0").wrapping_add(read_register!("cntp_cval_el0"))
    }

    fn trap_sleep(&mut self, on: bool) {
        let hcr = read_register!("hcr_el2") & !HCR_TWI;
        // SAFETY: decides only whether a WFI of the guest's comes to the vectors.
        unsafe { write_register!("hcr_el2", if on { hcr | HCR_TWI } else { hcr }) };
    }

    fn send_sgi(&mut self, value: u64) {
        guard::send_sgi(value);
    }

    fn device_write(&mut self, address: Hpa, size: u32, value: u64) {
        // SAFETY: the handlers give addresses of the guest's own devices only, which the firmware
        // maps as such.
        unsafe {
            match size {
                8 => ptr::write_volatile(address.0 as *mut u64, value),
                1 => ptr::write_volatile(address.0 as *mut u8, value as u8),
                _ => ptr::write_volatile(address.0 as *mut u32, value as u32),
            }
        }
    }

    fn wait_for_interrupt(&mut self) {
        // SAFETY: sleeps; a pending interrupt wakes the CPU though it is masked here.
        unsafe { asm!("dsb sy", "wfi", options(nostack)) };
    }
}
