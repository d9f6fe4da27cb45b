//! Causal attention over a paged cache, with several query heads per key and value head.
//!
//! `out[h] = Σ_t softmax_t(scale * q[h] · k[t, g]) * v[t, g]`, over the tokens `t` of the row's own
//! sequence up to its own position, with `g = h / (heads / kv_heads)`.
//!
//! 1. [`store`] rounds the rows' keys and values to the cache's type and files them.
//! 2. [`forward`] lets each row look at what its sequence has filed so far.
//! 3. [`backward`] makes gradients of queries, keys and values of whole sequences.
//!
//! A row's result depends on its query and on keys and values up to its position and on nothing
//! else: tiles and spans are counted from the sequence's first token and sums run in the order of
//! positions, whatever the batch, the prefill chunk, the pages' numbers or the threads
//! (`rows_do_not_depend_on_company`, `threads_do_not_matter`). The softmax is carried along tile by
//! tile (Milakov and Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135); every
//! 512 tokens a partial result is closed, which lets several threads share one long sequence. The
//! reference takes two passes in `f64` over the same rounded keys and values.

mod backward;
pub(crate) mod cache;
mod plan;

#[cfg(test)]
mod tests;

use crate::cpu::lanes::{self, Kernel, Lanes};
use crate::math::double;
use crate::{Device, KernelPath, Tensor};

pub use self::backward::{Attended, backward};
pub use self::cache::{CacheShape, CacheType, HEAD_SIZE_MAX, KvCache, PAGE_TOKENS};
use self::cache::{Element, Head, Storage};

/// Which token of which sequence a row is.
#[derive(Clone, Copy, Debug)]
pub struct AttentionRow<'a> {
    /// The sequence's pages from its first token on, at least up to this row's position.
    pub pages: &'a [u32],
    /// The row's place in its sequence, from 0.
    pub position: usize,
}

/// Files the keys and values of some rows.
///
/// # Shapes
///
/// - `qkv`: `[rows, q | k | v]` with `kv_heads * head_size` channels each for `k` and `v`
///
/// # Panics
///
/// Panics if the shapes differ or a row's page does not exist.
pub fn store(
    device: &Device,
    cache: &mut KvCache,
    layer: usize,
    qkv: &Tensor,
    rows: &[AttentionRow<'_>],
) {
    let CacheShape { kv_heads, head_size, .. } = *cache.shape();
    assert_eq!(qkv.rows(), rows.len(), "rows of qkv and of the batch");
    assert!(qkv.columns() >= 2 * kv_heads * head_size, "{} columns of qkv", qkv.columns());
    let mut places = Vec::with_capacity(rows.len());
    for row in rows {
        let page = page_of(row, row.position / PAGE_TOKENS);
        places.push((cache.head_start(layer, page, 0), row.position % PAGE_TOKENS));
    }
    let (shape, path) = (*cache.shape(), device.kernels());
    match &mut cache.storage {
        Storage::Bf16(all) => {
            let all = all.values_mut();
            lanes::run_same_bits(path, File { shape, all, qkv, places: &places });
        }
        Storage::F32(all) => {
            let all = all.values_mut();
            lanes::run_same_bits(path, File { shape, all, qkv, places: &places });
        }
    }
}

/// Rounds each row's keys and values and files them where their page starts, in their slot.
struct File<'a, E> {
    shape: CacheShape,
    all: &'a mut [E],
    qkv: &'a Tensor,
    places: &'a [(usize, usize)],
}

impl<E: Element> Kernel for File<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let CacheShape { kv_heads, head_size, .. } = self.shape;
        let kv_width = kv_heads * head_size;
        let mut rounded = vec![E::round(0.0); 2 * kv_width];
        for (index, &(start, slot)) in self.places.iter().enumerate() {
            let row = self.qkv.row(index);
            for (rounded, &value) in rounded.iter_mut().zip(&row[row.len() - 2 * kv_width..]) {
                *rounded = E::round(value);
            }
            let (keys, values) = rounded.split_at(kv_width);
            let heads = keys.chunks_exact(head_size).zip(values.chunks_exact(head_size));
            for (kv_head, pair) in heads.enumerate() {
                let start = start + kv_head * self.shape.head_elements();
                self.shape.write(self.all, start, slot, pair);
            }
        }
    }
}

/// Lets each row attend to its sequence; its own key and value must have been stored.
///
/// # Shapes
///
/// - `qkv`: `[rows, q | k | v]`, of which the first `heads * head_size` columns are read
/// - `out`: `[rows, heads * head_size]`
///
/// # Panics
///
/// Panics if the shapes differ or a row's page does not exist.
pub fn forward(
    device: &Device,
    out: &mut Tensor,
    qkv: &Tensor,
    cache: &KvCache,
    layer: usize,
    rows: &[AttentionRow<'_>],
) {
    attend_all(device, (out, None), qkv, cache, layer, rows);
}

/// As [`forward`], and writes `log_sums[h] = log Σ_t exp(scale * q[h] · k[t, g])`, which
/// [`backward`] needs.
///
/// # Shapes
///
/// - `log_sums`: `[rows, heads]`
///
/// # Panics
///
/// Panics if the shapes differ or a row's page does not exist.
pub fn forward_with_log_sums(
    device: &Device,
    (out, log_sums): (&mut Tensor, &mut Tensor),
    qkv: &Tensor,
    cache: &KvCache,
    layer: usize,
    rows: &[AttentionRow<'_>],
) {
    let heads = out.columns() / cache.shape().head_size;
    assert_eq!((log_sums.rows(), log_sums.columns()), (rows.len(), heads), "shape of log_sums");
    attend_all(device, (out, Some(log_sums)), qkv, cache, layer, rows);
}

fn attend_all(
    device: &Device,
    (out, log_sums): (&mut Tensor, Option<&mut Tensor>),
    qkv: &Tensor,
    cache: &KvCache,
    layer: usize,
    rows: &[AttentionRow<'_>],
) {
    let CacheShape { kv_heads, head_size, layers, .. } = *cache.shape();
    let (query_width, kv_width) = (out.columns(), kv_heads * head_size);
    assert_eq!((qkv.rows(), out.rows()), (rows.len(), rows.len()), "rows of qkv, out, the batch");
    assert_eq!(qkv.columns(), query_width + 2 * kv_width, "columns of qkv");
    assert!(query_width.is_multiple_of(kv_width), "{query_width} columns in {kv_heads} groups");
    assert!(layer < layers, "layer {layer} of {layers}");
    for row in rows {
        for tile in 0..=row.position / PAGE_TOKENS {
            assert!((page_of(row, tile) as usize) < cache.pages(), "a page of {}", cache.pages());
        }
    }
    match (&cache.storage, device.kernels()) {
        (Storage::Bf16(all), KernelPath::Reference) => {
            reference((cache, all.values(), layer), (out, log_sums), qkv, rows);
        }
        (Storage::F32(all), KernelPath::Reference) => {
            reference((cache, all.values(), layer), (out, log_sums), qkv, rows);
        }
        (Storage::Bf16(all), _) => {
            plan::Step { device, cache, all: all.values(), layer, rows }
                .forward(out, log_sums, qkv);
        }
        (Storage::F32(all), _) => {
            plan::Step { device, cache, all: all.values(), layer, rows }
                .forward(out, log_sums, qkv);
        }
    }
}

/// The page that holds a tile of a row's sequence.
fn page_of(row: &AttentionRow<'_>, tile: usize) -> u32 {
    let pages = row.pages.len();
    assert!(tile < pages, "position {} in {pages} pages", row.position);
    row.pages[tile]
}

/// The slow clear form: two passes over a row's keys and values, in `f64`.
fn reference<E: Element>(
    (cache, all, layer): (&KvCache, &[E], usize),
    (out, mut log_sums): (&mut Tensor, Option<&mut Tensor>),
    qkv: &Tensor,
    rows: &[AttentionRow<'_>],
) {
    let CacheShape { head_size, kv_heads, scale, .. } = *cache.shape();
    let group = out.columns() / (kv_heads * head_size);
    for (index, row) in rows.iter().enumerate() {
        for (h, out) in out.row_mut(index).chunks_exact_mut(head_size).enumerate() {
            let query = &qkv.row(index)[h * head_size..][..head_size];
            let head = Head { cache, all, layer, kv_head: h / group };
            let log_sum = attend(head, row, (query, scale), out);
            if let Some(log_sums) = &mut log_sums {
                log_sums.row_mut(index)[h] = log_sum;
            }
        }
    }
}

/// One query head of a row; returns the logarithm of its sum of weights.
#[expect(clippy::cast_possible_truncation, reason = "results in f64 are rounded to f32 once")]
fn attend<E: Element>(
    head: Head<'_, E>,
    row: &AttentionRow<'_>,
    (query, scale): (&[f32], f32),
    out: &mut [f32],
) -> f32 {
    let tile = |t: usize| head.tile(row.pages[t / PAGE_TOKENS]);
    let score = |t: usize| {
        let key = |channel: usize| f64::from(tile(t).key(t % PAGE_TOKENS, channel));
        let products = query.iter().enumerate().map(|(c, &q)| f64::from(q) * key(c));
        products.sum::<f64>() * f64::from(scale)
    };
    let scores: Vec<f64> = (0..=row.position).map(score).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| double::exp(score - largest)).collect();
    let sum = weights.iter().sum::<f64>();
    for (channel, out) in out.iter_mut().enumerate() {
        let value = |t: usize| f64::from(tile(t).value(t % PAGE_TOKENS, channel));
        let total = weights.iter().enumerate().map(|(t, &weight)| weight * value(t));
        *out = (total.sum::<f64>() / sum) as f32;
    }
    (largest + double::log(sum)) as f32
}
