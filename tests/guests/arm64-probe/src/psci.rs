// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls, each of them with all registers watched.
use core::sync::atomic::{AtomicU64, Ordering};

use crate::trap::{EL1H, noise, words};

/// PSCI VERSION.
pub const VERSION: u64 = 0x8400_0000;
/// PSCI CPU_SUSPEND.
pub const CPU_SUSPEND: u64 = 0xc400_0001;
/// PSCI CPU_OFF.
pub const CPU_OFF: u64 = 0x8400_0002;
/// PSCI CPU_ON.
pub const CPU_ON: u64 = 0xc400_0003;
/// PSCI AFFINITY_INFO.
pub const AFFINITY_INFO: u64 = 0xc400_0004;
/// PSCI MIGRATE_INFO_TYPE.
pub const MIGRATE_INFO_TYPE: u64 = 0x8400_0006;
/// PSCI SYSTEM_OFF.
pub const SYSTEM_OFF: u64 = 0x8400_0008;
/// PSCI SYSTEM_RESET.
pub const SYSTEM_RESET: u64 = 0x8400_0009;
/// PSCI FEATURES.
pub const FEATURES: u64 = 0x8400_000a;
/// PSCI SYSTEM_RESET2.
pub const SYSTEM_RESET2: u64 = 0xc400_0012;
/// SMCCC_VERSION.
pub const SMCCC_VERSION: u64 = 0x8000_0000;
/// SMCCC_ARCH_FEATURES.
pub const ARCH_FEATURES: u64 = 0x8000_0001;

/// The result of a call that is done.
pub const SUCCESS: u64 = 0;
/// … that does not exist.
pub const NOT_SUPPORTED: u64 = -1_i64 as u64;
/// … with parameters that cannot be.
pub const INVALID_PARAMETERS: u64 = -2_i64 as u64;
/// … to a CPU that runs.
pub const ALREADY_ON: u64 = -4_i64 as u64;
/// … to a CPU that starts.
pub const ON_PENDING: u64 = -5_i64 as u64;
/// … with an address that is not the guest's.
pub const INVALID_ADDRESS: u64 = -9_i64 as u64;

/// `hvc #0`.
pub const HVC: u32 = 0xd400_0002;
/// `smc #0`.
pub const SMC: u32 = 0xd400_0003;

/// Calls after which a register was another.
static LEAKS: AtomicU64 = AtomicU64::new(0);
/// The first: function, register, value.
static FIRST: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
/// Calls that did not come back behind their instruction.
static STRAYS: AtomicU64 = AtomicU64::new(0);

/// One call by this instruction: x0 afterwards. All other registers are filled with noise and must
/// come back.
pub fn call_by(instruction: u32, args: &[u64]) -> u64 {
    let mut registers = noise(args.iter().fold(1, |all, arg| all ^ arg.rotate_left(9)));
    registers[..args.len()].copy_from_slice(args);
    let outcome = words(EL1H, &[instruction], &registers);
    if !outcome.ran() || outcome.0.elr != outcome.0.code + 4 {
        STRAYS.fetch_add(1, Ordering::Relaxed);
    }
    // SMCCC 1.1 keeps x4 on; none of these calls has results beyond x0.
    if let Some(register) = outcome.changed(1)
        && LEAKS.fetch_add(1, Ordering::Relaxed) == 0
    {
        for (slot, value) in FIRST.iter().zip([args[0], register as u64, outcome.x(register)]) {
            slot.store(value, Ordering::Relaxed);
        }
    }
    outcome.x(0)
}

/// One call by HVC.
pub fn call(args: &[u64]) -> u64 {
    call_by(HVC, args)
}

/// Calls that changed registers, the first of them, and calls that came back elsewhere.
pub fn leaks() -> (u64, [u64; 3], u64) {
    let first = [0, 1, 2].map(|n| FIRST[n].load(Ordering::Relaxed));
    (LEAKS.load(Ordering::Relaxed), first, STRAYS.load(Ordering::Relaxed))
}

/// The machine goes off.
pub fn power_off() -> ! {
    loop {
        call(&[SYSTEM_OFF]);
    }
}
