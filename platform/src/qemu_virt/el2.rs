// SPDX-License-Identifier: Apache-2.0 OR MIT
//! EL2's registers on one CPU: its own translation, and everything that a guest depends on. None is
//! left as it was found; those that a CPU does not have are not touched.
use core::arch::asm;

use anchorite_hv::arm64::features::{Hidden, Ids, decide};
use anchorite_hv::arm64::regs::{HCR_FMO, SCTLR_EL1_START};
use anchorite_tables::stage1::{MAIR, SCTLR, TCR};

use super::{cpu, gic, guard};
use crate::{read_register, write_register};

/// TCR_EL2 for this CPU.
#[must_use]
pub fn tcr(ids: &Ids) -> u64 {
    TCR | ids.pa_range().min(5) << 16
}

/// Turns EL2's own translation and caches on, or goes over to other tables.
///
/// # Safety
/// The tables must map what runs now, its stack and its data, each to itself.
pub unsafe fn translate(tables: u64, ids: &Ids) {
    // SAFETY: the caller vouches for the tables; between two tables nothing but the TLB remembers
    // the first.
    unsafe {
        cpu::barrier();
        write_register!("mair_el2", MAIR);
        write_register!("tcr_el2", tcr(ids));
        write_register!("ttbr0_el2", tables);
        asm!("isb", "tlbi alle2", "ic iallu", "dsb nsh", "isb", options(nostack));
        write_register!("sctlr_el2", SCTLR);
        asm!("isb", options(nostack));
    }
}

/// Forgets what this CPU remembers of EL2's own translation.
pub fn forget_translations() {
    // SAFETY: the tables themselves say what is mapped.
    unsafe { asm!("dsb ishst", "tlbi alle2", "dsb ish", "isb", options(nostack)) };
}

/// Takes the guest's translation away, from all CPUs: none of them executes another instruction of
/// the guest's, and those that try come to EL2.
///
/// # Safety
/// The root must be the one in VTTBR_EL2, in memory that EL2 may write.
pub unsafe fn clear_root(root: u64, bytes: u64) {
    for entry in (root..root + bytes).step_by(8) {
        // SAFETY: the caller's promise.
        unsafe { core::ptr::write_volatile(entry as *mut u64, 0) };
    }
    // SAFETY: what is remembered of the tables goes; when this is done, no CPU uses it any more.
    unsafe { asm!("dsb ishst", "tlbi vmalls12e1is", "dsb ish", "isb", options(nostack)) };
}

/// What the guest's translation is.
#[derive(Clone, Copy)]
pub struct Guest {
    /// VTCR_EL2.
    pub vtcr: u64,
    /// VTTBR_EL2.
    pub vttbr: u64,
    /// What the tables need of HCR_EL2.
    pub hcr: u64,
    /// This CPU's redistributor frames, if EL2 keeps a timer interrupt for itself.
    pub guard: Option<u64>,
    /// Features that it does not have.
    pub hidden: Hidden,
}

/// Sets this CPU's EL2 registers for the guest, and EL1's to where a guest starts.
///
/// # Safety
/// `vectors` must be the firmware's, and the guest's tables must stand; EL2 must map the
/// redistributor that `guest` names.
pub unsafe fn own(vectors: u64, guest: Guest, ids: &Ids) {
    let el2 = decide(ids, guest.hidden);
    let counters = if el2.counters { read_register!("pmcr_el0") >> 11 & 31 } else { 0 };
    let (midr, mpidr) = (read_register!("midr_el1"), read_register!("mpidr_el1"));
    // SAFETY: EL2 runs with its own translation, which none of these changes; asynchronous
    // exceptions are masked until the guest runs.
    unsafe {
        write_register!("vbar_el2", vectors);
        let guarded = if guest.guard.is_some() { HCR_FMO } else { 0 };
        write_register!("hcr_el2", el2.hcr | guest.hcr | guarded);
        write_register!("vtcr_el2", guest.vtcr);
        write_register!("vttbr_el2", guest.vttbr);
        write_register!("cptr_el2", el2.cptr);
        write_register!("mdcr_el2", el2.mdcr | counters);
        write_register!("hstr_el2", 0);
        write_register!("cnthctl_el2", el2.cnthctl);
        write_register!("cntvoff_el2", 0);
        write_register!("vpidr_el2", midr);
        write_register!("vmpidr_el2", mpidr);
        cpu::barrier();
        optional(&el2);
        // The interrupt controller's CPU interface is the guest's.
        write_register!("S3_4_C12_C9_5", 0xf);
        cpu::barrier();
        write_register!("S3_4_C12_C11_0", 0);
        write_register!("cnthp_ctl_el2", 0);
        gic::reset_interface();
        if let Some(redistributor) = guest.guard {
            guard::start(redistributor);
        }
        start_el1(el2.counters);
        clear_vectors(el2.smcr.is_some());
        // Nothing of an earlier guest, of whatever VMID, is remembered.
        asm!("tlbi alle1", "ic iallu", "dsb nsh", "isb", options(nostack));
    }
}

/// Registers that not every CPU has.
unsafe fn optional(el2: &anchorite_hv::arm64::features::El2) {
    // SAFETY: each is written only when its ID register has said that it exists.
    unsafe {
        if let Some([registers, instructions, debug]) = el2.fine_traps {
            write_register!("S3_4_C1_C1_4", registers);
            write_register!("S3_4_C1_C1_5", registers);
            write_register!("S3_4_C1_C1_6", instructions);
            write_register!("S3_4_C3_C1_4", debug);
            write_register!("S3_4_C3_C1_5", debug);
        }
        if let Some(value) = el2.fine_traps_amu {
            write_register!("S3_4_C3_C1_6", value);
        }
        if let Some(value) = el2.fine_traps2 {
            write_register!("S3_4_C3_C1_2", value);
            write_register!("S3_4_C3_C1_3", value);
            write_register!("S3_4_C3_C1_0", value);
            write_register!("S3_4_C3_C1_1", value);
            write_register!("S3_4_C3_C1_7", value);
        }
        if let Some(value) = el2.hcrx {
            write_register!("S3_4_C1_C2_2", value);
        }
        if let Some(value) = el2.zcr {
            write_register!("S3_4_C1_C2_0", value);
        }
        if let Some(value) = el2.smcr {
            write_register!("S3_4_C1_C2_6", value);
            write_register!("S3_4_C1_C2_5", 0);
        }
        if let Some(value) = el2.mpam2 {
            write_register!("S3_4_C10_C5_0", value);
        }
        if let Some(value) = el2.vsesr {
            write_register!("S3_4_C5_C2_3", value);
            write_register!("S3_4_C12_C1_1", value);
        }
        if let Some(value) = el2.pmscr {
            write_register!("S3_4_C9_C9_0", value);
        }
        if let Some(value) = el2.trfcr {
            write_register!("S3_4_C1_C2_1", value);
        }
        if let Some(value) = el2.brbcr {
            write_register!("S2_4_C9_C0_0", value);
        }
        if let Some(value) = el2.lorc {
            write_register!("S3_0_C10_C4_3", value);
        }
    }
}

/// A CPU that goes off while its guest is restarted: what is left of it would go on ringing.
pub fn silence_timers() {
    // SAFETY: only the guest uses these, and it is done with this CPU.
    unsafe {
        write_register!("cntv_ctl_el0", 0);
        write_register!("cntp_ctl_el0", 0);
        cpu::barrier();
    }
}

/// Floating-point and vector registers: a guest that starts again finds nothing of its last life in
/// them, and is in no streaming mode.
unsafe fn clear_vectors(has_sme: bool) {
    // SAFETY: the firmware uses none of these; CPTR_EL2 has just let EL2 have them. SVCR is there
    // where SME is.
    unsafe {
        if has_sme {
            write_register!("S3_3_C4_C2_2", 0);
            write_register!("S3_3_C13_C0_5", 0);
        }
        asm!(
            ".arch_extension fp",
            ".arch_extension simd",
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "movi v\\n\\().2d, #0",
            ".endr",
            "msr fpcr, xzr",
            "msr fpsr, xzr",
            ".arch_extension nosimd",
            ".arch_extension nofp",
            options(nomem, nostack)
        );
    }
}

/// EL1 as a CPU leaves reset: no translation, no timer, no counter running.
unsafe fn start_el1(counters: bool) {
    // SAFETY: only the guest uses these.
    unsafe {
        write_register!("sctlr_el1", SCTLR_EL1_START);
        write_register!("tcr_el1", 0);
        write_register!("ttbr0_el1", 0);
        write_register!("ttbr1_el1", 0);
        write_register!("mair_el1", 0);
        write_register!("vbar_el1", 0);
        write_register!("cpacr_el1", 0);
        write_register!("contextidr_el1", 0);
        write_register!("tpidr_el0", 0);
        write_register!("tpidrro_el0", 0);
        write_register!("tpidr_el1", 0);
        write_register!("sp_el0", 0);
        write_register!("sp_el1", 0);
        write_register!("esr_el1", 0);
        write_register!("far_el1", 0);
        write_register!("mdscr_el1", 0);
        write_register!("cntkctl_el1", 0);
        write_register!("cntv_ctl_el0", 0);
        write_register!("cntp_ctl_el0", 0);
        if counters {
            write_register!("pmcr_el0", 0);
            const ALL: u64 = u32::MAX as u64;
            write_register!("pmcntenclr_el0", ALL);
            write_register!("pmintenclr_el1", ALL);
            write_register!("pmovsclr_el0", ALL);
            write_register!("pmuserenr_el0", 0);
        }
    }
}
