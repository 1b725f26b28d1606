// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The RTAS tokens that the guest's device tree advertises and the firmware serves.

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
/// display-character; Linux's early console also tries this number unasked.
pub const DISPLAY_CHARACTER: u32 = 10;
