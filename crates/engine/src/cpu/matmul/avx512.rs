//! 512-bit kernels: 4-way byte dot products (VNNI) and fused multiply-adds.
#![expect(unsafe_code, reason = "vector loads and stores by pointer, functions bound to features")]
#![expect(clippy::wildcard_imports, reason = "the instructions of the path")]
#![expect(clippy::needless_range_loop, reason = "rows index several arrays of registers")]

use std::arch::x86_64::*;

use super::activations::{self, CORRECTION, RECORD, SCALE};
use super::expand;
use super::kernels::{BlockScales, Blocks, Columns, FloatRows, Form, Kernels, QUANTS_BYTES, Rows};
use crate::{Dtype, KernelPath};

/// Kernels for processors with AVX-512 F, BW, DQ, VL and VNNI; made only where these are found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    /// The kernels.
    ///
    /// # Panics
    ///
    /// Panics if the processor lacks an instruction: a device of this path cannot be made there.
    pub(super) fn detected() -> Self {
        assert!(KernelPath::Avx512.is_supported(), "the processor has AVX-512");
        Self(())
    }
}

impl Kernels for Avx512 {
    const TILE_ROWS: usize = 6;
    const FLOAT_TILE_ROWS: usize = 12;

    fn quantize(self, x: &[f32], form: Form, records: &mut [i32]) {
        // SAFETY: an `Avx512` exists only where its instructions do.
        unsafe { quantize(x, form, records) }
    }

    fn expand(
        self,
        dtype: Dtype,
        panel: &[u8],
        first: usize,
        scales: &mut [BlockScales],
        quants: &mut [[u8; QUANTS_BYTES]],
    ) {
        // SAFETY: an `Avx512` exists only where its instructions do.
        unsafe { expand(dtype, panel, first, scales, quants) }
    }

    fn tile(self, form: Form, blocks: Blocks<'_>, rows: Rows<'_>, sums: &mut [Columns]) {
        blocks.check(rows, sums.len());
        macro_rules! by_rows {
            ($min:literal, $split:literal) => {
                match sums.len() {
                    1 => tile::<1, $min, $split>(blocks, rows, sums),
                    2 => tile::<2, $min, $split>(blocks, rows, sums),
                    3 => tile::<3, $min, $split>(blocks, rows, sums),
                    4 => tile::<4, $min, $split>(blocks, rows, sums),
                    5 => tile::<5, $min, $split>(blocks, rows, sums),
                    rows_given => {
                        assert_eq!(rows_given, 6, "rows of a tile");
                        tile::<6, $min, $split>(blocks, rows, sums);
                    }
                }
            };
        }
        // SAFETY: an `Avx512` exists only where its instructions do; the slices were measured
        // above, and the match hands over the number of sums.
        unsafe {
            match (form.min, form.split) {
                (true, _) => by_rows!(true, false),
                (false, false) => by_rows!(false, false),
                (false, true) => by_rows!(false, true),
            }
        }
    }

    fn expand_floats(self, dtype: Dtype, panel: &[u8], first: usize, out: &mut [Columns]) {
        // SAFETY: an `Avx512` exists only where its instructions do.
        unsafe { expand_floats(dtype, panel, first, out) }
    }

    fn float_tile(self, weights: &[Columns], rows: FloatRows<'_>, sums: &mut [Columns]) {
        rows.check(weights.len(), sums.len());
        // SAFETY: an `Avx512` exists only where its instructions do; the slices were measured
        // above, and the match hands over the number of sums.
        unsafe {
            match sums.len() {
                1 => float_tile::<1>(weights, rows, sums),
                2 => float_tile::<2>(weights, rows, sums),
                3 => float_tile::<3>(weights, rows, sums),
                4 => float_tile::<4>(weights, rows, sums),
                5 => float_tile::<5>(weights, rows, sums),
                6 => float_tile::<6>(weights, rows, sums),
                7 => float_tile::<7>(weights, rows, sums),
                8 => float_tile::<8>(weights, rows, sums),
                9 => float_tile::<9>(weights, rows, sums),
                10 => float_tile::<10>(weights, rows, sums),
                11 => float_tile::<11>(weights, rows, sums),
                count => {
                    assert_eq!(count, 12, "rows of a tile");
                    float_tile::<12>(weights, rows, sums);
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn quantize(x: &[f32], form: Form, records: &mut [i32]) {
    activations::quantize(x, form, records);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
fn expand(
    dtype: Dtype,
    panel: &[u8],
    first: usize,
    scales: &mut [BlockScales],
    quants: &mut [[u8; QUANTS_BYTES]],
) {
    expand::expand(dtype, panel, first, scales, quants, |bytes| halves(bytes));
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
fn expand_floats(dtype: Dtype, panel: &[u8], first: usize, out: &mut [Columns]) {
    expand::expand_floats(dtype, panel, first, out, |bytes| halves(bytes));
}

#[inline]
#[target_feature(enable = "avx512f")]
fn halves(bytes: &[u8; 64]) -> Columns {
    let mut out = Columns::ZERO;
    // SAFETY: 64 bytes are read and 32 floats written, each inside its array.
    unsafe {
        let halves = _mm512_loadu_si512(bytes.as_ptr().cast());
        let low = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
        let high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(halves));
        _mm512_storeu_ps(out.0.as_mut_ptr(), low);
        _mm512_storeu_ps(out.0.as_mut_ptr().add(16), high);
    }
    out
}

/// The two halves of a panel's columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(columns: &Columns) -> [__m512; 2] {
    // SAFETY: 32 floats are read, inside the array.
    unsafe { [_mm512_loadu_ps(columns.0.as_ptr()), _mm512_loadu_ps(columns.0.as_ptr().add(16))] }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(columns: &mut Columns, halves: [__m512; 2]) {
    // SAFETY: 32 floats are written, inside the array.
    unsafe {
        _mm512_storeu_ps(columns.0.as_mut_ptr(), halves[0]);
        _mm512_storeu_ps(columns.0.as_mut_ptr().add(16), halves[1]);
    }
}

/// `R` rows × 32 columns over all blocks: `2 R` integer and `2 R` float accumulators.
///
/// # Safety
///
/// `blocks` hold the quants of all their scales, `rows` the records of `R` rows for them, `sums`
/// `R` rows; the processor has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn tile<const R: usize, const MIN: bool, const SPLIT: bool>(
    blocks: Blocks<'_>,
    rows: Rows<'_>,
    sums: &mut [Columns],
) {
    let mut sum: [[__m512; 2]; R] = std::array::from_fn(|r| load(&sums[r]));
    let parts = if SPLIT { 2 } else { 1 };
    for (b, scales) in blocks.scales.iter().enumerate() {
        // SAFETY: block `b` is one of those that the caller vouches for.
        let (quants, records) = unsafe {
            (blocks.quants.as_ptr().add(b * blocks.stride), rows.words.as_ptr().add(b * RECORD))
        };
        // SAFETY: `at` lies inside a record of one of the `R` rows.
        let word = |r: usize, at: usize| unsafe { *records.add(r * rows.stride + at) };
        for part in 0..parts {
            let mut total: [[__m512i; 2]; R] = std::array::from_fn(|r| {
                [_mm512_set1_epi32(if MIN { 0 } else { word(r, CORRECTION + part) }); 2]
            });
            for group in part * 8 / parts..(part + 1) * 8 / parts {
                // SAFETY: two vectors of 64 bytes inside the block's quants.
                let u = unsafe {
                    [
                        _mm512_loadu_si512(quants.add(group * 128).cast()),
                        _mm512_loadu_si512(quants.add(group * 128 + 64).cast()),
                    ]
                };
                for r in 0..R {
                    let a = _mm512_set1_epi32(word(r, group));
                    total[r][0] = _mm512_dpbusd_epi32(total[r][0], u[0], a);
                    total[r][1] = _mm512_dpbusd_epi32(total[r][1], u[1], a);
                }
            }
            let scale = load(&scales.scale[part]);
            for r in 0..R {
                let d = _mm512_castsi512_ps(_mm512_set1_epi32(word(r, SCALE)));
                for half in 0..2 {
                    let factor = _mm512_mul_ps(scale[half], d);
                    let total = _mm512_cvtepi32_ps(total[r][half]);
                    sum[r][half] = _mm512_fmadd_ps(factor, total, sum[r][half]);
                }
            }
        }
        if MIN {
            let min = load(&scales.min);
            for r in 0..R {
                let total = _mm512_castsi512_ps(_mm512_set1_epi32(word(r, CORRECTION)));
                for half in 0..2 {
                    sum[r][half] = _mm512_fmadd_ps(min[half], total, sum[r][half]);
                }
            }
        }
    }
    for r in 0..R {
        store(&mut sums[r], sum[r]);
    }
}

/// `R` rows × 32 columns, one multiply-add for each `k`.
///
/// # Safety
///
/// `rows` hold `R` rows of `weights.len()` values, `sums` `R` rows; the processor has the
/// instructions.
#[target_feature(enable = "avx512f")]
unsafe fn float_tile<const R: usize>(
    weights: &[Columns],
    rows: FloatRows<'_>,
    sums: &mut [Columns],
) {
    let mut sum: [[__m512; 2]; R] = std::array::from_fn(|r| load(&sums[r]));
    for (k, weights) in weights.iter().enumerate() {
        let weights = load(weights);
        for r in 0..R {
            // SAFETY: `k` lies inside one of the `R` rows that the caller vouches for.
            let x = _mm512_set1_ps(unsafe { *rows.values.as_ptr().add(r * rows.stride + k) });
            sum[r][0] = _mm512_fmadd_ps(weights[0], x, sum[r][0]);
            sum[r][1] = _mm512_fmadd_ps(weights[1], x, sum[r][1]);
        }
    }
    for r in 0..R {
        store(&mut sums[r], sum[r]);
    }
}
