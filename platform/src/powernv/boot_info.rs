// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the loader found and set up, handed to the resident firmware once.
use anchorite_hv::core::restart::Refill;
use anchorite_hv::power9::flush::Mitigations;
use anchorite_spec::manifest::VCPUS;
use anchorite_spec::phases::Phases;

use super::lpc::Early;

/// Guest interrupt sources at most.
pub const SOURCES: usize = anchorite_hv::power9::interrupts::SOURCES;
/// Interrupts of OPAL's own devices at most.
pub const OPAL_INTERRUPTS: usize = 64;

/// One of OPAL's own interrupts.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct OpalInterrupt {
    /// Global interrupt number.
    pub number: u32,
    /// Always 0.
    pub reserved: u32,
    /// Host real address of its end-of-interrupt page.
    pub eoi_page: u64,
}

/// One vCPU's core. All addresses are host real.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Core {
    /// Its thread's processor identification register.
    pub pir: u32,
    /// The vCPU's virtual processor in the thread context's CAM line, without its valid bit.
    pub guest_cam: u32,
    /// The thread's own event queue: 4 KiB.
    pub own_queue: u64,
    /// The trigger page of the source by which others kick it; an event in that queue.
    pub kick_trigger: u64,
    /// Its management page.
    pub kick_manage: u64,
    /// The management page of the vCPU's escalation, an event in that queue too; 0 if there is none.
    pub escalation: u64,
}

/// The priority of a thread's own queue: the one that guests cannot use.
pub const OWN_PRIORITY: u8 = 7;
/// What a kick leaves in a thread's own queue. OPAL's interrupts have lower numbers.
pub const KICK_EVENT: u32 = 0x7fff_ffff;
/// What an interrupt for a vCPU off its thread leaves there.
pub const ESCALATION_EVENT: u32 = 0x7fff_fffe;

/// The loader's findings. All addresses are host real.
#[repr(C)]
pub struct BootInfo {
    /// OPAL's base, r2 of every call.
    pub opal_base: u64,
    /// OPAL's entry point; 0 if there is no OPAL.
    pub opal_entry: u64,
    /// XIVE's tables, where the firmware set it up itself.
    pub xive_tables: u64,
    /// What was typed before there was a firmware to read it, where the UART is the firmware's.
    pub typed: Early,
    /// The image, where it was loaded.
    pub image: u64,
    /// How guest memory is filled again; `None` if the loader is not to stay.
    pub refill: Option<Refill>,
    /// The manifest's copy.
    pub manifest: u64,
    /// Timebase ticks between two heartbeats that OPAL asks for; 0 for none.
    pub heartbeat_ticks: u64,
    /// XIVE thread management area, hypervisor page.
    pub tima_hv: u64,
    /// The first vCPU's virtual processor, as OPAL numbers it; the others follow.
    pub guest_vp: u64,
    /// Always 0.
    pub reserved: u32,
    /// Guest sources in use.
    pub sources: u32,
    /// OPAL interrupts in use.
    pub opal_interrupts: u32,
    /// 1 if `clock` holds a time.
    pub clock_valid: u32,
    /// Seconds since 1970 at `clock_ticks`.
    pub clock_seconds: u64,
    /// Timebase at which the clock was read.
    pub clock_ticks: u64,
    /// H_GET_CPU_CHARACTERISTICS' words.
    pub characteristics: [u64; 2],
    /// Flushes and barriers between guest and firmware.
    pub mitigations: Mitigations,
    /// How long the boot has taken.
    pub phases: Phases,
    /// The vCPUs' cores.
    pub core: [Core; VCPUS],
    /// Global interrupt number of each guest source.
    pub irq: [u32; SOURCES],
    /// Trigger page of each guest source; the management page follows it.
    pub esb: [u64; SOURCES],
    /// OPAL's own interrupts.
    pub opal_interrupt: [OpalInterrupt; OPAL_INTERRUPTS],
}
