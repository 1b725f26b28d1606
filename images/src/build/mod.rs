// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite build`: a checked config, a guest and the firmware become one image.
//!
//! The story: find the inputs, lay out the firmware's memory and the guest's, make tables and
//! device tree for exactly that layout, pack the payload, and put all of it into one file.
mod assemble;
mod elf;
#[cfg(test)]
mod exact;
mod fault;
mod firmware;
mod initrd;
mod inputs;
mod kernel;
mod kernel_arm64;
mod layout;
mod manifest;
pub mod output;
mod pack;
mod report;
mod rtas;
mod sbom;
mod sniff;
mod tables;
mod told;
pub mod tree;
mod tree_arm64;
mod trust;
mod unpack;

pub use firmware::link_body;

use std::path::Path;

use anchorite_spec::Range;
use anchorite_spec::manifest::{
    ARCH_POWER9, CODEC_LZ4, CODEC_NONE, CODEC_ZSTD, IMAGE_OFFSET, PART_BODY, PART_GUEST_TREE,
    PART_INITRD, PART_KERNEL, PART_LOADER, PART_OWN_TABLES, PART_RTAS, PART_TABLES, Part,
    SPACE_GUEST, SPACE_HOST, SPACE_IMAGE, STRETCHES,
};
use anyhow::Context;

use crate::check::refuse;
use crate::cli::BuildArgs;
use crate::config::checked::{Compression, Config, GuestFiles, Placed};
use crate::config::diagnostic::{Diagnostic, Refusal};
use crate::config::{self, Loaded, units};
use crate::exit;
use crate::image::{digest, parse_manifest};
use crate::inspect;
use assemble::Draft;
use fault::Fault;
pub use inputs::root;
use inputs::{Input, Kind};
use kernel::Kernel;
use layout::{FirmwareLayout, GuestLayout, GuestSizes};
use told::Told;

/// The device tree's place among the parts.
const TREE: usize = 3;

/// Runs the command.
///
/// # Errors
/// Anything but a mistake in the input, which is printed here.
pub fn build(args: &BuildArgs) -> anyhow::Result<u8> {
    let overrides = config::build_overrides(args)?;
    let loaded = match config::load(&args.board.board, overrides)? {
        Ok(loaded) => loaded,
        Err(refusal) => return Ok(refuse(&with_files(refusal)?, args.board.json)),
    };
    match made(&loaded) {
        Ok((image, inputs)) => {
            write_beside(&args.out, &loaded.config, &image, &inputs)?;
            output::write(&args.out, &image)
                .with_context(|| format!("cannot write {}", args.out.display()))?;
            report::print(&args.out, &image, args.board.json)?;
            Ok(exit::OK)
        }
        Err(Fault::Tool(error)) => Err(error),
        Err(Fault::Input(mistake)) => {
            let refusal = Refusal::new(loaded.sources, vec![*mistake]);
            Ok(refuse(&refusal, args.board.json))
        }
    }
}

/// Everything that an image is made of.
pub struct Inputs {
    /// The loader's ELF.
    pub loader: Vec<u8>,
    /// The body's ELF.
    pub body: Vec<u8>,
    /// The guest kernel's file.
    pub kernel: Input,
    /// The initial file system.
    pub initrd: Option<Input>,
}

/// What a look at the guest's files found.
#[derive(Default)]
pub struct Preflight {
    /// Mistakes.
    pub mistakes: Vec<Diagnostic>,
    /// What could not be judged, and why.
    pub unchecked: Vec<String>,
    /// What `inspect` would not prove of the image.
    pub not_proved: Vec<String>,
}

/// Judges the guest's files and the keys, where they go, and, if the firmware is built, the image's size.
///
/// # Errors
/// A failure that is no mistake in the input.
pub fn preflight(loaded: &Loaded) -> anyhow::Result<Preflight> {
    let root = inputs::root()?;
    let config = &loaded.config;
    let mut result = Preflight::default();
    let files = result.files(&root, &config.files())?;
    // What is wrong or not there cannot be laid out.
    if !result.mistakes.is_empty() || !result.unchecked.is_empty() {
        return Ok(result);
    }
    let (Some(kernel), initrd) = (files.kernel, files.initrd) else { return Ok(result) };
    if !inputs::has_firmware(&root, config.platform.family) {
        let fits = kernel::lay_out(&kernel, config)
            .and_then(|kernel| guest_layout(config, &kernel, initrd.as_ref()));
        result.keep(fits)?;
        result.unchecked.push("the image's size: `make tools` builds the firmware".into());
        return Ok(result);
    }
    if let Some(image) = result.keep(image(loaded))? {
        result.not_proved = inspect::not_proved(&image)?;
    }
    Ok(result)
}

/// A refusal, with what is wrong with the guest's files as far as the config names them.
///
/// # Errors
/// A failure that is no mistake in the input.
pub fn with_files(refusal: Refusal) -> anyhow::Result<Refusal> {
    let Some(files) = &refusal.files else { return Ok(refusal) };
    let mut result = Preflight::default();
    result.files(&inputs::root()?, files)?;
    Ok(refusal.with(result.mistakes))
}

/// What is wrong with a file as a config's kernel, laid out, and as its initial file system.
#[cfg(test)]
pub fn judge_files(bytes: &[u8], config: &Config) -> Vec<String> {
    let input = |named| Input::unknown(named, bytes.to_vec());
    let kernel = input("kernel");
    let judged = [
        kernel::identify(&kernel, &config.platform, Some(config.guest.format)),
        kernel::lay_out(&kernel, config)
            .and_then(|kernel| guest_layout(config, &kernel, None))
            .map(drop),
        initrd::check(&input("initrd")),
    ];
    let told = |fault| match fault {
        Fault::Input(mistake) => format!("{} {}", mistake.rule, mistake.primary.text),
        Fault::Tool(error) => error.to_string(),
    };
    judged.map(|judged| judged.map_or_else(told, |()| "in order".into())).to_vec()
}

/// The guest's files that are in order.
struct Files {
    kernel: Option<Input>,
    initrd: Option<Input>,
}

impl Preflight {
    /// Reads the guest's files and the keys, and judges each by itself.
    fn files(&mut self, root: &Path, named: &GuestFiles) -> anyhow::Result<Files> {
        let GuestFiles { platform, format, kernel, initrd, keys } = named;
        let read = |named: &Placed<String>, kind| inputs::guest_file(root, platform, named, kind);
        let kernel = kernel.as_ref().map(|named| {
            let input = read(named, Kind::Kernel)?;
            kernel::identify(&input, platform, *format)?;
            Ok(input)
        });
        let initrd = initrd.as_ref().map(|named| {
            let input = read(named, Kind::Initrd)?;
            initrd::check(&input)?;
            Ok(input)
        });
        self.keep(trust::keys(keys))?;
        Ok(Files {
            kernel: kernel.map(|kernel| self.keep(kernel)).transpose()?.flatten(),
            initrd: initrd.map(|initrd| self.keep(initrd)).transpose()?.flatten(),
        })
    }

    /// Sorts an outcome in: a value, a mistake, or a recipe that was never made.
    fn keep<T>(&mut self, outcome: Result<T, Fault>) -> anyhow::Result<Option<T>> {
        match outcome {
            Ok(value) => return Ok(Some(value)),
            Err(Fault::Tool(error)) => return Err(error),
            Err(Fault::Input(mistake)) if mistake.rule == inputs::MISSING_RECIPE => {
                self.unchecked
                    .push(format!("the guest: {} (`make guests` fetches it)", mistake.title));
            }
            Err(Fault::Input(mistake)) => self.mistakes.push(*mistake),
        }
        Ok(None)
    }
}

/// What the image is made of and where its guest's sources are, in files beside it.
fn write_beside(out: &Path, config: &Config, image: &[u8], inputs: &Inputs) -> anyhow::Result<()> {
    let manifest = parse_manifest(image)?;
    let root = inputs::root()?;
    let list = format!("{}.crates", loader(config));
    let list = inputs::firmware_file(&root, config.platform.family, &list)?;
    let list = String::from_utf8_lossy(&list);
    let guest = sbom::origins(&inputs.kernel, inputs.initrd.as_ref());
    let bill = sbom::bill(&manifest, &list, config.platform.debian, &guest);
    let bill = serde_json::to_string_pretty(&bill)? + "\n";
    let note = sbom::note(&manifest, &guest);
    for (ending, text) in [("cdx.json", bill), ("sources.txt", note)] {
        let mut path = out.as_os_str().to_owned();
        path.push(format!(".{ending}"));
        output::write(Path::new(&path), text.as_bytes())
            .with_context(|| format!("cannot write {}", Path::new(&path).display()))?;
    }
    Ok(())
}

/// The loader that a config wants: an ELF, and the list of the crates in the firmware then.
fn loader(config: &Config) -> &'static str {
    if config.signing.required { "loader-verify" } else { "loader" }
}

/// Builds an image in memory.
///
/// # Errors
/// The first mistake found, or a failure.
pub fn image(loaded: &Loaded) -> Result<Vec<u8>, Fault> {
    made(loaded).map(|(image, _)| image)
}

/// Builds an image in memory, and says of what.
fn made(loaded: &Loaded) -> Result<(Vec<u8>, Inputs), Fault> {
    let config = &loaded.config;
    let root = inputs::root()?;
    let loader = format!("{}.elf", loader(config));
    let inputs = Inputs {
        kernel: inputs::guest_file(&root, &config.platform, &config.guest.kernel, Kind::Kernel)?,
        initrd: initrd(&root, config)?,
        loader: inputs::firmware_file(&root, config.platform.family, &loader)?,
        body: inputs::firmware_file(&root, config.platform.family, "body.elf")?,
    };
    let keys = trust::keys(&config.signing.keys)?;
    let kernel = kernel::lay_out(&inputs.kernel, config)?;
    let guest = guest_layout(config, &kernel, inputs.initrd.as_ref())?;

    let memory = config.firmware.value;
    let machine = config.platform.elf;
    let body_size = firmware::body_memory(&inputs.body, machine)?;
    let own_tables = config.platform.own_tables();
    let boot_stack = config.platform.boot_stack;
    let layout = FirmwareLayout::new(memory.base, body_size, boot_stack, own_tables);
    let body = firmware::link_body(&inputs.body, memory.base, machine)?;
    let mappings = tables::mappings(config);
    let tables = tables::make(config, &mappings, layout.tables)?;

    let platform = &config.platform;
    let place = firmware::LoaderPlace {
        offset: assemble::first_offset(platform.load_window, platform.vectors),
        manifest: IMAGE_OFFSET,
        stack_top: layout.stack.base + layout.stack.size,
        flash: platform.arm.map(|arm| (arm.flash, platform.load_window.base)),
        trust: keys.trust(config),
    };
    let mut loader = firmware::loader(&inputs.loader, machine)?;
    firmware::place_loader(&mut loader, &place);

    // The loader has the first place in the file.
    let mut drafts = vec![
        loader_draft(loader),
        body_draft(&body, layout.body),
        host_draft(PART_TABLES, tables.root, tables.bytes.clone()),
    ];
    if config.platform.arch == ARCH_POWER9 {
        let own = tables::own(layout.own_tables).map_err(anyhow::Error::new)?;
        drafts.push(host_draft(PART_OWN_TABLES, layout.own_tables.base, own));
        drafts.push(guest_draft(PART_RTAS, guest.rtas.base, rtas::stub(), rtas::MEMORY));
    }
    drafts.extend(payload(&root, config, &kernel, inputs.initrd.as_ref(), &guest)?);

    let build_id = manifest::build_id(loaded, &inputs, &place.trust);
    let tree = tree::make(config, &guest, &Told::of(config, build_id, &drafts));
    let held = guest_draft(PART_GUEST_TREE, guest.tree.base, tree.bytes.clone(), guest.tree.size);
    drafts.insert(TREE, held);

    let manifest = manifest::Facts {
        loaded,
        inputs: &inputs,
        build_id,
        layout: &layout,
        body: &body,
        tables: &tables,
        mappings: &mappings,
        kernel: &kernel,
        tree_address: guest.tree.base,
        tree: &tree,
    }
    .manifest()?;
    let image = assemble::assemble(manifest, &drafts, keys.private.as_ref());
    check_size(config, image.len() as u64)?;
    Ok((image, inputs))
}

fn initrd(root: &Path, config: &Config) -> Result<Option<Input>, Fault> {
    let Some(named) = &config.guest.initrd else { return Ok(None) };
    let input = inputs::guest_file(root, &config.platform, named, Kind::Initrd)?;
    initrd::check(&input)?;
    Ok(Some(input))
}

/// Lays out what the guest is handed. The tree's size is learnt from a tree with other addresses.
fn guest_layout(
    config: &Config,
    kernel: &Kernel,
    initrd: Option<&Input>,
) -> Result<GuestLayout, Fault> {
    let draft = GuestLayout { initrd: initrd.map(|_| Range::default()), ..GuestLayout::default() };
    let sizes = GuestSizes {
        initrd: initrd.map(|initrd| initrd.bytes.len() as u64),
        tree: tree::make(config, &draft, &Told::blank(config, initrd.is_some())).bytes.len() as u64,
        rtas: if config.platform.arch == ARCH_POWER9 { rtas::MEMORY } else { 0 },
    };
    GuestLayout::new(config, kernel.memory, sizes)
}

/// The kernel and the initrd, packed.
fn payload(
    root: &Path,
    config: &Config,
    kernel: &Kernel,
    initrd: Option<&Input>,
    guest: &GuestLayout,
) -> anyhow::Result<Vec<Draft>> {
    let mut drafts = Vec::new();
    if let Some((input, range)) = initrd.zip(guest.initrd) {
        drafts.push(packed(root, config, PART_INITRD, range, &input.bytes)?);
    }
    drafts.push(packed(root, config, PART_KERNEL, kernel.memory, &kernel.bytes)?);
    Ok(drafts)
}

fn packed(
    root: &Path,
    config: &Config,
    kind: u32,
    place: Range,
    content: &[u8],
) -> anyhow::Result<Draft> {
    let how = config.guest.compression;
    let bytes = pack::pack(root, content, how)?;
    let codec = match how {
        Compression::None => CODEC_NONE,
        Compression::Zstd => CODEC_ZSTD,
        Compression::Lz4 => CODEC_LZ4,
    };
    let part = Part {
        codec,
        unpacked_size: content.len() as u64,
        ..part(kind, SPACE_GUEST, place.base, &bytes, place.size)
    };
    Ok(Draft { part, bytes })
}

fn loader_draft(bytes: Vec<u8>) -> Draft {
    let size = bytes.len() as u64;
    Draft { part: part(PART_LOADER, SPACE_IMAGE, 0, &bytes, size), bytes }
}

fn body_draft(body: &firmware::Body, place: Range) -> Draft {
    let bytes = body.bytes.clone();
    Draft { part: part(PART_BODY, SPACE_HOST, place.base, &bytes, place.size), bytes }
}

fn host_draft(kind: u32, dest: u64, bytes: Vec<u8>) -> Draft {
    let size = bytes.len() as u64;
    Draft { part: part(kind, SPACE_HOST, dest, &bytes, size), bytes }
}

fn guest_draft(kind: u32, dest: u64, bytes: Vec<u8>, memory_size: u64) -> Draft {
    Draft { part: part(kind, SPACE_GUEST, dest, &bytes, memory_size), bytes }
}

/// A part that is stored as is. Its offset is filled in when it is placed.
fn part(kind: u32, space: u32, dest: u64, bytes: &[u8], memory_size: u64) -> Part {
    let mut part = Part {
        kind,
        codec: CODEC_NONE,
        space,
        reserved: 0,
        offset: 0,
        size: bytes.len() as u64,
        dest,
        memory_size,
        unpacked_size: bytes.len() as u64,
        digest: digest(bytes),
        blank: [0; STRETCHES / 64],
    };
    if space == SPACE_HOST {
        for (n, stretch) in bytes.chunks(part.stretch() as usize).enumerate() {
            let blank = stretch.iter().all(|byte| *byte == 0);
            part.blank[n / 64] |= u64::from(blank) << (n % 64);
        }
    }
    part
}

/// The image must fit where the machine has it, and the partition it is flashed to.
fn check_size(config: &Config, size: u64) -> Result<(), Fault> {
    let payload = &config.guest.kernel;
    let help = match config.guest.compression {
        Compression::Zstd => "take a smaller kernel or initrd",
        _ => "take a smaller kernel or initrd, or pack with `compression = \"zstd\"`",
    };
    let (store, name) = config.platform.store();
    if size > store.size {
        let title = format!("the image does not fit {name}");
        let label = format!("with this, it has {size} bytes");
        return Err(Diagnostic::new("image-size", title, payload.span.clone(), label)
            .note(format!("{name} has {}", units::size(store.size)))
            .help(help)
            .into());
    }
    match &config.flash {
        Some(flash) if size > flash.value.size => {
            let name = &flash.value.partition;
            let title = format!("the image is larger than the flash partition `{name}`");
            let label = format!("the image has {size} bytes");
            Err(Diagnostic::new("image-size", title, flash.span.clone(), label)
                .also(payload.span.clone(), "with this")
                .help(format!("{help}; for a board without such flash, leave `flash` out"))
                .into())
        }
        _ => Ok(()),
    }
}
