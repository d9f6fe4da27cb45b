//! Activations as signed bytes with a scale for each block of 32.
//!
//! ```text
//! scale = max|x| / 127      q = round_to_even(x * (127 / max|x|))      x ≈ scale * q
//! ```
//!
//! A block whose largest value is below 2^-100 counts as zero. A block with a NaN or an infinity
//! gets a scale that is none of the finite numbers, so every output it reaches is not finite.

use super::kernels::Form;
use crate::matrix::layout::BLOCK;

/// Words of a block's record: 8 of four quants each, the scale's bits, two corrections, one spare.
///
/// The corrections are the integers at which the sums of the block (or of its halves) start,
/// `-offset * Σq`; or, if the weights have a minimum, the bits of `scale * Σq`.
pub(super) const RECORD: usize = 12;
/// Where the scale lies in a record.
pub(super) const SCALE: usize = 8;
/// Where the first correction lies in a record.
pub(super) const CORRECTION: usize = 9;

/// Added to a float of magnitude below 2^22, leaves it rounded to even in the low bits.
const ROUND: f32 = 12_582_912.0;
/// 2^-100.
pub(super) const NEGLIGIBLE: f32 = f32::from_bits((127 - 100) << 23);

/// Writes the records of one row. Inlined into each kernel path, so that it is compiled for the
/// path's vectors; every path gets the same bits.
#[inline(always)]
pub(super) fn quantize(x: &[f32], form: Form, records: &mut [i32]) {
    let (blocks, _) = x.as_chunks::<BLOCK>();
    let (records, _) = records.as_chunks_mut::<RECORD>();
    for (block, record) in blocks.iter().zip(records) {
        // As integers, magnitudes keep their order, with infinity and NaN above the rest.
        let peak = block.iter().fold(0, |peak, v| (v.to_bits() & 0x7fff_ffff).max(peak));
        let peak = f32::from_bits(peak);
        let (scale, inverse) =
            if peak < NEGLIGIBLE { (0.0, 0.0) } else { (peak / 127.0, 127.0 / peak) };
        let quants = block.map(|v| round(v * inverse));
        let halves = [0, 16].map(|at| quants[at..at + 16].iter().sum::<i32>());
        for (word, quad) in record.iter_mut().zip(quants.as_chunks::<4>().0) {
            *word = quad.iter().rev().fold(0, |word, quant| (word << 8) | (quant & 0xff));
        }
        record[SCALE] = scale.to_bits().cast_signed();
        let sum = halves[0] + halves[1];
        record[CORRECTION] = if form.min {
            (scale * sum as f32).to_bits().cast_signed()
        } else {
            -form.offset * if form.split { halves[0] } else { sum }
        };
        record[CORRECTION + 1] = -form.offset * halves[1];
    }
}

/// To the nearest integer, ties to even, for magnitudes up to 127; a byte for all others.
#[inline(always)]
fn round(value: f32) -> i32 {
    let bits = (value + ROUND).to_bits().cast_signed();
    bits.wrapping_sub(ROUND.to_bits().cast_signed()).clamp(-127, 127)
}
