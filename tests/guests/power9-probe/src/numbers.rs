// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hypercalls' numbers, and what they return.

/// H_GET_TERM_CHAR.
pub const GET_TERM_CHAR: u64 = 0x54;
/// H_PUT_TERM_CHAR.
pub const PUT_TERM_CHAR: u64 = 0x58;
/// H_REGISTER_VPA.
pub const REGISTER_VPA: u64 = 0xdc;
/// H_CEDE.
pub const CEDE: u64 = 0xe0;
/// H_CONFER.
pub const CONFER: u64 = 0xe4;
/// H_PROD.
pub const PROD: u64 = 0xe8;
/// H_GET_PPP.
pub const GET_PPP: u64 = 0xec;
/// H_SET_PPP.
pub const SET_PPP: u64 = 0xf0;
/// H_PURR.
pub const PURR: u64 = 0xf4;
/// H_POLL_PENDING.
pub const POLL_PENDING: u64 = 0x1d8;
/// H_GET_CPU_CHARACTERISTICS.
pub const CHARACTERISTICS: u64 = 0x1c8;
/// H_JOIN.
pub const JOIN: u64 = 0x298;
/// H_RANDOM.
pub const RANDOM: u64 = 0x300;
/// H_SET_MODE.
pub const SET_MODE: u64 = 0x31c;
/// H_REGISTER_PROC_TBL.
pub const PROC_TBL: u64 = 0x37c;
/// H_SIGNAL_SYS_RESET.
pub const SIGNAL_RESET: u64 = 0x380;
/// H_INT_GET_SOURCE_INFO.
pub const SOURCE_INFO: u64 = 0x3a8;
/// H_INT_SET_SOURCE_CONFIG.
pub const SET_SOURCE: u64 = 0x3ac;
/// H_INT_GET_SOURCE_CONFIG.
pub const GET_SOURCE: u64 = 0x3b0;
/// H_INT_GET_QUEUE_INFO.
pub const QUEUE_INFO: u64 = 0x3b4;
/// H_INT_SET_QUEUE_CONFIG.
pub const SET_QUEUE: u64 = 0x3b8;
/// H_INT_GET_QUEUE_CONFIG.
pub const GET_QUEUE: u64 = 0x3bc;
/// H_INT_ESB.
pub const ESB: u64 = 0x3c8;
/// H_INT_SYNC.
pub const SYNC: u64 = 0x3cc;
/// H_INT_RESET.
pub const RESET: u64 = 0x3d0;
/// H_RPT_INVALIDATE.
pub const RPT_INVALIDATE: u64 = 0x448;
/// H_WATCHDOG.
pub const WATCHDOG: u64 = 0x45c;
/// What the RTAS stub calls.
pub const RTAS: u64 = 0xf000;

/// Return codes, as r3 holds them.
pub const BUSY: u64 = 1;
/// H_CONTINUE.
pub const CONTINUE: u64 = 18;
/// H_FUNCTION.
pub const FUNCTION: u64 = -2_i64 as u64;
/// H_PARAMETER.
pub const PARAMETER: u64 = -4_i64 as u64;
/// H_BAD_MODE.
pub const BAD_MODE: u64 = -5_i64 as u64;
/// H_RESOURCE.
pub const RESOURCE: u64 = -16_i64 as u64;
/// H_CONSTRAINED.
pub const CONSTRAINED: u64 = 4;
/// H_NOOP.
pub const NOOP: u64 = -63_i64 as u64;
/// H_P2; H_P3 and so on follow downwards.
pub const P2: u64 = -55_i64 as u64;
/// H_P3.
pub const P3: u64 = -56_i64 as u64;
/// H_P4.
pub const P4: u64 = -57_i64 as u64;
/// H_P5.
pub const P5: u64 = -58_i64 as u64;

/// H_UNSUPPORTED_FLAG for a bit, IBM numbering.
pub const fn unsupported_flag(bit: i64) -> u64 {
    (-256 - bit) as u64
}
