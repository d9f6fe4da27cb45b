//! Guarded memory: every piece of it ends right before a page that nobody may touch.
//!
//! The tests' allocator hands it out to a thread that asks for it, so tensors, weights and the
//! kernels' own buffers lie in it alike. Addresses are not used again: what is freed is out of
//! bounds, too.
#![expect(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What pieces are cut in: a multiple of every system's page.
const PAGE_BYTES: usize = 64 << 10;
/// Addresses for all pieces of a run of the tests.
const REGION_BYTES: usize = 1 << 38;

static REGION: OnceLock<usize> = OnceLock::new();
static USED_BYTES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread's memory is guarded.
pub(crate) fn is_on() -> bool {
    ON.get()
}

/// Runs `work` on a thread of its own, whose allocations are all guarded, the buffers that kernels
/// keep from call to call included.
///
/// # Panics
///
/// Panics if `work` does.
pub(crate) fn guarded<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    REGION.get_or_init(|| forbid(null_mut(), REGION_BYTES + PAGE_BYTES, 0).addr());
    let on_guarded_memory = || {
        ON.set(true);
        let result = work();
        ON.set(false);
        result
    };
    std::thread::scope(|scope| scope.spawn(on_guarded_memory).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

struct Allocator;

// SAFETY: without guards this is the system's allocator. A guarded piece has pages of its own,
// readable, writable and zero, for its size; its start is aligned down, and `Layout` has no
// alignment above a page here.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (true, Some(region)) = (ON.get(), REGION.get()) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        };
        let bytes = layout.size().next_multiple_of(PAGE_BYTES);
        let first = USED_BYTES.fetch_add(bytes + PAGE_BYTES, Ordering::Relaxed);
        if first + bytes + PAGE_BYTES > REGION_BYTES || layout.align() > PAGE_BYTES {
            return null_mut();
        }
        let start = std::ptr::with_exposed_provenance_mut::<u8>(region + first);
        // SAFETY: pages inside the region, that no other piece has.
        let failed =
            unsafe { libc::mprotect(start.cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) != 0 };
        let at = (bytes - layout.size()) / layout.align() * layout.align();
        if failed { null_mut() } else { start.wrapping_add(at) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if ON.get() {
            // SAFETY: the caller's promise; guarded pieces are zero.
            return unsafe { self.alloc(layout) };
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let region = REGION.get().map_or(0..0, |&start| start..start + REGION_BYTES);
        if !region.contains(&piece.addr()) {
            // SAFETY: the caller's promise; it came from the system.
            return unsafe { System.dealloc(piece, layout) };
        }
        let start = piece.map_addr(|at| at - at % PAGE_BYTES);
        forbid(start, layout.size().next_multiple_of(PAGE_BYTES), libc::MAP_FIXED);
    }
}

/// Maps pages that nobody may touch and that take no memory: at `start`, or at a place of the
/// system's choice and a multiple of [`PAGE_BYTES`].
fn forbid(start: *mut u8, bytes: usize, fixed: i32) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed;
    // SAFETY: fresh addresses, or those of a piece that its owner gives back.
    let pages = unsafe { libc::mmap(start.cast(), bytes, libc::PROT_NONE, flags, -1, 0) };
    assert_ne!(pages, libc::MAP_FAILED, "{bytes} bytes of addresses");
    let at = pages.expose_provenance().next_multiple_of(PAGE_BYTES);
    std::ptr::with_exposed_provenance_mut(at)
}

#[test]
fn a_piece_ends_where_nobody_may_read() {
    // The system refuses a path in forbidden memory with a code of its own.
    let is_forbidden = |at: *const u8| {
        // SAFETY: the system checks the address.
        let status = unsafe { libc::access(at.cast(), libc::F_OK) };
        status != 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
    };
    let values = guarded(|| vec![0_u8; 1001]);
    let range = values.as_ptr_range();
    assert!(!is_forbidden(range.start) && is_forbidden(range.end));
    drop(values);
    assert!(is_forbidden(range.start));
}
