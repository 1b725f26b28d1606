// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The loader: runs once, at whatever address the image was loaded, and is wiped afterwards.
//!
//! It proves the image against its digests and the machine against the image, fills guest memory,
//! has OPAL set up XIVE, fills the boot-time leaves, and jumps to the resident firmware. Everything
//! that could be wrong with the image or the machine is found, named and ended with its code here.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "runs before anything else and hands the machine over")]

extern crate alloc;

mod board;
mod end;
mod guest;
mod heap;
mod image;
mod interrupts;
mod say;

use core::arch::global_asm;

use anchorite_platform::powernv::opal::{OpalError, code};
use anchorite_platform::powernv::{BootInfo, Opal, core as cpu};
use anchorite_spec::manifest::{IMAGE_OFFSET, Manifest, PART_BODY};
use say::say;

global_asm!(include_str!("start.S"), options(raw));

/// Entered by `start.S`. Never returns.
#[unsafe(no_mangle)]
extern "C" fn loader_main(tree: *const u8, opal_base: u64, opal_entry: u64, own: u64) -> ! {
    // SAFETY: skiboot handed these over; HRMOR is 0 under OPAL and the machine is in real mode.
    let opal = unsafe { Opal::new(opal_base, opal_entry) };
    say::start(opal);
    // SAFETY: the builder put the distance to the image's start into the loader's header.
    let image = own - unsafe { *((own + 0x20) as *const u64) };
    // SAFETY: skiboot loaded the whole image there.
    let manifest = unsafe { &*((image + IMAGE_OFFSET) as *const Manifest) };
    image::verify(image, manifest);
    say!("board {}, image {}", manifest.board.as_str(), image::short_id(manifest));
    // SAFETY: skiboot hands over a flattened tree.
    let facts = board::check(unsafe { board::read_tree(tree) }, manifest);
    let radix = opal.reinit_little_endian_radix();
    end::require(radix.is_ok(), "OPAL cannot switch to little-endian and radix");

    let manifest = image::place(image, manifest);
    guest::fill(image, manifest);
    let info = findings(manifest);
    info.opal_base = opal_base;
    info.opal_entry = opal_entry;
    info.image = image;
    info.manifest = manifest.manifest_copy.base;
    board::hand_over(&facts, info);
    interrupts::set_up(&opal, manifest, &facts, info);
    read_clock(&opal, info);
    for mapping in manifest.mappings() {
        let (name, guest) = (mapping.name.as_str(), mapping.guest);
        say!("map {name} guest {guest:#x} size {:#x} host {:#x}", mapping.size, mapping.host);
    }
    // SAFETY: the body stands where the manifest says, and takes exactly this argument.
    unsafe {
        let body = manifest.part(PART_BODY).map_or(0, |part| part.size);
        cpu::flush_code(manifest.firmware.base, body);
        let enter: extern "C" fn(&BootInfo) -> ! = core::mem::transmute(manifest.body_entry);
        enter(info)
    }
}

/// The findings, at the bottom of the memory whose top is the loader's stack. The resident firmware
/// keeps them there.
fn findings(manifest: &Manifest) -> &'static mut BootInfo {
    let at = manifest.boot_stack.base;
    // SAFETY: the builder reserved the memory; the stack is far above, and all-zero is a valid value.
    unsafe {
        core::ptr::write_bytes(at as *mut u8, 0, size_of::<BootInfo>());
        &mut *(at as *mut BootInfo)
    }
}

/// Reads the clock once: each later reading would wait a tenth of a second on a slow bus.
fn read_clock(opal: &Opal, info: &mut BootInfo) {
    for _ in 0..1_000_000 {
        match opal.clock() {
            Ok((date, time)) => {
                if let Some(seconds) = board::clock_seconds(date, time) {
                    info.clock_valid = 1;
                    info.clock_seconds = seconds;
                    info.clock_ticks = cpu::timebase();
                }
                return;
            }
            Err(OpalError(code::BUSY | code::BUSY_EVENT)) => opal.poll_events(),
            Err(_) => return,
        }
    }
}
