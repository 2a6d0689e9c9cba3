//! Memory from one end of a region; only the last piece can grow in place or be taken back.

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::UnsafeCell,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// Enough for every command with an ordinary configuration. Pages that are not touched cost nothing.
const FIRST: usize = 1 << 20;
const MORE: usize = 4 << 20;

#[repr(align(64))]
struct Region(UnsafeCell<[u8; FIRST]>);

// SAFETY: the program has one thread; the region is only reached through the allocator.
unsafe impl Sync for Region {}

static REGION: Region = Region(UnsafeCell::new([0; FIRST]));

/// Next free address and end of the region in use; 0 before the first allocation.
static NEXT: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

struct Bump;

#[global_allocator]
static ALLOCATOR: Bump = Bump;

impl Bump {
    fn take(layout: Layout) -> *mut u8 {
        let mut next = NEXT.load(Ordering::Relaxed);
        if next == 0 {
            next = REGION.0.get() as usize;
            END.store(next + FIRST, Ordering::Relaxed);
        }
        let aligned = (next + layout.align() - 1) & !(layout.align() - 1);
        let Some(after) = aligned.checked_add(layout.size()) else { return ptr::null_mut() };
        if after <= END.load(Ordering::Relaxed) {
            NEXT.store(after, Ordering::Relaxed);
            return aligned as *mut u8;
        }
        Self::extend(layout)
    }

    /// A new region; what was left of the old one stays unused.
    fn extend(layout: Layout) -> *mut u8 {
        let size = (layout.size() + layout.align()).max(MORE);
        // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that exists.
        let region = unsafe {
            mmap_anonymous(ptr::null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        };
        let Ok(region) = region else { return ptr::null_mut() };
        let start = region as usize;
        let aligned = (start + layout.align() - 1) & !(layout.align() - 1);
        NEXT.store(aligned + layout.size(), Ordering::Relaxed);
        END.store(start + size, Ordering::Relaxed);
        aligned as *mut u8
    }

    fn is_last(piece: *mut u8, size: usize) -> bool {
        piece as usize + size == NEXT.load(Ordering::Relaxed)
    }
}

// SAFETY: pieces do not overlap, are aligned, and stay valid until the end of the program; only the last one
// is handed out again after it was given back. One thread.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::take(layout)
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        if Self::is_last(piece, layout.size()) {
            NEXT.store(piece as usize, Ordering::Relaxed);
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let start = piece as usize;
        if Self::is_last(piece, layout.size()) && start + size <= END.load(Ordering::Relaxed) {
            NEXT.store(start + size, Ordering::Relaxed);
            return piece;
        }
        if size <= layout.size() {
            return piece;
        }
        // SAFETY: the size is not 0 and the alignment was a valid one.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let new = Self::take(wanted);
        if !new.is_null() {
            // SAFETY: both pieces hold the old size, and a new piece never overlaps an old one.
            unsafe { ptr::copy_nonoverlapping(piece, new, layout.size()) };
        }
        new
    }
}
