//! The two sums over a row of logits, in lanes.

use super::lanes::{Kernel, LANES, Lanes};
use crate::math;

/// Lots of lanes that are added in `f32` before the sum goes on in `f64`.
const CHUNKS: usize = 16;

/// The largest value of a row.
pub(crate) struct Maximum<'a>(pub(crate) &'a [f32]);

impl Kernel for Maximum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self) -> f32 {
        let (chunks, tail) = self.0.as_chunks::<LANES>();
        let mut largest = L::splat(f32::NEG_INFINITY);
        for chunk in chunks {
            largest = L::load(chunk).max(largest);
        }
        tail.iter().fold(largest.maximum(), |largest, &value| largest.max(value))
    }
}

/// `Σ e^((x - max) * inverse_temperature)` over a row.
pub(crate) struct SumOfExponentials<'a> {
    pub(crate) logits: &'a [f32],
    pub(crate) max: f32,
    pub(crate) inverse_temperature: f32,
}

impl Kernel for SumOfExponentials<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes>(self) -> f64 {
        let max = L::splat(self.max);
        let inverse = L::splat(self.inverse_temperature);
        let mut total = 0.0;
        let (chunks, tail) = self.logits.as_chunks::<LANES>();
        for run in chunks.chunks(CHUNKS) {
            let mut sum = L::splat(0.0);
            for chunk in run {
                sum = sum.add(exponential(L::load(chunk), max, inverse));
            }
            total += f64::from(sum.sum());
        }
        if !tail.is_empty() {
            let mut last = [f32::NEG_INFINITY; LANES];
            last[..tail.len()].copy_from_slice(tail);
            total += f64::from(exponential(L::load(&last), max, inverse).sum());
        }
        total
    }
}

#[inline(always)]
fn exponential<L: Lanes>(x: L, max: L, inverse_temperature: L) -> L {
    math::exp(x.sub(max).mul(inverse_temperature))
}
