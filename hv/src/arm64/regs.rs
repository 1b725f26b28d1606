// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Register values and fields of Armv8-A (Arm ARM, D19 "AArch64 System Register Descriptions").

/// ESR_ELx.EC: exception classes.
pub mod class {
    /// Unknown reason.
    pub const UNKNOWN: u64 = 0x00;
    /// WFI, trapped.
    pub const WAIT: u64 = 0x01;
    /// HVC from AArch64.
    pub const HVC: u64 = 0x16;
    /// SMC from AArch64, trapped.
    pub const SMC: u64 = 0x17;
    /// HVC from AArch32.
    pub const HVC32: u64 = 0x12;
    /// SMC from AArch32, trapped.
    pub const SMC32: u64 = 0x13;
    /// MSR, MRS or a system instruction.
    pub const SYSTEM: u64 = 0x18;
    /// Instruction abort from a lower exception level.
    pub const FETCH: u64 = 0x20;
    /// Data abort from a lower exception level.
    pub const DATA: u64 = 0x24;
}

/// ESR_ELx of an abort.
pub mod abort {
    /// The instruction syndrome below is valid.
    pub const ISV: u64 = 1 << 24;
    /// The fault address register holds nothing.
    pub const NO_ADDRESS: u64 = 1 << 10;
    /// The guest's own table walk faulted.
    pub const TABLE_WALK: u64 = 1 << 7;
    /// A store.
    pub const WRITE: u64 = 1 << 6;
    /// The fault status code.
    pub const STATUS: u64 = 0x3f;
    /// Synchronous external abort, not on a table walk.
    pub const EXTERNAL: u64 = 0x10;
}

/// ESR_ELx.IL: a 32-bit instruction.
pub const ESR_IL: u64 = 1 << 25;

/// PSTATE as SPSR_EL2 holds it.
pub mod pstate {
    /// EL1 with its own stack pointer; debug, SError, IRQ and FIQ masked.
    pub const EL1H_MASKED: u64 = 0x3c5;
    /// The condition flags and DIT: what an exception keeps.
    pub const KEPT: u64 = 0xf << 28 | 1 << 24;
    /// Interrupts masked.
    pub const IRQ_MASKED: u64 = 1 << 7;
    /// Privileged access never.
    pub const PAN: u64 = 1 << 22;
    /// Speculative store bypass safe.
    pub const SSBS: u64 = 1 << 12;
    /// AArch32.
    pub const AARCH32: u64 = 1 << 4;
    /// Mode: exception level and stack pointer.
    pub const MODE: u64 = 0xf;
}

/// The ISS of a store to ICC_SGI1R_EL1, without its register.
pub const ICC_SGI1R: u64 = 0x3a_3016;
/// The same for ICC_ASGI1R_EL1.
pub const ICC_ASGI1R: u64 = 0x3c_3016;
/// The same for ICC_SGI0R_EL1.
pub const ICC_SGI0R: u64 = 0x3e_3016;

/// SCTLR_EL1: an exception to EL1 leaves PAN as it is.
pub const SCTLR_SPAN: u64 = 1 << 23;
/// SCTLR_EL1: the value of PSTATE.SSBS on an exception.
pub const SCTLR_DSSBS: u64 = 1 << 44;
/// SCTLR_EL1 of a guest that starts: RES1, MMU and caches off, little-endian.
pub const SCTLR_EL1_START: u64 = 0x30d0_0800;

/// The affinity fields of MPIDR_EL1.
pub const MPIDR_AFFINITY: u64 = 0xff_00ff_ffff;

/// HCR_EL2 for every guest: stage 2 on, set/way by invalidate-and-clean, protected table walks, SMC,
/// implementation-defined registers and ACTLR trapped, AArch64.
pub const HCR_BASE: u64 = 0x8038_0007;
/// HCR_EL2.TWI: WFI is EL2's, unless an interrupt is pending.
pub const HCR_TWI: u64 = 1 << 13;
/// HCR_EL2.FMO: FIQs are EL2's, whatever the guest masks.
pub const HCR_FMO: u64 = 1 << 3;
