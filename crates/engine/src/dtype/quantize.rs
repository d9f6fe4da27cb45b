//! Rows of real numbers into the stored types that the engine can write.
//!
//! Source of the rounding rules: ggml, `quantize_row_*_ref` in `ggml-quants.c`.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "scaled values are within the range of their few bits"
)]

use super::Dtype;
use super::half::{f32_to_bf16, f32_to_f16};
use crate::Error;

/// The bytes of one row, or of several whole rows, in a type's file layout.
///
/// # Errors
///
/// [`Error::QuantizeUnsupported`] for Q5_0, Q5_1 and the K types; [`Error::RowLength`] if `values`
/// are not whole blocks.
pub fn quantize_row(dtype: Dtype, values: &[f32]) -> Result<Vec<u8>, Error> {
    let block_elements = dtype.block_elements();
    let Some(bytes) = dtype.row_bytes(values.len()) else {
        return Err(Error::RowLength { dtype, elements: values.len(), block_elements });
    };
    let write = match dtype {
        Dtype::F32 => |v: &[f32], out: &mut Vec<u8>| out.extend(v[0].to_le_bytes()),
        Dtype::F16 => |v: &[f32], out: &mut Vec<u8>| out.extend(f32_to_f16(v[0]).to_le_bytes()),
        Dtype::Bf16 => |v: &[f32], out: &mut Vec<u8>| out.extend(f32_to_bf16(v[0]).to_le_bytes()),
        Dtype::Q8_0 => q8_0,
        Dtype::Q4_0 => q4_0,
        Dtype::Q4_1 => q4_1,
        Dtype::Q5_0 | Dtype::Q5_1 | Dtype::Q4K | Dtype::Q5K | Dtype::Q6K => {
            return Err(Error::QuantizeUnsupported { dtype });
        }
    };
    let mut out = Vec::with_capacity(bytes);
    for block in values.chunks_exact(block_elements) {
        write(block, &mut out);
    }
    Ok(out)
}

fn q8_0(values: &[f32], out: &mut Vec<u8>) {
    let scale = values.iter().fold(0.0_f32, |m, v| m.max(v.abs())) / 127.0;
    out.extend(f32_to_f16(scale).to_le_bytes());
    let inverse = reciprocal(scale);
    out.extend(values.iter().map(|v| ((v * inverse).round() as i8).cast_unsigned()));
}

fn q4_0(values: &[f32], out: &mut Vec<u8>) {
    // The value farthest from zero becomes 0, the only end that 4 bits around 8 reach at -8.
    let peak = values.iter().fold(0.0_f32, |m, &v| if v.abs() > m.abs() { v } else { m });
    let scale = peak / -8.0;
    out.extend(f32_to_f16(scale).to_le_bytes());
    let inverse = reciprocal(scale);
    nibbles(values, out, |v| v * inverse + 8.5);
}

fn q4_1(values: &[f32], out: &mut Vec<u8>) {
    let min = values.iter().copied().fold(f32::INFINITY, f32::min);
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = (max - min) / 15.0;
    out.extend(f32_to_f16(scale).to_le_bytes());
    out.extend(f32_to_f16(min).to_le_bytes());
    let inverse = reciprocal(scale);
    nibbles(values, out, |v| (v - min) * inverse + 0.5);
}

/// Elements 0–15 in the low nibbles, 16–31 in the high ones.
fn nibbles(values: &[f32], out: &mut Vec<u8>, level: impl Fn(f32) -> f32) {
    let quant = |v: f32| (level(v) as u8).min(15);
    let (low, high) = values.split_at(16);
    out.extend(low.iter().zip(high).map(|(&l, &h)| quant(l) | (quant(h) << 4)));
}

fn reciprocal(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::dequantize_row;

    /// A block spans at most 2.04 here, so half a level is 0.5 × 2.04 / levels (one whole level
    /// at the top of Q4_0, whose positive end is cut), plus the rounding of the f16 scale.
    #[test]
    fn written_rows_read_back_within_half_a_level() {
        let values: Vec<f32> = (0..96).map(|i| ((i * 37 % 101) as f32 - 50.0) / 49.0).collect();
        for (dtype, bound) in [
            (Dtype::F32, 0.0),
            (Dtype::F16, 0.0005),
            (Dtype::Bf16, 0.004),
            (Dtype::Q8_0, 0.0045),
            (Dtype::Q4_0, 0.131),
            (Dtype::Q4_1, 0.07),
        ] {
            let bytes = quantize_row(dtype, &values).unwrap();
            let mut back = vec![0.0; values.len()];
            dequantize_row(dtype, &bytes, &mut back);
            for (v, b) in values.iter().zip(&back) {
                assert!((v - b).abs() <= bound, "{dtype}: {v} came back as {b}");
            }
        }
    }

    #[test]
    fn zeros_and_odd_lengths() {
        let bytes = quantize_row(Dtype::Q8_0, &[0.0; 32]).unwrap();
        assert_eq!(bytes, [0; 34]);
        assert!(matches!(
            quantize_row(Dtype::Q4_0, &[0.0; 33]),
            Err(Error::RowLength { elements: 33, block_elements: 32, .. })
        ));
        assert!(matches!(
            quantize_row(Dtype::Q6K, &[0.0; 256]),
            Err(Error::QuantizeUnsupported { dtype: Dtype::Q6K })
        ));
    }
}
