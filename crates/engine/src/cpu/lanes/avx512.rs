//! Lanes in one 512-bit register.
#![expect(unsafe_code, reason = "intrinsics; `lanes::run` checks the features")]

use std::arch::x86_64::{
    __m256, __m512, __m512i, _CMP_LT_OQ, _mm256_add_ps, _mm256_max_ps, _mm512_add_epi32,
    _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512, _mm512_castps512_ps256,
    _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps, _mm512_div_ps,
    _mm512_extractf32x8_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_blend_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_permute_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_slli_epi32, _mm512_sqrt_ps, _mm512_srai_epi32, _mm512_storeu_ps,
    _mm512_sub_ps, _mm512_xor_si512,
};

use super::{Arithmetic, Kernel, LANES, Lanes, avx2};

/// Sixteen lanes in a 512-bit register. Made only inside [`run`].
#[derive(Clone, Copy)]
pub(crate) struct Avx512Lanes(__m512);

/// Runs `kernel` in a function that has the features of the path.
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    fn with_features<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Avx512Lanes>()
    }
    // SAFETY: `lanes::run`, the only caller, has checked that the machine has these features.
    unsafe { with_features(kernel) }
}

/// Wraps intrinsics that touch no memory.
macro_rules! registers {
    ($expression:expr) => {
        // SAFETY: register arithmetic only; the features are present wherever these lanes exist.
        unsafe { $expression }
    };
}

#[inline(always)]
fn bits(lanes: Avx512Lanes) -> __m512i {
    registers!(_mm512_castps_si512(lanes.0))
}

#[inline(always)]
fn from_bits(bits: __m512i) -> Avx512Lanes {
    Avx512Lanes(registers!(_mm512_castsi512_ps(bits)))
}

impl Avx512Lanes {
    /// The lower and the upper eight lanes.
    #[inline(always)]
    fn halves(self) -> (__m256, __m256) {
        registers!((_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0)))
    }
}

impl Arithmetic for Avx512Lanes {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(registers!(_mm512_set1_ps(value)))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(registers!(_mm512_add_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(registers!(_mm512_sub_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(registers!(_mm512_mul_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(registers!(_mm512_div_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(registers!(_mm512_fmadd_ps(self.0, factor.0, term.0)))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(registers!(_mm512_sqrt_ps(self.0)))
    }
    #[inline(always)]
    fn neg(self) -> Self {
        self.xor_bits(Self::splat(-0.0))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(registers!(_mm512_max_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn select_less(self, bound: Self, then: Self, otherwise: Self) -> Self {
        Self(registers!({
            let mask = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, bound.0);
            _mm512_mask_blend_ps(mask, otherwise.0, then.0)
        }))
    }
    #[inline(always)]
    fn add_bits(self, value: u32) -> Self {
        let value = registers!(_mm512_set1_epi32(value.cast_signed()));
        from_bits(registers!(_mm512_add_epi32(bits(self), value)))
    }
    #[inline(always)]
    fn and_bits(self, mask: u32) -> Self {
        let mask = registers!(_mm512_set1_epi32(mask.cast_signed()));
        from_bits(registers!(_mm512_and_si512(bits(self), mask)))
    }
    #[inline(always)]
    fn xor_bits(self, other: Self) -> Self {
        from_bits(registers!(_mm512_xor_si512(bits(self), bits(other))))
    }
    #[inline(always)]
    fn shift_up<const BITS: u32>(self) -> Self {
        from_bits(registers!(_mm512_slli_epi32::<BITS>(bits(self))))
    }
    #[inline(always)]
    fn shifted_integer<const BITS: u32>(self) -> Self {
        Self(registers!(_mm512_cvtepi32_ps(_mm512_srai_epi32::<BITS>(bits(self)))))
    }
}

impl Lanes for Avx512Lanes {
    const ACCUMULATORS: usize = 24;

    fn run_apart<K: Kernel>(kernel: K) -> K::Output {
        run(kernel)
    }
    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        // SAFETY: the array is sixteen readable values; the load needs no alignment.
        Self(unsafe { _mm512_loadu_ps(values.as_ptr()) })
    }
    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        // SAFETY: the array is sixteen writable values; the store needs no alignment.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    fn load_bf16_pair(values: &[u16; 2 * LANES]) -> (Self, Self) {
        // SAFETY: the array is 64 readable bytes; the load needs no alignment.
        let pairs = unsafe { _mm512_loadu_si512(values.as_ptr().cast()) };
        let odd = registers!(_mm512_and_si512(pairs, _mm512_set1_epi32(!0xffff)));
        (from_bits(registers!(_mm512_slli_epi32::<16>(pairs))), from_bits(odd))
    }
    #[inline(always)]
    fn swap_pairs(self) -> Self {
        Self(registers!(_mm512_permute_ps::<0b10_11_00_01>(self.0)))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        let (lower, upper) = self.halves();
        avx2::sum_of_eight(registers!(_mm256_add_ps(lower, upper)))
    }
    #[inline(always)]
    fn maximum(self) -> f32 {
        let (lower, upper) = self.halves();
        avx2::maximum_of_eight(registers!(_mm256_max_ps(lower, upper)))
    }
}
