//! RMSNorm in lanes.

use super::lanes::{Kernel, LANES, Lanes};

/// Accumulators of the sum of squares, each with the chunks of its number modulo this.
const SUMS: usize = 4;

/// Normalizes every run of `weight.len()` values in place.
pub(crate) struct RmsNorm<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) weight: &'a [f32],
    pub(crate) epsilon: f32,
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        for row in self.values.chunks_exact_mut(self.weight.len()) {
            let inverse = L::splat(inverse_root_mean_square::<L>(row, self.epsilon));
            let (weights, weight_tail) = self.weight.as_chunks::<LANES>();
            let (chunks, tail) = row.as_chunks_mut::<LANES>();
            for (chunk, weight) in chunks.iter_mut().zip(weights) {
                L::load(chunk).mul(inverse).mul(L::load(weight)).store(chunk);
            }
            if !tail.is_empty() {
                let weight = L::load_partial(weight_tail);
                L::load_partial(tail).mul(inverse).mul(weight).store_partial(tail);
            }
        }
    }
}

/// `1 / sqrt(mean(x²) + epsilon)`; the squares are summed in four lots of lanes, then these in
/// order.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "a row has far fewer than 2^24 values")]
fn inverse_root_mean_square<L: Lanes>(row: &[f32], epsilon: f32) -> f32 {
    let mut sums = [L::splat(0.0); SUMS];
    let (chunks, tail) = row.as_chunks::<LANES>();
    let (quads, rest) = chunks.as_chunks::<SUMS>();
    for quad in quads {
        for (sum, chunk) in sums.iter_mut().zip(quad) {
            let x = L::load(chunk);
            *sum = x.mul_add(x, *sum);
        }
    }
    for (sum, chunk) in sums.iter_mut().zip(rest) {
        let x = L::load(chunk);
        *sum = x.mul_add(x, *sum);
    }
    let x = L::load_partial(tail);
    let last = x.mul_add(x, sums[3]);
    let sum = sums[0].add(sums[1]).add(sums[2].add(last)).sum();
    1.0 / (sum / row.len() as f32 + epsilon).sqrt()
}
