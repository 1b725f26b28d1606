// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hypercalls of LoPAR (Linux on Power Architecture Reference, ch. 14): those that the firmware
//! serves, with every code that each returns, and those that it refuses, with the reason. The
//! firmware's dispatch table, its documentation and the guest that tries every code read this.

/// Done.
pub const SUCCESS: i64 = 0;
/// Try again.
pub const BUSY: i64 = 1;
/// Not as much as was asked for.
pub const CONSTRAINED: i64 = 4;
/// Every other vCPU has joined.
pub const CONTINUE: i64 = 18;
/// The machine underneath failed.
pub const HARDWARE: i64 = -1;
/// Not served.
pub const FUNCTION: i64 = -2;
/// The first argument, or several together.
pub const PARAMETER: i64 = -4;
/// Not with interrupts enabled.
pub const BAD_MODE: i64 = -5;
/// Something that must come first is missing.
pub const RESOURCE: i64 = -16;
/// The second argument; the third and so on follow downwards.
pub const P2: i64 = -55;
/// The third argument.
pub const P3: i64 = -56;
/// The fourth argument.
pub const P4: i64 = -57;
/// The fifth argument.
pub const P5: i64 = -58;
/// Nothing was to be done.
pub const NOOP: i64 = -63;
/// The flag at bit 0 is not known; other bits' codes follow downwards, to bit 63.
pub const UNSUPPORTED_FLAG: i64 = -256;

/// A code's name, or that of the family that it belongs to.
#[must_use]
pub const fn code_name(code: i64) -> &'static str {
    match family(code) {
        SUCCESS => "H_SUCCESS",
        BUSY => "H_BUSY",
        CONSTRAINED => "H_CONSTRAINED",
        NOOP => "H_NOOP",
        CONTINUE => "H_CONTINUE",
        HARDWARE => "H_HARDWARE",
        FUNCTION => "H_FUNCTION",
        PARAMETER => "H_PARAMETER",
        BAD_MODE => "H_BAD_MODE",
        RESOURCE => "H_RESOURCE",
        P2 => "H_P2",
        P3 => "H_P3",
        P4 => "H_P4",
        P5 => "H_P5",
        UNSUPPORTED_FLAG => "H_UNSUPPORTED_FLAG",
        _ => "?",
    }
}

/// The code that stands for this one in a [`Call`]'s list.
#[must_use]
pub const fn family(code: i64) -> i64 {
    if code <= UNSUPPORTED_FLAG && code > UNSUPPORTED_FLAG - 64 { UNSUPPORTED_FLAG } else { code }
}

/// A hypercall that is served.
pub struct Call {
    /// Its number.
    pub number: u64,
    /// LoPAR's name.
    pub name: &'static str,
    /// Every code that a guest can bring about by itself.
    pub codes: &'static [i64],
    /// Every further code: only the machine underneath brings it about.
    pub machine: &'static [i64],
}

impl Call {
    /// Whether this call may return that code.
    #[must_use]
    pub fn returns(&self, code: i64) -> bool {
        self.codes.contains(&family(code)) || self.machine.contains(&family(code))
    }
}

const fn call(
    number: u64,
    name: &'static str,
    codes: &'static [i64],
    machine: &'static [i64],
) -> Call {
    Call { number, name, codes, machine }
}

/// Every call that is served, by number.
pub const SERVED: &[Call] = &[
    call(0x54, "H_GET_TERM_CHAR", &[SUCCESS, PARAMETER], &[]),
    call(0x58, "H_PUT_TERM_CHAR", &[SUCCESS, PARAMETER], &[BUSY]),
    call(0xdc, "H_REGISTER_VPA", &[SUCCESS, PARAMETER, RESOURCE], &[]),
    call(0xe0, "H_CEDE", &[SUCCESS], &[]),
    call(0xe4, "H_CONFER", &[SUCCESS, PARAMETER], &[]),
    call(0xe8, "H_PROD", &[SUCCESS, PARAMETER], &[]),
    call(0xec, "H_GET_PPP", &[SUCCESS], &[]),
    call(0xf0, "H_SET_PPP", &[SUCCESS, CONSTRAINED, PARAMETER], &[]),
    call(0xf4, "H_PURR", &[SUCCESS], &[]),
    call(0x1c8, "H_GET_CPU_CHARACTERISTICS", &[SUCCESS], &[]),
    call(0x1d8, "H_POLL_PENDING", &[SUCCESS], &[]),
    call(0x298, "H_JOIN", &[SUCCESS, CONTINUE, BAD_MODE], &[]),
    call(0x300, "H_RANDOM", &[SUCCESS], &[HARDWARE]),
    call(0x31c, "H_SET_MODE", &[SUCCESS, P2, P3, P4, UNSUPPORTED_FLAG], &[]),
    call(0x37c, "H_REGISTER_PROC_TBL", &[SUCCESS, PARAMETER, P2, P3, P4], &[]),
    call(0x380, "H_SIGNAL_SYS_RESET", &[SUCCESS, PARAMETER], &[]),
    call(0x3a8, "H_INT_GET_SOURCE_INFO", &[SUCCESS, PARAMETER, P2], &[]),
    call(0x3ac, "H_INT_SET_SOURCE_CONFIG", &[SUCCESS, PARAMETER, P2, P3, P4, P5], &[HARDWARE]),
    call(0x3b0, "H_INT_GET_SOURCE_CONFIG", &[SUCCESS, PARAMETER, P2], &[]),
    call(0x3b4, "H_INT_GET_QUEUE_INFO", &[SUCCESS, PARAMETER, P2, P3], &[]),
    call(0x3b8, "H_INT_SET_QUEUE_CONFIG", &[SUCCESS, PARAMETER, P2, P3, P4, P5], &[HARDWARE]),
    call(0x3bc, "H_INT_GET_QUEUE_CONFIG", &[SUCCESS, PARAMETER, P2, P3], &[HARDWARE]),
    call(0x3c8, "H_INT_ESB", &[SUCCESS, PARAMETER, P2, P3], &[]),
    call(0x3cc, "H_INT_SYNC", &[SUCCESS, PARAMETER, P2], &[HARDWARE]),
    call(0x3d0, "H_INT_RESET", &[SUCCESS, PARAMETER], &[HARDWARE]),
    call(0x448, "H_RPT_INVALIDATE", &[SUCCESS, PARAMETER, P2, P3, P4, P5], &[]),
    call(0x45c, "H_WATCHDOG", &[SUCCESS, PARAMETER, P2, P3, NOOP], &[]),
];

/// The row of a call that is served.
#[must_use]
pub fn served(number: u64) -> Option<&'static Call> {
    SERVED.iter().find(|call| call.number == number)
}

/// Hypercalls that are refused with [`FUNCTION`], for one reason.
pub struct Refused {
    /// Their numbers and LoPAR's names.
    pub calls: &'static [(u64, &'static str)],
    /// Why.
    pub why: &'static str,
}

/// Every call of LoPAR's and Linux's that is not served. Numbers that stand neither here nor in
/// [`SERVED`] are nobody's, and are answered in the same way.
pub const REFUSED: &[Refused] = &[
    Refused {
        calls: &[
            (0x04, "H_REMOVE"),
            (0x08, "H_ENTER"),
            (0x0c, "H_READ"),
            (0x10, "H_CLEAR_MOD"),
            (0x14, "H_CLEAR_REF"),
            (0x18, "H_PROTECT"),
            (0x124, "H_BULK_REMOVE"),
            (0x328, "H_BLOCK_REMOVE"),
            (0x358, "H_CLEAR_HPT"),
            (0x36c, "H_RESIZE_HPT_PREPARE"),
            (0x370, "H_RESIZE_HPT_COMMIT"),
        ],
        why: "hashed page tables: the guest's are radix, as its tree says",
    },
    Refused {
        calls: &[
            (0x1c, "H_GET_TCE"),
            (0x20, "H_PUT_TCE"),
            (0x138, "H_STUFF_TCE"),
            (0x13c, "H_PUT_TCE_INDIRECT"),
            (0x78, "H_MIGRATE_DMA"),
        ],
        why: "no device of the guest's is behind translated DMA",
    },
    Refused {
        calls: &[
            (0x24, "H_SET_SPRG0"),
            (0x28, "H_SET_DABR"),
            (0x2c, "H_PAGE_INIT"),
            (0x30, "H_SET_ASR"),
            (0x34, "H_ASR_ON"),
            (0x38, "H_ASR_OFF"),
            (0x134, "H_SET_XDABR"),
        ],
        why: "registers of older processors, and what a guest does as well by itself",
    },
    Refused {
        calls: &[
            (0x3c, "H_LOGICAL_CI_LOAD"),
            (0x40, "H_LOGICAL_CI_STORE"),
            (0x44, "H_LOGICAL_CACHE_LOAD"),
            (0x48, "H_LOGICAL_CACHE_STORE"),
            (0x4c, "H_LOGICAL_ICBI"),
            (0x50, "H_LOGICAL_DCBF"),
        ],
        why: "for a debugger in real mode: here real mode reaches all that the guest has",
    },
    Refused {
        calls: &[
            (0x64, "H_EOI"),
            (0x68, "H_CPPR"),
            (0x6c, "H_IPI"),
            (0x70, "H_IPOLL"),
            (0x74, "H_XIRR"),
            (0x2fc, "H_XIRR_X"),
        ],
        why: "XICS: the guest's interrupt controller is XIVE, as its tree says",
    },
    Refused {
        calls: &[
            (0xf8, "H_PIC"),
            (0x2d0, "H_SET_MPP"),
            (0x2d4, "H_GET_MPP"),
            (0x314, "H_GET_MPP_X"),
        ],
        why: "there is no pool of processors or memory that the guest shares",
    },
    Refused {
        calls: &[
            (0xfc, "H_REG_CRQ"),
            (0x100, "H_FREE_CRQ"),
            (0x104, "H_VIO_SIGNAL"),
            (0x108, "H_SEND_CRQ"),
            (0x110, "H_COPY_RDMA"),
            (0x114, "H_REGISTER_LOGICAL_LAN"),
            (0x118, "H_FREE_LOGICAL_LAN"),
            (0x11c, "H_ADD_LOGICAL_LAN_BUFFER"),
            (0x120, "H_SEND_LOGICAL_LAN"),
            (0x130, "H_MULTICAST_CTRL"),
            (0x14c, "H_CHANGE_LOGICAL_LAN_MAC"),
            (0x150, "H_VTERM_PARTNER_INFO"),
            (0x154, "H_REGISTER_VTERM"),
            (0x158, "H_FREE_VTERM"),
            (0x244, "H_ILLAN_ATTRIBUTES"),
            (0x2a4, "H_VASI_STATE"),
            (0x2a8, "H_VIOCTL"),
            (0x2b0, "H_ENABLE_CRQ"),
            (0x2dc, "H_REG_SUB_CRQ"),
            (0x2e0, "H_FREE_SUB_CRQ"),
            (0x2e4, "H_SEND_SUB_CRQ"),
            (0x2e8, "H_SEND_SUB_CRQ_INDIRECT"),
        ],
        why: "the only virtual device is the terminal, which has no interrupt",
    },
    Refused {
        calls: &[
            (0x60, "H_HYPERVISOR_DATA"),
            (0x7c, "H_PERFMON"),
            (0x2b8, "H_GET_EM_PARMS"),
            (0x2ec, "H_HOME_NODE_ASSOCIATIVITY"),
            (0x2f4, "H_BEST_ENERGY"),
            (0x304, "H_COP"),
            (0x450, "H_GET_ENERGY_SCALE_INFO"),
        ],
        why: "services of a managed machine",
    },
    Refused {
        calls: &[
            (0x388, "H_ALLOCATE_VAS_WINDOW"),
            (0x38c, "H_MODIFY_VAS_WINDOW"),
            (0x390, "H_DEALLOCATE_VAS_WINDOW"),
            (0x394, "H_QUERY_VAS_WINDOW"),
            (0x398, "H_QUERY_VAS_CAPABILITIES"),
            (0x39c, "H_QUERY_NX_CAPABILITIES"),
            (0x3a0, "H_GET_NX_FAULT"),
        ],
        why: "the guest has no accelerator",
    },
    Refused {
        calls: &[(0x3c0, "H_INT_SET_OS_REPORTING_LINE"), (0x3c4, "H_INT_GET_OS_REPORTING_LINE")],
        why: "interrupts are acknowledged at the TIMA's page",
    },
    Refused {
        calls: &[
            (0x3e4, "H_SCM_READ_METADATA"),
            (0x3e8, "H_SCM_WRITE_METADATA"),
            (0x3ec, "H_SCM_BIND_MEM"),
            (0x3f0, "H_SCM_UNBIND_MEM"),
            (0x3f4, "H_SCM_QUERY_BLOCK_MEM_BINDING"),
            (0x3f8, "H_SCM_QUERY_LOGICAL_MEM_BINDING"),
            (0x3fc, "H_SCM_UNBIND_ALL"),
            (0x400, "H_SCM_HEALTH"),
            (0x418, "H_SCM_PERFORMANCE_STATS"),
            (0x44c, "H_SCM_FLUSH"),
        ],
        why: "no storage-class memory",
    },
    Refused {
        calls: &[
            (0x41c, "H_PKS_GET_CONFIG"),
            (0x420, "H_PKS_SET_PASSWORD"),
            (0x424, "H_PKS_GEN_PASSWORD"),
            (0x42c, "H_PKS_WRITE_OBJECT"),
            (0x430, "H_PKS_GEN_KEY"),
            (0x434, "H_PKS_READ_OBJECT"),
            (0x438, "H_PKS_REMOVE_OBJECT"),
            (0x43c, "H_PKS_CONFIRM_OBJECT_FLUSHED"),
            (0x454, "H_PKS_SIGNED_UPDATE"),
        ],
        why: "no key store",
    },
    Refused {
        calls: &[
            (0x460, "H_GUEST_GET_CAPABILITIES"),
            (0x464, "H_GUEST_SET_CAPABILITIES"),
            (0x470, "H_GUEST_CREATE"),
            (0x474, "H_GUEST_CREATE_VCPU"),
            (0x478, "H_GUEST_GET_STATE"),
            (0x47c, "H_GUEST_SET_STATE"),
            (0x480, "H_GUEST_RUN_VCPU"),
            (0x488, "H_GUEST_DELETE"),
            (0xf800, "H_SET_PARTITION_TABLE"),
            (0xf804, "H_ENTER_NESTED"),
            (0xf808, "H_TLB_INVALIDATE"),
            (0xf80c, "H_COPY_TOFROM_GUEST"),
        ],
        why: "the guest cannot have guests of its own",
    },
];
