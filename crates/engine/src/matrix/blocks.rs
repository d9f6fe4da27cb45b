//! One block of a stored row as bits, and the numbers that these bits mean.

use crate::Dtype;
use crate::dtype::half::f16_to_f32;
use crate::dtype::{scale_min_k4, u16_at};

use super::layout::{BLOCK, ColumnBlock};

/// Reads block `index` (of 32 elements) out of the bytes of a row in its file layout.
pub(crate) fn read(dtype: Dtype, row: &[u8], index: usize) -> ColumnBlock {
    let per_stored = dtype.block_elements() / BLOCK;
    let stored = &row[index / per_stored * dtype.block_bytes()..][..dtype.block_bytes()];
    let group = index % per_stored;
    match dtype {
        Dtype::Q8_0 => ColumnBlock {
            d: u16_at(stored, 0),
            quants: std::array::from_fn(|k| stored[2 + k] ^ 0x80),
            ..Default::default()
        },
        Dtype::Q4_0 => small(u16_at(stored, 0), 0, None, &stored[2..]),
        Dtype::Q4_1 => small(u16_at(stored, 0), u16_at(stored, 2), None, &stored[4..]),
        Dtype::Q5_0 => small(u16_at(stored, 0), 0, Some(&stored[2..6]), &stored[6..]),
        Dtype::Q5_1 => {
            small(u16_at(stored, 0), u16_at(stored, 2), Some(&stored[4..8]), &stored[8..])
        }
        Dtype::Q4K => q45_k(stored, group, None, &stored[16..]),
        Dtype::Q5K => q45_k(stored, group, Some(&stored[16..48]), &stored[48..]),
        Dtype::Q6K => q6_k(stored, group),
        Dtype::F32 | Dtype::F16 | Dtype::Bf16 => ColumnBlock::default(),
    }
}

/// The numbers of a block, by the formulas of [`crate::dtype::dequantize_row`].
pub(crate) fn values(dtype: Dtype, block: &ColumnBlock, out: &mut [f32]) {
    let (d, min) = (f16_to_f32(block.d), f16_to_f32(block.min));
    let group = block.group.map(f32::from);
    let halves = block.group.map(|scale| f32::from(scale.cast_signed()));
    for (k, (value, &quant)) in out.iter_mut().zip(&block.quants).enumerate() {
        let quant = f32::from(quant);
        *value = match dtype {
            Dtype::Q8_0 => d * (quant - 128.0),
            Dtype::Q4_0 => d * (quant - 8.0),
            Dtype::Q5_0 => d * (quant - 16.0),
            Dtype::Q4_1 | Dtype::Q5_1 => d * quant + min,
            Dtype::Q4K | Dtype::Q5K => (d * group[0]) * quant - min * group[1],
            Dtype::Q6K => (d * halves[k / 16]) * (quant - 32.0),
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => f32::NAN,
        };
    }
}

fn small(d: u16, min: u16, high: Option<&[u8]>, nibbles: &[u8]) -> ColumnBlock {
    let nibbles: [u64; 2] = eights(nibbles);
    let quants = quants(|eight| {
        let low = (nibbles[eight % 2] >> (eight / 2 * 4)) & (EACH * 0xf);
        low | high.map_or(0, |bits| spread(bits[eight]) << 4)
    });
    ColumnBlock { d, min, group: [0; 2], quants }
}

fn q45_k(stored: &[u8], group: usize, high: Option<&[u8]>, nibbles: &[u8]) -> ColumnBlock {
    let (scale, min) = scale_min_k4(group, &stored[4..16]);
    let nibbles: [u64; 4] = eights(&nibbles[group / 2 * BLOCK..]);
    let high: Option<[u64; 4]> = high.map(eights);
    let quants = quants(|eight| {
        let low = (nibbles[eight] >> (group % 2 * 4)) & (EACH * 0xf);
        low | high.map_or(0, |bits| ((bits[eight] >> group) & EACH) << 4)
    });
    ColumnBlock { d: u16_at(stored, 0), min: u16_at(stored, 2), group: [scale, min], quants }
}

fn q6_k(stored: &[u8], group: usize) -> ColumnBlock {
    let (low, rest) = stored.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (half, quarter) = (group / 4, group % 4);
    let low: [u64; 4] = eights(&low[half * 64 + quarter % 2 * BLOCK..]);
    let high: [u64; 4] = eights(&high[half * BLOCK..]);
    let quants = quants(|eight| {
        let nibbles = (low[eight] >> (quarter / 2 * 4)) & (EACH * 0xf);
        nibbles | (((high[eight] >> (2 * quarter)) & (EACH * 3)) << 4)
    });
    ColumnBlock {
        d: u16_at(rest, 16),
        min: 0,
        group: [rest[2 * group], rest[2 * group + 1]],
        quants,
    }
}

/// One in each of eight bytes.
const EACH: u64 = 0x0101_0101_0101_0101;

/// Quants, eight at a time.
fn quants(eight: impl Fn(usize) -> u64) -> [u8; BLOCK] {
    let mut quants = [0; BLOCK];
    for (index, bytes) in quants.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *bytes = eight(index).to_le_bytes();
    }
    quants
}

/// The first `8 N` bytes, eight at a time.
fn eights<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let (eights, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|index| u64::from_le_bytes(eights[index]))
}

/// The bits of a byte as eight bytes of 0 and 1.
fn spread(bits: u8) -> u64 {
    // Byte `i` keeps bit `i`; what is not 0 there reaches the top bit when 127 is added.
    let own = (u64::from(bits) * EACH) & 0x8040_2010_0804_0201;
    ((own + EACH * 0x7f) >> 7) & EACH
}
