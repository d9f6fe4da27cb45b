//! Activations to pairs of bytes, by the formulas of `activations.rs`.
#![expect(unsafe_code, reason = "vector loads and stores by pointer")]

use std::arch::x86_64::{
    __m512i, _mm_storeu_si128, _mm512_abs_ps, _mm512_add_epi32, _mm512_castps_si512,
    _mm512_cvtepi32_epi8, _mm512_cvtps_epi32, _mm512_loadu_ps, _mm512_max_epi32, _mm512_min_epi32,
    _mm512_mul_ps, _mm512_reduce_add_epi32, _mm512_reduce_max_epi32, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_slli_epi32, _mm512_srai_epi32, _mm512_sub_epi32,
};

use super::super::activations::{self, HALF, LOWER, LOWER_MIN, QUANT_MAX};
use super::super::kernels::Form;
use crate::matrix::layout::BLOCK;

/// Writes the records of one row, one at every `stride`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn quantize(x: &[f32], form: Form, records: &mut [i32], stride: usize) {
    let (blocks, _) = x.as_chunks::<BLOCK>();
    for (block, record) in blocks.iter().zip(records.chunks_mut(stride)) {
        quantize_block(block, form, record);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn quantize_block(block: &[f32; BLOCK], form: Form, record: &mut [i32]) {
    // SAFETY: 32 floats are read, inside the block.
    let halves =
        unsafe { [_mm512_loadu_ps(block.as_ptr()), _mm512_loadu_ps(block.as_ptr().add(16))] };
    // As integers, magnitudes keep their order, with infinity and NaN above the rest.
    let size = halves.map(|half| _mm512_castps_si512(_mm512_abs_ps(half)));
    let peak = _mm512_reduce_max_epi32(_mm512_max_epi32(size[0], size[1]));
    let (scale, inverse) = activations::scale(f32::from_bits(peak.cast_unsigned()));
    let inverse = _mm512_set1_ps(inverse);
    let [most, least] = [QUANT_MAX, -QUANT_MAX].map(|quant| _mm512_set1_epi32(quant));
    let (half, lower_min) = (_mm512_set1_epi32(HALF), _mm512_set1_epi32(LOWER_MIN));
    let mut values = [half; 2];
    for (at, x) in halves.into_iter().enumerate() {
        let quants = _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
        let quants = _mm512_min_epi32(_mm512_max_epi32(quants, least), most);
        let upper = _mm512_srai_epi32::<8>(_mm512_add_epi32(quants, half));
        let whole = _mm512_slli_epi32::<8>(upper);
        let lower = _mm512_max_epi32(_mm512_sub_epi32(quants, whole), lower_min);
        store_bytes(&mut record[4 * at..4 * at + 4], upper);
        store_bytes(&mut record[LOWER + 4 * at..LOWER + 4 * at + 4], lower);
        values[at] = _mm512_add_epi32(whole, lower);
    }
    let sums = if form.split {
        values.map(|values| _mm512_reduce_add_epi32(values))
    } else {
        [_mm512_reduce_add_epi32(_mm512_add_epi32(values[0], values[1])), 0]
    };
    activations::finish(record, form, scale, sums);
}

/// Writes the lanes as bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn store_bytes(words: &mut [i32], lanes: __m512i) {
    assert_eq!(words.len(), 4, "words of 16 bytes");
    // SAFETY: 16 bytes are written, the four words.
    unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(lanes)) }
}
