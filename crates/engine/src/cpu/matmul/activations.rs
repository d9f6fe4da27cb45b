//! Activations as signed bytes with a scale for each block of 32, twice: the second bytes are
//! those of what the first leave.
//!
//! ```text
//! scale = max|x| / 127      q = round_to_even(x * (127 / max|x|))      x ≈ scale * q
//! ```
//!
//! One byte would be what others use; it changes answers of small models, whose activations have
//! a few very large values (docs/decisions/0003-two-bytes-an-activation.md). Two bytes round to
//! about 16 bits, and cost nothing where weights come from memory.
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
const NEGLIGIBLE: f32 = f32::from_bits((127 - 100) << 23);

/// Writes the records of one row, one word at every `step`. Inlined into each kernel path, so that
/// it is compiled for the path's vectors; every path gets the same bits.
#[inline(always)]
pub(super) fn quantize(x: &[f32], form: Form, records: &mut [i32], step: usize) {
    let (blocks, _) = x.as_chunks::<BLOCK>();
    for (b, block) in blocks.iter().enumerate() {
        // As integers, magnitudes keep their order, with infinity and NaN above the rest.
        let peak = block.iter().fold(0, |peak, v| (v.to_bits() & 0x7fff_ffff).max(peak));
        let (scale, inverse) = scale(f32::from_bits(peak));
        let quants = block.map(|v| round(v * inverse));
        let mut record = [0; RECORD];
        for (word, quad) in record.iter_mut().zip(quants.as_chunks::<4>().0) {
            *word = quad.iter().rev().fold(0, |word, quant| (word << 8) | (quant & 0xff));
        }
        let sums = [0, 16].map(|at| quants[at..at + 16].iter().sum::<i32>());
        finish(&mut record, form, scale, sums);
        write(&record, &mut records[b * RECORD * step..], step);
    }
}

/// What a row's records leave of it: `x - scale * q`.
pub(super) fn residual(x: &[f32], records: &[i32], step: usize, out: &mut Vec<f32>) {
    out.clear();
    for (b, block) in x.chunks_exact(BLOCK).enumerate() {
        let record = &records[b * RECORD * step..];
        let scale = f32::from_bits(record[SCALE * step].cast_unsigned());
        for (word, quad) in block.as_chunks::<4>().0.iter().enumerate() {
            let quants = record[word * step].to_le_bytes();
            for (v, quant) in quad.iter().zip(quants) {
                out.push(v - scale * f32::from(quant.cast_signed()));
            }
        }
    }
}

/// The scale of a block and what its values are multiplied with.
#[inline(always)]
pub(super) fn scale(peak: f32) -> (f32, f32) {
    if peak < NEGLIGIBLE { (0.0, 0.0) } else { (peak / 127.0, 127.0 / peak) }
}

/// Adds scale and corrections to a record; `sums` are those of the two halves' quants.
#[inline(always)]
pub(super) fn finish(record: &mut [i32; RECORD], form: Form, scale: f32, sums: [i32; 2]) {
    let sum = sums[0] + sums[1];
    record[SCALE] = scale.to_bits().cast_signed();
    record[CORRECTION] = if form.min {
        (scale * sum as f32).to_bits().cast_signed()
    } else {
        -form.offset * if form.split { sums[0] } else { sum }
    };
    record[CORRECTION + 1] = -form.offset * sums[1];
}

/// Spreads a record over the rows of its tile.
#[inline(always)]
pub(super) fn write(record: &[i32; RECORD], records: &mut [i32], step: usize) {
    for (word, value) in records.iter_mut().step_by(step).zip(record) {
        *word = *value;
    }
}

/// To the nearest integer, ties to even, for magnitudes up to 127; a byte for all others.
#[inline(always)]
fn round(value: f32) -> i32 {
    let bits = (value + ROUND).to_bits().cast_signed();
    bits.wrapping_sub(ROUND.to_bits().cast_signed()).clamp(-127, 127)
}
