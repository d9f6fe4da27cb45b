//! Passes over a row of logits whose log-probabilities are known, in lanes.

use super::lanes::{Kernel, LANES, Lanes};
use crate::math;
use crate::ops::log_softmax::LogSoftmax;

/// Lots of lanes that are added in `f32` before the sum goes on in `f64`.
const CHUNKS: usize = 16;
/// Log-probabilities are taken for no less than this; what has so little probability has none in
/// `f32`.
const LOWEST: f32 = -200.0;

/// Replaces every logit by `factor` times its probability.
pub(crate) struct ScaledProbabilities<'a> {
    pub(crate) logits: &'a mut [f32],
    pub(crate) sums: LogSoftmax,
    pub(crate) factor: f32,
}

impl Kernel for ScaledProbabilities<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let factor = L::splat(self.factor);
        let (chunks, tail) = self.logits.as_chunks_mut::<LANES>();
        for chunk in chunks {
            math::exp(logprobs(L::load(chunk), &self.sums)).mul(factor).store(chunk);
        }
        if !tail.is_empty() {
            let probabilities = math::exp(logprobs(L::load_partial(tail), &self.sums));
            probabilities.mul(factor).store_partial(tail);
        }
    }
}

/// `-Σ p log p` over a row.
pub(crate) struct Entropy<'a> {
    pub(crate) logits: &'a [f32],
    pub(crate) sums: LogSoftmax,
}

impl Kernel for Entropy<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes>(self) -> f64 {
        let part = |logits: L| {
            let logprobs = logprobs(logits, &self.sums);
            // Masked tokens have 0 times minus infinity, which counts as 0.
            math::exp(logprobs).mul(logprobs.max(L::splat(LOWEST)))
        };
        let mut total = 0.0;
        let (chunks, tail) = self.logits.as_chunks::<LANES>();
        for run in chunks.chunks(CHUNKS) {
            let mut sum = L::splat(0.0);
            for chunk in run {
                sum = sum.add(part(L::load(chunk)));
            }
            total += f64::from(sum.sum());
        }
        if !tail.is_empty() {
            let mut last = [f32::NEG_INFINITY; LANES];
            last[..tail.len()].copy_from_slice(tail);
            total += f64::from(part(L::load(&last)).sum());
        }
        0.0 - total
    }
}

/// As [`LogSoftmax::logprob`], to the bit.
#[inline(always)]
fn logprobs<L: Lanes>(logits: L, sums: &LogSoftmax) -> L {
    let inverse = L::splat(sums.inverse_temperature);
    logits.sub(L::splat(sums.max)).mul(inverse).sub(L::splat(sums.log_sum))
}
