// SPDX-License-Identifier: Apache-2.0 OR MIT
//! XIVE through OPAL: the guest's virtual processor and sources, the boot-time leaves that lead to
//! their pages, and the thread's own queue for what OPAL wants to be told.
use anchorite_platform::powernv::boot_info::{BootInfo, OpalInterrupt};
use anchorite_platform::powernv::core::{self as cpu, mfspr, spr};
use anchorite_platform::powernv::opal::{self, Opal, Out64, token};
use anchorite_spec::End;
use anchorite_spec::Range;
use anchorite_spec::manifest::{MAP_BOOT_LEAF, Manifest};
use anchorite_tables::radix::fill_boot_leaf;

use crate::board::Facts;
use crate::end::end;

/// XIVE_RESET: exploitation mode.
const EXPLOITATION: u64 = 1;
/// SET_VP_INFO: enabled.
const VP_ENABLED: u64 = 1;
/// "Any chip" of ALLOCATE_IRQ.
const ANY_CHIP: u64 = u32::MAX as u64;
/// The priority of the thread's own queue.
const OWN_PRIORITY: u64 = 7;
/// That queue's size, as a power of two.
const OWN_QUEUE_SHIFT: u64 = 12;
/// Queue flags: enabled, always notify.
const QUEUE_ENABLED: u64 = 1 | 2;
/// Pages of the guest's sources: this size, as a power of two.
const PAGE_SHIFT: u32 = 16;
/// Load from here on an event state buffer management page: PQ becomes 00, events flow.
const SET_PQ_00: u64 = 0xc00;

/// Sets everything up and records it in `info`.
pub fn set_up(opal: &Opal, manifest: &Manifest, facts: &Facts, info: &mut BootInfo) {
    done("XIVE_RESET", opal.call(token::XIVE_RESET, &[EXPLOITATION]));
    virtual_processor(opal, manifest, info);
    sources(opal, manifest, info);
    own_queue(opal, manifest, facts, info);
}

fn done(call: &str, result: i64) {
    if result != opal::code::SUCCESS {
        end(End::BoardMismatch, format_args!("OPAL refused {call} with {result}"));
    }
}

fn virtual_processor(opal: &Opal, manifest: &Manifest, info: &mut BootInfo) {
    let order = manifest.vcpus.next_power_of_two().trailing_zeros();
    let block = opal.call(token::XIVE_ALLOCATE_VP_BLOCK, &[u64::from(order)]);
    if block < 0 {
        // A block this small needs no page of ours on any machine seen; say so where one does.
        end(
            End::BoardMismatch,
            format_args!("OPAL gives no virtual processor ({block}); pages for it are not offered"),
        );
    }
    info.guest_vp = block as u64;
    done("XIVE_SET_VP_INFO", opal.call(token::XIVE_SET_VP_INFO, &[info.guest_vp, VP_ENABLED, 0]));
    let [flags, cam, report, chip] = [const { Out64::new(0) }; 4];
    let args = [
        info.guest_vp,
        flags.as_ptr() as u64,
        cam.as_ptr() as u64,
        report.as_ptr() as u64,
        chip.as_ptr() as u64,
    ];
    done("XIVE_GET_VP_INFO", opal.call(token::XIVE_GET_VP_INFO, &args));
    info.guest_cam = u64::from_be(cam.get()) as u32;
}

/// One source's pages, as OPAL tells.
struct IrqInfo {
    eoi_page: u64,
    trigger_page: u64,
}

fn irq_info(opal: &Opal, number: u32) -> IrqInfo {
    let [flags, eoi, trigger, shift, chip] = [const { Out64::new(0) }; 5];
    let args = [
        u64::from(number),
        flags.as_ptr() as u64,
        eoi.as_ptr() as u64,
        trigger.as_ptr() as u64,
        shift.as_ptr() as u64,
        chip.as_ptr() as u64,
    ];
    done("XIVE_GET_IRQ_INFO", opal.call(token::XIVE_GET_IRQ_INFO, &args));
    IrqInfo { eoi_page: u64::from_be(eoi.get()), trigger_page: u64::from_be(trigger.get()) }
}

fn sources(opal: &Opal, manifest: &Manifest, info: &mut BootInfo) {
    let Some(window) = manifest.mappings().find(|m| m.kind == MAP_BOOT_LEAF) else { return };
    let allowed = Range::new(window.host, window.host_size);
    info.sources = manifest.xive_sources as u32;
    for lisn in 0..info.sources {
        let number = opal.call(token::XIVE_ALLOCATE_IRQ, &[ANY_CHIP]);
        if number < 0 {
            done("XIVE_ALLOCATE_IRQ", number);
        }
        let pages = irq_info(opal, number as u32);
        let pair = Range::new(pages.trigger_page, 2 << PAGE_SHIFT);
        let adjacent = pages.eoi_page == pages.trigger_page + (1 << PAGE_SHIFT);
        let aligned = pages.trigger_page.is_multiple_of(1 << PAGE_SHIFT);
        if !aligned || !adjacent || !allowed.contains(pair) {
            end(
                End::BoardMismatch,
                format_args!(
                    "interrupt source {number} has pages {:#x} and {:#x}: not a pair of 64 KiB \
                     pages inside {:#x}+{:#x}",
                    pages.trigger_page, pages.eoi_page, allowed.base, allowed.size
                ),
            );
        }
        info.irq[lisn as usize] = number as u32;
        info.esb[lisn as usize] = pages.trigger_page;
        let guest = window.guest + (u64::from(lisn) << (PAGE_SHIFT + 1));
        fill(manifest, guest, pages.trigger_page);
        fill(manifest, guest + (1 << PAGE_SHIFT), pages.eoi_page);
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

/// The thread's own queue, and OPAL's interrupts to it.
fn own_queue(opal: &Opal, manifest: &Manifest, facts: &Facts, info: &mut BootInfo) {
    let thread = mfspr::<{ spr::PIR }>();
    info.own_queue = manifest.boot_stack.base + size_of::<BootInfo>() as u64;
    info.own_queue = info.own_queue.next_multiple_of(1 << OWN_QUEUE_SHIFT);
    // SAFETY: memory between the findings and the loader's stack, both of which the manifest gives.
    unsafe { cpu::zero_blocks(info.own_queue, info.own_queue + (1 << OWN_QUEUE_SHIFT)) };
    let queue = [thread, OWN_PRIORITY, info.own_queue, OWN_QUEUE_SHIFT, QUEUE_ENABLED];
    done("XIVE_SET_QUEUE_INFO", opal.call(token::XIVE_SET_QUEUE_INFO, &queue));
    for (slot, number) in facts.opal_interrupt[..facts.opal_interrupts].iter().enumerate() {
        let route = [u64::from(*number), thread, OWN_PRIORITY, u64::from(*number)];
        done("XIVE_SET_IRQ_CONFIG", opal.call(token::XIVE_SET_IRQ_CONFIG, &route));
        let eoi_page = irq_info(opal, *number).eoi_page;
        info.opal_interrupt[slot] = OpalInterrupt { number: *number, reserved: 0, eoi_page };
        info.opal_interrupts = slot as u32 + 1;
        // SAFETY: OPAL named the page as this source's management page.
        let _ = unsafe { cpu::load64(eoi_page + SET_PQ_00) };
    }
}
