// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Arm machines at EL2: the order of the boot's steps, and what only these machines need: EL2's own
//! translation and caches before anything is unpacked, and memory left as a guest with its caches
//! off will see it.
mod board;

use core::arch::global_asm;
use core::cell::Cell;

use anchorite_hv::arm64::feature_list::LIST;
use anchorite_hv::arm64::features::{Hidden, Ids};
use anchorite_hv::core::fdt::Tree;
use anchorite_platform::qemu_virt::{BootInfo, Uart, cpu, el2};
use anchorite_platform::{read_register, write_register};
use anchorite_spec::manifest::{
    ARCH_ARM64, BOOT_ARM64_IMAGE, BOOT_ELF, BOOT_FLAT, IMAGE_OFFSET, Manifest, PART_BODY,
    PART_TABLES,
};
use anchorite_spec::phases::Phase;
use anchorite_spec::{End, Range};
use anchorite_tables::stage1::{Stage1, TABLE, Use};

use crate::say::say;
use crate::{clock, end, guest, image, restart, say, tree};

global_asm!(include_str!("start.S"), options(raw));
global_asm!(include_str!("../memory.S"), options(raw));

/// [`Manifest::arch`] of images that this loader starts.
pub const ARCH: u32 = ARCH_ARM64;
/// [`Manifest::boot`] of such images. What it says is how the board is meant to start; the loader
/// runs from any place all the same.
pub const BOOTS: &[u32] = &[BOOT_ARM64_IMAGE, BOOT_FLAT, BOOT_ELF];
/// Memory that an epitaph may be written to before the manifest is trusted: above where images and
/// the machine's tree are loaded.
pub const EPITAPH_WINDOW: Range = Range::new(0x4820_0000, 0x8000_0000 - 0x4820_0000);

/// Where lines go before the manifest says: the first UART of QEMU's `virt`.
const UART: u64 = 0x0900_0000;
/// Tables of EL2's own translation while booting, behind the findings.
const TABLES: usize = 10;
/// What one entry maps that is no page.
const BLOCK: u64 = 2 << 20;
/// PSCI SYSTEM_OFF.
const SYSTEM_OFF: u64 = 0x8400_0008;

unsafe extern "C" {
    safe static loader_vectors: u8;
}

/// Entered by `start.S`. Never returns.
#[unsafe(no_mangle)]
extern "C" fn loader_main(tree: u64, own: u64, stored: u64, started: u64) -> ! {
    clock::started(started);
    uart().enable();
    // SAFETY: the builder put the distance to the image's start into the loader's header.
    let image = stored - unsafe { *((own + 0x20) as *const u64) };
    // SAFETY: the earlier firmware loaded the whole image there, or it lies in flash.
    let manifest = unsafe { &*((image + IMAGE_OFFSET) as *const Manifest) };
    image::verify_manifest(manifest, own);
    image::verify_place(image, manifest);
    let level = cpu::exception_level();
    if level != 2 {
        tree::mismatch(format_args!(
            "the machine starts the image at EL{level}, not at EL2; QEMU's virt machine needs \
             virtualization=on, and secure=on only with firmware of its own"
        ));
    }
    say!("board {}, image {}", manifest.board.as_str(), image::short_id(manifest));
    if own != stored {
        say!("started in flash: the loader at {stored:#x} cannot be wiped");
    }
    let ids = cpu::ids();
    let at = if tree == 0 { manifest.arm64.machine_tree } else { tree };
    // SAFETY: the machine hands over a flattened tree, in a register or where the board has it.
    let tree = unsafe { tree::read(at as *const u8) };
    verify_tree(&tree, at, manifest);
    let facts = board::check(&tree, manifest, &ids);

    let tables = tables(own, image, manifest);
    // SAFETY: once; the tables map the loader, its stack and all that it touches.
    unsafe {
        write_register!("vbar_el2", &raw const loader_vectors as u64);
        el2::translate(tables_at(manifest), &ids);
    }
    image::verify_parts(image, manifest);
    let manifest = image::place(image, manifest);
    release(tables, manifest);
    POOL.0.set(facts.seed);
    guest::fill(image, manifest, seed(), None);
    let info = findings(manifest);
    info.loader = own;
    info.image = image;
    info.tables = tables_at(manifest);
    info.refill = manifest.restarts().then_some(restart::refill);
    info.manifest = manifest.manifest_copy.base;
    info.mpidr = facts.mpidr;
    if manifest.debug_boot != 0 {
        clock::timed(Phase::Report, || {
            say::mappings(manifest);
            say_features(&ids, Hidden(manifest.arm64.hidden as u32));
        });
    }
    info.phases = clock::record();
    // SAFETY: the body stands where the manifest says, and takes exactly this argument.
    unsafe {
        let body = manifest.part(PART_BODY).map_or(0, |part| part.size);
        cpu::publish(manifest.firmware.base, body);
        let enter: extern "C" fn(&BootInfo) -> ! = core::mem::transmute(manifest.body_entry);
        enter(info)
    }
}

/// Puts back what a restart finds changed: the root of the guest's translation, which stopped its CPUs.
pub fn put_back(image: u64, manifest: &Manifest) {
    if let Some(tables) = manifest.part(PART_TABLES) {
        // SAFETY: `image::place` found the place right at boot, and no CPU has the guest's translation
        // in use.
        unsafe { image::put(image, tables) };
    }
}

struct Pool(Cell<Option<[u8; 32]>>);

// SAFETY: the loader runs on one thread.
unsafe impl Sync for Pool {}

/// What there was at boot, for CPUs without a generator. No guest sees it.
static POOL: Pool = Pool(Cell::new(None));

/// A fresh seed for the guest's random pool: from the CPU's generator, or else from the pool, which
/// then becomes another in a way that cannot be undone.
#[inline(never)]
pub fn seed() -> Option<[u8; 32]> {
    board::generated().or_else(|| {
        let pool = POOL.0.get()?;
        let derived = |what: u8| {
            let mut bytes = [what; 33];
            bytes[..32].copy_from_slice(&pool);
            image::sha256(&bytes)
        };
        POOL.0.set(Some(derived(1)));
        Some(derived(0))
    })
}

/// Says what becomes of each of the processor's optional features.
fn say_features(ids: &Ids, hidden: Hidden) {
    for feature in &LIST {
        let (name, verdict) = (feature.name, feature.verdict(ids, hidden));
        say::raw(format_args!(
            "@feature name={name} verdict={} why=\"{}\"",
            verdict.name(),
            feature.why
        ));
    }
}

/// RAM, or flash.
pub fn may_hold(image: Range, manifest: &Manifest) -> bool {
    manifest.arm64.flash.contains(image) || manifest.ram().any(|ram| ram.contains(image))
}

/// The machine's tree is read until guest RAM is zeroed, and the loader works in the firmware's
/// memory from its first instruction.
fn verify_tree(tree: &Tree, at: u64, manifest: &Manifest) {
    let range = Range::new(at, tree.size() as u64);
    let own = [manifest.firmware, manifest.vectors];
    if let Some(own) = own.into_iter().find(|own| own.overlaps(range)) {
        tree::mismatch(format_args!(
            "the machine's device tree at {at:#x} meets the firmware's memory {:#x}+{:#x}; move \
             firmware.memory in the board config",
            own.base, own.size
        ));
    }
}

/// The bottom of the memory whose top is the loader's stack.
fn findings_at(manifest: &Manifest) -> u64 {
    manifest.boot_stack.base.next_multiple_of(TABLE as u64)
}

/// The findings. The resident firmware keeps them there.
fn findings(manifest: &Manifest) -> &'static mut BootInfo {
    let at = findings_at(manifest);
    // SAFETY: the builder reserved the memory; the stack is far above, and all-zero is a valid value.
    unsafe {
        core::ptr::write_bytes(at as *mut u8, 0, size_of::<BootInfo>());
        &mut *(at as *mut BootInfo)
    }
}

/// EL2's own translation: all RAM of the image as data but the loader's code, an image in flash, and
/// the UART. The body's code is data too until it stands in its place.
fn tables(own: u64, image: u64, manifest: &Manifest) -> Stage1<'static> {
    unsafe extern "C" {
        safe static loader_data_start: u8;
    }
    let at = tables_at(manifest);
    // SAFETY: memory between the findings and the stack, both of which the manifest gives.
    let arena = unsafe {
        cpu::forget(at, (TABLES * TABLE) as u64);
        core::slice::from_raw_parts_mut(at as *mut [u64; 512], TABLES)
    };
    let mut tables = Stage1::new(arena, at);
    let mut map = |start: u64, end: u64, purpose| {
        if start < end && tables.map(start, end - start, purpose).is_err() {
            end::end(
                End::FirmwareFault,
                format_args!("no room to map {start:#x} to {end:#x} for the firmware"),
            );
        }
    };
    let loader = (own, &raw const loader_data_start as u64, Use::Code);
    let body = manifest.firmware.base;
    let mut apart = [loader, (body, body + manifest.arm64.code_bytes, Use::Data)];
    apart.sort_unstable_by_key(|(start, ..)| *start);
    for ram in manifest.ram() {
        let mut from = ram.base;
        for (start, end, purpose) in apart {
            if ram.contains(Range::new(start, 1)) {
                map(from, start, Use::Data);
                map(start, end, purpose);
                from = end;
            }
        }
        map(from, ram.base + ram.size, Use::Data);
    }
    map(UART, UART + TABLE as u64, Use::Device);
    let flash = manifest.arm64.flash;
    if flash.contains(Range::new(image, 1)) {
        let end = (image + manifest.image_size).next_multiple_of(BLOCK);
        map(image, end.min(flash.base + flash.size), Use::Constant);
    }
    tables
}

/// Where they are.
fn tables_at(manifest: &Manifest) -> u64 {
    findings_at(manifest) + TABLE as u64
}

/// The body's code stands in its place: from now on it is executed and not written.
fn release(mut tables: Stage1, manifest: &Manifest) {
    let (start, bytes) = (manifest.firmware.base, manifest.arm64.code_bytes);
    tables.unmap(start, bytes);
    let mapped = tables.map(start, bytes, Use::Code);
    end::require(mapped.is_ok(), "the body cannot be mapped");
    el2::forget_translations();
}

/// An exception in the loader.
#[unsafe(no_mangle)]
extern "C" fn loader_fault() -> ! {
    end::end(
        End::FirmwareFault,
        format_args!(
            "exception in the loader: ESR {:#x} at {:#x}, address {:#x}",
            read_register!("esr_el2"),
            read_register!("elr_el2"),
            read_register!("far_el2")
        ),
    )
}

fn uart() -> Uart {
    // SAFETY: the board's UART, which EL2's tables map.
    unsafe { Uart::new(UART) }
}

/// Writes to the console.
pub fn console_print(text: &[u8]) {
    uart().send(text);
}

/// Switches the machine off; returns if nobody is there to do it.
pub fn power_down() {
    uart().flush();
    match cpu::exception_level() {
        2 => {
            cpu::smc([SYSTEM_OFF, 0, 0, 0]);
        }
        1 => cpu::hvc(SYSTEM_OFF),
        _ => {}
    }
}

/// The counter.
pub fn ticks() -> u64 {
    cpu::counter()
}

/// Zeroes memory; both addresses are multiples of 4 KiB.
///
/// # Safety
/// The range must be memory that nothing else uses.
pub unsafe fn zero(start: u64, end: u64) {
    // SAFETY: the caller's promise; the MMU is on by now.
    unsafe { cpu::zero(start, end) };
}

/// Zeroes memory that begins and ends anywhere.
///
/// # Safety
/// The range must be memory that nothing else uses.
pub unsafe fn clear(start: u64, len: u64) {
    // SAFETY: the caller's promise.
    unsafe { core::ptr::write_bytes(start as *mut u8, 0, len as usize) };
}

/// Copies memory; both addresses are multiples of 64.
///
/// # Safety
/// The ranges must be memory that nothing else uses, apart from each other.
pub unsafe fn copy(from: u64, to: u64, len: u64) {
    // SAFETY: the caller's promise.
    unsafe { cpu::copy(from, to, len) };
}

/// Makes what was just written visible to instruction fetches and to a guest with caches off.
///
/// # Safety
/// The range must be mapped memory.
pub unsafe fn publish(start: u64, len: u64) {
    // SAFETY: the caller's promise.
    unsafe { cpu::publish(start, len) };
}
