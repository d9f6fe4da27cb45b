//! Activations to bytes, by the formulas of `activations.rs`.
#![expect(unsafe_code, reason = "vector loads and stores by pointer")]

use std::arch::x86_64::{
    _mm_storeu_si128, _mm512_abs_ps, _mm512_castps_si512, _mm512_cvtps_epi32,
    _mm512_cvtsepi32_epi8, _mm512_loadu_ps, _mm512_max_epi32, _mm512_mul_ps,
    _mm512_reduce_add_epi32, _mm512_reduce_max_epi32, _mm512_set1_epi32, _mm512_set1_ps,
};

use super::super::activations::{self, RECORD};
use super::super::kernels::Form;
use crate::matrix::layout::BLOCK;

/// Writes the records of one row, one word at every `step`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn quantize(x: &[f32], form: Form, records: &mut [i32], step: usize) {
    let (blocks, _) = x.as_chunks::<BLOCK>();
    for (b, block) in blocks.iter().enumerate() {
        let mut record = [0; RECORD];
        quantize_block(block, form, &mut record);
        activations::write(&record, &mut records[b * RECORD * step..], step);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn quantize_block(block: &[f32; BLOCK], form: Form, record: &mut [i32; RECORD]) {
    // SAFETY: 32 floats are read, inside the block.
    let halves =
        unsafe { [_mm512_loadu_ps(block.as_ptr()), _mm512_loadu_ps(block.as_ptr().add(16))] };
    // As integers, magnitudes keep their order, with infinity and NaN above the rest.
    let size = halves.map(|half| _mm512_castps_si512(_mm512_abs_ps(half)));
    let peak = _mm512_reduce_max_epi32(_mm512_max_epi32(size[0], size[1]));
    let (scale, inverse) = activations::scale(f32::from_bits(peak.cast_unsigned()));
    let (inverse, least) = (_mm512_set1_ps(inverse), _mm512_set1_epi32(-127));
    let quants = halves
        .map(|half| _mm512_max_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(half, inverse)), least));
    let sums = quants.map(|quants| _mm512_reduce_add_epi32(quants));
    let bytes = quants.map(|quants| _mm512_cvtsepi32_epi8(quants));
    // SAFETY: 32 bytes are written, the first 8 words of the record.
    unsafe {
        _mm_storeu_si128(record.as_mut_ptr().cast(), bytes[0]);
        _mm_storeu_si128(record.as_mut_ptr().add(4).cast(), bytes[1]);
    }
    activations::finish(record, form, scale, sums);
}
