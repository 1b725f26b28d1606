// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A program in a Linux guest's user space, without a C library: its system calls, and its console.
#![expect(unsafe_code, reason = "system calls, and code that may trap")]

use core::arch::asm;
use core::fmt;

/// Numbers of system calls.
#[cfg(target_arch = "powerpc64")]
mod number {
    pub const EXIT: u64 = 1;
    pub const READ: u64 = 3;
    pub const WRITE: u64 = 4;
    pub const CLOSE: u64 = 6;
    pub const GETPID: u64 = 20;
    pub const WAIT4: u64 = 114;
    pub const CLONE: u64 = 120;
    pub const PERF_EVENT_OPEN: u64 = 319;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const EXIT: u64 = 93;
    pub const CLOSE: u64 = 57;
    pub const READ: u64 = 63;
    pub const WRITE: u64 = 64;
    pub const PERF_EVENT_OPEN: u64 = 241;
}

/// A system call: its value, or the negative error number.
#[cfg(target_arch = "powerpc64")]
fn call(number: u64, args: [u64; 5]) -> i64 {
    let [r3, r4, r5, r6, r7] = args;
    let (value, failed): (i64, u64);
    // SAFETY: the callers' arguments; what a system call may change is named.
    unsafe {
        asm!("sc", "mfcr 0",
             inlateout("r0") number => failed, inlateout("r3") r3 => value, inlateout("r4") r4 => _,
             inlateout("r5") r5 => _, inlateout("r6") r6 => _, inlateout("r7") r7 => _,
             out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("ctr") _,
             out("xer") _, out("cr0") _, options(nostack));
    }
    // CR0.SO: r3 is an error number.
    if failed & 1 << 28 == 0 { value } else { -value }
}

/// The same.
#[cfg(target_arch = "aarch64")]
fn call(number: u64, args: [u64; 5]) -> i64 {
    let [x0, x1, x2, x3, x4] = args;
    let value: i64;
    // SAFETY: the callers' arguments; a system call changes nothing else.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") x0 => value, in("x1") x1, in("x2") x2,
             in("x3") x3, in("x4") x4, options(nostack));
    }
    value
}

/// `getpid` by `scv 0`: what a kernel offers whose interrupts keep translation on.
#[cfg(target_arch = "powerpc64")]
pub fn pid_by_scv() -> i64 {
    let value: i64;
    // SAFETY: what `scv` and the call may change is named. The word is `scv 0`.
    unsafe {
        asm!("mflr 14", ".long 0x44000001", "mtlr 14", out("r14") _,
             inlateout("r0") number::GETPID => _, lateout("r3") value, out("r4") _, out("r5") _,
             out("r6") _, out("r7") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
             out("r12") _, out("ctr") _, out("xer") _, out("cr0") _, out("cr1") _, out("cr5") _,
             out("cr6") _, out("cr7") _, options(nostack));
    }
    value
}

/// The same by `sc`.
#[cfg(target_arch = "powerpc64")]
pub fn pid() -> i64 {
    call(number::GETPID, [0; 5])
}

/// Ends the program, or a child.
pub fn exit(status: u64) -> ! {
    call(number::EXIT, [status, 0, 0, 0, 0]);
    loop {}
}

/// The signal that ends a child which does this and nothing else; 0 if it comes to its end.
#[cfg(target_arch = "powerpc64")]
pub fn signal_of(act: fn()) -> u64 {
    const SIGCHLD: u64 = 17;
    let child = call(number::CLONE, [SIGCHLD, 0, 0, 0, 0]);
    if child == 0 {
        act();
        exit(0);
    }
    let mut status = 0_u32;
    let at = &raw mut status as u64;
    assert_eq!(call(number::WAIT4, [child as u64, at, 0, 0, 0]), child, "wait4");
    u64::from(status & 0x7f)
}

/// What the processor counts.
pub struct Event {
    /// `PERF_TYPE_HARDWARE` or `PERF_TYPE_RAW`.
    pub kind: u32,
    /// Which.
    pub config: u64,
    /// Events from one interrupt to the next; 0 for none.
    pub period: u64,
    /// `perf_event_attr`'s flags.
    pub flags: u64,
}

/// Cycles and instructions.
pub const CYCLES: Event = Event { kind: 0, config: 0, period: 0, flags: USER };
/// See [`CYCLES`].
pub const INSTRUCTIONS: Event = Event { config: 1, ..CYCLES };
/// Of user space only.
pub const USER: u64 = 1 << 5 | 1 << 6;

/// A counter of this program's, running; or the negative error number.
pub fn open(event: &Event) -> Result<u64, i64> {
    const SIZE: u32 = 64;
    let attributes =
        [u64::from(event.kind) | u64::from(SIZE) << 32, event.config, event.period, 0, 0]
            .into_iter()
            .chain([event.flags, 0, 0]);
    let mut words = [0; SIZE as usize / 8];
    words.iter_mut().zip(attributes).for_each(|(word, value)| *word = value);
    // This process, any CPU, no group, no flags.
    let any = u64::MAX;
    let at = &raw const words as u64;
    let file = call(number::PERF_EVENT_OPEN, [at, 0, any, any, 0]);
    u64::try_from(file).map_err(|_| file)
}

/// What a counter says; `None` if it cannot be read.
pub fn value(counter: u64) -> Option<u64> {
    let mut value = 0_u64;
    let read = call(number::READ, [counter, &raw mut value as u64, 8, 0, 0]);
    (read == 8).then_some(value)
}

/// Takes a counter away.
pub fn close(counter: u64) {
    call(number::CLOSE, [counter, 0, 0, 0, 0]);
}

/// A loop of this many times two instructions.
pub fn spin(times: u64) {
    // SAFETY: counts down.
    unsafe {
        #[cfg(target_arch = "powerpc64")]
        asm!("mtctr {1}", "2:", "addi {0}, {0}, 1", "bdnz 2b", inout(reg) 0_u64 => _,
             in(reg) times, out("ctr") _, options(nomem, nostack));
        #[cfg(target_arch = "aarch64")]
        asm!("2:", "subs {0}, {0}, #1", "b.ne 2b", inout(reg) times => _,
             options(nomem, nostack));
    }
}

/// Standard output.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        call(number::WRITE, [1, text.as_ptr() as u64, text.len() as u64, 0, 0]);
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    crate::say!("probe panic FAIL {info}");
    exit(1)
}
