//! Having memory fetched before it is needed.
#![expect(unsafe_code, reason = "prefetches take pointers")]

/// Has the cache lines of some values fetched.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn prefetch<T>(values: &[T]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in values.chunks(64 / size_of::<T>()) {
        // SAFETY: a prefetch reads nothing that a program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// Has nothing fetched: the processor finds out by itself.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn prefetch<T>(_values: &[T]) {}
