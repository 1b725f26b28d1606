// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The unpacker's heap: a stretch of guest RAM that is zeroed again before the guest sees it.
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use buddy_system_allocator::Heap;

struct BootHeap(UnsafeCell<Heap<32>>);

// SAFETY: the loader runs on one thread and takes no interrupts.
unsafe impl Sync for BootHeap {}

#[global_allocator]
static HEAP: BootHeap = BootHeap(UnsafeCell::new(Heap::new()));

// SAFETY: forwards to a heap whose memory `give` vouched for.
unsafe impl GlobalAlloc for BootHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread; no call nests in another.
        let heap = unsafe { &mut *self.0.get() };
        heap.alloc(layout).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the caller passes what `alloc` returned.
        unsafe {
            if let Some(pointer) = NonNull::new(pointer) {
                (*self.0.get()).dealloc(pointer, layout);
            }
        }
    }
}

/// Gives the heap its memory; what it had before is forgotten, with all that was taken from it.
///
/// # Safety
/// The range must be mapped and unused until the loader ends; nothing taken before is in use.
pub unsafe fn give(start: u64, size: u64) {
    if size == 0 {
        return;
    }
    // SAFETY: one thread; the caller vouches for the range.
    unsafe {
        *HEAP.0.get() = Heap::new();
        (*HEAP.0.get()).init(start as usize, size as usize);
    }
}
