//! Activations in 16 bits with a scale for each block of 32, as two signed bytes each.
//!
//! ```text
//! scale = max|x| / 32512      q = round_to_even(x * (32512 / max|x|))      x ≈ scale * q
//! q = 256 * upper + lower      lower at least -127: a -128 becomes -127
//! ```
//!
//! Both bytes are multiplied by byte instructions, and one shift of the integer sums puts them
//! together. One byte would be what others use; it changes answers of small models, whose
//! activations have a few very large values (docs/decisions/0003-two-bytes-an-activation.md).
//!
//! A block whose largest value is below 2^-100 counts as zero. A block with a NaN or an infinity
//! gets a scale that is none of the finite numbers, so every output it reaches is not finite.

use super::kernels::Form;
use crate::matrix::layout::BLOCK;

/// Words of a block's record: 8 of four upper bytes, 8 of four lower bytes, the scale's bits, two
/// corrections.
///
/// The corrections are what the sums of the block (or of its halves) lack, `-offset * Σq`; or, if
/// the weights have a minimum, the bits of `scale * Σq`.
pub(super) const RECORD: usize = 19;
/// Where the lower bytes begin in a record.
pub(super) const LOWER: usize = 8;
/// Where the scale lies in a record.
pub(super) const SCALE: usize = 16;
/// Where the first correction lies in a record.
pub(super) const CORRECTION: usize = 17;

/// The largest quant: 127 and a lower byte of zero.
pub(super) const QUANT_MAX: i32 = 127 << 8;
/// Added to a quant, leaves it rounded to its upper byte in the bits above.
pub(super) const HALF: i32 = 128;
/// The least lower byte: its counterpart is a signed byte, too.
pub(super) const LOWER_MIN: i32 = -127;

/// Added to a float of magnitude below 2^22, leaves it rounded to even in the low bits.
const ROUND: f32 = 12_582_912.0;
/// 2^-100.
const NEGLIGIBLE: f32 = f32::from_bits((127 - 100) << 23);

/// Writes the records of one row, one at every `stride`. Inlined into each kernel path, so that it
/// is compiled for the path's vectors; every path gets the same bits for finite values.
#[inline(always)]
pub(super) fn quantize(x: &[f32], form: Form, records: &mut [i32], stride: usize) {
    let (blocks, _) = x.as_chunks::<BLOCK>();
    for (block, record) in blocks.iter().zip(records.chunks_mut(stride)) {
        // As integers, magnitudes keep their order, with infinity and NaN above the rest.
        let peak = block.iter().fold(0, |peak, v| (v.to_bits() & 0x7fff_ffff).max(peak));
        let (scale, inverse) = scale(f32::from_bits(peak));
        let upper_and_lower = block.map(|v| split(round(v * inverse)));
        let (words, _) = record.split_at_mut(SCALE);
        for (word, quad) in upper_and_lower.as_chunks::<4>().0.iter().enumerate() {
            let pack = |byte: usize| {
                quad.iter().rev().fold(0, |word, bytes| (word << 8) | (bytes[byte] & 0xff))
            };
            (words[word], words[LOWER + word]) = (pack(0), pack(1));
        }
        let value = |bytes: &[i32; 2]| 256 * bytes[0] + bytes[1];
        let sums = [0, 16].map(|at| upper_and_lower[at..at + 16].iter().map(value).sum());
        finish(record, form, scale, sums);
    }
}

/// The scale of a block and what its values are multiplied with.
#[inline(always)]
pub(super) fn scale(peak: f32) -> (f32, f32) {
    let most = QUANT_MAX as f32;
    if peak < NEGLIGIBLE { (0.0, 0.0) } else { (peak / most, most / peak) }
}

/// Adds scale and corrections to a record; `sums` are those of the two halves' quants.
#[inline(always)]
pub(super) fn finish(record: &mut [i32], form: Form, scale: f32, sums: [i32; 2]) {
    let sum = sums[0] + sums[1];
    record[SCALE] = scale.to_bits().cast_signed();
    record[CORRECTION] = if form.min {
        (scale * sum as f32).to_bits().cast_signed()
    } else {
        -form.offset * if form.split { sums[0] } else { sum }
    };
    record[CORRECTION + 1] = -form.offset * sums[1];
}

/// A quant's upper and lower byte.
#[inline(always)]
fn split(quant: i32) -> [i32; 2] {
    let upper = (quant + HALF) >> 8;
    [upper, (quant - (upper << 8)).max(LOWER_MIN)]
}

/// To the nearest integer, ties to even; magnitudes beyond the largest quant become that.
#[inline(always)]
fn round(value: f32) -> i32 {
    let bits = (value + ROUND).to_bits().cast_signed();
    bits.wrapping_sub(ROUND.to_bits().cast_signed()).clamp(-QUANT_MAX, QUANT_MAX)
}
