// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The core's own registers and instructions (Power ISA 3.0B, Book III).
use core::arch::asm;

use anchorite_hv::power9::regs::pvr::{self, Errata};
use anchorite_hv::power9::regs::storage;

/// Special-purpose register numbers.
pub mod spr {
    /// Data storage interrupt status.
    pub const DSISR: u32 = 18;
    /// Data address.
    pub const DAR: u32 = 19;
    /// Decrementer.
    pub const DEC: u32 = 22;
    /// Save/restore 0.
    pub const SRR0: u32 = 26;
    /// Save/restore 1.
    pub const SRR1: u32 = 27;
    /// Process id.
    pub const PIDR: u32 = 48;
    /// Directed privileged doorbell exception state.
    pub const DPDES: u32 = 176;
    /// Completed instruction address breakpoint.
    pub const CIABR: u32 = 187;
    /// Data address watchpoint control.
    pub const DAWRX0: u32 = 188;
    /// Hypervisor facility status and control.
    pub const HFSCR: u32 = 190;
    /// Processor version.
    pub const PVR: u32 = 287;
    /// Hypervisor scratch 0: the vCPU's context.
    pub const HSPRG0: u32 = 304;
    /// Hypervisor data storage interrupt status.
    pub const HDSISR: u32 = 306;
    /// Hypervisor data address.
    pub const HDAR: u32 = 307;
    /// Processor utilization of resources.
    pub const PURR: u32 = 309;
    /// Hypervisor decrementer.
    pub const HDEC: u32 = 310;
    /// Hypervisor real mode offset.
    pub const HRMOR: u32 = 313;
    /// Logical partitioning control.
    pub const LPCR: u32 = 318;
    /// Logical partition id.
    pub const LPIDR: u32 = 319;
    /// Hypervisor maintenance exceptions.
    pub const HMER: u32 = 336;
    /// Processor compatibility.
    pub const PCR: u32 = 338;
    /// Hypervisor emulated instruction.
    pub const HEIR: u32 = 339;
    /// Authority mask override.
    pub const AMOR: u32 = 349;
    /// Partition table control.
    pub const PTCR: u32 = 464;
    /// Access segment descriptor.
    pub const ASDR: u32 = 816;
    /// Processor stop status and control.
    pub const PSSCR: u32 = 855;
    /// Hardware implementation-dependent 0.
    pub const HID0: u32 = 1008;
    /// Processor id.
    pub const PIR: u32 = 1023;
}

/// Reads a special-purpose register.
#[inline(always)]
#[must_use]
pub fn mfspr<const N: u32>() -> u64 {
    let value;
    // SAFETY: reading a register changes no memory; all callers name one of `spr`, and those exist.
    unsafe { asm!("mfspr {0}, {1}", out(reg) value, const N, options(nomem, nostack)) };
    value
}

/// Writes a special-purpose register and synchronizes the context.
///
/// # Safety
/// The value must keep the firmware itself running: no translation, its stack and context intact.
#[inline(always)]
pub unsafe fn mtspr<const N: u32>(value: u64) {
    // SAFETY: the caller vouches for the value.
    unsafe { asm!("mtspr {1}, {0}", "isync", in(reg) value, const N, options(nostack)) };
}

/// What this core gets wrong.
#[must_use]
pub fn errata() -> Errata {
    pvr::errata(mfspr::<{ spr::PVR }>())
}

/// Has an HDSI that does not write HDSISR be told from one that does.
pub fn arm_storage_fault() {
    // SAFETY: only HDSIs and the firmware use the register.
    unsafe { mtspr::<{ spr::HDSISR }>(storage::CANARY) };
}

/// Clears the segment lookaside buffer's entries that a guest can write, though neither it nor the
/// firmware translates by them (Power ISA 3.0B, Book III, 5.9.3.2: 0 to 3 with LPCR.UPRT).
fn clear_segments() {
    for entry in 0..4_u64 {
        let (esid, vsid): (u64, u64);
        // SAFETY: reads the entry.
        unsafe {
            asm!("slbmfee {0}, {2}", "slbmfev {1}, {2}", out(reg) esid, out(reg) vsid,
                 in(reg) entry, options(nomem, nostack));
        }
        if esid | vsid != 0 {
            // SAFETY: an invalid entry translates nothing.
            unsafe {
                asm!("slbmte {0}, {1}", "isync", in(reg) 0_u64, in(reg) entry, options(nostack))
            };
        }
    }
}

/// Clears the registers that only the guest uses: scratch, faults and processes, key masks, facilities,
/// performance monitor, segments, floating-point and vector registers.
pub fn clear_guest_registers() {
    /// Performance monitor control: the counters stand still.
    const FROZEN: u64 = 1 << 31;
    macro_rules! clear {
        // SAFETY: a register that the firmware does not use, and that acts in the guest only.
        ($($number:literal)*) => { $( unsafe { mtspr::<$number>(0) }; )* };
    }
    // SAFETY: as above.
    unsafe { mtspr::<795>(FROZEN) };
    // SRR0 and 1, DAR, DSISR; PIDR; SPRG0 to 3; AMR, IAMR, UAMOR; PSPB, TIDR, FSCR, DSCR, TAR, VRSAVE;
    // BESCR, EBBHR, EBBRR; MMCR1, MMCR2, MMCRA, PMC1 to 6, SIAR, SDAR, SIER.
    clear!(26 27 19 18 48 272 273 274 275 29 61 157 159 144 153 17 815 256 806 804 805
           798 785 786 787 788 789 790 791 792 796 797 784);
    clear_segments();
    arm_storage_fault();
    // SAFETY: the firmware itself uses none of these registers, which are made accessible for the
    // moment. The words are `xxlxor n, n, n` for both halves of the vector-scalar registers, which the
    // firmware's compiler is told not to know, then `mtfsf 0xff, f0` and `mtvscr v0`.
    unsafe {
        asm!("mfmsr {was}", "oris {on}, {was}, 0x280", "ori {on}, {on}, 0x2000", "mtmsrd {on}", "isync",
             ".irp k, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
             ".long 0xf00004d0 + (\\k << 21) + (\\k << 16) + (\\k << 11)",
             ".long 0xf00004d7 + (\\k << 21) + (\\k << 16) + (\\k << 11)",
             ".endr",
             ".long 0xfdfe058e", ".long 0x10000644", "mtmsrd {was}", "isync",
             was = out(reg) _, on = out(reg_nonzero) _, options(nostack));
    }
}

/// The timebase.
#[inline(always)]
#[must_use]
pub fn timebase() -> u64 {
    let value;
    // SAFETY: reads a counter.
    unsafe { asm!("mfspr {0}, 268", out(reg) value, options(nomem, nostack)) };
    value
}

/// A conditioned random number, or `None` when the generator has none.
#[must_use]
pub fn darn() -> Option<u64> {
    for _ in 0..16 {
        let value: u64;
        // SAFETY: `darn` only writes its target register.
        unsafe { asm!("darn {0}, 1", out(reg) value, options(nomem, nostack)) };
        if value != u64::MAX {
            return Some(value);
        }
    }
    None
}

/// Orders all storage accesses.
pub fn sync() {
    // SAFETY: a barrier.
    unsafe { asm!("sync", options(nostack)) };
}

/// Bytes of a cache block.
pub const BLOCK: u64 = 128;
/// Bytes of a row of blocks: what one turn of a loop over them takes.
const ROW: u64 = 8 * BLOCK;

/// Does something to each cache block of the row at an address.
macro_rules! row {
    ($operation:literal, $row:expr) => {
        asm!(concat!($operation, " 0, {0}"), concat!($operation, " {1}, {0}"),
             concat!($operation, " {2}, {0}"), concat!($operation, " {3}, {0}"),
             concat!($operation, " {4}, {0}"), concat!($operation, " {5}, {0}"),
             concat!($operation, " {6}, {0}"), concat!($operation, " {7}, {0}"),
             in(reg) $row, in(reg_nonzero) BLOCK, in(reg_nonzero) 2 * BLOCK,
             in(reg_nonzero) 3 * BLOCK, in(reg_nonzero) 4 * BLOCK, in(reg_nonzero) 5 * BLOCK,
             in(reg_nonzero) 6 * BLOCK, in(reg_nonzero) 7 * BLOCK, options(nostack))
    };
}

/// Makes code that was just written executable, of which `start` is a part. POWER9 keeps its instruction
/// caches coherent with stores, so that what has to be forgotten, once they are done, is what a core has
/// fetched ahead: one block's `icbi` does that, whichever it is.
///
/// # Safety
/// `start` must be in memory.
pub unsafe fn flush_code(start: u64) {
    // SAFETY: a cache operation on memory that the caller vouched for, and barriers.
    unsafe { asm!("sync", "icbi 0, {0}", "sync", "isync", in(reg) start, options(nostack)) };
}

/// Zeroes whole cache blocks: both addresses are multiples of [`BLOCK`].
///
/// # Safety
/// The range must be memory that nothing else uses.
pub unsafe fn zero_blocks(start: u64, end: u64) {
    let mut block = start;
    while end.saturating_sub(block) >= ROW {
        // SAFETY: the caller vouched for the range.
        unsafe { row!("dcbz", block) };
        block += ROW;
    }
    while block < end {
        // SAFETY: as above.
        unsafe { asm!("dcbz 0, {0}", in(reg) block, options(nostack)) };
        block += BLOCK;
    }
    sync();
}

/// Copies `len` bytes, sixteen at a time where both addresses are multiples of that.
///
/// # Safety
/// As [`core::ptr::copy_nonoverlapping`].
pub unsafe fn copy(from: u64, to: u64, len: u64) {
    /// Bytes copied in one turn.
    const TURN: u64 = 256;
    let by_turns = if (from | to).is_multiple_of(16) { len - len % TURN } else { 0 };
    let mut done = 0;
    while done < by_turns {
        // SAFETY: the caller vouched for the ranges, of which this is a part. r4 to r11 are four
        // pairs, as `lq` and `stq` want them.
        unsafe {
            asm!(".irp k, 0,64,128,192",
                 "lq 4, \\k({from})", "lq 6, \\k + 16({from})",
                 "lq 8, \\k + 32({from})", "lq 10, \\k + 48({from})",
                 "stq 4, \\k({to})", "stq 6, \\k + 16({to})",
                 "stq 8, \\k + 32({to})", "stq 10, \\k + 48({to})",
                 ".endr",
                 from = in(reg_nonzero) from + done, to = in(reg_nonzero) to + done,
                 out("r4") _, out("r5") _, out("r6") _, out("r7") _,
                 out("r8") _, out("r9") _, out("r10") _, out("r11") _, options(nostack));
        }
        done += TURN;
    }
    // SAFETY: the rest of the same ranges.
    unsafe {
        let (from, to) = ((from + done) as *const u8, (to + done) as *mut u8);
        core::ptr::copy_nonoverlapping(from, to, (len - done) as usize);
    }
}

/// How much a partition's translations are forgotten: RIC of `tlbie`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Translations only.
    Tlb,
    /// Translations, the page walk cache and table entries.
    All,
}

/// Forgets cached translations of partition `lpid`: one process's with `pid`, otherwise all,
/// process-scoped and partition-scoped.
pub fn tlb_invalidate(lpid: u32, pid: Option<u32>, scope: Scope) {
    sync();
    tlbie(lpid, pid, scope);
    tlb_settle();
}

/// Forgets all cached translations of these partitions.
pub fn tlb_forget(lpids: [u32; 2]) {
    sync();
    lpids.into_iter().for_each(|lpid| tlbie(lpid, None, Scope::All));
    tlb_settle();
}

/// Power ISA 3.0B, Book III, 5.9.3.3.
#[inline(always)]
fn tlbie(lpid: u32, pid: Option<u32>, scope: Scope) {
    // RB: IS = 1 (one process) or 2 (one partition); RS: PID in the upper half, LPID in the lower.
    let (rb, rs) = match pid {
        Some(pid) => (0x400_u64, u64::from(pid) << 32 | u64::from(lpid)),
        None => (0x800_u64, u64::from(lpid)),
    };
    // SAFETY: invalidation only makes the core walk tables again. The words are
    // `tlbie r4, r5, RIC, PRS, R = 1`, which the assembler has no name for.
    unsafe {
        match (scope, pid) {
            (Scope::Tlb, _) => {
                asm!("ptesync", ".long 0x7ca32264", in("r4") rb, in("r5") rs, options(nostack));
            }
            (Scope::All, _) => {
                asm!("ptesync", ".long 0x7cab2264", in("r4") rb, in("r5") rs, options(nostack));
            }
        }
        if pid.is_none() {
            asm!(".long 0x7ca92264", in("r4") rb, in("r5") rs, options(nostack));
        }
    }
}

/// Waits until what was invalidated is forgotten everywhere.
#[inline(always)]
fn tlb_settle() {
    // SAFETY: as in `tlbie`; nobody has these translations.
    unsafe {
        // POWER9 may leave one entry behind, so once more; and some do not wait for all stores.
        asm!("ptesync", ".long 0x7ca32264", in("r4") 0_u64, in("r5") 0_u64, options(nostack));
        if errata().tlbie_stores {
            asm!("ptesync", ".long 0x7ca32264", in("r4") 0_u64, in("r5") 0_u64, options(nostack));
        }
        asm!("eieio", "tlbsync", "ptesync", options(nostack));
    }
}

/// Waits in the shallowest idle state, in which the core keeps everything and goes on with the
/// next instruction when an interrupt is pending, also a masked one.
///
/// PECE and HEIC in LPCR decide what ends the wait. HEIC keeps the guest's own external interrupts
/// from it.
///
/// # Safety
/// External interrupts must be off (MSR.EE = 0).
#[inline(always)]
pub unsafe fn stop() {
    // SAFETY: PSSCR 0 asks for no state loss.
    unsafe {
        mtspr::<{ spr::PSSCR }>(0);
        asm!("ptesync", "stop", options(nostack));
    }
}

macro_rules! cache_inhibited {
    ($load:ident, $store:ident, $type:ty, $l:literal, $s:literal) => {
        /// A cache-inhibited load from a big-endian device register.
        ///
        /// # Safety
        /// `address` must be such a register, and reading it must harm nothing.
        #[must_use]
        pub unsafe fn $load(address: u64) -> $type {
            let value: u64;
            // SAFETY: the caller vouches for the address; translation is off.
            unsafe {
                asm!(concat!($l, " {0}, 0, {1}"), "sync", out(reg) value, in(reg) address,
                     options(nostack));
            }
            <$type>::from_be(value as $type)
        }

        /// A cache-inhibited store to a big-endian device register.
        ///
        /// # Safety
        /// `address` must be such a register, and the value must harm nothing.
        pub unsafe fn $store(address: u64, value: $type) {
            let value = u64::from(value.to_be());
            // SAFETY: as above.
            unsafe {
                asm!("sync", concat!($s, " {0}, 0, {1}"), in(reg) value, in(reg) address,
                     options(nostack));
            }
        }
    };
}

cache_inhibited!(load8, store8, u8, "lbzcix", "stbcix");
cache_inhibited!(load16, store16, u16, "lhzcix", "sthcix");
cache_inhibited!(load32, store32, u32, "lwzcix", "stwcix");
cache_inhibited!(load64, store64, u64, "ldcix", "stdcix");
