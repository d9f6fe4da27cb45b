//! 256-bit kernels: pairwise byte products in 16 bits and fused multiply-adds.
#![expect(unsafe_code, reason = "vector loads and stores by pointer, functions bound to features")]
#![expect(clippy::needless_range_loop, reason = "rows index several arrays of registers")]

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi32, _mm256_and_si256,
    _mm256_castsi256_ps, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_sign_epi8, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_xor_si256,
};

use super::activations::{self, CORRECTION, LOWER, RECORD, SCALE};
use super::expand;
use super::kernels::{
    BlockScales, Blocks, Columns, Form, Kernels, PAIR_BYTES, PREFETCH_STEP, Quants, share,
};
use crate::cpu::prefetch::prefetch;
use crate::{Dtype, KernelPath};

/// Kernels for processors with AVX2, FMA and F16C; made only where these are found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    /// The kernels.
    ///
    /// # Panics
    ///
    /// Panics if the processor lacks an instruction: a device of this path cannot be made there.
    pub(super) fn detected() -> Self {
        assert!(KernelPath::Avx2.is_supported(), "the processor has AVX2, FMA and F16C");
        Self(())
    }
}

impl Kernels for Avx2 {
    const TILE_ROWS: usize = 4;
    const FLOAT_TILE_ROWS: usize = 3;

    fn quantize(self, x: &[f32], form: Form, records: &mut [i32], stride: usize) {
        // SAFETY: an `Avx2` exists only where its instructions do.
        unsafe { quantize(x, form, records, stride) }
    }

    fn expand(
        self,
        dtype: Dtype,
        panel: &[u8],
        first: usize,
        scales: &mut [BlockScales],
        quants: &mut [Quants],
    ) {
        // SAFETY: an `Avx2` exists only where its instructions do.
        unsafe { expand(dtype, panel, first, scales, quants) }
    }

    fn tile(self, form: Form, blocks: Blocks<'_>, records: &[i32], sums: &mut [Columns]) {
        blocks.check(records, sums.len());
        // SAFETY: an `Avx2` exists only where its instructions do; the slices were measured, and
        // the match hands over the number of sums.
        unsafe {
            match sums.len() {
                1 => tile::<1>(form, blocks, records, sums),
                2 => tile::<2>(form, blocks, records, sums),
                3 => tile::<3>(form, blocks, records, sums),
                count => {
                    assert_eq!(count, 4, "rows of a tile");
                    tile::<4>(form, blocks, records, sums);
                }
            }
        }
    }

    fn expand_floats(self, dtype: Dtype, panel: &[u8], first: usize, out: &mut [Columns]) {
        // SAFETY: an `Avx2` exists only where its instructions do.
        unsafe { expand_floats(dtype, panel, first, out) }
    }

    fn float_tile(self, weights: &[Columns], next: &[u8], values: &[f32], sums: &mut [Columns]) {
        assert!(values.len() >= weights.len() * sums.len(), "values of a tile");
        // SAFETY: as for `tile`.
        unsafe {
            match sums.len() {
                1 => float_tile::<1>(weights, next, values, sums),
                2 => float_tile::<2>(weights, next, values, sums),
                count => {
                    assert_eq!(count, 3, "rows of a tile");
                    float_tile::<3>(weights, next, values, sums);
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn quantize(x: &[f32], form: Form, records: &mut [i32], stride: usize) {
    activations::quantize(x, form, records, stride);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn expand(
    dtype: Dtype,
    panel: &[u8],
    first: usize,
    scales: &mut [BlockScales],
    quants: &mut [Quants],
) {
    expand::expand(dtype, panel, first, scales, quants, |bytes| halves(bytes));
}

#[target_feature(enable = "avx2,fma,f16c")]
fn expand_floats(dtype: Dtype, panel: &[u8], first: usize, out: &mut [Columns]) {
    if dtype == Dtype::Bf16 {
        return expand_pairs(&panel[first / 2 * PAIR_BYTES..], out);
    }
    expand::expand_floats(dtype, panel, first, out, |bytes| halves(bytes));
}

/// Pairs of bf16, of each the odd element first.
#[inline]
#[target_feature(enable = "avx2")]
fn expand_pairs(panel: &[u8], out: &mut [Columns]) {
    let upper = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
    let (pairs, _) = panel.as_chunks::<PAIR_BYTES>();
    for (out, pair) in out.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
        for eighth in 0..4 {
            // SAFETY: 32 bytes are read, inside the pair's 128.
            let lanes = unsafe { _mm256_loadu_si256(pair.as_ptr().add(32 * eighth).cast()) };
            let odd = _mm256_and_si256(lanes, upper);
            let even = _mm256_slli_epi32::<16>(lanes);
            store(&mut out[0], eighth, _mm256_castsi256_ps(odd));
            store(&mut out[1], eighth, _mm256_castsi256_ps(even));
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn halves(bytes: &[u8; 64]) -> Columns {
    let mut out = Columns::ZERO;
    for (out, bytes) in out.0.as_chunks_mut::<8>().0.iter_mut().zip(bytes.as_chunks::<16>().0) {
        // SAFETY: 16 bytes are read and 8 floats written, each inside its array.
        unsafe {
            let halves = _mm_loadu_si128(bytes.as_ptr().cast());
            _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(halves));
        }
    }
    out
}

/// Eight neighboring numbers, number `eighth` of four.
#[inline]
#[target_feature(enable = "avx2")]
fn load(columns: &Columns, eighth: usize) -> __m256 {
    let values = &columns.0[8 * eighth..8 * eighth + 8];
    // SAFETY: 8 floats are read, inside the slice.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(columns: &mut Columns, eighth: usize, values: __m256) {
    let out = &mut columns.0[8 * eighth..8 * eighth + 8];
    // SAFETY: 8 floats are written, inside the slice.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), values) }
}

/// `R` rows × 32 columns over all blocks, 16 columns at a time: `2 R` integer accumulators.
///
/// # Safety
///
/// `blocks` hold the quants of all their scales, `records` those of `R` rows for them, `sums` `R`
/// rows; the processor has the instructions.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const R: usize>(
    form: Form,
    blocks: Blocks<'_>,
    records: &[i32],
    sums: &mut [Columns],
) {
    let parts = if form.split { 2 } else { 1 };
    let (quants, stride) = blocks.quants.start();
    let count = blocks.scales.len();
    for (b, scales) in blocks.scales.iter().enumerate() {
        prefetch(share(blocks.next, b, count));
        // SAFETY: block `b` is one of those that the caller vouches for.
        let (quants, records) =
            unsafe { (quants.add(b * stride), records.as_ptr().add(b * RECORD * R)) };
        // SAFETY: `at` lies inside the block's records, `r` is one of `R` rows.
        let word = |r: usize, at: usize| unsafe { *records.add(r * RECORD + at) };
        for (half, part) in [(0, 0), (1, 0), (0, 1), (1, 1)].into_iter().filter(|x| x.1 < parts) {
            let groups = part * 8 / parts..(part + 1) * 8 / parts;
            // SAFETY: as above; a half's vectors lie inside the block's quants.
            let add = |total: [[__m256i; 2]; R], bytes: usize| unsafe {
                let quants = quants.add(64 * half);
                let word = |r: usize, group: usize| word(r, bytes + group);
                if form.offset == 128 {
                    whole_bytes(total, quants, groups.clone(), word)
                } else {
                    small_quants(total, quants, groups.clone(), word)
                }
            };
            let mut total = add([[_mm256_setzero_si256(); 2]; R], 0);
            total.as_flattened_mut().iter_mut().for_each(|t| *t = _mm256_slli_epi32::<8>(*t));
            let mut total = add(total, LOWER);
            for r in 0..R {
                // Whole bytes are multiplied as signed numbers, so their sum needs no correction.
                if !form.min && form.offset != 128 {
                    let start = _mm256_set1_epi32(word(r, CORRECTION + part));
                    total[r] = total[r].map(|total| _mm256_add_epi32(total, start));
                }
                let d = _mm256_castsi256_ps(_mm256_set1_epi32(word(r, SCALE)));
                for i in 0..2 {
                    let factor = _mm256_mul_ps(load(&scales.scale[part], 2 * half + i), d);
                    let sum = load(&sums[r], 2 * half + i);
                    let sum = _mm256_fmadd_ps(factor, _mm256_cvtepi32_ps(total[r][i]), sum);
                    store(&mut sums[r], 2 * half + i, sum);
                }
            }
        }
        if form.min {
            for r in 0..R {
                let total = _mm256_castsi256_ps(_mm256_set1_epi32(word(r, CORRECTION)));
                for i in 0..4 {
                    let sum = _mm256_fmadd_ps(load(&scales.min, i), total, load(&sums[r], i));
                    store(&mut sums[r], i, sum);
                }
            }
        }
    }
}

/// Adds `Σ u * a` of 16 columns for quants below 64: pairs of products stay below 2^15.
///
/// # Safety
///
/// 64 bytes can be read at every 128 from `quants` on, for each group.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn small_quants<const R: usize>(
    mut total: [[__m256i; 2]; R],
    quants: *const u8,
    groups: std::ops::Range<usize>,
    word: impl Fn(usize, usize) -> i32,
) -> [[__m256i; 2]; R] {
    let ones = _mm256_set1_epi16(1);
    for group in groups {
        // SAFETY: the caller vouches for the group's 64 bytes.
        let u = unsafe { load_group(quants, group) };
        for r in 0..R {
            let a = _mm256_set1_epi32(word(r, group));
            for i in 0..2 {
                let pairs = _mm256_maddubs_epi16(u[i], a);
                total[r][i] = _mm256_add_epi32(total[r][i], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    total
}

/// Adds `Σ (u - 128) * a` of 16 columns for quants of a whole byte: the sign of the weight moves to the
/// activation, so that pairs of products stay below 2^15.
///
/// # Safety
///
/// As for [`small_quants`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn whole_bytes<const R: usize>(
    mut total: [[__m256i; 2]; R],
    quants: *const u8,
    groups: std::ops::Range<usize>,
    word: impl Fn(usize, usize) -> i32,
) -> [[__m256i; 2]; R] {
    let ones = _mm256_set1_epi16(1);
    let sign = _mm256_set1_epi8(i8::MIN);
    for group in groups {
        // SAFETY: the caller vouches for the group's 64 bytes.
        let weight = unsafe { load_group(quants, group) }.map(|u| _mm256_xor_si256(u, sign));
        let size = weight.map(|weight| _mm256_abs_epi8(weight));
        for r in 0..R {
            let a = _mm256_set1_epi32(word(r, group));
            for i in 0..2 {
                let pairs = _mm256_maddubs_epi16(size[i], _mm256_sign_epi8(a, weight[i]));
                total[r][i] = _mm256_add_epi32(total[r][i], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    total
}

/// # Safety
///
/// The group's 64 bytes can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_group(quants: *const u8, group: usize) -> [__m256i; 2] {
    // SAFETY: by the contract of this function.
    unsafe {
        let at = quants.add(128 * group);
        [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast())]
    }
}

/// `R` rows × 32 columns, one multiply-add for each `k`.
///
/// # Safety
///
/// `values` hold `R` for each of `weights`, `sums` `R` rows; the processor has the
/// instructions.
#[target_feature(enable = "avx2,fma")]
unsafe fn float_tile<const R: usize>(
    weights: &[Columns],
    next: &[u8],
    values: &[f32],
    sums: &mut [Columns],
) {
    let mut sum = [[_mm256_setzero_ps(); 4]; R];
    for r in 0..R {
        for i in 0..4 {
            sum[r][i] = load(&sums[r], i);
        }
    }
    let steps = weights.len().div_ceil(PREFETCH_STEP);
    for (k, weights) in weights.iter().enumerate() {
        if k % PREFETCH_STEP == 0 {
            prefetch(share(next, k / PREFETCH_STEP, steps));
        }
        for r in 0..R {
            // SAFETY: `k` lies inside one of the `R` rows that the caller vouches for.
            let x = _mm256_set1_ps(unsafe { *values.as_ptr().add(k * R + r) });
            for i in 0..4 {
                sum[r][i] = _mm256_fmadd_ps(load(weights, i), x, sum[r][i]);
            }
        }
    }
    for r in 0..R {
        for i in 0..4 {
            store(&mut sums[r], i, sum[r][i]);
        }
    }
}
