//! Products of two `f32` matrices, in lanes over the output's columns.

use super::lanes::{Kernel, LANES, Lanes};

/// Output rows that are computed together: with two registers a row, what AVX2 holds.
pub(crate) const ROWS: usize = 6;

/// Some rows of a product: `out[m, n] = Σ_k left[m, k] * right[k, n]`, each one chain over `k`.
pub(crate) struct Product<'a> {
    /// At most [`ROWS`] rows of `columns`.
    pub(crate) out: &'a mut [f32],
    /// As many rows of `inner`.
    pub(crate) left: &'a [f32],
    /// `inner` rows of `columns`.
    pub(crate) right: &'a [f32],
    pub(crate) inner: usize,
    pub(crate) columns: usize,
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        // Rows that are missing repeat the last, and are not stored.
        let last = self.left.len() / self.inner - 1;
        let left: [&[f32]; ROWS] =
            std::array::from_fn(|row| &self.left[row.min(last) * self.inner..][..self.inner]);
        for first in (0..self.columns).step_by(LANES) {
            let width = LANES.min(self.columns - first);
            let mut sums = [L::splat(0.0); ROWS];
            for (k, right) in self.right.chunks_exact(self.columns).enumerate() {
                let right = match right[first..].first_chunk::<LANES>() {
                    Some(right) => L::load(right),
                    None => L::load_partial(&right[first..]),
                };
                for (sum, left) in sums.iter_mut().zip(left) {
                    *sum = L::splat(left[k]).mul_add(right, *sum);
                }
            }
            for (out, sum) in self.out.chunks_exact_mut(self.columns).zip(sums) {
                sum.store_partial(&mut out[first..first + width]);
            }
        }
    }
}
