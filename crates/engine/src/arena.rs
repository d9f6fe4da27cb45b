//! Aligned, zeroed memory for activations and weights, on large pages where that pays.
#![expect(unsafe_code, reason = "allocation with an alignment, viewed as plain numbers")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;

/// A cache line, and one 512-bit vector.
pub(crate) const LINE_BYTES: usize = 64;
/// A large page of x86-64 and most ARM systems.
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Numbers for which every bit pattern is valid, zero included.
///
/// # Safety
///
/// The type has no padding, no invalid bit pattern and no destructor.
pub(crate) unsafe trait Plain: Copy + Send + Sync + 'static {}
// SAFETY: a primitive number.
unsafe impl Plain for u8 {}
// SAFETY: a primitive number.
unsafe impl Plain for i8 {}
// SAFETY: a primitive number.
unsafe impl Plain for u16 {}
// SAFETY: a primitive number.
unsafe impl Plain for i32 {}
// SAFETY: a primitive number.
unsafe impl Plain for f32 {}

/// A fixed run of numbers that starts at a cache line, or at a large page where it fills one.
pub(crate) struct Arena<T: Plain> {
    memory: NonNull<u8>,
    start: NonNull<T>,
    len: usize,
}

impl<T: Plain> Arena<T> {
    /// `len` zeros; large runs take memory only as they are touched.
    pub(crate) fn zeros(len: usize) -> Self {
        let Some(layout) = Self::layout(len) else {
            return Self { memory: NonNull::dangling(), start: NonNull::dangling(), len: 0 };
        };
        // SAFETY: the layout has a size above zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        let bytes = len * size_of::<T>();
        let mut start = memory;
        if bytes >= LARGE_PAGE_BYTES {
            // SAFETY: `layout` has a large page of reserve.
            start = unsafe { memory.add(memory.align_offset(LARGE_PAGE_BYTES)) };
            advise_large_pages(start.as_ptr(), bytes);
        }
        Self { memory, start: start.cast(), len }
    }

    /// A copy of `values`.
    pub(crate) fn from_slice(values: &[T]) -> Self {
        let mut arena = Self::zeros(values.len());
        arena.as_mut_slice().copy_from_slice(values);
        arena
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: `start` points to `len` initialized elements (or is dangling with `len` 0) that
        // live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// The layout of `len` elements, and of a reserve before large ones; none if that is empty.
    ///
    /// Only memory of an ordinary alignment comes from the system zeroed and untouched.
    fn layout(len: usize) -> Option<Layout> {
        let bytes = len.checked_mul(size_of::<T>()).expect("an arena can be addressed");
        let (bytes, align) = if bytes >= LARGE_PAGE_BYTES {
            (bytes.saturating_add(LARGE_PAGE_BYTES), align_of::<T>())
        } else {
            (bytes, LINE_BYTES)
        };
        // In guarded memory the end counts, not the start.
        #[cfg(all(test, target_os = "linux"))]
        let align = if crate::testing::guard::is_on() { align_of::<T>() } else { align };
        let layout = Layout::from_size_align(bytes, align).expect("an arena can be addressed");
        (bytes > 0).then_some(layout)
    }
}

impl<T: Plain> Drop for Arena<T> {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.len) {
            // SAFETY: allocated in `zeros` with this same layout.
            unsafe { dealloc(self.memory.as_ptr(), layout) };
        }
    }
}

impl<T: Plain> Clone for Arena<T> {
    fn clone(&self) -> Self {
        Self::from_slice(self.as_slice())
    }
}

impl<T: Plain> fmt::Debug for Arena<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arena({} × {} bytes)", self.len, size_of::<T>())
    }
}

// SAFETY: an arena owns its memory, and `Plain` types may move between threads.
unsafe impl<T: Plain> Send for Arena<T> {}
// SAFETY: shared access is read-only.
unsafe impl<T: Plain> Sync for Arena<T> {}

/// Asks for large pages: a stream of weights over small pages spends its time in page walks.
#[cfg(target_os = "linux")]
fn advise_large_pages(memory: *mut u8, bytes: usize) {
    // SAFETY: the range was just allocated and starts at a large page; the advice changes no
    // content. A refusal is harmless, so the result is ignored.
    let _ = unsafe { libc::madvise(memory.cast(), bytes, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise_large_pages(_memory: *mut u8, _bytes: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arenas_are_aligned_and_zero() {
        for len in [0, 1, 17, 3 << 20] {
            // The second may lie where the first one was.
            for _ in 0..2 {
                let mut arena = Arena::<f32>::zeros(len);
                assert_eq!(arena.as_slice().len(), len);
                assert!(arena.as_slice().iter().all(|v| v.to_bits() == 0));
                let line = if len > 17 { LARGE_PAGE_BYTES } else { LINE_BYTES };
                assert!(len == 0 || arena.as_slice().as_ptr().addr().is_multiple_of(line));
                arena.as_mut_slice().fill(1.0);
            }
        }
    }
}
