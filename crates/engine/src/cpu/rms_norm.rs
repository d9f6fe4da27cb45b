//! RMSNorm in lanes.

use super::lanes::{Kernel, LANES, Lanes};
use crate::ops::matmul::Store;

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

/// `1 / sqrt(mean(x²) + epsilon)` of each of `roots.len()` runs side by side.
pub(crate) struct InverseRoots<'a> {
    pub(crate) roots: &'a mut [f32],
    pub(crate) values: &'a [f32],
    pub(crate) epsilon: f32,
}

impl Kernel for InverseRoots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let run = self.values.len() / self.roots.len();
        for (root, values) in self.roots.iter_mut().zip(self.values.chunks_exact(run)) {
            *root = inverse_root_mean_square::<L>(values, self.epsilon);
        }
    }
}

/// Adds one run's part to some channels of the weight's gradient: `d_weight += d_out * (x * root)`.
pub(crate) struct WeightGradient<'a> {
    pub(crate) d_weight: &'a mut [f32],
    pub(crate) d_out: &'a [f32],
    pub(crate) x: &'a [f32],
    pub(crate) root: f32,
}

impl Kernel for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let root = L::splat(self.root);
        let (sums, sum_tail) = self.d_weight.as_chunks_mut::<LANES>();
        let (d_out, d_out_tail) = self.d_out.as_chunks::<LANES>();
        let (x, x_tail) = self.x.as_chunks::<LANES>();
        for ((sum, d_out), x) in sums.iter_mut().zip(d_out).zip(x) {
            L::load(d_out).mul_add(L::load(x).mul(root), L::load(sum)).store(sum);
        }
        if !sum_tail.is_empty() {
            let (d_out, x) = (L::load_partial(d_out_tail), L::load_partial(x_tail));
            d_out.mul_add(x.mul(root), L::load_partial(sum_tail)).store_partial(sum_tail);
        }
    }
}

/// One run's gradient: `d_x = root * weight * d_out - root³ * dot / columns * x`.
pub(crate) struct InputGradient<'a> {
    pub(crate) d_x: &'a mut [f32],
    pub(crate) store: Store,
    pub(crate) d_out: &'a [f32],
    pub(crate) x: &'a [f32],
    pub(crate) weight: &'a [f32],
    pub(crate) root: f32,
}

impl Kernel for InputGradient<'_> {
    type Output = ();

    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "a row has far fewer than 2^24 values")]
    fn run<L: Lanes>(self) {
        let dot = dot_of_three::<L>(self.d_out, self.weight, self.x);
        let share = dot * self.root / self.x.len() as f32 * self.root * self.root;
        let (root, share) = (L::splat(self.root), L::splat(-share));
        let gradient = |[d_out, weight, x, before]: [L; 4]| {
            let gradient = x.mul_add(share, d_out.mul(weight).mul(root));
            match self.store {
                Store::Overwrite => gradient,
                Store::Add => before.add(gradient),
            }
        };
        let (d_x, d_x_tail) = self.d_x.as_chunks_mut::<LANES>();
        let (d_out, d_out_tail) = self.d_out.as_chunks::<LANES>();
        let (weight, weight_tail) = self.weight.as_chunks::<LANES>();
        let (x, x_tail) = self.x.as_chunks::<LANES>();
        for ((d_x, d_out), (weight, x)) in d_x.iter_mut().zip(d_out).zip(weight.iter().zip(x)) {
            gradient([L::load(d_out), L::load(weight), L::load(x), L::load(d_x)]).store(d_x);
        }
        if !d_x_tail.is_empty() {
            let (d_out, weight) = (L::load_partial(d_out_tail), L::load_partial(weight_tail));
            let (x, before) = (L::load_partial(x_tail), L::load_partial(d_x_tail));
            gradient([d_out, weight, x, before]).store_partial(d_x_tail);
        }
    }
}

/// `Σ a * b * c`, in the order of the sum of squares.
#[inline(always)]
fn dot_of_three<L: Lanes>(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let mut sums = [L::splat(0.0); SUMS];
    let (a, a_tail) = a.as_chunks::<LANES>();
    let (b, b_tail) = b.as_chunks::<LANES>();
    let (c, c_tail) = c.as_chunks::<LANES>();
    let quads = a.chunks(SUMS).zip(b.chunks(SUMS)).zip(c.chunks(SUMS));
    for ((a, b), c) in quads {
        for (sum, ((a, b), c)) in sums.iter_mut().zip(a.iter().zip(b).zip(c)) {
            *sum = L::load(a).mul(L::load(b)).mul_add(L::load(c), *sum);
        }
    }
    let product = L::load_partial(a_tail).mul(L::load_partial(b_tail));
    let last = product.mul_add(L::load_partial(c_tail), sums[3]);
    sums[0].add(sums[1]).add(sums[2].add(last)).sum()
}
