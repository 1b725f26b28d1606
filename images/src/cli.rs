// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line: the interface that scripts may rely on. Flags are added, never renamed.
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The program.
#[derive(Parser)]
#[command(name = "anchorite", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// A board config with its overrides.
#[derive(Args, Debug, Clone)]
pub struct BoardArgs {
    /// The board config, such as board-configs/qemu-powernv9.toml
    #[arg(long, value_name = "FILE")]
    pub board: PathBuf,
    /// Override one key of the config, such as guest.cmdline="quiet" (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print diagnostics and reports as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `build` takes besides the board.
#[derive(Args, Debug, Clone)]
pub struct BuildArgs {
    /// The board
    #[command(flatten)]
    pub board: BoardArgs,
    /// The guest kernel, instead of the config's
    #[arg(long, value_name = "FILE")]
    pub guest: Option<PathBuf>,
    /// The guest's initial file system, instead of the config's
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The guest's command line, instead of the config's
    #[arg(long, value_name = "STR")]
    pub cmdline: Option<String>,
    /// The number of vCPUs, instead of the config's
    #[arg(long, value_name = "N")]
    pub vcpus: Option<u32>,
    /// The private key to sign with, instead of the config's image.sign_key
    #[arg(long, value_name = "FILE")]
    pub sign_key: Option<PathBuf>,
    /// Where to put the image (an ELF64)
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// What `inspect` takes.
#[derive(Args, Debug, Clone)]
pub struct InspectArgs {
    /// The image
    pub image: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print a picture (SVG) of guest and host memory side by side
    #[arg(long, conflicts_with = "json")]
    pub svg: bool,
    /// Print the guest's device tree as source
    #[arg(long, conflicts_with_all = ["json", "svg"])]
    pub dts: bool,
    /// Go on when a digest or the signature is wrong, to judge the rest
    #[arg(long)]
    pub ignore_digests: bool,
    /// Check the signature with this public key, whichever the image's own loader holds
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
}

/// What `sign` takes.
#[derive(Args, Debug, Clone)]
pub struct SignArgs {
    /// The image: an ELF, or packed as `raw` or `arm64-image`
    pub image: PathBuf,
    /// The private key: Ed25519 in PEM or DER (PKCS#8), as `openssl genpkey -algorithm ed25519` writes
    /// it, or its 32 bytes
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Where to put the signed image, instead of in the image's place
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// What `diff` takes.
#[derive(Args, Debug, Clone)]
pub struct DiffArgs {
    /// An image
    pub a: PathBuf,
    /// Another one
    pub b: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `explain` takes.
#[derive(Args, Debug, Clone)]
pub struct ExplainArgs {
    /// A config key such as guest.memory.size, a rule such as overlap-host, an exit code of `run`, or
    /// a reason of the exit ledger
    #[arg(value_name = "KEY|CODE")]
    pub name: String,
}

/// What `fault` takes.
#[derive(Args, Debug, Clone)]
pub struct FaultArgs {
    /// The console's log, or - for standard input
    pub log: PathBuf,
    /// The guest's symbols: its System.map or /proc/kallsyms, or an ELF that has some
    #[arg(long, value_name = "FILE")]
    pub symbols: Option<PathBuf>,
    /// The firmware's symbols, for its own deaths: target/firmware/FAMILY/body.elf of the build
    #[arg(long, value_name = "FILE", requires = "image")]
    pub firmware: Option<PathBuf>,
    /// The image that ran: says where its firmware is
    #[arg(long, value_name = "IMAGE", requires = "firmware")]
    pub image: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `new` takes.
#[derive(Args, Debug, Clone)]
pub struct NewArgs {
    /// The board's name
    pub name: String,
    /// The machine's flattened device tree: /sys/firmware/fdt on a Linux that runs on it, or QEMU's
    /// -machine dumpdtb=FILE
    #[arg(long, value_name = "FILE")]
    pub from_dtb: PathBuf,
    /// Where to put the config, instead of board-configs/NAME.toml
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// How an image can be stored.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ELF64, as `build` writes it
    Elf,
    /// Entered at its first byte: for flash
    Raw,
    /// As an arm64 kernel's `Image`: for QEMU's -kernel, U-Boot's booti
    Arm64Image,
    /// As an arm64 kernel in a FIT, with its SHA-256: for U-Boot's bootm
    Fit,
    /// In an OpenPOWER container, as skiboot takes it from flash
    Stb,
    /// The same, filled up to a whole flash partition (BOOTKERNEL)
    Pnor,
}

/// What `pack` takes.
#[derive(Args, Debug, Clone)]
pub struct PackArgs {
    /// The form
    #[arg(long, value_enum)]
    pub format: Format,
    /// The image, in any form
    pub image: PathBuf,
    /// With --format pnor: the partition's bytes, such as 16MiB (the default) or 0x1000000
    #[arg(long, value_name = "SIZE")]
    pub partition_size: Option<String>,
    /// Where to put the packed image
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// What `run` takes.
#[derive(Args, Debug, Clone)]
pub struct RunArgs {
    /// The board config that the image was built from
    #[arg(long, value_name = "FILE")]
    pub board: PathBuf,
    /// The image, in any form; an ELF is started in the form that its board is started in
    #[arg(long, value_name = "FILE")]
    pub image: PathBuf,
    /// QEMU's CPU model, instead of the machine's default
    #[arg(long, value_name = "MODEL")]
    pub cpu: Option<String>,
    /// Count instructions as time, so that runs repeat exactly
    #[arg(long)]
    pub icount: bool,
    /// The QEMU program
    #[arg(long, value_name = "PATH")]
    pub qemu: Option<PathBuf>,
    /// The disk's file, raw, for the first `virtio = "disk"` slot of the image, then the next
    /// (repeatable). Default: a scratch disk of 64 MiB beside the image, made if it is not there
    #[arg(long, value_name = "FILE")]
    pub drive: Vec<PathBuf>,
    /// One more argument for QEMU (repeatable)
    #[arg(long = "qemu-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub qemu_arg: Vec<String>,
    /// Open a QMP server on this Unix socket, for `anchorite stats`
    #[arg(long, value_name = "SOCKET")]
    pub qmp: Option<PathBuf>,
    /// End the run with code 124 after this many seconds
    #[arg(long, value_name = "S")]
    pub timeout: Option<f64>,
    /// Print QEMU's command line and exit
    #[arg(long)]
    pub print_command: bool,
}

/// What `stats` takes.
#[derive(Args, Debug, Clone)]
pub struct StatsArgs {
    /// Read a running machine through this QMP socket
    #[arg(long, value_name = "SOCKET", required_unless_present = "dump", conflicts_with = "dump")]
    pub qmp: Option<PathBuf>,
    /// Read a memory dump: raw from address 0, or QEMU's ELF
    #[arg(long, value_name = "FILE")]
    pub dump: Option<PathBuf>,
    /// Only what was added since this earlier reading, which `--json` has printed
    #[arg(long, value_name = "FILE")]
    pub since: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Check a board config
    Check(BoardArgs),
    /// Say what changed between two images; the exit code is 1 if anything did
    Diff(DiffArgs),
    /// Say what a config key, a rule or an exit code means
    Explain(ExplainArgs),
    /// Say what a console log has of faults and last words, with names for addresses
    Fault(FaultArgs),
    /// Write a board config for the machine that a device tree describes
    New(NewArgs),
    /// Build the firmware image of a board and a guest
    Build(BuildArgs),
    /// Store an image in the form that a machine or a bootloader wants
    Pack(PackArgs),
    /// Prove from an image alone what its guest can reach
    Inspect(InspectArgs),
    /// Boot an image in QEMU; the exit code tells how the guest ended
    Run(RunArgs),
    /// Sign an image with a key that was not there when it was built
    Sign(SignArgs),
    /// Read the exit ledger of a running machine or of a dump
    Stats(StatsArgs),
    /// What the guest recipes need
    #[command(hide = true)]
    Guests {
        /// What to do
        #[command(subcommand)]
        command: GuestsCommand,
    },
}

/// What `guests` does.
#[derive(Subcommand)]
pub enum GuestsCommand {
    /// Write the shell guest's initial file system
    Initramfs {
        /// A static busybox of the guest's architecture
        #[arg(long, value_name = "FILE")]
        busybox: PathBuf,
        /// The directory with the recipe's own files
        #[arg(long, value_name = "DIR")]
        recipe: PathBuf,
        /// A kernel module that its init loads, packed or not (repeatable, in this order)
        #[arg(long, value_name = "FILE")]
        module: Vec<PathBuf>,
        /// Where to put the archive
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}
