// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The parts of an ELF that matter here: headers, load segments, symbols, relocations.
//!
//! Files are taken as hostile. Every reason to refuse one has a variant of its own, because each
//! has another remedy.
use std::fmt;

use object::elf::{
    EM_AARCH64, EM_PPC64, EM_RISCV, EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, PT_LOAD,
    ProgramHeader64, R_AARCH64_RELATIVE, R_PPC64_RELATIVE, SHT_RELA,
};
use object::read::elf::{FileHeader, ProgramHeader, Rela, SectionHeader, Sym};
use object::{LittleEndian, SectionIndex};

type Header = FileHeader64<LittleEndian>;
const LE: LittleEndian = LittleEndian;

/// Why an ELF cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// It does not begin as an ELF.
    NotElf,
    /// It begins as a compressed file.
    Compressed(&'static str),
    /// It is for 32-bit machines.
    ThirtyTwoBit,
    /// It is big-endian.
    BigEndian,
    /// It is for another machine, with this number.
    Machine(u16),
    /// It is neither executable nor shared: an object file or a core dump.
    Kind(u16),
    /// It ends before its headers do.
    HeadersCut,
    /// Its headers have a version or a size that no ELF64 has.
    BadHeaders,
    /// It ends before its section table does.
    SectionsCut {
        /// Bytes that the file would have to have.
        needed: u64,
    },
    /// It ends before a segment does.
    SegmentCut {
        /// The segment's number among the load segments.
        index: usize,
        /// Bytes that the file would have to have.
        needed: u64,
    },
    /// It has nothing to load.
    NoSegments,
    /// A segment is larger in the file than in memory, or leaves the address space.
    BadSegment {
        /// The segment's number among the load segments.
        index: usize,
    },
    /// Two segments share memory.
    Overlap {
        /// The segments' numbers.
        segments: (usize, usize),
    },
    /// The entry point lies in no segment.
    Entry(u64),
    /// A relocation that the builder cannot apply.
    Relocation(u32),
    /// A symbol that is needed is not there.
    Symbol(&'static str),
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => write!(f, "it is not an ELF file"),
            Self::Compressed(how) => write!(f, "it is compressed with {how}"),
            Self::ThirtyTwoBit => write!(f, "it is a 32-bit ELF"),
            Self::BigEndian => write!(f, "it is a big-endian ELF"),
            Self::Machine(number) => {
                write!(f, "it is an ELF for another machine ({number})")?;
                match *number {
                    EM_PPC64 => write!(f, ": POWER"),
                    EM_AARCH64 => write!(f, ": arm64"),
                    EM_X86_64 => write!(f, ": x86-64"),
                    EM_RISCV => write!(f, ": RISC-V"),
                    _ => Ok(()),
                }
            }
            Self::Kind(number) => write!(f, "it is not an executable ELF (type {number})"),
            Self::HeadersCut => write!(f, "it is cut off: its headers lie beyond its end"),
            Self::BadHeaders => write!(f, "its headers are those of no ELF64"),
            Self::SectionsCut { needed } => {
                write!(f, "it is cut off: its section table needs a file of {needed} bytes")
            }
            Self::SegmentCut { index, needed } => {
                write!(f, "it is cut off: segment {index} needs a file of {needed} bytes")
            }
            Self::NoSegments => write!(f, "it has no segment to load"),
            Self::BadSegment { index } => write!(f, "its segment {index} has impossible sizes"),
            Self::Overlap { segments: (a, b) } => {
                write!(f, "its segments {a} and {b} overlap in memory")
            }
            Self::Entry(entry) => write!(f, "its entry point {entry:#x} lies in no segment"),
            Self::Relocation(kind) => write!(f, "it has a relocation of type {kind}"),
            Self::Symbol(name) => write!(f, "it has no symbol `{name}`"),
        }
    }
}

impl std::error::Error for ElfError {}

/// A segment to load.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Its link address.
    pub vaddr: u64,
    /// Its load address.
    pub paddr: u64,
    /// Its content.
    pub bytes: &'a [u8],
    /// Its size in memory.
    pub memory_size: u64,
}

/// An ELF whose headers and segments are in order.
pub struct Elf<'a> {
    bytes: &'a [u8],
    header: &'a Header,
    /// The load segments in file order.
    pub segments: Vec<Segment<'a>>,
}

impl<'a> Elf<'a> {
    /// Reads a little-endian 64-bit ELF for a machine.
    ///
    /// # Errors
    /// See [`ElfError`].
    pub fn parse(bytes: &'a [u8], machine: u16) -> Result<Self, ElfError> {
        check_ident(bytes)?;
        let whole = bytes.len() >= size_of::<Header>();
        let header = Header::parse(bytes).map_err(|_| match whole {
            true => ElfError::BadHeaders,
            false => ElfError::HeadersCut,
        })?;
        if header.e_machine(LE) != machine {
            return Err(ElfError::Machine(header.e_machine(LE)));
        }
        if ![ET_EXEC, ET_DYN].contains(&header.e_type(LE)) {
            return Err(ElfError::Kind(header.e_type(LE)));
        }
        let segments = segments(bytes, header)?;
        // Linkers write it last: what lacks it was not copied to its end.
        let entries = u64::from(header.e_shnum(LE)) * u64::from(header.e_shentsize(LE));
        let needed = header.e_shoff(LE).saturating_add(entries);
        if needed > bytes.len() as u64 {
            return Err(ElfError::SectionsCut { needed });
        }
        Ok(Self { bytes, header, segments })
    }

    /// The entry point, as a link address.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.header.e_entry(LE)
    }

    /// A symbol's value.
    ///
    /// # Errors
    /// It is not there.
    pub fn symbol(&self, name: &'static str) -> Result<u64, ElfError> {
        let missing = ElfError::Symbol(name);
        let sections = self.header.sections(LE, self.bytes).map_err(|_| missing.clone())?;
        let symbols = sections
            .symbols(LE, self.bytes, object::elf::SHT_SYMTAB)
            .map_err(|_| missing.clone())?;
        let found = symbols.iter().find(|symbol| {
            symbol.st_shndx(LE) != 0 && symbols.symbol_name(LE, *symbol) == Ok(name.as_bytes())
        });
        found.map(|symbol| symbol.st_value(LE)).ok_or(missing)
    }

    /// The relative relocations: place and value, both for a link address of 0.
    ///
    /// # Errors
    /// Any other relocation.
    pub fn relative_relocations(&self) -> Result<Vec<(u64, u64)>, ElfError> {
        let sections = self.header.sections(LE, self.bytes).map_err(|_| ElfError::HeadersCut)?;
        let mut list = Vec::new();
        for section in sections.iter().filter(|section| section.sh_type(LE) == SHT_RELA) {
            let Some((entries, _)): Option<(_, SectionIndex)> =
                section.rela(LE, self.bytes).map_err(|_| ElfError::HeadersCut)?
            else {
                continue;
            };
            for entry in entries {
                let kind = entry.r_type(LE, false);
                let relative = match self.header.e_machine(LE) {
                    EM_PPC64 => R_PPC64_RELATIVE,
                    EM_AARCH64 => R_AARCH64_RELATIVE,
                    _ => 0,
                };
                if kind != relative {
                    return Err(ElfError::Relocation(kind));
                }
                list.push((entry.r_offset(LE), entry.r_addend(LE) as u64));
            }
        }
        Ok(list)
    }
}

fn check_ident(bytes: &[u8]) -> Result<(), ElfError> {
    for (magic, name) in [
        (&b"\x1f\x8b"[..], "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\xfd7zXZ\0", "xz"),
        (b"BZh", "bzip2"),
        (b"\x02\x21\x4c\x18", "lz4"),
        (b"\x04\x22\x4d\x18", "lz4"),
    ] {
        if bytes.starts_with(magic) {
            return Err(ElfError::Compressed(name));
        }
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Err(ElfError::NotElf);
    }
    match bytes.get(4..6) {
        Some([1, _]) => Err(ElfError::ThirtyTwoBit),
        Some([2, 2]) => Err(ElfError::BigEndian),
        Some([2, 1]) => Ok(()),
        Some(_) => Err(ElfError::NotElf),
        None => Err(ElfError::HeadersCut),
    }
}

fn segments<'a>(bytes: &'a [u8], header: &'a Header) -> Result<Vec<Segment<'a>>, ElfError> {
    let size = usize::from(header.e_phentsize(LE));
    if header.e_phnum(LE) > 0 && size != size_of::<ProgramHeader64<LittleEndian>>() {
        return Err(ElfError::BadHeaders);
    }
    let headers = header.program_headers(LE, bytes).map_err(|_| ElfError::HeadersCut)?;
    let mut list: Vec<Segment<'a>> = Vec::new();
    let loads = headers.iter().filter(|header| header.p_type(LE) == PT_LOAD);
    for (index, load) in loads.filter(|load| load.p_memsz(LE) > 0).enumerate() {
        let (offset, size) = load.file_range(LE);
        let bad = ElfError::BadSegment { index };
        let needed = offset.checked_add(size).ok_or(bad.clone())?;
        let content = load.data(LE, bytes).map_err(|()| ElfError::SegmentCut { index, needed })?;
        let segment = Segment {
            vaddr: load.p_vaddr(LE),
            paddr: load.p_paddr(LE),
            bytes: content,
            memory_size: load.p_memsz(LE),
        };
        let ends = segment.vaddr.checked_add(segment.memory_size).is_some()
            && segment.paddr.checked_add(segment.memory_size).is_some();
        if !ends || size > segment.memory_size {
            return Err(bad);
        }
        list.push(segment);
    }
    if list.is_empty() {
        return Err(ElfError::NoSegments);
    }
    Ok(list)
}
