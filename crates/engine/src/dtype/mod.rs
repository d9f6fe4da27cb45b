//! Element types of weights, and how a row of each is read and written.

mod dequantize;
pub(crate) mod half;
mod quantize;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt;

pub use dequantize::dequantize_row;
pub(crate) use dequantize::{scale_min_k4, u16_at};
pub use quantize::quantize_row;

/// Element type of a weight matrix, named as in GGUF files.
///
/// A row is a run of blocks; a block holds a fixed number of elements in a fixed number of bytes,
/// laid out as in ggml (`ggml-common.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// IEEE 754 half.
    F16,
    /// Upper half of a 32-bit float.
    Bf16,
    /// 32 × i8 and a scale.
    Q8_0,
    /// 32 × 4 bits around 8 and a scale.
    Q4_0,
    /// 32 × 4 bits, a scale and a minimum.
    Q4_1,
    /// 32 × 5 bits around 16 and a scale.
    Q5_0,
    /// 32 × 5 bits, a scale and a minimum.
    Q5_1,
    /// 256 × 4 bits in eight groups with 6-bit scales and minimums.
    Q4K,
    /// 256 × 5 bits in eight groups with 6-bit scales and minimums.
    Q5K,
    /// 256 × 6 bits around 32 in sixteen groups with 8-bit scales.
    Q6K,
}

impl Dtype {
    /// Every type, in the order of declaration.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Elements of one block.
    #[must_use]
    pub const fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of one block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of a row of `elements`; none unless these are whole blocks that can be addressed.
    #[must_use]
    pub const fn row_bytes(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_elements()) {
            return None;
        }
        (elements / self.block_elements()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        })
    }
}
