//! Attention in lanes: a few query vectors against the tiles of one key and value head.
//!
//! A tile is a page. Scores of a tile are a product of the queries with its keys, lanes over
//! positions; the softmax is carried along from tile to tile; its weights are multiplied with the
//! values, lanes over channels. Every number of a vector is made by one chain of operations whose
//! order only depends on the vector's own position, never on the other vectors: those only share
//! loads.
#![expect(
    unsafe_code,
    reason = "the inner product indexes without checks, after one check of shapes"
)]

use std::ops::Range;

use super::lanes::{Kernel, LANES, Lanes};
use crate::math;
use crate::ops::attention::AttentionRow;
use crate::ops::attention::cache::{
    CHUNK, Element, HEAD_SIZE_MAX, Head, KEY_CHUNKS, PAGE_TOKENS, Tile,
};

/// Query vectors that share the loads of a tile.
pub(crate) const VECTORS: usize = 12;
/// Tiles of a span: partial results end here, also where one thread goes on with the next span.
pub(crate) const SPAN_TILES: usize = 8;

/// Where the parts of a vector's running result stand in its record.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    /// Channels, rounded up to whole lanes: the weighted sum of values.
    pub(crate) width: usize,
}

impl Record {
    /// Numbers of a record: the weighted values, the sum of weights by lanes, the largest score.
    pub(crate) fn length(self) -> usize {
        self.width + 2 * LANES
    }

    fn sums(self) -> Range<usize> {
        self.width..self.width + LANES
    }

    fn largest(self) -> usize {
        self.width + LANES
    }

    /// A record that no key has been seen for.
    fn clear(self, record: &mut [f32]) {
        record.fill(0.0);
        record[self.largest()] = f32::NEG_INFINITY;
    }
}

/// Query vectors of neighboring rows of one sequence, against some spans of one kv head.
pub(crate) struct Attend<'a, E> {
    /// Neighbors in one sequence, in ascending order of position.
    pub(crate) rows: &'a [AttentionRow<'a>],
    /// Vectors of each row.
    pub(crate) heads: usize,
    /// `[rows * heads, HEAD_SIZE_MAX]`, scaled, of which the first `head_size` count.
    pub(crate) queries: &'a [f32],
    pub(crate) head_size: usize,
    /// The keys and values of the head, by page.
    pub(crate) head: Head<'a, E>,
    pub(crate) spans: Range<usize>,
    pub(crate) record: Record,
    /// A record per vector: the result.
    pub(crate) records: &'a mut [f32],
    /// A record per vector, and a tile's scores.
    pub(crate) scratch: &'a mut [f32],
}

impl<E: Element> Kernel for Attend<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let vectors = self.rows.len() * self.heads;
        let length = self.record.length();
        let (parts, scores) = self.scratch.split_at_mut(vectors * length);
        let first = self.spans.start;
        let records = &mut *self.records;
        let block = Block {
            rows: self.rows,
            heads: self.heads,
            queries: self.queries,
            head_size: self.head_size,
            head: self.head,
            record: self.record,
        };
        for span in self.spans {
            if span == first {
                block.attend_span::<L>(span, &mut records[..vectors * length], scores);
                continue;
            }
            block.attend_span::<L>(span, parts, scores);
            for (record, part) in records.chunks_exact_mut(length).zip(parts.chunks_exact(length)) {
                merge::<L>(self.record, record, part);
            }
        }
    }
}

/// What stays the same over the spans of [`Attend`].
struct Block<'a, E> {
    rows: &'a [AttentionRow<'a>],
    heads: usize,
    queries: &'a [f32],
    head_size: usize,
    head: Head<'a, E>,
    record: Record,
}

impl<E: Element> Block<'_, E> {
    /// Clears the records and fills them with one span's keys and values.
    #[inline(always)]
    fn attend_span<L: Lanes>(&self, span: usize, records: &mut [f32], scores: &mut [f32]) {
        records.chunks_exact_mut(self.record.length()).for_each(|record| self.record.clear(record));
        let Some(last) = self.rows.last() else { return };
        let tiles = span * SPAN_TILES..(span + 1) * SPAN_TILES;
        for tile in tiles.start..tiles.end.min(last.position / PAGE_TOKENS + 1) {
            let first = tile * PAGE_TOKENS;
            let active = self.rows.partition_point(|row| row.position < first);
            let keys_and_values = self.head.tile(last.pages[tile]);
            self.attend_tile::<L>(keys_and_values, active, first, records, scores);
        }
    }

    /// Carries the records of the rows from `active` on over a tile, whose first position is
    /// `first`.
    #[inline(always)]
    fn attend_tile<L: Lanes>(
        &self,
        tile: Tile<'_, E>,
        active: usize,
        first: usize,
        records: &mut [f32],
        scores: &mut [f32],
    ) {
        let length = self.record.length();
        let rows = &self.rows[active..];
        let vectors = rows.len() * self.heads;
        let records = &mut records[active * self.heads * length..][..vectors * length];
        let (scores, _) = scores.as_chunks_mut::<PAGE_TOKENS>();
        let scores = &mut scores[..vectors];
        // 1. Scores of all rows with the keys up to the last row's.
        let seen = |row: &AttentionRow<'_>| (row.position + 1 - first).min(PAGE_TOKENS);
        L::run_apart(Product::<E, HEAD_SIZE_MAX> {
            out: scores.as_flattened_mut(),
            out_stride: PAGE_TOKENS,
            fresh: true,
            coefficients: &self.queries[active * self.heads * HEAD_SIZE_MAX..],
            vectors,
            chunks: tile.keys,
            chunks_per_pair: KEY_CHUNKS,
            width: rows.last().map_or(0, seen).div_ceil(LANES),
            count: self.head_size,
        });
        // 2. Weights; those behind a row's own key are zero.
        let rows_of_vectors = rows.iter().flat_map(|row| std::iter::repeat_n(row, self.heads));
        for ((row, scores), record) in
            rows_of_vectors.zip(scores.iter_mut()).zip(records.chunks_exact_mut(length))
        {
            soften::<L>(self.record, record, scores, seen(row));
        }
        // 3. Values: whole pairs that all rows see for all rows at once, then each row's own.
        let common = rows.first().map_or(0, seen) / 2 * 2;
        self.add_values::<L>(tile, 0..common, scores, records);
        let own_scores = scores.chunks_exact(self.heads);
        let own_records = records.chunks_exact_mut(self.heads * length);
        for ((row, scores), records) in rows.iter().zip(own_scores).zip(own_records) {
            self.add_values::<L>(tile, common..seen(row), scores, records);
        }
    }

    /// Adds some positions' weighted values; the first position is even.
    #[inline(always)]
    fn add_values<L: Lanes>(
        &self,
        tile: Tile<'_, E>,
        positions: Range<usize>,
        weights: &[[f32; PAGE_TOKENS]],
        records: &mut [f32],
    ) {
        if positions.is_empty() {
            return;
        }
        let width = self.record.width / LANES;
        L::run_apart(Product::<E, PAGE_TOKENS> {
            out: records,
            out_stride: self.record.length(),
            fresh: false,
            coefficients: &weights.as_flattened()[positions.start..],
            vectors: weights.len(),
            chunks: &tile.values[positions.start / 2 * width..],
            chunks_per_pair: width,
            width,
            count: positions.len(),
        });
    }
}

/// Turns the scores of a tile into weights relative to the largest score so far, and brings the
/// record to that scale. Lanes from `count` on weigh nothing.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "lanes and positions of a tile")]
fn soften<L: Lanes>(
    record: Record,
    values: &mut [f32],
    scores: &mut [f32; PAGE_TOKENS],
    count: usize,
) {
    let minus_infinity = L::splat(f32::NEG_INFINITY);
    let (chunks, _) = scores.as_chunks_mut::<LANES>();
    let mut lanes = [minus_infinity; KEY_CHUNKS];
    for (lanes, chunk) in lanes.iter_mut().zip(chunks.iter()) {
        *lanes = L::load(chunk);
    }
    if count < PAGE_TOKENS {
        let lane_numbers = L::load(&std::array::from_fn(|lane| lane as f32));
        for (index, lanes) in lanes.iter_mut().enumerate() {
            let bound = L::splat(count as f32 - (index * LANES) as f32);
            *lanes = lane_numbers.select_less(bound, *lanes, minus_infinity);
        }
    }
    let largest = lanes[0].max(lanes[1]).max(lanes[2].max(lanes[3])).maximum();
    let before = values[record.largest()];
    let grows = largest > before;
    let largest = if grows { largest } else { before };
    if grows {
        let factor = math::exp(L::splat(before - largest));
        for chunk in values[..record.sums().end].as_chunks_mut::<LANES>().0 {
            L::load(chunk).mul(factor).store(chunk);
        }
        values[record.largest()] = largest;
    }
    let largest = L::splat(largest);
    for (lanes, chunk) in lanes.iter_mut().zip(chunks) {
        *lanes = math::exp(lanes.sub(largest));
        lanes.store(chunk);
    }
    let (sums, _) = values[record.sums()].as_chunks_mut::<LANES>();
    let sum = lanes[0].add(lanes[1]).add(lanes[2].add(lanes[3]));
    L::load(&sums[0]).add(sum).store(&mut sums[0]);
}

/// Adds the record of the next span to a record.
#[inline(always)]
fn merge<L: Lanes>(record: Record, values: &mut [f32], part: &[f32]) {
    let (before, own) = (values[record.largest()], part[record.largest()]);
    if own == f32::NEG_INFINITY {
        return;
    }
    let largest = if own > before { own } else { before };
    let before = math::exp(L::splat(before - largest));
    let own = math::exp(L::splat(own - largest));
    let (values_chunks, _) = values[..record.sums().end].as_chunks_mut::<LANES>();
    let (part_chunks, _) = part[..record.sums().end].as_chunks::<LANES>();
    for (value, part) in values_chunks.iter_mut().zip(part_chunks) {
        L::load(part).mul_add(own, L::load(value).mul(before)).store(value);
    }
    values[record.largest()] = largest;
}

/// Merges the records of a vector's spans in order and divides by the sum of weights.
pub(crate) struct Finish<'a> {
    pub(crate) record: Record,
    /// The record of the first span starts here, the others follow at `stride`.
    pub(crate) records: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) spans: usize,
    /// A record's worth of room.
    pub(crate) scratch: &'a mut [f32],
    pub(crate) out: &'a mut [f32],
}

impl Kernel for Finish<'_> {
    /// The logarithm of the sum of `exp(score)`.
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self) -> f32 {
        let (record, length) = (self.record, self.record.length());
        let mut merged = &self.records[..length];
        if self.spans > 1 {
            self.scratch.copy_from_slice(merged);
            for span in 1..self.spans {
                let part = &self.records[span * self.stride..][..length];
                merge::<L>(record, self.scratch, part);
            }
            merged = self.scratch;
        }
        let (sums, _) = merged[record.sums()].as_chunks::<LANES>();
        let sum = L::load(&sums[0]).sum();
        let inverse = L::splat(1.0 / sum);
        let (values, _) = merged[..record.width].as_chunks::<LANES>();
        let (out, tail) = self.out.as_chunks_mut::<LANES>();
        for (out, value) in out.iter_mut().zip(values) {
            L::load(value).mul(inverse).store(out);
        }
        if let (Some(value), false) = (values.last(), tail.is_empty()) {
            L::load(value).mul(inverse).store_partial(tail);
        }
        merged[record.largest()] + math::log(sum)
    }
}

/// `out[v, :] += Σ_i coefficients[v, i] * rows[i, :]`, where rows stand in pairs as in a tile and
/// the coefficients of a vector `STRIDE` numbers behind those of the vector before.
struct Product<'a, E, const STRIDE: usize> {
    out: &'a mut [f32],
    out_stride: usize,
    /// Whether the output is overwritten instead.
    fresh: bool,
    coefficients: &'a [f32],
    vectors: usize,
    chunks: &'a [[E; CHUNK]],
    /// Chunks of a pair of rows; the first `width` of them count.
    chunks_per_pair: usize,
    width: usize,
    /// Number of rows; of an odd last pair only the first row counts.
    count: usize,
}

impl<E: Element, const STRIDE: usize> Kernel for Product<'_, E, STRIDE> {
    type Output = ();

    /// Goes over the output in blocks that fit the registers; each number is one chain over `i`.
    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        self.check();
        let mut vector = 0;
        while vector < self.vectors {
            vector += match self.vectors - vector {
                12.. if L::ACCUMULATORS >= 24 => self.strip::<L, 12, 2>(vector),
                6.. if L::ACCUMULATORS >= 24 => self.strip::<L, 6, 4>(vector),
                4.. => self.strip::<L, 4, 4>(vector),
                3 => self.strip::<L, 3, 4>(vector),
                2 => self.strip::<L, 2, 4>(vector),
                _ => self.strip::<L, 1, 4>(vector),
            };
        }
    }
}

impl<E: Element, const STRIDE: usize> Product<'_, E, STRIDE> {
    /// All that [`block`](Self::block) indexes lies inside its slices.
    fn check(&self) {
        let last = self.vectors.checked_sub(1).expect("at least one vector");
        assert!(self.coefficients.len() >= last * STRIDE + self.count);
        assert!(self.out.len() >= last * self.out_stride + self.width * LANES);
        assert!(self.chunks.len() >= self.count.div_ceil(2) * self.chunks_per_pair);
        assert!(self.width <= self.chunks_per_pair);
    }

    /// `M` vectors over all chunks, `N` at a time where that many are left and sums have room.
    #[inline(always)]
    fn strip<L: Lanes, const M: usize, const N: usize>(&mut self, vector: usize) -> usize {
        let mut chunk = 0;
        while chunk < self.width {
            let rest = self.width - chunk;
            chunk += if rest >= N && M * N <= L::ACCUMULATORS {
                self.block::<L, M, N>(vector, chunk)
            } else if rest >= 2 && M * 2 <= L::ACCUMULATORS {
                self.block::<L, M, 2>(vector, chunk)
            } else {
                self.block::<L, M, 1>(vector, chunk)
            };
        }
        M
    }

    /// Both rows of a pair, `N` chunks of each.
    #[inline(always)]
    fn pair<L: Lanes, const N: usize>(&self, pair: usize, chunk: usize) -> ([L; N], [L; N]) {
        let (mut even, mut odd) = ([L::splat(0.0); N], [L::splat(0.0); N]);
        for (n, (even, odd)) in even.iter_mut().zip(&mut odd).enumerate() {
            let index = pair * self.chunks_per_pair + chunk + n;
            // SAFETY: callers stay below the number of pairs and of chunks: inside by `check`.
            (*even, *odd) = E::load(unsafe { self.chunks.get_unchecked(index) });
        }
        (even, odd)
    }

    /// Adds one row's products to the sums of `M` vectors.
    #[inline(always)]
    fn multiply<L: Lanes, const M: usize, const N: usize>(
        &self,
        sums: &mut [[L; N]; M],
        vector: usize,
        row: usize,
        values: [L; N],
    ) {
        for (m, sums) in sums.iter_mut().enumerate() {
            let index = (vector + m) * STRIDE + row;
            // SAFETY: callers stay below the number of vectors and of rows: inside by `check`.
            let factor = L::splat(unsafe { *self.coefficients.get_unchecked(index) });
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = factor.mul_add(value, *sum);
            }
        }
    }

    /// `M` vectors over `N` chunks.
    #[inline(always)]
    fn block<L: Lanes, const M: usize, const N: usize>(
        &mut self,
        vector: usize,
        chunk: usize,
    ) -> usize {
        let out_stride = self.out_stride;
        let out_at = |m: usize, n: usize| (vector + m) * out_stride + (chunk + n) * LANES;
        let mut sums = [[L::splat(0.0); N]; M];
        for (m, sums) in sums.iter_mut().enumerate().filter(|_| !self.fresh) {
            for (n, sum) in sums.iter_mut().enumerate() {
                let (values, _) = self.out[out_at(m, n)..].as_chunks::<LANES>();
                *sum = L::load(&values[0]);
            }
        }
        for pair in 0..self.count / 2 {
            let (even, odd) = self.pair::<L, N>(pair, chunk);
            self.multiply(&mut sums, vector, 2 * pair, even);
            self.multiply(&mut sums, vector, 2 * pair + 1, odd);
        }
        if self.count % 2 == 1 {
            let (even, _) = self.pair::<L, N>(self.count / 2, chunk);
            self.multiply(&mut sums, vector, self.count - 1, even);
        }
        for (m, sums) in sums.into_iter().enumerate() {
            for (n, sum) in sums.into_iter().enumerate() {
                let (values, _) = self.out[out_at(m, n)..].as_chunks_mut::<LANES>();
                sum.store(&mut values[0]);
            }
        }
        N
    }
}
