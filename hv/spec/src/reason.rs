// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why a guest left for the firmware: one table of names for the ledger, the console's `@exit`
//! lines, `anchorite stats` and the documentation.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// A ledger slot. The number is the slot; new reasons are added at the end.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ExitReason {
            $($(#[doc = $doc])* $variant,)*
        }

        impl ExitReason {
            /// Every reason, in slot order.
            pub const ALL: &'static [ExitReason] = &[$(ExitReason::$variant,)*];

            /// The reason's name, as users see it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(ExitReason::$variant => $name,)* }
            }

            /// What the reason means, in one sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(ExitReason::$variant => concat!($($doc),*),)* }
            }
        }
    };
}

reasons! {
    /// A hypercall from problem state, answered with a privileged program interrupt.
    HcallProblemState = "hcall-problem-state",
    /// A hypercall number that is not served: H_FUNCTION.
    HcallUnknown = "hcall-unknown",
    /// H_SET_MODE: interrupt endianness and location.
    HSetMode = "h_set_mode",
    /// H_REGISTER_PROC_TBL: the guest's process table.
    HRegisterProcTbl = "h_register_proc_tbl",
    /// H_CEDE: the vCPU is idle until an interrupt.
    HCede = "h_cede",
    /// H_PROD: wake a ceded vCPU.
    HProd = "h_prod",
    /// H_CONFER: give time to another vCPU; all are pinned, so nothing is given.
    HConfer = "h_confer",
    /// H_PUT_TERM_CHAR: console output.
    HPutTermChar = "h_put_term_char",
    /// H_GET_TERM_CHAR: console input, polled.
    HGetTermChar = "h_get_term_char",
    /// H_REGISTER_VPA: the per-vCPU shared area.
    HRegisterVpa = "h_register_vpa",
    /// H_RANDOM: a number from the machine's random number generator.
    HRandom = "h_random",
    /// H_GET_CPU_CHARACTERISTICS: which side-channel flushes the guest needs.
    HGetCpuCharacteristics = "h_get_cpu_characteristics",
    /// H_INT_GET_SOURCE_INFO.
    HIntGetSourceInfo = "h_int_get_source_info",
    /// H_INT_SET_SOURCE_CONFIG.
    HIntSetSourceConfig = "h_int_set_source_config",
    /// H_INT_GET_SOURCE_CONFIG.
    HIntGetSourceConfig = "h_int_get_source_config",
    /// H_INT_GET_QUEUE_INFO.
    HIntGetQueueInfo = "h_int_get_queue_info",
    /// H_INT_SET_QUEUE_CONFIG.
    HIntSetQueueConfig = "h_int_set_queue_config",
    /// H_INT_GET_QUEUE_CONFIG.
    HIntGetQueueConfig = "h_int_get_queue_config",
    /// H_INT_ESB.
    HIntEsb = "h_int_esb",
    /// H_INT_SYNC.
    HIntSync = "h_int_sync",
    /// H_INT_RESET.
    HIntReset = "h_int_reset",
    /// H_RPT_INVALIDATE: TLB invalidation on the guest's behalf.
    HRptInvalidate = "h_rpt_invalidate",
    /// RTAS power-off.
    RtasPowerOff = "rtas_power_off",
    /// RTAS system-reboot.
    RtasSystemReboot = "rtas_system_reboot",
    /// RTAS ibm,os-term: the guest's panic.
    RtasOsTerm = "rtas_os_term",
    /// RTAS display-character.
    RtasDisplayCharacter = "rtas_display_character",
    /// RTAS get-time-of-day.
    RtasGetTimeOfDay = "rtas_get_time_of_day",
    /// RTAS set-time-of-day.
    RtasSetTimeOfDay = "rtas_set_time_of_day",
    /// RTAS ibm,get-system-parameter.
    RtasGetSystemParameter = "rtas_get_system_parameter",
    /// An RTAS call whose arguments or token cannot be served.
    RtasUnknown = "rtas_unknown",
    /// HDSI: a data access that the partition-scoped tables do not allow.
    Hdsi = "hdsi",
    /// HISI: an instruction fetch that the partition-scoped tables do not allow.
    Hisi = "hisi",
    /// HEA: hypervisor emulation assistance, an instruction that the core does not know.
    Hea = "hea",
    /// Hypervisor facility unavailable.
    HFacUnavailable = "hfac_unavailable",
    /// The hypervisor decrementer at an unexpected time, such as its stale edge after reset.
    Hdec = "hdec",
    /// The hypervisor decrementer, for OPAL's heartbeat.
    OpalHeartbeat = "opal-heartbeat",
    /// A hypervisor virtualization interrupt that OPAL had to be told of.
    OpalEvent = "opal-event",
    /// A hypervisor virtualization interrupt without a source, or an escalation that came late.
    HviSpurious = "hvi-spurious",
    /// Hypervisor doorbell.
    HvDoorbell = "hv-doorbell",
    /// Hypervisor maintenance interrupt.
    Hmi = "hmi",
    /// Machine check.
    MachineCheck = "machine-check",
    /// System reset.
    SystemReset = "system-reset",
    /// Soft-patch interrupt.
    SoftPatch = "soft-patch",
    /// An exception taken in the firmware itself.
    FirmwareFault = "firmware-fault",
    /// PSCI VERSION.
    PsciVersion = "psci-version",
    /// PSCI CPU_SUSPEND: the vCPU is idle until an interrupt.
    PsciCpuSuspend = "psci-cpu-suspend",
    /// PSCI CPU_OFF.
    PsciCpuOff = "psci-cpu-off",
    /// PSCI CPU_ON.
    PsciCpuOn = "psci-cpu-on",
    /// PSCI AFFINITY_INFO.
    PsciAffinityInfo = "psci-affinity-info",
    /// PSCI MIGRATE_INFO_TYPE.
    PsciMigrateInfo = "psci-migrate-info",
    /// PSCI SYSTEM_OFF: power-off.
    PsciSystemOff = "psci-system-off",
    /// PSCI SYSTEM_RESET or SYSTEM_RESET2.
    PsciSystemReset = "psci-system-reset",
    /// PSCI FEATURES.
    PsciFeatures = "psci-features",
    /// A PSCI call that is not served: NOT_SUPPORTED.
    PsciUnknown = "psci-unknown",
    /// SMCCC VERSION.
    SmcccVersion = "smccc-version",
    /// SMCCC ARCH_FEATURES.
    SmcccArchFeatures = "smccc-arch-features",
    /// SMCCC ARCH_WORKAROUND 1 to 3.
    SmcccWorkaround = "smccc-workaround",
    /// SMCCC TRNG: random numbers of the machine's firmware.
    SmcccTrng = "smccc-trng",
    /// An SMCCC call that is not served: NOT_SUPPORTED.
    SmcccUnknown = "smccc-unknown",
    /// A store to a redistributor's frame: filtered.
    GicrWrite = "gicr-write",
    /// A system register that is trapped.
    SystemRegister = "system-register",
    /// A data access that stage 2 does not allow.
    DataAbort = "data-abort",
    /// An instruction fetch that stage 2 does not allow.
    InstructionAbort = "instruction-abort",
    /// A trapped instruction that the guest does not have: undefined.
    UndefinedTrap = "undefined-trap",
    /// An interrupt or SError that reached EL2 though it belongs to the guest.
    AsyncToEl2 = "async-to-el2",
    /// EL2's own timer (guarded interrupts).
    El2Timer = "el2-timer",
    /// An FIQ that was gone when EL2 asked for it (guarded interrupts).
    FiqSpurious = "fiq-spurious",
    /// An interrupt that the guest sends to its CPUs: ICC_SGI1R_EL1 (guarded interrupts).
    GicSgi = "gic-sgi",
    /// A store to the interrupt distributor: filtered (guarded interrupts).
    GicdWrite = "gicd-write",
    /// H_JOIN: wait until H_PROD.
    HJoin = "h_join",
    /// H_SIGNAL_SYS_RESET: a system reset for one vCPU or several.
    HSignalSysReset = "h_signal_sys_reset",
    /// RTAS start-cpu.
    RtasStartCpu = "rtas_start_cpu",
    /// RTAS stop-self.
    RtasStopSelf = "rtas_stop_self",
    /// RTAS query-cpu-stopped-state.
    RtasQueryCpuStoppedState = "rtas_query_cpu_stopped_state",
    /// The firmware's own interrupt, by which one vCPU takes another out of the guest.
    Kick = "kick",
    /// Another vCPU has ended the run, and this one came to a halt.
    Stopped = "stopped",
    /// SDEI: how a Linux guest says that it goes down, and its CPUs with it.
    Sdei = "sdei",
    /// An SMCCC call that the board config lets through to the machine's firmware.
    SmcccForwarded = "smccc-forwarded",
    /// RTAS ibm,nmi-register: the guest's routines for machine checks and system resets.
    RtasNmiRegister = "rtas_nmi_register",
    /// RTAS ibm,nmi-interlock: a machine check's error log is done with.
    RtasNmiInterlock = "rtas_nmi_interlock",
    /// H_WATCHDOG: starts, stops or describes a watchdog of the guest's.
    HWatchdog = "h_watchdog",
    /// The hypervisor decrementer, for a watchdog: one of the guest's, or the firmware's.
    Watchdog = "watchdog",
    /// H_GET_PPP: how many processors the guest has.
    HGetPpp = "h_get_ppp",
    /// H_SET_PPP.
    HSetPpp = "h_set_ppp",
    /// H_PURR: the processor utilization of resources register.
    HPurr = "h_purr",
    /// H_POLL_PENDING: whether the firmware wants the core.
    HPollPending = "h_poll_pending",
    /// An HDSI whose cause the core did not say: the access is tried again.
    HdsiRetried = "hdsi-retried",
    /// WFI: a CPU that goes to sleep, which the firmware's watchdog wants to know now and then.
    Wfi = "wfi",
    /// The call that feeds the firmware's watchdog.
    SmcccWatchdog = "smccc-watchdog",
}

impl ExitReason {
    /// The slot in a ledger row.
    #[must_use]
    pub const fn slot(self) -> usize {
        self as usize
    }

    /// The reason of a slot.
    #[must_use]
    pub fn from_slot(slot: usize) -> Option<Self> {
        Self::ALL.get(slot).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::ExitReason;

    #[test]
    fn slots_and_names_are_distinct() {
        for (slot, reason) in ExitReason::ALL.iter().enumerate() {
            assert_eq!(reason.slot(), slot);
            assert_eq!(ExitReason::from_slot(slot), Some(*reason));
            let same = ExitReason::ALL.iter().filter(|other| other.name() == reason.name());
            assert_eq!(same.count(), 1, "{}", reason.name());
        }
    }
}
