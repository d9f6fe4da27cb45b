//! The tiles: some rows of activations times the 32 columns of a panel, sums in registers.
#![expect(unsafe_code, reason = "vector loads and stores by pointer")]
#![expect(clippy::needless_range_loop, reason = "rows index several arrays of registers")]

use std::arch::x86_64::{
    __m512, __m512bh, _mm512_add_epi32, _mm512_castsi512_ps, _mm512_cvtepi32_ps, _mm512_dpbf16_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_storeu_ps,
};

use super::super::activations::{CORRECTION, LOWER, RECORD, SCALE};
use super::super::kernels::{Blocks, Columns, PAIR_BYTES, PREFETCH_STEP, share};
use crate::cpu::prefetch::prefetch;

/// The two halves of a panel's columns.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(columns: &Columns) -> [__m512; 2] {
    // SAFETY: 32 floats are read, inside the array.
    unsafe { [_mm512_loadu_ps(columns.0.as_ptr()), _mm512_loadu_ps(columns.0.as_ptr().add(16))] }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(columns: &mut Columns, halves: [__m512; 2]) {
    // SAFETY: 32 floats are written, inside the array.
    unsafe {
        _mm512_storeu_ps(columns.0.as_mut_ptr(), halves[0]);
        _mm512_storeu_ps(columns.0.as_mut_ptr().add(16), halves[1]);
    }
}

/// `R` rows × 32 columns over all blocks: `2 R` integer accumulators; float sums wait in memory.
///
/// # Safety
///
/// `blocks` hold the quants of all their scales, `records` those of `R` rows for them, `sums` `R`
/// rows; the processor has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn tile<const R: usize, const MIN: bool, const SPLIT: bool>(
    blocks: Blocks<'_>,
    records: &[i32],
    sums: &mut [Columns],
) {
    let sums: &mut [Columns; R] = sums.try_into().expect("`R` rows");
    let parts = if SPLIT { 2 } else { 1 };
    let (quants, stride) = blocks.quants.start();
    let count = blocks.scales.len();
    for (b, scales) in blocks.scales.iter().enumerate() {
        prefetch(share(blocks.next, b, count));
        // SAFETY: block `b` is one of those that the caller vouches for.
        let (quants, records) =
            unsafe { (quants.add(b * stride), records.as_ptr().add(b * RECORD * R)) };
        // SAFETY: `at` lies inside a record, `r` is one of `R` rows.
        let word = |r: usize, at: usize| unsafe { *records.add(r * RECORD + at) };
        // SAFETY: two vectors of 64 bytes inside the block's quants.
        let vectors = |group: usize| unsafe {
            let at = quants.add(group * 128);
            [_mm512_loadu_si512(at.cast()), _mm512_loadu_si512(at.add(64).cast())]
        };
        for part in 0..parts {
            let groups = part * 8 / parts..(part + 1) * 8 / parts;
            let mut total = [[_mm512_setzero_si512(); 2]; R];
            for group in groups.clone() {
                let u = vectors(group);
                for r in 0..R {
                    let a = _mm512_set1_epi32(word(r, group));
                    total[r] = [0, 1].map(|h: usize| _mm512_dpbusd_epi32(total[r][h], u[h], a));
                }
            }
            for total in total.as_flattened_mut() {
                *total = _mm512_slli_epi32::<8>(*total);
            }
            for group in groups {
                let u = vectors(group);
                for r in 0..R {
                    let a = _mm512_set1_epi32(word(r, LOWER + group));
                    total[r] = [0, 1].map(|h: usize| _mm512_dpbusd_epi32(total[r][h], u[h], a));
                }
            }
            let scale = load(&scales.scale[part]);
            let min = load(&scales.min);
            for r in 0..R {
                let d = _mm512_castsi512_ps(_mm512_set1_epi32(word(r, SCALE)));
                let correction = _mm512_set1_epi32(word(r, CORRECTION + part));
                let mut sum = load(&sums[r]);
                for half in 0..2 {
                    let mut total = total[r][half];
                    if !MIN {
                        total = _mm512_add_epi32(total, correction);
                    }
                    let factor = _mm512_mul_ps(scale[half], d);
                    sum[half] = _mm512_fmadd_ps(factor, _mm512_cvtepi32_ps(total), sum[half]);
                    if MIN {
                        let total = _mm512_castsi512_ps(correction);
                        sum[half] = _mm512_fmadd_ps(min[half], total, sum[half]);
                    }
                }
                store(&mut sums[r], sum);
            }
        }
    }
}

/// `R` rows × 32 columns, one multiply-add for each `k`.
///
/// # Safety
///
/// `values` hold `R` for each of `weights`, `sums` `R` rows; the processor has the
/// instructions.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn float_tile<const R: usize>(
    weights: &[Columns],
    next: &[u8],
    values: &[f32],
    sums: &mut [Columns],
) {
    let mut sum: [[__m512; 2]; R] = std::array::from_fn(|r| load(&sums[r]));
    let steps = weights.len().div_ceil(PREFETCH_STEP);
    for (k, weights) in weights.iter().enumerate() {
        if k % PREFETCH_STEP == 0 {
            prefetch(share(next, k / PREFETCH_STEP, steps));
        }
        let weights = load(weights);
        for r in 0..R {
            // SAFETY: `k` lies inside one of the `R` rows that the caller vouches for.
            let x = _mm512_set1_ps(unsafe { *values.as_ptr().add(k * R + r) });
            sum[r][0] = _mm512_fmadd_ps(weights[0], x, sum[r][0]);
            sum[r][1] = _mm512_fmadd_ps(weights[1], x, sum[r][1]);
        }
    }
    for r in 0..R {
        store(&mut sums[r], sum[r]);
    }
}

/// `R` rows × 32 columns, one dot product of two bf16 for each pair of `k`. The instruction takes
/// subnormal numbers for zero; else its sums are those of [`float_tile`].
///
/// # Safety
///
/// `values` hold `R` for each of `pairs`, `sums` `R` rows; the processor has the instructions.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn pair_tile<const R: usize>(
    pairs: &[[u8; PAIR_BYTES]],
    next: &[u8],
    values: &[f32],
    sums: &mut [Columns],
) {
    let mut sum: [[__m512; 2]; R] = std::array::from_fn(|r| load(&sums[r]));
    let steps = pairs.len().div_ceil(PREFETCH_STEP);
    for (k, pair) in pairs.iter().enumerate() {
        if k % PREFETCH_STEP == 0 {
            prefetch(share(next, k / PREFETCH_STEP, steps));
        }
        // SAFETY: 128 bytes are read, the whole array; the two types are 64 bytes of any bits.
        let weights: [__m512bh; 2] = unsafe {
            let halves = pair.as_ptr();
            std::mem::transmute([
                _mm512_loadu_si512(halves.cast()),
                _mm512_loadu_si512(halves.add(64).cast()),
            ])
        };
        for r in 0..R {
            // SAFETY: `k` lies inside the pairs, `r` is one of `R` rows; both types are 64 bytes
            // of any bits.
            let x: __m512bh =
                unsafe { std::mem::transmute(_mm512_set1_ps(*values.as_ptr().add(k * R + r))) };
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], weights[0], x);
            sum[r][1] = _mm512_dpbf16_ps(sum[r][1], weights[1], x);
        }
    }
    for r in 0..R {
        store(&mut sums[r], sum[r]);
    }
}
