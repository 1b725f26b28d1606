// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware's memory: kinds of statics, and the two that outsiders read.
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use anchorite_spec::{Epitaph, Ledger, guard};

/// A static whose users argue at each use why no other uses it then.
#[repr(transparent)]
pub struct Own<T>(UnsafeCell<T>);

// SAFETY: the value is reached only through the raw pointer of `get`; whoever dereferences it vouches
// that nothing else does at the time.
unsafe impl<T> Sync for Own<T> {}

impl<T> Own<T> {
    /// A static's first value.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Where the value is. Who dereferences it argues why no one else does.
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}

/// A static that does not stand yet when the firmware starts. It takes no room in the image, as an
/// `Own<Option<T>>` would whose `None` is not all zeros.
pub struct Late<T> {
    stands: AtomicBool,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is reached only through the `unsafe` methods, whose callers vouch that nothing
// else uses it in a way that conflicts.
unsafe impl<T> Sync for Late<T> {}

impl<T> Late<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { stands: AtomicBool::new(false), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Puts the value there, before any other CPU that will ask for it has come in.
    ///
    /// # Safety
    /// Nothing refers to an earlier value, and no other CPU asks at the same time.
    pub unsafe fn insert(&'static self, value: T) -> &'static mut T {
        // SAFETY: the caller's promise.
        let value = unsafe { (*self.value.get()).write(value) };
        self.stands.store(true, Ordering::Relaxed);
        value
    }

    /// The value, once it stands.
    ///
    /// # Safety
    /// Nothing holds it mutably meanwhile.
    pub unsafe fn as_ref(&self) -> Option<&'static T> {
        // SAFETY: it was written; the caller's promise.
        self.stands.load(Ordering::Relaxed).then(|| unsafe { &*self.value.get().cast::<T>() })
    }

    /// The value, once it stands.
    ///
    /// # Safety
    /// Nothing else holds it meanwhile.
    #[expect(clippy::mut_from_ref, reason = "the caller argues for being the only one")]
    pub unsafe fn as_mut(&self) -> Option<&'static mut T> {
        // SAFETY: it was written; the caller's promise.
        self.stands.load(Ordering::Relaxed).then(|| unsafe { &mut *self.value.get().cast::<T>() })
    }
}

/// A stack, growing down.
#[repr(C, align(128))]
pub struct Stack<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: only the stack pointer refers into it.
unsafe impl<const N: usize> Sync for Stack<N> {}

impl<const N: usize> Stack<N> {
    /// A stack that nothing was pushed on.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; N]))
    }

    /// Puts the words at its far end that it must never grow over.
    ///
    /// # Safety
    /// Whoever may be on it has not come that far.
    pub unsafe fn guard(&self) {
        // SAFETY: inside the array, which is aligned; the caller's promise.
        unsafe { self.0.get().cast::<[u64; guard::WORDS]>().write([guard::WORD; guard::WORDS]) };
    }

    /// The first stack pointer: room for one frame header below the end, which holds zero.
    pub fn top(&self) -> u64 {
        self.first() as u64
    }

    /// The same, as a pointer.
    pub const fn first(&self) -> *const u8 {
        self.0.get().cast::<u8>().wrapping_add(N - 64)
    }
}

/// The exit ledger; outside readers find it by the manifest.
#[unsafe(no_mangle)]
pub static LEDGER: Own<Ledger> = Own::new(Ledger::EMPTY);
/// The epitaph; likewise.
#[unsafe(no_mangle)]
pub static EPITAPH: Own<Epitaph> = Own::new(Epitaph::EMPTY);
