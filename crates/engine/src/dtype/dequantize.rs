//! The meaning of stored rows: blocks of each type as real numbers.
//!
//! Source of the layouts: ggml, `ggml-common.h` and `dequantize_row_*` in `ggml-quants.c`.

use super::Dtype;
use super::half::{bf16_to_f32, f16_to_f32};

/// Writes the values of a stored row.
///
/// # Panics
///
/// Panics unless `bytes` hold exactly `out.len()` elements in whole blocks.
pub fn dequantize_row(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(
        dtype.row_bytes(out.len()),
        Some(bytes.len()),
        "bytes of a {dtype} row of {}",
        out.len()
    );
    let blocks =
        bytes.chunks_exact(dtype.block_bytes()).zip(out.chunks_exact_mut(dtype.block_elements()));
    match dtype {
        Dtype::F32 => blocks.for_each(|(b, o)| o[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        Dtype::F16 => blocks.for_each(|(b, o)| o[0] = half_at(b, 0)),
        Dtype::Bf16 => blocks.for_each(|(b, o)| o[0] = bf16_to_f32(u16_at(b, 0))),
        Dtype::Q8_0 => blocks.for_each(|(b, o)| q8_0(b, o)),
        Dtype::Q4_0 => blocks.for_each(|(b, o)| q4(half_at(b, 0), None, &b[2..], o)),
        Dtype::Q4_1 => {
            blocks.for_each(|(b, o)| q4(half_at(b, 0), Some(half_at(b, 2)), &b[4..], o));
        }
        Dtype::Q5_0 => blocks.for_each(|(b, o)| q5(half_at(b, 0), None, &b[2..], o)),
        Dtype::Q5_1 => {
            blocks.for_each(|(b, o)| q5(half_at(b, 0), Some(half_at(b, 2)), &b[4..], o));
        }
        Dtype::Q4K => blocks.for_each(|(b, o)| q45_k(b, None, &b[16..], o)),
        Dtype::Q5K => blocks.for_each(|(b, o)| q45_k(b, Some(&b[16..48]), &b[48..], o)),
        Dtype::Q6K => blocks.for_each(|(b, o)| q6_k(b, o)),
    }
}

/// Scale and minimum of group `j` out of the twelve packed bytes of a Q4_K or Q5_K block.
pub(crate) fn scale_min_k4(j: usize, packed: &[u8]) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        let scale = (packed[j + 4] & 0xf) | ((packed[j - 4] >> 6) << 4);
        let min = (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4);
        (scale, min)
    }
}

/// The 16-bit number that begins at a byte.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16_to_f32(u16_at(bytes, at))
}

/// `value = scale * q`.
fn q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (value, quant) in out.iter_mut().zip(&block[2..]) {
        *value = scale * f32::from(quant.cast_signed());
    }
}

/// `value = scale * q + min`, or `scale * (q - 8)` without a minimum.
fn q4(scale: f32, min: Option<f32>, quants: &[u8], out: &mut [f32]) {
    for (j, &byte) in quants.iter().enumerate() {
        out[j] = affine(scale, min, 8, byte & 0xf);
        out[j + 16] = affine(scale, min, 8, byte >> 4);
    }
}

/// As [`q4`], with a fifth bit for each element in the four bytes before the quants.
fn q5(scale: f32, min: Option<f32>, bits_quants: &[u8], out: &mut [f32]) {
    let (bits, quants) = bits_quants.split_at(4);
    let high = |k: usize| ((bits[k / 8] >> (k % 8)) & 1) << 4;
    for (j, &byte) in quants.iter().enumerate() {
        out[j] = affine(scale, min, 16, (byte & 0xf) | high(j));
        out[j + 16] = affine(scale, min, 16, (byte >> 4) | high(j + 16));
    }
}

fn affine(scale: f32, min: Option<f32>, offset: u8, quant: u8) -> f32 {
    match min {
        Some(min) => scale * f32::from(quant) + min,
        None => scale * (f32::from(quant) - f32::from(offset)),
    }
}

/// `value = (d * scale) * q - dmin * min` in eight groups of 32; `high` holds the fifth bits.
fn q45_k(block: &[u8], high: Option<&[u8]>, quants: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (group, values) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_min_k4(group, &block[4..16]);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        for (l, value) in values.iter_mut().enumerate() {
            let byte = quants[group / 2 * 32 + l];
            let low = if group % 2 == 0 { byte & 0xf } else { byte >> 4 };
            let fifth = high.map_or(0, |bits| ((bits[l] >> group) & 1) << 4);
            *value = scale * f32::from(low | fifth) - min;
        }
    }
}

/// `value = (d * scale) * (q - 32)` in sixteen groups of 16.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let d = half_at(rest, 16);
    for (k, value) in out.iter_mut().enumerate() {
        let (half, quarter, l) = (k / 128, k % 128 / 32, k % 32);
        let byte = low[half * 64 + quarter % 2 * 32 + l];
        let nibble = if quarter < 2 { byte & 0xf } else { byte >> 4 };
        let upper = (high[half * 32 + l] >> (2 * quarter)) & 3;
        let scale = d * f32::from(rest[k / 16].cast_signed());
        *value = scale * (f32::from(nibble | (upper << 4)) - 32.0);
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;

    /// One block of each type, whose values were worked out by hand from ggml's formulas.
    #[test]
    fn hand_made_blocks_have_their_values() {
        let one = [0x00, 0x3c];
        let two = [0x00, 0x40];
        let mut out = [0.0; 32];

        let q4_1 = [&one[..], &two, &[0xf1; 16]].concat();
        dequantize_row(Dtype::Q4_1, &q4_1, &mut out);
        assert_eq!((out[0], out[15], out[16], out[31]), (3.0, 3.0, 17.0, 17.0));

        let q5_0 = [&two[..], &[1, 0, 0, 0x80], &[0x21; 16]].concat();
        dequantize_row(Dtype::Q5_0, &q5_0, &mut out);
        assert_eq!((out[0], out[1], out[16], out[31]), (2.0, -30.0, -28.0, 4.0));

        let q8_0 = [&two[..], &[0xff; 32]].concat();
        dequantize_row(Dtype::Q8_0, &q8_0, &mut out);
        assert_eq!(out, [-2.0; 32]);
    }

    #[test]
    fn k_blocks_read_scales_from_all_twelve_bytes() {
        // Groups 0 and 5: scale 63 and 0b10_0001, minimum 1 and 0b01_0010.
        let mut packed = [0_u8; 12];
        packed[0] = 63;
        packed[4] = 1;
        packed[9] = 0x21;
        packed[1] |= 2 << 6;
        packed[5] |= 1 << 6;
        assert_eq!(scale_min_k4(0, &packed), (63, 1));
        assert_eq!(scale_min_k4(5, &packed), (33, 18));

        let mut block = [0x00, 0x3c, 0x00, 0x40].to_vec();
        block.extend(packed);
        block.extend([0x20; 32]); // Fifth bits: bit 5 is group 5.
        block.extend([0x73; 128]);
        let mut out = [0.0; 256];
        dequantize_row(Dtype::Q5K, &block, &mut out);
        assert_eq!((out[0], out[31]), (187.0, 187.0));
        assert_eq!((out[160], out[191]), (33.0 * 23.0 - 36.0, 33.0 * 23.0 - 36.0));
    }

    #[test]
    fn six_bit_blocks_join_nibbles_and_pairs() {
        let mut block = vec![0x5a; 128];
        block.extend([0b11_10_01_00; 64]);
        block.extend((0..16_i8).map(|s| (s - 8).cast_unsigned()));
        block.extend([0x00, 0x3c]);
        let mut out = [0.0; 256];
        dequantize_row(Dtype::Q6K, &block, &mut out);
        assert_eq!(out[0], -8.0 * (10.0 - 32.0));
        assert_eq!(out[32], -6.0 * (26.0 - 32.0));
        assert_eq!(out[64], -4.0 * (37.0 - 32.0));
        assert_eq!(out[255], 7.0 * (53.0 - 32.0));
    }
}
