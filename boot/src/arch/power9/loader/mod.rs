// SPDX-License-Identifier: Apache-2.0 OR MIT
//! POWER9, over OPAL or bare: the order of the boot's steps, and what only this machine needs: XIVE set
//! up, the boot-time leaves filled, the clock read.
mod board;
mod interrupts;

use core::arch::global_asm;
use core::cell::OnceCell;

use anchorite_platform::powernv::opal::{OpalError, code};
use anchorite_platform::powernv::{Bare, Below, BootInfo, Opal, core as cpu};
use anchorite_spec::manifest::{ARCH_POWER9, BOOT_BARE, BOOT_OPAL_PAYLOAD, IMAGE_OFFSET, Manifest};
use anchorite_spec::{Range, low};

use crate::say::say;
use crate::{clock, end, guest, image, restart, say, tree};

global_asm!(
    include_str!("../../../../../platform/src/powernv/big_endian.S"),
    include_str!("start.S"),
    options(raw)
);
global_asm!(include_str!("../memory.S"), options(raw));

/// [`Manifest::arch`] of images that this loader starts.
pub const ARCH: u32 = ARCH_POWER9;
/// [`Manifest::boot`] of such images.
pub const BOOTS: &[u32] = &[BOOT_OPAL_PAYLOAD, BOOT_BARE];
/// Memory that an epitaph may be written to before the manifest is trusted: above the vectors,
/// below the load window.
pub const EPITAPH_WINDOW: Range = Range::new(low::MEMORY.size, 0x2000_0000 - low::MEMORY.size);

/// Entered by `start.S`. Never returns.
#[unsafe(no_mangle)]
extern "C" fn loader_main(
    tree: *const u8,
    opal_base: u64,
    opal_entry: u64,
    own: u64,
    started: u64,
) -> ! {
    clock::started(started);
    // SAFETY: skiboot handed these over, or there is none and this thread alone runs; HRMOR is 0 and
    // the machine is in real mode.
    let below = BELOW.0.get_or_init(|| unsafe {
        match opal_entry {
            0 => Below::Bare(Bare::start()),
            entry => Below::Opal(Opal::new(opal_base, entry)),
        }
    });
    // SAFETY: the builder put the distance to the image's start into the loader's header.
    let image = own - unsafe { *((own + 0x20) as *const u64) };
    // SAFETY: skiboot loaded the whole image there.
    let manifest = unsafe { &*((image + IMAGE_OFFSET) as *const Manifest) };
    image::verify_manifest(manifest, own);
    image::verify_place(image, manifest);
    image::verify_parts(image, manifest);
    say!("board {}, image {}", manifest.board.as_str(), image::short_id(manifest));
    // SAFETY: skiboot hands over a flattened tree.
    let facts = board::check(unsafe { tree::read(tree) }, manifest);
    if let Below::Opal(opal) = below {
        let radix = opal.reinit_little_endian_radix();
        end::require(radix.is_ok(), "OPAL cannot switch to little-endian and radix");
    }

    let manifest = image::place(image, manifest);
    guest::fill(image, manifest, seed(), None);
    let info = findings(manifest);
    info.opal_base = opal_base;
    info.opal_entry = opal_entry;
    if let Below::Bare(bare) = below {
        info.typed = bare.early();
    }
    info.image = image;
    info.manifest = manifest.manifest_copy.base;
    info.refill = manifest.restarts().then_some(restart::refill);
    board::hand_over(&facts, manifest, info);
    interrupts::set_up(below, manifest, &facts, info);
    read_clock(below, facts.pc_clock, info);
    say::mappings(manifest);
    info.phases = clock::record();
    // SAFETY: the body stands where the manifest says, and takes exactly this argument.
    unsafe {
        cpu::flush_code(manifest.firmware.base);
        let enter: extern "C" fn(&BootInfo) -> ! = core::mem::transmute(manifest.body_entry);
        enter(info)
    }
}

/// Nothing of the guest's translation changes while it runs.
pub fn put_back(_: u64, _: &Manifest) {}

/// skiboot loads to one place, whatever container the image stands in; QEMU to 0.
pub fn may_hold(image: Range, manifest: &Manifest) -> bool {
    manifest.load_window.contains(image)
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

/// Reads the clock once: each later reading could wait a tenth of a second on a slow bus.
fn read_clock(below: &Below, pc_clock: bool, info: &mut BootInfo) {
    // The PC clock answers at once and, unlike QEMU's service processor, follows the time that a
    // counted run is given.
    let pc = if pc_clock { below.pc_clock() } else { None };
    let Some((date, time)) = pc.or_else(|| read_opal_clock(below)) else { return };
    if let Some(seconds) = board::clock_seconds(date, time) {
        info.clock_valid = 1;
        info.clock_seconds = seconds;
        info.clock_ticks = cpu::timebase();
    }
}

/// OPAL's own clock, which on boards with a service processor is that one's.
fn read_opal_clock(below: &Below) -> Option<(u32, u64)> {
    let Below::Opal(opal) = below else { return None };
    for _ in 0..1_000_000 {
        match opal.clock() {
            Ok(now) => return Some(now),
            Err(OpalError(code::BUSY | code::BUSY_EVENT)) => opal.poll_events(),
            Err(_) => return None,
        }
    }
    None
}

struct Console(OnceCell<Below>);

// SAFETY: the loader runs on one thread.
unsafe impl Sync for Console {}

static BELOW: Console = Console(OnceCell::new());

/// Writes to the console, if there is one yet.
pub fn console_print(text: &[u8]) {
    if let Some(below) = BELOW.0.get() {
        below.console_print(text);
    }
}

/// Switches the machine off; returns if that cannot be asked for.
pub fn power_down() {
    if let Some(below) = BELOW.0.get() {
        below.console_flush();
        below.power_down();
    }
}

/// The timebase.
pub fn ticks() -> u64 {
    cpu::timebase()
}

/// Zeroes memory; both addresses are multiples of 64 KiB.
///
/// # Safety
/// The range must be memory that nothing else uses.
pub unsafe fn zero(start: u64, end: u64) {
    // SAFETY: the caller's promise.
    unsafe { cpu::zero_blocks(start, end) };
}

/// Zeroes memory that begins and ends anywhere.
///
/// # Safety
/// The range must be memory that nothing else uses.
pub unsafe fn clear(start: u64, len: u64) {
    let end = start + len;
    let first = start.next_multiple_of(cpu::BLOCK).min(end);
    let last = (end - end % cpu::BLOCK).max(first);
    // SAFETY: the caller's promise.
    unsafe {
        core::ptr::write_bytes(start as *mut u8, 0, (first - start) as usize);
        cpu::zero_blocks(first, last);
        core::ptr::write_bytes(last as *mut u8, 0, (end - last) as usize);
    }
}

/// Copies memory.
///
/// # Safety
/// The ranges must be memory that nothing else uses, apart from each other.
pub unsafe fn copy(from: u64, to: u64, len: u64) {
    // SAFETY: the caller's promise.
    unsafe { cpu::copy(from, to, len) };
}

/// Makes code that was just written executable.
///
/// # Safety
/// The range must be mapped memory.
pub unsafe fn publish(start: u64, _: u64) {
    // SAFETY: the caller's promise.
    unsafe { cpu::flush_code(start) };
}

/// A fresh seed for the guest's random pool, from the core's generator.
pub fn seed() -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    for word in seed.chunks_exact_mut(8) {
        word.copy_from_slice(&cpu::darn()?.to_be_bytes());
    }
    Some(seed)
}
