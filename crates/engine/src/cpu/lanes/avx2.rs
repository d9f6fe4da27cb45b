//! Lanes in a pair of 256-bit registers, with the same order of operations as one of 512 bits.
#![expect(unsafe_code, reason = "intrinsics; `lanes::run` checks the features")]

use std::arch::x86_64::{
    __m256, __m256i, _CMP_LT_OQ, _mm_add_ps, _mm_add_ss, _mm_cvtsi32_si128, _mm_cvtss_f32,
    _mm_max_ps, _mm_max_ss, _mm_movehl_ps, _mm_shuffle_ps, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_si256, _mm256_blendv_ps, _mm256_castps_si256, _mm256_castps256_ps128,
    _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtepi32_ps, _mm256_div_ps, _mm256_extractf128_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_max_ps, _mm256_mul_ps,
    _mm256_permute_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_sll_epi32, _mm256_sqrt_ps,
    _mm256_sra_epi32, _mm256_storeu_ps, _mm256_sub_ps, _mm256_xor_ps,
};

use super::{Arithmetic, Kernel, LANES, Lanes};

/// Sixteen lanes in two 256-bit registers, lanes 0 to 7 and 8 to 15. Made only inside [`run`].
#[derive(Clone, Copy)]
pub(crate) struct Avx2Lanes(__m256, __m256);

/// Runs `kernel` in a function that has the features of the path.
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    fn with_features<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Avx2Lanes>()
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

/// Sum of eight lanes by halves.
#[inline(always)]
pub(super) fn sum_of_eight(lanes: __m256) -> f32 {
    registers!({
        let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    })
}

/// The largest of eight lanes by halves.
#[inline(always)]
pub(super) fn maximum_of_eight(lanes: __m256) -> f32 {
    registers!({
        let four = _mm_max_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
    })
}

impl Avx2Lanes {
    #[inline(always)]
    fn map(self, function: impl Fn(__m256) -> __m256) -> Self {
        Self(function(self.0), function(self.1))
    }

    #[inline(always)]
    fn zip(self, other: Self, function: impl Fn(__m256, __m256) -> __m256) -> Self {
        Self(function(self.0, other.0), function(self.1, other.1))
    }

    #[inline(always)]
    fn map_bits(self, function: impl Fn(__m256i) -> __m256i) -> Self {
        self.map(|half| registers!(_mm256_castsi256_ps(function(_mm256_castps_si256(half)))))
    }
}

impl Arithmetic for Avx2Lanes {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        let half = registers!(_mm256_set1_ps(value));
        Self(half, half)
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| registers!(_mm256_add_ps(a, b)))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| registers!(_mm256_sub_ps(a, b)))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| registers!(_mm256_mul_ps(a, b)))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| registers!(_mm256_div_ps(a, b)))
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        registers!(Self(
            _mm256_fmadd_ps(self.0, factor.0, term.0),
            _mm256_fmadd_ps(self.1, factor.1, term.1)
        ))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.map(|half| registers!(_mm256_sqrt_ps(half)))
    }
    #[inline(always)]
    fn neg(self) -> Self {
        self.xor_bits(Self::splat(-0.0))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| registers!(_mm256_max_ps(a, b)))
    }
    #[inline(always)]
    fn select_less(self, bound: Self, then: Self, otherwise: Self) -> Self {
        let less = self.zip(bound, |a, b| registers!(_mm256_cmp_ps::<_CMP_LT_OQ>(a, b)));
        registers!(Self(
            _mm256_blendv_ps(otherwise.0, then.0, less.0),
            _mm256_blendv_ps(otherwise.1, then.1, less.1)
        ))
    }
    #[inline(always)]
    fn add_bits(self, value: u32) -> Self {
        let value = registers!(_mm256_set1_epi32(value.cast_signed()));
        self.map_bits(|half| registers!(_mm256_add_epi32(half, value)))
    }
    #[inline(always)]
    fn and_bits(self, mask: u32) -> Self {
        let mask = registers!(_mm256_set1_epi32(mask.cast_signed()));
        self.map_bits(|half| registers!(_mm256_and_si256(half, mask)))
    }
    #[inline(always)]
    fn xor_bits(self, other: Self) -> Self {
        self.zip(other, |a, b| registers!(_mm256_xor_ps(a, b)))
    }
    #[inline(always)]
    fn shift_up<const BITS: u32>(self) -> Self {
        let count = registers!(_mm_cvtsi32_si128(BITS.cast_signed()));
        self.map_bits(|half| registers!(_mm256_sll_epi32(half, count)))
    }
    #[inline(always)]
    fn shifted_integer<const BITS: u32>(self) -> Self {
        let count = registers!(_mm_cvtsi32_si128(BITS.cast_signed()));
        self.map(|half| {
            registers!({
                let shifted = _mm256_sra_epi32(_mm256_castps_si256(half), count);
                _mm256_cvtepi32_ps(shifted)
            })
        })
    }
}

impl Lanes for Avx2Lanes {
    const ACCUMULATORS: usize = 4;

    fn run_apart<K: Kernel>(kernel: K) -> K::Output {
        run(kernel)
    }
    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        let start = values.as_ptr();
        // SAFETY: the array is sixteen readable values; the loads need no alignment.
        unsafe { Self(_mm256_loadu_ps(start), _mm256_loadu_ps(start.add(LANES / 2))) }
    }
    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        let start = values.as_mut_ptr();
        // SAFETY: the array is sixteen writable values; the stores need no alignment.
        unsafe {
            _mm256_storeu_ps(start, self.0);
            _mm256_storeu_ps(start.add(LANES / 2), self.1);
        }
    }
    #[inline(always)]
    fn load_bf16_pair(values: &[u16; 2 * LANES]) -> (Self, Self) {
        let start = values.as_ptr();
        // SAFETY: the array is 64 readable bytes; the loads need no alignment.
        let pairs = unsafe {
            Self(
                _mm256_castsi256_ps(_mm256_loadu_si256(start.cast())),
                _mm256_castsi256_ps(_mm256_loadu_si256(start.add(LANES).cast())),
            )
        };
        (pairs.shift_up::<16>(), pairs.and_bits(!0xffff))
    }
    #[inline(always)]
    fn swap_pairs(self) -> Self {
        self.map(|half| registers!(_mm256_permute_ps::<0b10_11_00_01>(half)))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        sum_of_eight(registers!(_mm256_add_ps(self.0, self.1)))
    }
    #[inline(always)]
    fn maximum(self) -> f32 {
        maximum_of_eight(registers!(_mm256_max_ps(self.0, self.1)))
    }
}
