// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The image against its own digests, and its resident parts to their places.
use core::mem::offset_of;

use anchorite_spec::form::HEADER_BYTES;
use anchorite_spec::manifest::{
    BOOT_BARE, CODEC_NONE, MAGIC, Manifest, PART_BODY, PART_LOADER, Part, SPACE_HOST, STRETCHES,
    VERSION, part_name,
};
use anchorite_spec::phases::Phase;
use anchorite_spec::trust::LOADER_OFFSET;
use anchorite_spec::{End, Form, Range, Trust};
use sha2::{Digest, Sha256};
use zerocopy::IntoBytes;

use crate::arch;
use crate::clock::timed;
use crate::end::{self, end};
use crate::signature;
use crate::tree::{self, mismatch};

/// Checks the manifest, and ends the boot if it is not as built or not one that this loader is to
/// start. `own` is the loader.
pub fn verify_manifest(manifest: &Manifest, own: u64) {
    let epitaph = Range::new(manifest.epitaph, size_of::<anchorite_spec::Epitaph>() as u64);
    if arch::EPITAPH_WINDOW.contains(epitaph) && manifest.epitaph.is_multiple_of(8) {
        end::epitaph_at(manifest.epitaph);
    }
    if manifest.magic != MAGIC || manifest.version != VERSION {
        refuse(format_args!("there is no manifest of this version; build the image again"));
    }
    if timed(Phase::Digests, || manifest_digest(manifest, &[DIGEST])) != manifest.digest {
        refuse(format_args!("the manifest was changed after the build"));
    }
    // SAFETY: the builder left room for it in the loader's header.
    let trust = unsafe { &*((own + LOADER_OFFSET as u64) as *const Trust) };
    if trust.is_required() {
        timed(Phase::Signature, || signature::verify(manifest, trust));
    }
    end::epitaph_at(manifest.epitaph);
    if manifest.arch != arch::ARCH || !arch::BOOTS.contains(&manifest.boot) {
        refuse(format_args!("the image is for another kind of board"));
    }
}

/// Ends the boot unless the image lies where it may: in memory that holds it, apart from all that
/// will be written.
pub fn verify_place(image: u64, manifest: &Manifest) {
    let range = Range::new(image, manifest.image_size);
    if !arch::may_hold(range, manifest) {
        mismatch(format_args!(
            "the image was loaded to {image:#x}, where the board has no place for its {:#x} bytes",
            manifest.image_size
        ));
    }
    // An image that starts at 0 lies where the vectors are put last, over what has been read by then.
    let later = |own: Range| manifest.boot == BOOT_BARE && own == manifest.vectors;
    let meets = |own: Range| own.overlaps(range) && !later(own);
    for (name, own) in tree::written(manifest).filter(|(_, own)| meets(*own)) {
        // The epitaph might be written over the code that writes it.
        end::epitaph_at(0);
        mismatch(format_args!(
            "the image was loaded to {image:#x}+{:#x}, which meets {name} {:#x}+{:#x}; load it \
             elsewhere",
            manifest.image_size, own.base, own.size
        ));
    }
}

/// Checks the header, every part and what lies between them, and ends the boot at the first that is
/// not as built.
pub fn verify_parts(image: u64, manifest: &Manifest) {
    if Form::of(header(image), manifest).is_none() {
        refuse(format_args!("the header was changed after the build; flash the image again"));
    }
    if timed(Phase::Digests, || frame_digest(image, manifest)) != manifest.frame_digest {
        refuse(format_args!(
            "headers or padding were changed after the build; flash the image again"
        ));
    }
    // The loader has changed itself by relocation, and could not vouch for itself anyway.
    for part in manifest.parts.iter().filter(|part| !matches!(part.kind, 0 | PART_LOADER)) {
        let inside =
            part.offset.checked_add(part.size).is_some_and(|end| end <= manifest.image_size);
        if !inside {
            refuse(format_args!("part {} lies outside the image", part_name(part.kind)));
        }
        if !is_as_built(image, part) {
            refuse(format_args!(
                "part {} was changed after the build; flash the image again",
                part_name(part.kind)
            ));
        }
    }
}

/// Checks what a restart takes from the image, which has lain in memory meanwhile: its parts but for
/// loader and body. Their places are the copied manifest's, which was checked.
pub fn verify_again(image: u64, manifest: &Manifest) {
    let taken = |part: &&Part| !matches!(part.kind, 0 | PART_LOADER | PART_BODY);
    for part in manifest.parts.iter().filter(taken) {
        if !is_as_built(image, part) {
            let name = part_name(part.kind);
            refuse(format_args!(
                "part {name} was changed in memory; the guest cannot be restarted"
            ));
        }
    }
}

fn is_as_built(image: u64, part: &Part) -> bool {
    let bytes = bytes(image, part);
    timed(Phase::Digests, || sha256(bytes)) == part.digest
}

/// SHA-256. One copy of its code will do.
#[inline(never)]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Ends the boot: this image is not to be started.
pub fn refuse(reason: core::fmt::Arguments) -> ! {
    end(End::ImageRefused, reason)
}

/// [`Manifest::digest`]: its place in the manifest, and its size.
pub const DIGEST: (usize, usize) = (offset_of!(Manifest, digest), 32);

/// SHA-256 of the manifest with these fields, in ascending order, zero.
pub fn manifest_digest(manifest: &Manifest, zero: &[(usize, usize)]) -> [u8; 32] {
    let bytes = manifest.as_bytes();
    let mut hash = Sha256::new();
    let mut from = 0;
    for (at, size) in zero {
        hash.update(&bytes[from..*at]);
        (0..*size).for_each(|_| hash.update([0]));
        from = at + size;
    }
    hash.update(&bytes[from..]);
    hash.finalize().into()
}

/// The image's first bytes.
fn header(image: u64) -> &'static [u8] {
    // SAFETY: as in `bytes`.
    unsafe { core::slice::from_raw_parts(image as *const u8, HEADER_BYTES) }
}

/// SHA-256 of what belongs neither to the manifest nor to a part, the header as an ELF has it.
fn frame_digest(image: u64, manifest: &Manifest) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(Form::Elf.header(manifest).unwrap_or([0; HEADER_BYTES]));
    for gap in manifest.frame() {
        let from = gap.base.max(HEADER_BYTES as u64);
        let size = (gap.base + gap.size).saturating_sub(from);
        // SAFETY: as in `bytes`; `verify_manifest` found the manifest right, `verify_place` memory there.
        hash.update(unsafe {
            core::slice::from_raw_parts((image + from) as *const u8, size as usize)
        });
    }
    hash.finalize().into()
}

/// A part's bytes in the image.
pub fn bytes(image: u64, part: &Part) -> &'static [u8] {
    // SAFETY: `verify_place` found the image in memory that nobody writes, and `verify_parts` the part
    // inside the image, before it or anyone later asks for the bytes.
    unsafe { core::slice::from_raw_parts((image + part.offset) as *const u8, part.size as usize) }
}

/// The first bytes of the build id, as people compare them.
pub fn short_id(manifest: &Manifest) -> impl core::fmt::Display {
    struct Short([u8; 8]);
    impl core::fmt::Display for Short {
        fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
            self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        }
    }
    let mut short = [0; 8];
    short.copy_from_slice(&manifest.build_id[..8]);
    Short(short)
}

/// Copies the parts that stay to their places in the firmware's memory, and the manifest to its
/// own. Returns the copy.
pub fn place(image: u64, manifest: &Manifest) -> &'static Manifest {
    for part in manifest.parts.iter().filter(|p| p.kind != 0 && p.space == SPACE_HOST) {
        if part.codec != CODEC_NONE
            || !manifest.firmware.contains(Range::new(part.dest, part.memory_size))
        {
            refuse(format_args!("part {} has no place in the firmware", part_name(part.kind)));
        }
        // SAFETY: the destination is inside the firmware's memory, which board::check found to be
        // RAM that nobody uses; it does not overlap the image's load window.
        unsafe { put(image, part) };
    }
    let copy = manifest.manifest_copy.base as *mut Manifest;
    // SAFETY: as above.
    unsafe {
        arch::copy(manifest as *const Manifest as u64, copy as u64, size_of::<Manifest>() as u64);
        &*copy
    }
}

/// Copies one part to its place; what is blank or not in the image becomes zero.
///
/// # Safety
/// The part's place must be the firmware's memory, used by nobody else.
#[inline(never)]
pub unsafe fn put(image: u64, part: &Part) {
    let source = bytes(image, part);
    // SAFETY: the caller's promise.
    unsafe {
        // Blank stretches are many and small: all is cleared at once.
        let stored = if part.blank == [0; STRETCHES / 64] { part.size } else { 0 };
        let rest = part.memory_size.saturating_sub(stored);
        timed(Phase::Zeroing, || arch::clear(part.dest + stored, rest));
        for run in part.content() {
            arch::copy(source.as_ptr() as u64 + run.base, part.dest + run.base, run.size);
        }
    }
}
