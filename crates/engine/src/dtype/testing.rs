//! Stored rows with random bits, for tests.
#![expect(clippy::cast_possible_truncation, reason = "random bits are cut to size")]

use super::{Dtype, half::f32_to_f16, quantize_row};

/// Bits that depend on the seed alone (splitmix64).
pub(crate) struct Bits(pub(crate) u64);

impl Bits {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[-1, 1)`.
    pub(crate) fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// `rows` stored rows: every quant occurs, scales and minimums are of a model's size.
pub(crate) fn random_rows(dtype: Dtype, rows: usize, elements: usize, seed: u64) -> Vec<u8> {
    let mut bits = Bits(seed);
    if dtype.block_elements() == 1 {
        let values: Vec<f32> = (0..rows * elements).map(|_| bits.signed()).collect();
        return quantize_row(dtype, &values).unwrap();
    }
    let mut bytes: Vec<u8> =
        (0..rows * dtype.row_bytes(elements).unwrap()).map(|_| bits.next() as u8).collect();
    let floats: &[usize] = match dtype {
        Dtype::Q6K => &[208],
        Dtype::Q4_1 | Dtype::Q5_1 | Dtype::Q4K | Dtype::Q5K => &[0, 2],
        _ => &[0],
    };
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        for &at in floats {
            block[at..at + 2].copy_from_slice(&f32_to_f16(bits.signed() / 64.0).to_le_bytes());
        }
    }
    bytes
}
