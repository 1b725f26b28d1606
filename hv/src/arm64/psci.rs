// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's calls: PSCI 1.1 (Arm DEN 0022) and SMCCC 1.1 (Arm DEN 0028), by HVC or SMC.
use core::sync::atomic::Ordering;

use anchorite_spec::{End, ExitReason};

use super::board::Arm64;
use super::context::GuestContext;
use super::regs::MPIDR_AFFINITY;
use super::vcpu::{OFF, STARTING, Vcpu};
use super::{sdei, watchdog};
use crate::core::Action;
use crate::mem::Gpa;

/// Results, as PSCI numbers them; SMCCC knows the first two.
pub mod code {
    /// Done.
    pub const SUCCESS: i64 = 0;
    /// No such call.
    pub const NOT_SUPPORTED: i64 = -1;
    /// No such CPU.
    pub const INVALID_PARAMETERS: i64 = -2;
    /// Not now.
    pub const DENIED: i64 = -3;
    /// The CPU runs.
    pub const ALREADY_ON: i64 = -4;
    /// The CPU starts.
    pub const ON_PENDING: i64 = -5;
    /// An address that is not the guest's.
    pub const INVALID_ADDRESS: i64 = -9;
}

/// Function numbers; where there is a 64-bit form it has bit 30 set.
pub mod function {
    /// PSCI VERSION.
    pub const VERSION: u32 = 0x8400_0000;
    /// PSCI CPU_SUSPEND.
    pub const CPU_SUSPEND: u32 = 0x8400_0001;
    /// PSCI CPU_OFF.
    pub const CPU_OFF: u32 = 0x8400_0002;
    /// PSCI CPU_ON.
    pub const CPU_ON: u32 = 0x8400_0003;
    /// PSCI AFFINITY_INFO.
    pub const AFFINITY_INFO: u32 = 0x8400_0004;
    /// PSCI MIGRATE_INFO_TYPE.
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    /// PSCI SYSTEM_OFF.
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    /// PSCI SYSTEM_RESET.
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    /// PSCI FEATURES.
    pub const FEATURES: u32 = 0x8400_000A;
    /// PSCI SYSTEM_RESET2.
    pub const SYSTEM_RESET2: u32 = 0x8400_0012;
    /// The last PSCI number.
    pub const PSCI_LAST: u32 = 0x8400_001F;
    /// SMCCC_VERSION.
    pub const SMCCC_VERSION: u32 = 0x8000_0000;
    /// SMCCC_ARCH_FEATURES.
    pub const ARCH_FEATURES: u32 = 0x8000_0001;
    /// SMCCC_ARCH_SOC_ID.
    pub const SOC_ID: u32 = 0x8000_0002;
    /// SMCCC_ARCH_WORKAROUND_1.
    pub const WORKAROUND_1: u32 = 0x8000_8000;
    /// SMCCC_ARCH_WORKAROUND_2.
    pub const WORKAROUND_2: u32 = 0x8000_7FFF;
    /// SMCCC_ARCH_WORKAROUND_3.
    pub const WORKAROUND_3: u32 = 0x8000_3FFF;
    /// The first and the last TRNG number.
    pub const TRNG: [u32; 2] = [0x8400_0050, 0x8400_0053];
    /// The 64-bit form.
    pub const LONG: u32 = 1 << 30;
}
use function::{
    AFFINITY_INFO, ARCH_FEATURES, CPU_OFF, CPU_ON, CPU_SUSPEND, FEATURES, LONG, MIGRATE_INFO_TYPE,
    PSCI_LAST, SMCCC_VERSION, SOC_ID, SYSTEM_OFF, SYSTEM_RESET, SYSTEM_RESET2, TRNG, VERSION,
    WORKAROUND_1, WORKAROUND_2, WORKAROUND_3,
};

/// What VERSION says.
pub const PSCI_1_1: i64 = 0x1_0001;
const SMCCC_1_1: i64 = 0x1_0001;
const SMCCC_1_2: i64 = 0x1_0002;
/// SYSTEM_RESET2: the one type that is not somebody's own.
const WARM_RESET: u32 = 0;
/// MIGRATE_INFO_TYPE: no trusted OS that would mind.
const NO_TRUSTED_OS: i64 = 2;

/// Serves one call; x0 has its number and gets its result.
pub fn serve<M: Arm64>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    // The upper half of x0 is not part of the number.
    let number = ctx.gpr[0] as u32;
    let long = number & LONG != 0;
    let mask = if long { u64::MAX } else { u64::from(u32::MAX) };
    let [one, two, three] = [ctx.gpr[1] & mask, ctx.gpr[2] & mask, ctx.gpr[3] & mask];
    let (reason, result) = match (number & !LONG, long) {
        (VERSION, false) => (ExitReason::PsciVersion, PSCI_1_1),
        (CPU_SUSPEND, _) => (ExitReason::PsciCpuSuspend, suspend(v, one)),
        (CPU_OFF, false) => {
            // Counted before: it returns only when it is refused.
            v.count(ExitReason::PsciCpuOff);
            if v.turn_off() {
                v.last_words.push(b"it turned its last CPU off");
                return Action::End(End::GuestPanic);
            }
            ctx.gpr[0] = code::DENIED as u64;
            return Action::Resume;
        }
        (CPU_ON, _) => (ExitReason::PsciCpuOn, cpu_on(v, one, two, three)),
        (AFFINITY_INFO, _) => (ExitReason::PsciAffinityInfo, affinity_info(v, one, two)),
        (MIGRATE_INFO_TYPE, false) => {
            sdei::begin(v);
            (ExitReason::PsciMigrateInfo, NO_TRUSTED_OS)
        }
        (SYSTEM_OFF, false) => {
            v.count(ExitReason::PsciSystemOff);
            return Action::End(End::PoweredOff);
        }
        (SYSTEM_RESET2, _) if one as u32 != WARM_RESET => {
            (ExitReason::PsciSystemReset, code::INVALID_PARAMETERS)
        }
        (SYSTEM_RESET, false) | (SYSTEM_RESET2, _) => {
            v.count(ExitReason::PsciSystemReset);
            if sdei::is_panic(v) {
                v.last_words.push(b"it stopped its CPUs and asked for a reset");
                return Action::End(End::GuestPanic);
            }
            return Action::End(End::Rebooted);
        }
        (FEATURES, false) => (ExitReason::PsciFeatures, features(one as u32)),
        (SMCCC_VERSION, false) => (ExitReason::SmcccVersion, version(v)),
        (ARCH_FEATURES, false) => (ExitReason::SmcccArchFeatures, arch_features(v, one as u32)),
        (WORKAROUND_1 | WORKAROUND_2 | WORKAROUND_3, false) => {
            // Only the machine's firmware can do it. It returns nothing, or that there is no such call.
            v.count(ExitReason::SmcccWorkaround);
            ctx.gpr[0] = v.machine.firmware_call([u64::from(number), one, 0, 0]);
            return Action::Resume;
        }
        (id, true) if (sdei::function::ALL[0]..=sdei::function::ALL[1]).contains(&id) => {
            (ExitReason::Sdei, sdei::serve(v, id))
        }
        (watchdog::FUNCTION, _) if v.shared.watchdog.is_called() => {
            (ExitReason::SmcccWatchdog, watchdog::call(v, ctx))
        }
        _ if v.shared.forwards(number) => {
            v.count(ExitReason::SmcccForwarded);
            if let Some(registers) = ctx.gpr.first_chunk_mut() {
                // The upper half of x0 is nobody's.
                registers[0] = number.into();
                v.machine.forward_call(registers);
            }
            return Action::Resume;
        }
        (id, _) if (TRNG[0]..=TRNG[1]).contains(&id) => {
            (ExitReason::SmcccTrng, code::NOT_SUPPORTED)
        }
        (VERSION..=PSCI_LAST, _) => (ExitReason::PsciUnknown, code::NOT_SUPPORTED),
        _ => (ExitReason::SmcccUnknown, code::NOT_SUPPORTED),
    };
    v.count(reason);
    ctx.gpr[0] = result as u64;
    Action::Resume
}

fn features(wanted: u32) -> i64 {
    match (wanted & !LONG, wanted & LONG != 0) {
        (VERSION | CPU_OFF | MIGRATE_INFO_TYPE | SYSTEM_OFF | SYSTEM_RESET, false)
        | (FEATURES | SMCCC_VERSION, false)
        | (CPU_SUSPEND | CPU_ON | AFFINITY_INFO | SYSTEM_RESET2, _) => code::SUCCESS,
        _ => code::NOT_SUPPORTED,
    }
}

/// Linux asks for the SoC's name only from 1.2 on, and nothing else that is served depends on it.
fn version<M>(v: &Vcpu<M>) -> i64 {
    if v.shared.forwards(SOC_ID) { SMCCC_1_2 } else { SMCCC_1_1 }
}

/// A workaround is offered when the machine's firmware offers it: it says whether the guest's CPU
/// needs one.
fn arch_features<M: Arm64>(v: &mut Vcpu<M>, wanted: u32) -> i64 {
    match wanted {
        SMCCC_VERSION | ARCH_FEATURES => code::SUCCESS,
        WORKAROUND_1 | WORKAROUND_2 | WORKAROUND_3 => {
            if v.machine.firmware_call([SMCCC_VERSION.into(), 0, 0, 0]) as i32 <= 0 {
                return code::NOT_SUPPORTED;
            }
            let args = [ARCH_FEATURES.into(), wanted.into(), 0, 0];
            i64::from(v.machine.firmware_call(args) as i32)
        }
        SOC_ID if v.shared.forwards(SOC_ID) => {
            let args = [ARCH_FEATURES.into(), wanted.into(), 0, 0];
            i64::from(v.machine.firmware_call(args) as i32)
        }
        _ => code::NOT_SUPPORTED,
    }
}

/// Standby only: deeper states lose the CPU's registers, and a direct guest gains nothing by them.
fn suspend<M: Arm64>(v: &mut Vcpu<M>, state: u64) -> i64 {
    const POWER_DOWN: u64 = 1 << 16;
    if state & POWER_DOWN != 0 {
        return code::INVALID_PARAMETERS;
    }
    v.machine.wait_for_interrupt();
    code::SUCCESS
}

fn cpu_on<M: Arm64>(v: &mut Vcpu<M>, target: u64, entry: u64, argument: u64) -> i64 {
    let shared = v.shared;
    let Some(index) = shared.seat(target) else { return code::INVALID_PARAMETERS };
    if !entry.is_multiple_of(4) || shared.memory.translate(Gpa(entry), 4).is_err() {
        return code::INVALID_ADDRESS;
    }
    let seat = &shared.seats[index];
    match seat.state.compare_exchange(OFF, STARTING, Ordering::Acquire, Ordering::Acquire) {
        Ok(_) => {}
        Err(STARTING) => return code::ON_PENDING,
        Err(_) => return code::ALREADY_ON,
    }
    seat.entry.store(entry, Ordering::Relaxed);
    seat.argument.store(argument, Ordering::Release);
    let result = v.machine.start_cpu(index, seat.mpidr);
    if result != code::SUCCESS {
        seat.state.store(OFF, Ordering::Release);
    }
    result
}

fn affinity_info<M: Arm64>(v: &mut Vcpu<M>, target: u64, level: u64) -> i64 {
    if level != 0
        || v.shared.seat(target & MPIDR_AFFINITY).is_none()
        || target & !MPIDR_AFFINITY != 0
    {
        return code::INVALID_PARAMETERS;
    }
    // Only the machine's firmware knows when a CPU has really stopped.
    i64::from(v.machine.firmware_call([(AFFINITY_INFO | LONG).into(), target, 0, 0]) as i32)
}

#[cfg(test)]
mod tests {
    use super::super::fake::served as serve;
    use super::super::fake::{Fake, RAM, context, vcpu};
    use super::super::vcpu::ON;
    use super::*;

    const HVC: u64 = 0x5a00_0000;

    fn call(v: &mut Vcpu<Fake>, args: [u64; 4]) -> i64 {
        let mut ctx = context(HVC);
        ctx.gpr[..4].copy_from_slice(&args);
        assert_eq!(serve(v, &mut ctx), Action::Resume);
        assert_eq!(ctx.pc, 0x4000, "an HVC is behind the guest already");
        ctx.gpr[0] as i64
    }

    #[test]
    fn what_linux_asks_at_boot() {
        let mut v = vcpu();
        for (args, result) in [
            ([0x8400_0000, 0, 0, 0], 0x1_0001),
            ([0x8400_0006, 0, 0, 0], 2),
            ([0x8400_000a, 0x8000_0000, 0, 0], 0),
            ([0x8000_0000, 0, 0, 0], 0x1_0002),
            ([0x8400_0050, 0, 0, 0], -1),
            ([0x8400_000a, 0xc400_0001, 0, 0], 0),
            ([0x8400_000a, 0xc400_000e, 0, 0], -1),
            ([0x8400_000a, 0xc400_0012, 0, 0], 0),
            ([0x8000_0001, 0xc500_0020, 0, 0], -1),
            ([0xc600_ff01, 0, 0, 0], -1),
            ([0xffff_ffff_8400_0000, 0, 0, 0], 0x1_0001),
        ] {
            assert_eq!(call(&mut v, args), result, "{args:x?}");
        }
    }

    #[test]
    fn an_smc_is_stepped_over_once() {
        let mut v = vcpu();
        let mut ctx = context(0x5e00_0000);
        ctx.gpr[0] = 0x8400_0000;
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        assert_eq!((ctx.pc, ctx.gpr[0]), (0x4004, 0x1_0001));
        ctx.esr |= 1;
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        assert_eq!((ctx.pc, ctx.gpr[0] as i64), (0x4008, -1));
    }

    #[test]
    fn cpus_are_started_in_this_firmware_only() {
        let mut v = vcpu();
        assert_eq!(call(&mut v, [0xc400_0003, 2, RAM, 7]), code::INVALID_PARAMETERS);
        assert_eq!(call(&mut v, [0xc400_0003, 1, 0x5000_0000, 7]), code::INVALID_ADDRESS);
        assert_eq!(call(&mut v, [0xc400_0003, 1, RAM + 2, 7]), code::INVALID_ADDRESS);
        assert_eq!(call(&mut v, [0xc400_0003, 0, RAM, 7]), code::ALREADY_ON);
        assert!(v.machine.started.is_empty());
        v.machine.start_result = -6;
        assert_eq!(call(&mut v, [0xc400_0003, 1, RAM, 7]), -6);
        v.machine.start_result = 0;
        assert_eq!(call(&mut v, [0xc400_0003, 1, RAM, 7]), code::SUCCESS);
        assert_eq!(call(&mut v, [0xc400_0003, 1, RAM, 8]), code::ON_PENDING);
        assert_eq!(v.machine.started, [(1, 1), (1, 1)]);
        let seat = &v.shared.seats[1];
        assert_eq!(seat.argument.load(Ordering::Relaxed), 7, "the second call changed nothing");
        assert_eq!(seat.entry.load(Ordering::Relaxed), RAM);
    }

    #[test]
    fn off_is_told_by_the_machine() {
        let mut v = vcpu();
        v.machine.answer = 1;
        assert_eq!(call(&mut v, [0xc400_0004, 1, 0, 0]), 1);
        assert_eq!(call(&mut v, [0xc400_0004, 1, 1, 0]), code::INVALID_PARAMETERS);
        assert_eq!(call(&mut v, [0xc400_0004, 9, 0, 0]), code::INVALID_PARAMETERS);
        assert_eq!(v.machine.calls.len(), 1);
        // A CPU_OFF that comes back was refused.
        v.shared.seats[1].state.store(STARTING, Ordering::Relaxed);
        assert_eq!(call(&mut v, [0x8400_0002, 0, 0, 0]), code::DENIED);
        assert_eq!(v.shared.seats[0].state.load(Ordering::Relaxed), ON);
        // Without another one that is on or starts it is the guest's end.
        let calls = v.machine.calls.len();
        v.shared.seats[1].state.store(OFF, Ordering::Relaxed);
        let mut ctx = context(HVC);
        ctx.gpr[0] = 0x8400_0002;
        assert_eq!(serve(&mut v, &mut ctx), Action::End(End::GuestPanic));
        assert_eq!(v.last_words.as_bytes(), b"it turned its last CPU off");
        assert_eq!(v.shared.seats[0].state.load(Ordering::Relaxed), ON);
        assert_eq!(v.machine.calls.len(), calls, "nobody else was asked");
    }

    #[test]
    fn suspend_waits_and_the_system_ends() {
        let mut v = vcpu();
        assert_eq!(call(&mut v, [0xc400_0001, 0, 0, 0]), 0);
        assert_eq!(call(&mut v, [0xc400_0001, 1 << 16, 0, 0]), code::INVALID_PARAMETERS);
        assert_eq!(v.machine.waits, 1);
        for (number, end) in [(0x8400_0008, End::PoweredOff), (0xc400_0012, End::Rebooted)] {
            let mut ctx = context(HVC);
            ctx.gpr[0] = number;
            assert_eq!(serve(&mut v, &mut ctx), Action::End(end));
        }
        assert_eq!(call(&mut v, [0xc400_0012, 1 << 31, 0, 0]), code::INVALID_PARAMETERS);
    }

    #[test]
    fn only_listed_calls_reach_the_machines_firmware() {
        let mut v = vcpu();
        v.machine.answer = 5;
        let mut ctx = context(HVC);
        for (at, register) in ctx.gpr.iter_mut().enumerate() {
            *register = 0x100 + at as u64;
        }
        ctx.gpr[0] = 0xffff_ffff_c400_0053;
        assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        assert_eq!(v.machine.calls, [[0xc400_0053, 0x101, 0x102, 0x111]]);
        assert_eq!((ctx.gpr[0], ctx.gpr[17], ctx.gpr[18]), (5, 5, 0x112));
        assert_eq!(v.row.count[ExitReason::SmcccForwarded.slot()], 1);
        assert_eq!(call(&mut v, [0x8000_0002, 0, 0, 0]), 5);
        assert_eq!(call(&mut v, [0x8000_0001, 0x8000_0002, 0, 0]), 5);
        for number in [0xc400_0050, 0x8400_0053, 0xc200_0001, 0, 0x8000_0003] {
            assert_eq!(call(&mut v, [number, 0, 0, 0]), -1, "{number:#x}");
        }
        assert_eq!(v.machine.calls.len(), 3);
    }

    #[test]
    fn workarounds_are_the_machines_to_offer() {
        let mut v = vcpu();
        v.machine.answer = -1_i64 as u64;
        assert_eq!(call(&mut v, [0x8000_0001, 0x8000_8000, 0, 0]), -1);
        v.machine.answer = 1;
        assert_eq!(call(&mut v, [0x8000_0001, 0x8000_8000, 0, 0]), 1);
    }
}
