//! Packed blocks into operands, by the layout in `matrix::layout`.
#![expect(unsafe_code, reason = "vector loads and stores by pointer")]

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _mm_cvtsi64_si128, _mm_loadu_si128, _mm512_and_si512,
    _mm512_castsi512_ps, _mm512_castsi512_si256, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi32, _mm512_cvtph_ps, _mm512_extracti64x4_epi64, _mm512_loadu_si512,
    _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_slli_epi16, _mm512_slli_epi32, _mm512_srl_epi16, _mm512_srli_epi16, _mm512_storeu_si512,
    _mm512_sub_ps,
};

use super::super::kernels::{BlockScales, Columns, Quants};
use super::tile::store;
use crate::Dtype;
use crate::matrix::layout::{BlockLayout, LINE};

/// Expands `scales.len()` blocks of a panel from `first` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn expand(
    dtype: Dtype,
    panel: &[u8],
    first: usize,
    scales: &mut [BlockScales],
    quants: &mut [Quants],
) {
    let Some(layout) = BlockLayout::of(dtype) else { return };
    for (i, scales) in scales.iter_mut().enumerate() {
        let block = &panel[layout.block_at(first + i)..][..layout.block_bytes];
        let header = if layout.header_bytes == 0 {
            block
        } else {
            &panel[layout.header_at(first + i)..][..layout.header_bytes]
        };
        expand_scales(dtype, header, block, scales);
        let (packed, _) = block[layout.quants_at..].as_chunks::<LINE>();
        match dtype {
            Dtype::Q4_0 | Dtype::Q4_1 | Dtype::Q4K => expand_quants::<0>(packed, &mut quants[i]),
            Dtype::Q5_0 | Dtype::Q5_1 | Dtype::Q5K => expand_quants::<1>(packed, &mut quants[i]),
            Dtype::Q6K => expand_quants::<2>(packed, &mut quants[i]),
            _ => {}
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn expand_scales(dtype: Dtype, header: &[u8], block: &[u8], out: &mut BlockScales) {
    let (header, _) = header.as_chunks::<LINE>();
    let d = halves(&header[0]);
    match dtype {
        Dtype::Q4_1 | Dtype::Q5_1 => {
            store(&mut out.scale[0], d);
            store(&mut out.min, halves(&header[1]));
        }
        Dtype::Q4K | Dtype::Q5K => {
            let (groups, _) = block.as_chunks::<16>();
            let factors = [0, 1, 2, 3]
                .map(|i: usize| _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_bytes(&groups[i]))));
            let dmin = halves(&header[1]);
            let none = _mm512_setzero_ps();
            store(&mut out.scale[0], [0, 1].map(|h: usize| _mm512_mul_ps(d[h], factors[h])));
            store(
                &mut out.min,
                [0, 1].map(|h: usize| _mm512_sub_ps(none, _mm512_mul_ps(dmin[h], factors[2 + h]))),
            );
        }
        Dtype::Q6K => {
            let (groups, _) = block.as_chunks::<16>();
            let factors = [0, 1, 2, 3]
                .map(|i: usize| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_bytes(&groups[i]))));
            for (part, out) in out.scale.iter_mut().enumerate() {
                store(out, [0, 1].map(|h: usize| _mm512_mul_ps(d[h], factors[2 * part + h])));
            }
        }
        _ => store(&mut out.scale[0], d),
    }
}

/// One byte a quant out of nibbles and `HIGH` more bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn expand_quants<const HIGH: usize>(packed: &[[u8; LINE]], out: &mut Quants) {
    let nibble = _mm512_set1_epi8(0xf);
    let bits = _mm512_set1_epi8(if HIGH == 2 { 0x30 } else { 0x10 });
    let (out, _) = out.0.as_chunks_mut::<LINE>();
    for pair in 0..4 {
        for half in 0..2 {
            let nibbles = load_line(&packed[2 * pair + half]);
            let mut low = _mm512_and_si512(nibbles, nibble);
            let mut high = _mm512_and_si512(_mm512_srli_epi16::<4>(nibbles), nibble);
            if HIGH > 0 {
                let plane = if HIGH == 2 { 2 * half + pair / 2 } else { half };
                let shift = if HIGH == 2 { pair % 2 * 4 } else { pair * 2 };
                let plane = load_line(&packed[8 + plane]);
                // The bits of the pair's first group come to the bottom, then above the nibble.
                let plane = _mm512_srl_epi16(plane, _mm_cvtsi64_si128(shift as i64));
                let next = if HIGH == 2 {
                    _mm512_slli_epi16::<2>(plane)
                } else {
                    _mm512_slli_epi16::<3>(plane)
                };
                low = _mm512_or_si512(low, _mm512_and_si512(_mm512_slli_epi16::<4>(plane), bits));
                high = _mm512_or_si512(high, _mm512_and_si512(next, bits));
            }
            store_line(&mut out[4 * pair + half], low);
            store_line(&mut out[4 * pair + 2 + half], high);
        }
    }
}

/// Expands elements of a float panel from `first` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn expand_floats(dtype: Dtype, panel: &[u8], first: usize, out: &mut [Columns]) {
    let (lines, _) = panel.as_chunks::<LINE>();
    match dtype {
        Dtype::F16 => {
            for (out, line) in out.iter_mut().zip(&lines[first..]) {
                store(out, halves(line));
            }
        }
        Dtype::Bf16 => {
            let upper = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
            let (pairs, _) = lines[first..].as_chunks::<2>();
            for (out, pair) in out.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
                let pair = [load_line(&pair[0]), load_line(&pair[1])];
                // The odd element comes first, as in the processor's own instruction.
                let odd = pair.map(|lanes| _mm512_castsi512_ps(_mm512_and_si512(lanes, upper)));
                let even = pair.map(|lanes| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(lanes)));
                store(&mut out[0], odd);
                store(&mut out[1], even);
            }
        }
        _ => {
            let (pairs, _) = lines[2 * first..].as_chunks::<2>();
            for (out, pair) in out.iter_mut().zip(pairs) {
                store(out, [0, 1].map(|h: usize| _mm512_castsi512_ps(load_line(&pair[h]))));
            }
        }
    }
}

/// 32 f16 numbers as f32.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(bytes: &[u8; LINE]) -> [__m512; 2] {
    let halves = load_line(bytes);
    [
        _mm512_cvtph_ps(_mm512_castsi512_si256(halves)),
        _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(halves)),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_line(bytes: &[u8; LINE]) -> __m512i {
    // SAFETY: 64 bytes are read, the whole array.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_line(bytes: &mut [u8; LINE], line: __m512i) {
    // SAFETY: 64 bytes are written, the whole array.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), line) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_bytes(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes are read, the whole array.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}
