// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A QEMU plugin that counts executed instructions by the 64 KiB of RAM that they lie in: whose they
//! are, QEMU's own clock does not tell. Argument: `socket=PATH`. Whoever connects there reads one line
//! for each such part, its address in QEMU's own memory and its count, both decimal.
//!
//! The shapes are those of QEMU's `qemu-plugin.h`, version 4 (QEMU 10).
#![expect(unsafe_code, reason = "QEMU's interface is one of C")]
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Parts of memory that can have a count of their own. A stock kernel and its programs execute from
/// some hundred; what comes after the last one is counted with it.
const PARTS: usize = 1 << 15;
const PART_SHIFT: u32 = 16;

#[repr(C)]
struct Scoreboard(c_void);
#[repr(C)]
struct Block(c_void);
#[repr(C)]
struct Instruction(c_void);

/// `qemu_plugin_u64`: one number of each vCPU's row of a scoreboard.
#[repr(C)]
#[derive(Clone, Copy)]
struct Number {
    score: *mut Scoreboard,
    offset: usize,
}

/// `QEMU_PLUGIN_INLINE_ADD_U64`
const ADD: c_int = 0;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: extern "C" fn(u64, *mut Block));
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_haddr(instruction: *const Instruction) -> *mut c_void;
    fn qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
        instruction: *mut Instruction,
        operation: c_int,
        number: Number,
        operand: u64,
    );
    fn qemu_plugin_scoreboard_new(size: usize) -> *mut Scoreboard;
    fn qemu_plugin_u64_sum(number: Number) -> u64;
}

/// The version of the interface that QEMU looks for before it loads a plugin.
// SAFETY: no other object of QEMU's or of a plugin's loaded beside this one has the name: plugins are
// loaded so that their names stay their own.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 4;

/// Where each part that anything was translated from has its count.
struct Counts {
    board: *mut Scoreboard,
    parts: Mutex<BTreeMap<usize, usize>>,
}

// SAFETY: the pointer is QEMU's handle, made once and never freed, which its functions take from any
// thread.
unsafe impl Send for Counts {}
// SAFETY: as above.
unsafe impl Sync for Counts {}

static COUNTS: OnceLock<Counts> = OnceLock::new();

impl Counts {
    const fn number(&self, index: usize) -> Number {
        Number { score: self.board, offset: index * size_of::<u64>() }
    }

    /// The count of what lies at an address of QEMU's.
    fn of(&self, address: usize) -> Number {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let next = parts.len().min(PARTS - 1);
        self.number(*parts.entry(address >> PART_SHIFT).or_insert(next))
    }

    fn lines(&self) -> String {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        parts.iter().fold(String::new(), |mut text, (part, index)| {
            // SAFETY: the number lies within its scoreboard's rows, as `of` gives no index beyond.
            let sum = unsafe { qemu_plugin_u64_sum(self.number(*index)) };
            let _ = writeln!(text, "{} {sum}", part << PART_SHIFT);
            text
        })
    }
}

/// QEMU calls it once: 0 if the plugin is to stay.
///
/// # Safety
///
/// `arguments` are as many C strings as `count` says.
// SAFETY: as for `qemu_plugin_version`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    let count = usize::try_from(count).unwrap_or(0);
    let mut socket = None;
    for index in 0..count {
        // SAFETY: the caller's promise.
        let argument = unsafe { CStr::from_ptr(*arguments.add(index)) }.to_string_lossy();
        socket = argument.strip_prefix("socket=").map(str::to_owned);
    }
    let Some(listener) = socket.and_then(|path| UnixListener::bind(path).ok()) else {
        eprintln!("anchorite-counter: socket=PATH is missing, or cannot be made");
        return 1;
    };
    // SAFETY: the size is that of a row, a u64 for each part.
    let board = unsafe { qemu_plugin_scoreboard_new(PARTS * size_of::<u64>()) };
    let counts = COUNTS.get_or_init(|| Counts { board, parts: Mutex::default() });
    std::thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| tell(stream, counts));
    });
    // SAFETY: the callback lives as long as the plugin, which nobody unloads.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    0
}

fn tell(mut stream: UnixStream, counts: &Counts) {
    // Whoever asked and left does not want to know.
    let _ = stream.write_all(counts.lines().as_bytes());
}

/// Each instruction counts by itself: a block may end before its last one.
extern "C" fn translated(_id: u64, block: *mut Block) {
    let Some(counts) = COUNTS.get() else { return };
    // SAFETY: QEMU's block and its instructions are valid within this call, and indices are below the
    // number that it gave.
    unsafe {
        for index in 0..qemu_plugin_tb_n_insns(block) {
            let instruction = qemu_plugin_tb_get_insn(block, index);
            let number = counts.of(qemu_plugin_insn_haddr(instruction) as usize);
            qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, ADD, number, 1);
        }
    }
}
