//! The backward pass of attention in lanes: one sequence against one key and value head.
//!
//! Weights are computed again from queries, keys and the logarithms of their sums, tile by tile of
//! 64 rows and 64 keys, so that nothing of the size of rows × keys is ever held. Every number is one
//! chain of products: over the keys in order for queries; for keys and values over the rows of
//! a tile, then of the next query head, then of the next tile.
//!
//! Source: Dao et al. 2022, "FlashAttention", arXiv:2205.14135, algorithm 4.
#![expect(
    unsafe_code,
    reason = "the inner product indexes without checks, after one check of shapes"
)]

use super::lanes::{Kernel, LANES, Lanes};
use crate::math;

/// Rows, and keys, of a tile.
pub(crate) const TILE: usize = 64;

/// One sequence's rows of the query heads that share a key and value head.
///
/// Rows are padded to `width` channels with zeros, sequences to `padded` rows with zeros.
pub(crate) struct Sequence<'a> {
    /// Rows that count.
    pub(crate) rows: usize,
    /// Rows rounded up to whole tiles.
    pub(crate) padded: usize,
    /// Channels of a head rounded up to whole lanes.
    pub(crate) width: usize,
    /// Query heads.
    pub(crate) heads: usize,
    pub(crate) scale: f32,
    /// `[heads, padded, width]`, scaled.
    pub(crate) queries: &'a [f32],
    /// `[padded, width]`
    pub(crate) keys: &'a [f32],
    /// `[padded, width]`
    pub(crate) values: &'a [f32],
    /// `[heads, padded, width]`
    pub(crate) d_out: &'a [f32],
    /// `[heads, padded]`: the logarithm of the sum of weights.
    pub(crate) log_sums: &'a [f32],
    /// `[heads, padded]`: `Σ_c d_out[c] * out[c]`.
    pub(crate) dots: &'a [f32],
    /// `[heads, padded, width]`, zeros
    pub(crate) d_queries: &'a mut [f32],
    /// `[padded, width]`, zeros
    pub(crate) d_keys: &'a mut [f32],
    /// `[padded, width]`, zeros
    pub(crate) d_values: &'a mut [f32],
    /// Room for [`scratch_len`] numbers.
    pub(crate) scratch: &'a mut [f32],
}

/// Numbers of the scratch: keys and values of a tile transposed, weights and their gradients.
pub(crate) fn scratch_len(width: usize) -> usize {
    2 * width * TILE + 2 * TILE * TILE
}

impl Kernel for Sequence<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let width = self.width;
        let (transposed, weights) = self.scratch.split_at_mut(2 * width * TILE);
        let (keys_across, values_across) = transposed.split_at_mut(width * TILE);
        let (weights, d_weights) = weights.split_at_mut(TILE * TILE);
        for tile in 0..self.padded / TILE {
            let own = tile * TILE * width..(tile + 1) * TILE * width;
            transpose(&self.keys[own.clone()], width, keys_across);
            transpose(&self.values[own.clone()], width, values_across);
            for block in tile..self.padded / TILE {
                for head in 0..self.heads {
                    let first = head * self.padded + block * TILE;
                    let rows = first * width..(first + TILE) * width;
                    let queries = &self.queries[rows.clone()];
                    let d_out = &self.d_out[rows.clone()];
                    // Scores, then weights.
                    L::run_apart(product(weights, TILE, queries, [width, 1], keys_across, width));
                    // What the weights' gradients would be without the softmax.
                    L::run_apart(product(d_weights, TILE, d_out, [width, 1], values_across, width));
                    let factors = Factors {
                        log_sums: &self.log_sums[first..first + TILE],
                        dots: &self.dots[first..first + TILE],
                        rows: self.rows.saturating_sub(block * TILE).min(TILE),
                        diagonal: block == tile,
                    };
                    factors.soften::<L>(weights, d_weights);
                    let d_values = &mut self.d_values[own.clone()];
                    L::run_apart(add(d_values, width, weights, [1, TILE], d_out, TILE));
                    let d_keys = &mut self.d_keys[own.clone()];
                    L::run_apart(add(d_keys, width, d_weights, [1, TILE], queries, TILE));
                    let (d_queries, keys) = (&mut self.d_queries[rows], &self.keys[own.clone()]);
                    L::run_apart(add(d_queries, width, d_weights, [TILE, 1], keys, TILE));
                }
            }
        }
        let scale = L::splat(self.scale);
        for chunk in self.d_queries.as_chunks_mut::<LANES>().0 {
            L::load(chunk).mul(scale).store(chunk);
        }
    }
}

/// `[TILE, width]` as `[width, TILE]`.
#[inline(always)]
fn transpose(rows: &[f32], width: usize, across: &mut [f32]) {
    for (position, row) in rows.chunks_exact(width).enumerate() {
        for (across, &value) in across.iter_mut().skip(position).step_by(TILE).zip(row) {
            *across = value;
        }
    }
}

/// What turns a tile's scores into weights and their gradients.
struct Factors<'a> {
    log_sums: &'a [f32],
    dots: &'a [f32],
    /// Rows that count.
    rows: usize,
    /// Whether a row sees the keys up to its own only.
    diagonal: bool,
}

impl Factors<'_> {
    /// `w = exp(score - log_sum)`, `d = w * (d - dot)`; both are zero for keys that a row does not
    /// see.
    #[inline(always)]
    fn soften<L: Lanes>(&self, weights: &mut [f32], d_weights: &mut [f32]) {
        let tiles = weights.chunks_exact_mut(TILE).zip(d_weights.chunks_exact_mut(TILE));
        for (row, (weights, d_weights)) in tiles.enumerate() {
            let seen = match (row < self.rows, self.diagonal) {
                (false, _) => 0,
                (true, true) => row + 1,
                (true, false) => TILE,
            };
            let (log_sum, dot) = (L::splat(self.log_sums[row]), L::splat(self.dots[row]));
            let (chunks, _) = weights.as_chunks_mut::<LANES>();
            let (d_chunks, _) = d_weights.as_chunks_mut::<LANES>();
            for (weight, d_weight) in chunks.iter_mut().zip(d_chunks) {
                let w = math::exp(L::load(weight).sub(log_sum));
                w.mul(L::load(d_weight).sub(dot)).store(d_weight);
                w.store(weight);
            }
            weights[seen..].fill(0.0);
            d_weights[seen..].fill(0.0);
        }
    }
}

/// `out[m, :] = Σ_i a[m * row + i * step] * b[i, :]` for the [`TILE`] rows of an output of `width`
/// columns, over `count` rows of `b`.
fn product<'a>(
    out: &'a mut [f32],
    width: usize,
    a: &'a [f32],
    [row, step]: [usize; 2],
    b: &'a [f32],
    count: usize,
) -> Product<'a> {
    Product { out, width, a, row, step, b, count, fresh: true }
}

/// As [`product`], added to what the output holds.
fn add<'a>(
    out: &'a mut [f32],
    width: usize,
    a: &'a [f32],
    strides: [usize; 2],
    b: &'a [f32],
    count: usize,
) -> Product<'a> {
    Product { fresh: false, ..product(out, width, a, strides, b, count) }
}

struct Product<'a> {
    out: &'a mut [f32],
    width: usize,
    a: &'a [f32],
    row: usize,
    step: usize,
    b: &'a [f32],
    count: usize,
    fresh: bool,
}

impl Kernel for Product<'_> {
    type Output = ();

    /// Goes over the output in blocks that fit the registers; each number is one chain over `i`.
    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        self.check();
        for row in (0..TILE).step_by(8) {
            let mut column = 0;
            while column < self.width {
                column += match self.width - column {
                    48.. if L::ACCUMULATORS >= 24 => self.block::<L, 8, 3>(row, column),
                    32.. if L::ACCUMULATORS >= 24 => self.block::<L, 8, 2>(row, column),
                    _ => self.block::<L, 8, 1>(row, column),
                };
            }
        }
    }
}

impl Product<'_> {
    /// All that [`block`](Self::block) indexes lies inside its slices.
    fn check(&self) {
        assert!(self.width.is_multiple_of(LANES) && self.count > 0, "whole lanes, some terms");
        assert_eq!(self.out.len(), TILE * self.width, "numbers of the output");
        assert!(self.b.len() >= self.count * self.width, "numbers of b");
        let last = (TILE - 1) * self.row + (self.count - 1) * self.step;
        assert!(last < self.a.len(), "numbers of a");
    }

    /// `M` rows over `N` chunks of columns; returns the columns.
    #[inline(always)]
    fn block<L: Lanes, const M: usize, const N: usize>(
        &mut self,
        row: usize,
        column: usize,
    ) -> usize {
        let mut sums = [[L::splat(0.0); N]; M];
        for (m, sums) in sums.iter_mut().enumerate().filter(|_| !self.fresh) {
            let (chunks, _) = self.out[(row + m) * self.width + column..].as_chunks::<LANES>();
            for (sum, chunk) in sums.iter_mut().zip(chunks) {
                *sum = L::load(chunk);
            }
        }
        let (chunks, _) = self.b.as_chunks::<LANES>();
        for i in 0..self.count {
            let mut values = [L::splat(0.0); N];
            for (n, value) in values.iter_mut().enumerate() {
                let index = (i * self.width + column) / LANES + n;
                // SAFETY: row `i` is one of `count`, the columns lie inside it: inside by `check`.
                *value = L::load(unsafe { chunks.get_unchecked(index) });
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let index = (row + m) * self.row + i * self.step;
                // SAFETY: the row is one of `TILE`, `i` one of `count`: inside by `check`.
                let factor = L::splat(unsafe { *self.a.get_unchecked(index) });
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = factor.mul_add(value, *sum);
                }
            }
        }
        for (m, sums) in sums.into_iter().enumerate() {
            let out = &mut self.out[(row + m) * self.width + column..];
            let (chunks, _) = out.as_chunks_mut::<LANES>();
            for (sum, chunk) in sums.into_iter().zip(chunks) {
                sum.store(chunk);
            }
        }
        N * LANES
    }
}
