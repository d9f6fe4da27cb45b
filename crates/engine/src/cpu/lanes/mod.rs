//! Sixteen `f32` lanes: the one vocabulary in which the fast kernels other than products are
//! written.
//!
//! A kernel is written once, generic over [`Lanes`], and [`run`] compiles it three times: with
//! plain arrays (portable), with pairs of 256-bit registers (AVX2 and FMA) and with 512-bit
//! registers (AVX-512). All three see the same sixteen lanes and the same order of sums, so AVX2
//! and AVX-512 agree to the bit; the portable lanes round after the product of `mul_add` and may
//! differ in the last place.
//!
//! A kernel's `run`, and every function of its own that it calls, is `#[inline(always)]`: an
//! intrinsic is one instruction only inside a function that has its target feature.

#[cfg(test)]
mod fused;
mod portable;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::device::KernelPath;

#[cfg(test)]
pub(crate) use fused::Fused;
pub(crate) use portable::PortableLanes;

/// Lanes in a [`Lanes`] value, on every path.
pub(crate) const LANES: usize = 16;

/// Elementwise arithmetic that a polynomial needs: one `f32` (scalar twin) or sixteen (vector
/// twin).
pub(crate) trait Arithmetic: Copy {
    /// The same value in every lane.
    fn splat(value: f32) -> Self;
    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self - other`.
    fn sub(self, other: Self) -> Self;
    /// `self * other`.
    fn mul(self, other: Self) -> Self;
    /// `self / other`.
    fn div(self, other: Self) -> Self;
    /// `self * factor + term`, rounded once where the path has fused products.
    fn mul_add(self, factor: Self, term: Self) -> Self;
    /// The square root, rounded to nearest.
    fn sqrt(self) -> Self;
    /// `-self`, exactly.
    fn neg(self) -> Self;
    /// The larger of both; `other` where either is not a number.
    fn max(self, other: Self) -> Self;
    /// `then` where `self < bound`, else `otherwise` (also where either is not a number).
    fn select_less(self, bound: Self, then: Self, otherwise: Self) -> Self;
    /// Adds an integer to the bit pattern, wrapping.
    fn add_bits(self, value: u32) -> Self;
    /// Keeps only the bits of `mask` in the bit pattern.
    fn and_bits(self, mask: u32) -> Self;
    /// Exclusive or of both bit patterns.
    fn xor_bits(self, other: Self) -> Self;
    /// Shifts the bit pattern up by `BITS`.
    fn shift_up<const BITS: u32>(self) -> Self;
    /// The bit pattern as a signed integer, shifted down by `BITS` with its sign, as a number.
    fn shifted_integer<const BITS: u32>(self) -> Self;
}

/// Sixteen lanes with memory access and sums across lanes in one fixed order.
///
/// The values of `Avx2Lanes` and `Avx512Lanes` are made only inside [`run`], which checks that the
/// machine has the instructions.
pub(crate) trait Lanes: Arithmetic {
    /// Values that a product keeps at hand as sums (bits do not depend on it).
    const ACCUMULATORS: usize;

    /// Runs `kernel` with these lanes in a function of its own: it is compiled once, however often
    /// and wherever it is called.
    fn run_apart<K: Kernel>(kernel: K) -> K::Output;
    /// Sixteen values from memory.
    fn load(values: &[f32; LANES]) -> Self;
    /// Writes all lanes.
    fn store(self, values: &mut [f32; LANES]);
    /// The even and the odd elements of 32 bf16 values, widened exactly.
    fn load_bf16_pair(values: &[u16; 2 * LANES]) -> (Self, Self);
    /// Lanes 0 and 1 swapped, 2 and 3 swapped, and so on.
    fn swap_pairs(self) -> Self;
    /// Sum of the lanes: halves are added (8 + 8, 4 + 4, 2 + 2, 1 + 1).
    fn sum(self) -> f32;
    /// The largest lane.
    fn maximum(self) -> f32;

    /// Up to sixteen values; the lanes past the slice's end are zero.
    #[inline(always)]
    fn load_partial(values: &[f32]) -> Self {
        let mut padded = [0.0; LANES];
        padded[..values.len()].copy_from_slice(values);
        Self::load(&padded)
    }

    /// Writes as many lanes as the slice holds.
    #[inline(always)]
    fn store_partial(self, values: &mut [f32]) {
        let mut all = [0.0; LANES];
        self.store(&mut all);
        let length = values.len();
        values.copy_from_slice(&all[..length]);
    }
}

/// A computation on lanes, with its arguments as fields.
pub(crate) trait Kernel {
    /// What the computation returns.
    type Output;

    /// The computation; implementations are `#[inline(always)]`.
    fn run<L: Lanes>(self) -> Self::Output;
}

/// Runs `kernel` with the lanes of `path`; the reference path has no lanes and takes the portable
/// ones.
///
/// # Panics
///
/// Panics if the machine lacks the instructions of the path.
pub(crate) fn run<K: Kernel>(path: KernelPath, kernel: K) -> K::Output {
    assert!(path.is_supported(), "the processor has the instructions of {path}");
    match path {
        #[cfg(target_arch = "x86_64")]
        KernelPath::Avx512 => avx512::run(kernel),
        #[cfg(target_arch = "x86_64")]
        KernelPath::Avx2 => avx2::run(kernel),
        _ => kernel.run::<PortableLanes>(),
    }
}

/// Runs `kernel` with the portable lanes' arithmetic, compiled for the instructions of `path`: the
/// bits do not depend on the path.
pub(crate) fn run_same_bits<K: Kernel>(path: KernelPath, kernel: K) -> K::Output {
    run(path, SameBits(kernel))
}

/// Replaces the lanes of a path by the portable ones.
struct SameBits<K>(K);

impl<K: Kernel> Kernel for SameBits<K> {
    type Output = K::Output;

    #[inline(always)]
    fn run<L: Lanes>(self) -> K::Output {
        self.0.run::<PortableLanes>()
    }
}

#[cfg(test)]
mod tests;
