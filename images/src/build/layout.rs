// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where things go: in the firmware's memory, and in the guest's.
use anchorite_spec::manifest::UNPACK_BYTES;
use anchorite_spec::{Manifest, Range};

use super::fault::Fault;
use crate::config::checked::{Compression, Config, Memory, Placed};
use crate::config::diagnostic::Diagnostic;
use crate::config::units;

/// Alignment of the table root, and of what the guest is given.
const PAGE: u64 = 0x1_0000;
/// Between the kernel's last byte and what follows it.
const GAP: u64 = 1 << 20;
/// What the kernel is handed lies below this: RTAS is called with 32-bit addresses, and Linux keeps
/// its early allocations in the first gigabyte.
const LOW_MEMORY: u64 = 1 << 30;

/// The firmware's memory, in ascending order.
#[derive(Clone, Copy, Debug)]
pub struct FirmwareLayout {
    /// The body with its zero-filled memory.
    pub body: Range,
    /// The manifest's copy.
    pub manifest: Range,
    /// The boot stack.
    pub stack: Range,
    /// The firmware's own tables; empty where it needs none.
    pub own_tables: Range,
    /// From here on the guest's tables may lie.
    pub tables: u64,
}

impl FirmwareLayout {
    /// Lays the firmware out from the base of its memory.
    #[must_use]
    pub fn new(base: u64, body_size: u64, boot_stack: u64, own_tables: u64) -> Self {
        let body = Range::new(base, body_size);
        let manifest = after(body, 64, size_of::<Manifest>() as u64);
        let stack = after(manifest, 64, boot_stack);
        let own_tables = after(stack, PAGE, own_tables);
        Self { body, manifest, stack, own_tables, tables: after(own_tables, PAGE, 0).base }
    }
}

/// Reports that the firmware does not fit its memory.
#[must_use]
pub fn firmware_too_small(memory: &Placed<Range>, needed: u64) -> Diagnostic {
    let title = "the firmware does not fit its memory";
    let label = format!("this has {}", units::size(memory.value.size));
    let size = units::size(needed.next_multiple_of(PAGE));
    Diagnostic::new("firmware-size", title, memory.span.clone(), label)
        .help(format!("it needs {needed} bytes: make `firmware.memory` at least {size}"))
}

/// What the guest is handed beside its kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct GuestLayout {
    /// The initial file system.
    pub initrd: Option<Range>,
    /// The device tree.
    pub tree: Range,
    /// The RTAS stub.
    pub rtas: Range,
}

/// Sizes of what the guest is handed.
#[derive(Clone, Copy, Debug)]
pub struct GuestSizes {
    /// The initial file system.
    pub initrd: Option<u64>,
    /// The device tree.
    pub tree: u64,
    /// The RTAS stub.
    pub rtas: u64,
}

impl GuestLayout {
    /// Lays out what follows the kernel.
    ///
    /// # Errors
    /// It does not fit below 1 GiB of the first region.
    pub fn new(config: &Config, kernel: Range, sizes: GuestSizes) -> Result<Self, Fault> {
        let low = config
            .guest
            .memory
            .iter()
            .find(|memory| memory.value.guest.base == 0)
            .or(config.guest.memory.first());
        let top = match (config.platform.guest_zero, low) {
            (true, low) => low.map_or(0, |memory| memory.value.guest.size.min(LOW_MEMORY)),
            (false, low) => low.and_then(|memory| memory.value.guest.end()).unwrap_or(0),
        };
        let bottom = low.map_or(0, |memory| memory.value.guest.base);
        let start = if (bottom..top).contains(&kernel.base) {
            kernel.base.saturating_add(kernel.size)
        } else {
            bottom
        };
        let mut last = Range::new(start, GAP);
        let initrd = sizes.initrd.map(|size| {
            last = after(last, PAGE, size);
            last
        });
        let tree = after(last, PAGE, sizes.tree);
        let rtas = after(tree, PAGE, sizes.rtas);
        let end = rtas.base.saturating_add(rtas.size);
        let meets = [initrd.unwrap_or_default(), tree, rtas].iter().any(|r| r.overlaps(kernel));
        if end > top || meets {
            return Err(guest_too_small(config, low, end).into());
        }
        room_to_unpack(config, kernel, Range::new(bottom, end.saturating_sub(bottom)))?;
        Ok(Self { initrd, tree, rtas })
    }
}

/// The loader unpacks in guest RAM behind what it unpacks: some region must have that much left.
fn room_to_unpack(config: &Config, kernel: Range, low: Range) -> Result<(), Fault> {
    if config.guest.compression != Compression::Zstd {
        return Ok(());
    }
    let free = |memory: &Placed<Memory>| {
        let guest = memory.value.guest;
        let used = [kernel, low].into_iter().filter(|held| held.overlaps(guest));
        let used =
            used.filter_map(Range::end).max().map_or(0, |end| end.saturating_sub(guest.base));
        guest.size.saturating_sub(used.next_multiple_of(PAGE))
    };
    let regions = &config.guest.memory;
    let Some(best) = regions.iter().max_by_key(|memory| free(memory)) else { return Ok(()) };
    let room = free(best);
    if room >= UNPACK_BYTES {
        return Ok(());
    }
    let title = "guest RAM has no room to unpack the kernel in";
    let label =
        format!("`{}` has {} left behind the guest's files", best.value.name, units::size(room));
    let diagnostic = Diagnostic::new("guest-size", title, best.span.clone(), label);
    let needed = units::size(UNPACK_BYTES);
    Err(diagnostic
        .help(format!("leave {needed} free: enlarge the region, or write `compression = \"lz4\"`, which needs none"))
        .into())
}

fn guest_too_small(config: &Config, low: Option<&Placed<Memory>>, end: u64) -> Diagnostic {
    let title = "kernel, initrd and device tree do not fit the guest's low memory";
    let span = config.guest.kernel.span.clone();
    let mut diagnostic = Diagnostic::new("guest-size", title, span, format!("up to {end:#x}"));
    if let Some(low) = low {
        let text = format!("`{}` has {}", low.value.name, units::range(low.value.guest));
        diagnostic = diagnostic.also(low.span.clone(), text);
    }
    if let Some(initrd) = &config.guest.initrd {
        diagnostic = diagnostic.also(initrd.span.clone(), "with this");
    }
    diagnostic.help(match config.platform.guest_zero {
        true => {
            "all of it must lie below 1GiB in the region at guest address 0: enlarge that region, \
             or take a smaller kernel or initrd"
        }
        false => {
            "all of it must lie in the first region: enlarge that region, or take a smaller kernel \
             or initrd"
        }
    })
}

/// The aligned range that follows another.
fn after(last: Range, align: u64, size: u64) -> Range {
    let end = last.base.saturating_add(last.size);
    Range::new(end.checked_next_multiple_of(align).unwrap_or(u64::MAX), size)
}
