// SPDX-License-Identifier: Apache-2.0 OR MIT
//! XIVE, through OPAL or directly: the guest's virtual processors and sources, the boot-time leaves that lead to
//! their pages, and each thread's own queue for kicks and for what OPAL wants to be told.
use anchorite_platform::powernv::boot_info::{
    BootInfo, Core, ESCALATION_EVENT, KICK_EVENT, OWN_PRIORITY, OpalInterrupt,
};
use anchorite_platform::powernv::core as cpu;
use anchorite_platform::powernv::opal::OpalError;
use anchorite_platform::powernv::{Below, xive};
use anchorite_spec::End;
use anchorite_spec::Range;
use anchorite_spec::manifest::{MAP_BOOT_LEAF, Manifest};
use anchorite_spec::phases::Phase;
use anchorite_tables::radix::fill_boot_leaf;

use super::board::Facts;
use crate::clock::timed;
use crate::end::end;

/// The size of a thread's own queue, as a power of two.
const OWN_QUEUE_SHIFT: u32 = 12;
/// Pages of the guest's sources: this size, as a power of two.
const PAGE_SHIFT: u32 = 16;
/// Where a real address has the number of its chip: so many bits from here on.
const CHIP_SHIFT: u32 = 42;
const CHIP_MASK: u64 = 0xf;
/// Load from here on an event state buffer management page: PQ becomes 00, events flow.
const SET_PQ_00: u64 = 0xc00;

/// Sets everything up and records it in `info`.
pub fn set_up(below: &Below, manifest: &Manifest, facts: &Facts, info: &mut BootInfo) {
    let queues = Range::new(own_queue(manifest, 0), u64::from(manifest.vcpus) << OWN_QUEUE_SHIFT);
    clear(queues);
    match below {
        Below::Opal(opal) => done("XIVE_RESET", opal.xive_exploit()),
        Below::Bare(bare) => {
            let tables = (queues.base + queues.size).next_multiple_of(xive::TABLE);
            clear(Range::new(tables, xive::TABLES * xive::TABLE));
            info.xive_tables = tables;
            // SAFETY: the memory that was cleared.
            unsafe { bare.xive_set_up(tables, facts.threads(manifest)) };
        }
    }
    let order = manifest.vcpus.next_power_of_two().trailing_zeros();
    // A block this small needs no page of ours on any machine seen; where it does, it is refused.
    let first = below.xive_virtual_processors(order, facts.escalates);
    info.guest_vp = done("XIVE virtual processors", first);
    sources(below, manifest, info);
    for (vcpu, thread) in facts.threads(manifest).enumerate() {
        info.core[vcpu] = core(below, manifest, facts, info.guest_vp, vcpu as u64, thread);
    }
    opal_interrupts(below, facts, info);
}

/// Clears memory between the findings and the loader's stack.
fn clear(range: Range) {
    // SAFETY: the manifest gives both, and the board's memory for them has room for all that lies
    // between them.
    timed(Phase::Zeroing, || unsafe { cpu::zero_blocks(range.base, range.base + range.size) });
}

fn done<T>(call: &str, result: Result<T, OpalError>) -> T {
    match result {
        Ok(value) => value,
        Err(OpalError(code)) => {
            end(End::BoardMismatch, format_args!("{call} was refused with {code}"))
        }
    }
}

fn sources(below: &Below, manifest: &Manifest, info: &mut BootInfo) {
    let Some(window) = manifest.mappings().find(|m| m.kind == MAP_BOOT_LEAF) else { return };
    let allowed = Range::new(window.host, window.host_size);
    let chip = (window.host >> CHIP_SHIFT & CHIP_MASK) as u32;
    info.sources = manifest.xive_sources as u32;
    for lisn in 0..info.sources {
        let number = done("XIVE_ALLOCATE_IRQ", below.xive_allocate_irq(Some(chip)));
        let (eoi_page, trigger_page) = done("XIVE_GET_IRQ_INFO", below.xive_irq_pages(number));
        let pair = Range::new(trigger_page, 2 << PAGE_SHIFT);
        let adjacent = eoi_page == trigger_page + (1 << PAGE_SHIFT);
        let aligned = trigger_page.is_multiple_of(1 << PAGE_SHIFT);
        if !aligned || !adjacent || !allowed.contains(pair) {
            end(
                End::BoardMismatch,
                format_args!(
                    "interrupt source {number} has pages {:#x} and {:#x}: not a pair of 64 KiB \
                     pages inside {:#x}+{:#x}",
                    trigger_page, eoi_page, allowed.base, allowed.size
                ),
            );
        }
        info.irq[lisn as usize] = number;
        info.esb[lisn as usize] = trigger_page;
        let guest = window.guest + (u64::from(lisn) << (PAGE_SHIFT + 1));
        fill(manifest, guest, trigger_page);
        fill(manifest, guest + (1 << PAGE_SHIFT), eoi_page);
    }
}

/// Writes one boot-time leaf.
fn fill(manifest: &Manifest, guest: u64, host: u64) {
    let tables = manifest.tables;
    // SAFETY: image::place put the tables there; the core does not walk them yet.
    let arena =
        unsafe { core::slice::from_raw_parts_mut(tables.base as *mut u8, tables.size as usize) };
    if let Err(error) = fill_boot_leaf(arena, tables.base, manifest.table_root, guest, host) {
        end(
            End::ImageRefused,
            format_args!("the tables have no boot-time leaf at guest {guest:#x}: {error:?}"),
        );
    }
}

/// Where a vCPU's thread has its own queue.
fn own_queue(manifest: &Manifest, vcpu: u64) -> u64 {
    let findings = manifest.boot_stack.base + size_of::<BootInfo>() as u64;
    findings.next_multiple_of(1 << OWN_QUEUE_SHIFT) + (vcpu << OWN_QUEUE_SHIFT)
}

/// One vCPU's core: its virtual processor, and its thread's own queue with a source for kicks.
fn core(
    below: &Below,
    manifest: &Manifest,
    facts: &Facts,
    first: u64,
    vcpu: u64,
    thread: u32,
) -> Core {
    let vp = first + vcpu;
    let own_queue = own_queue(manifest, vcpu);
    let page = Some((own_queue, OWN_QUEUE_SHIFT));
    // SAFETY: memory that `set_up` has cleared, and that nobody else uses.
    let queue = unsafe { below.xive_set_queue(thread.into(), OWN_PRIORITY, page, false) };
    done("XIVE_SET_QUEUE_INFO", queue);
    let kick = done("XIVE_ALLOCATE_IRQ", below.xive_allocate_irq(None));
    let (kick_manage, kick_trigger) = done("XIVE_GET_IRQ_INFO", below.xive_irq_pages(kick));
    open(below, kick, kick_manage, thread, KICK_EVENT);
    Core {
        pir: thread,
        guest_cam: done("XIVE_GET_VP_INFO", below.xive_cam(vp)),
        own_queue,
        kick_trigger,
        kick_manage,
        escalation: match facts.escalates {
            true => done("XIVE escalation", below.xive_escalate(vp, thread, ESCALATION_EVENT)),
            false => 0,
        },
    }
}

/// Sends a source's events to a thread's own queue.
fn open(below: &Below, number: u32, eoi_page: u64, thread: u32, event: u32) {
    let route = below.xive_route(number, thread.into(), OWN_PRIORITY, event);
    done("XIVE_SET_IRQ_CONFIG", route);
    // SAFETY: OPAL named the page as this source's management page.
    let _ = unsafe { cpu::load64(eoi_page + SET_PQ_00) };
}

/// OPAL's own interrupts, to the first vCPU's core.
fn opal_interrupts(below: &Below, facts: &Facts, info: &mut BootInfo) {
    for (slot, number) in facts.opal_interrupt[..facts.opal_interrupts].iter().enumerate() {
        let (eoi_page, _) = done("XIVE_GET_IRQ_INFO", below.xive_irq_pages(*number));
        info.opal_interrupt[slot] = OpalInterrupt { number: *number, reserved: 0, eoi_page };
        info.opal_interrupts = slot as u32 + 1;
        open(below, *number, eoi_page, info.core[0].pir, *number);
    }
}
