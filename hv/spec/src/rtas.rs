// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The run-time services (LoPAR, ch. 7): those that the firmware serves, as the guest's device tree
//! names them, with every status that each returns, and those that it lacks. The builder's tree, the
//! firmware's dispatch, its documentation and the guest that tries every status read this.

/// power-off.
pub const POWER_OFF: u32 = 1;
/// system-reboot.
pub const SYSTEM_REBOOT: u32 = 2;
/// ibm,os-term.
pub const OS_TERM: u32 = 3;
/// query-cpu-stopped-state.
pub const QUERY_CPU_STOPPED_STATE: u32 = 4;
/// get-time-of-day.
pub const GET_TIME_OF_DAY: u32 = 5;
/// set-time-of-day.
pub const SET_TIME_OF_DAY: u32 = 6;
/// ibm,get-system-parameter.
pub const GET_SYSTEM_PARAMETER: u32 = 7;
/// start-cpu.
pub const START_CPU: u32 = 8;
/// stop-self.
pub const STOP_SELF: u32 = 9;
/// ibm,nmi-register.
pub const NMI_REGISTER: u32 = 11;
/// ibm,nmi-interlock.
pub const NMI_INTERLOCK: u32 = 12;
/// display-character; Linux's early console also tries this number unasked.
pub const DISPLAY_CHARACTER: u32 = 10;

/// Done.
pub const SUCCESS: i32 = 0;
/// The machine underneath failed, or a CPU is not in the state that the call needs.
pub const HARDWARE: i32 = -1;
/// Try again.
pub const BUSY: i32 = -2;
/// Wrong arguments, or nothing that is served.
pub const PARAMETER: i32 = -3;

/// A status's name.
#[must_use]
pub const fn status_name(status: i32) -> &'static str {
    match status {
        SUCCESS => "success",
        HARDWARE => "hardware error",
        BUSY => "busy",
        PARAMETER => "parameter error",
        _ => "?",
    }
}

/// A service.
pub struct Service {
    /// Its property in the guest's tree.
    pub name: &'static str,
    /// Its token: the place in [`SERVICES`], from 1.
    pub token: u32,
    /// Words that it takes.
    pub inputs: usize,
    /// Words that it returns, the status among them.
    pub outputs: usize,
    /// Every status that a guest can bring about by itself; success only where the call returns.
    pub statuses: &'static [i32],
    /// Every further status: only the machine underneath brings it about.
    pub machine: &'static [i32],
}

const fn service(
    name: &'static str,
    token: u32,
    [inputs, outputs]: [usize; 2],
    statuses: &'static [i32],
    machine: &'static [i32],
) -> Service {
    Service { name, token, inputs, outputs, statuses, machine }
}

/// Every service, by token.
pub const SERVICES: [Service; 12] = [
    service("power-off", POWER_OFF, [2, 1], &[PARAMETER], &[]),
    service("system-reboot", SYSTEM_REBOOT, [0, 1], &[PARAMETER], &[]),
    service("ibm,os-term", OS_TERM, [1, 1], &[PARAMETER], &[]),
    service("query-cpu-stopped-state", QUERY_CPU_STOPPED_STATE, [1, 2], &[SUCCESS, PARAMETER], &[]),
    service("get-time-of-day", GET_TIME_OF_DAY, [0, 8], &[SUCCESS, PARAMETER], &[HARDWARE]),
    service("set-time-of-day", SET_TIME_OF_DAY, [7, 1], &[SUCCESS, PARAMETER], &[HARDWARE]),
    service("ibm,get-system-parameter", GET_SYSTEM_PARAMETER, [3, 1], &[PARAMETER], &[]),
    service("start-cpu", START_CPU, [3, 1], &[SUCCESS, HARDWARE, PARAMETER], &[]),
    service("stop-self", STOP_SELF, [0, 1], &[PARAMETER], &[]),
    service("display-character", DISPLAY_CHARACTER, [1, 1], &[SUCCESS, PARAMETER], &[BUSY]),
    service("ibm,nmi-register", NMI_REGISTER, [2, 1], &[SUCCESS, PARAMETER], &[HARDWARE]),
    service("ibm,nmi-interlock", NMI_INTERLOCK, [0, 1], &[SUCCESS, PARAMETER], &[]),
];

/// Services that a guest's tree does not name, and why.
pub struct Absent {
    /// Their names.
    pub names: &'static [&'static str],
    /// Why.
    pub why: &'static str,
}

/// Every service of LoPAR's and Linux's that is not there. Linux takes a service that its tree does
/// not name for absent; any token that is not in [`SERVICES`] is answered with [`PARAMETER`].
pub const ABSENT: &[Absent] = &[
    Absent {
        names: &[
            "read-pci-config",
            "write-pci-config",
            "ibm,read-pci-config",
            "ibm,write-pci-config",
            "ibm,change-msi",
            "ibm,query-interrupt-source-number",
            "ibm,set-eeh-option",
            "ibm,get-config-addr-info2",
            "ibm,read-slot-reset-state2",
            "ibm,set-slot-reset",
            "ibm,slot-error-detail",
            "ibm,configure-pe",
            "ibm,query-pe-dma-window",
            "ibm,create-pe-dma-window",
            "ibm,remove-pe-dma-window",
            "ibm,reset-pe-dma-window",
        ],
        why: "no PCI",
    },
    Absent {
        names: &["ibm,get-xive", "ibm,set-xive", "ibm,int-on", "ibm,int-off"],
        why: "these are for XICS; the guest has XIVE",
    },
    Absent {
        names: &["check-exception", "event-scan", "rtas-last-error"],
        why: "there is no event but those that a guest is told of at once",
    },
    Absent { names: &["nvram-fetch", "nvram-store"], why: "the guest has no non-volatile memory" },
    Absent {
        names: &[
            "set-indicator",
            "get-sensor-state",
            "set-power-level",
            "get-power-level",
            "ibm,configure-connector",
            "ibm,set-system-parameter",
            "ibm,suspend-me",
            "ibm,update-nodes",
            "ibm,update-properties",
        ],
        why: "nothing of the machine changes while the guest runs",
    },
    Absent {
        names: &["freeze-time-base", "thaw-time-base"],
        why: "the cores' timebases are synchronous from the start",
    },
];
