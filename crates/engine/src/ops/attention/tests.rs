//! Fast twins against the two-pass reference, and each row against itself in other company.

use super::cache::{Element, Head, Storage};
use super::{
    Attended, AttentionRow, CacheShape, CacheType, KvCache, PAGE_TOKENS, backward, forward,
    forward_with_log_sums, store,
};
use crate::testing::{assert_close, device, numbers, paths, same_bits};
use crate::{Device, KernelPath, Tensor};

/// A model's heads, and a seed for its numbers.
#[derive(Clone, Copy, Debug)]
struct Case {
    heads: usize,
    kv_heads: usize,
    head_size: usize,
    cache_type: CacheType,
}

impl Case {
    fn shape(&self) -> CacheShape {
        CacheShape {
            layers: 2,
            kv_heads: self.kv_heads,
            head_size: self.head_size,
            scale: 1.0 / (self.head_size as f32).sqrt(),
            cache_type: self.cache_type,
        }
    }

    fn cache(&self, device: &Device) -> KvCache {
        KvCache::new(device, &self.shape(), 64)
    }

    fn columns(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_size
    }

    /// Queries, keys and values of a sequence; scores spread over about ±4.
    fn sequence(&self, device: &Device, seed: u64, tokens: usize) -> Tensor {
        let columns = self.columns();
        let values: Vec<f32> = numbers(seed, tokens * columns).iter().map(|v| 2.0 * v).collect();
        Tensor::from_slice(device, tokens, columns, &values)
    }

    /// Feeds part of a sequence in chunks; returns the rows' outputs.
    fn feed(
        &self,
        device: &Device,
        cache: &mut KvCache,
        sequence: &Tensor,
        pages: &[u32],
        chunks: &[usize],
    ) -> Vec<f32> {
        let mut all = Vec::new();
        let mut first = 0;
        for &chunk in chunks {
            let columns = self.columns();
            let values = &sequence.values()[first * columns..(first + chunk) * columns];
            let qkv = Tensor::from_slice(device, chunk, columns, values);
            let rows: Vec<AttentionRow<'_>> =
                (first..first + chunk).map(|position| AttentionRow { pages, position }).collect();
            store(device, cache, 1, &qkv, &rows);
            let mut out = Tensor::zeros(device, chunk, self.heads * self.head_size);
            forward(device, &mut out, &qkv, cache, 1, &rows);
            all.extend(out.to_vec());
            first += chunk;
        }
        all
    }
}

const SMOL: Case = Case { heads: 9, kv_heads: 3, head_size: 64, cache_type: CacheType::Bf16 };

#[test]
fn an_example_by_hand() {
    let device = device(KernelPath::Reference, 1);
    let case = Case { heads: 1, kv_heads: 1, head_size: 2, cache_type: CacheType::F32 };
    let mut cache = KvCache::new(&device, &CacheShape { scale: 1.0, ..case.shape() }, 1);
    // q, k, v of two tokens; the second's scores are 0 and ln 3.
    let ln_3 = 3.0_f32.ln();
    let values = [1.0, 1.0, 0.0, 5.0, 4.0, 8.0, 1.0, 0.0, ln_3, 7.0, 8.0, 0.0];
    let sequence = Tensor::from_slice(&device, 2, 6, &values);
    let out = case.feed(&device, &mut cache, &sequence, &[0], &[2]);
    assert_close(&out, &[4.0, 8.0, 7.0, 2.0], 1e-5, "weights 1, then 1/4 and 3/4");
}

#[test]
fn fast_twins_follow_the_reference() {
    let groups = [(1, 1), (6, 2), (7, 1), (14, 1), (26, 2)];
    for head_size in [2, 8, 16, 24, 48, 64, 80, 96, 128, 256] {
        for (heads, kv_heads) in groups {
            for cache_type in [CacheType::Bf16, CacheType::F32] {
                let case = Case { heads, kv_heads, head_size, cache_type };
                follows_the_reference(case, if head_size <= 64 { 70 } else { 19 });
            }
        }
    }
}

#[test]
fn fast_twins_follow_the_reference_at_every_length() {
    for tokens in 1..=70 {
        let case = Case { heads: 3, kv_heads: 1, head_size: 16, cache_type: CacheType::Bf16 };
        follows_the_reference(case, tokens);
    }
    follows_the_reference(SMOL, 200);
}

#[track_caller]
fn follows_the_reference(case: Case, tokens: usize) {
    let oracle = device(KernelPath::Reference, 1);
    let sequence = case.sequence(&oracle, tokens as u64, tokens);
    let pages = [3, 0, 9, 4];
    let expected = case.feed(&oracle, &mut case.cache(&oracle), &sequence, &pages, &[tokens]);
    for path in paths() {
        let device = device(path, 1);
        let out = case.feed(&device, &mut case.cache(&device), &sequence, &pages, &[tokens]);
        // A score of at most 4 sqrt(256) is off by some 2^-22 of itself, its weight by as much
        // times the score; values reach 2, and the sums of weights and values add a few 2^-24 each.
        let what = format!("{case:?}, {tokens} tokens on {path:?}");
        assert_close(&out, &expected, 2e-5, &what);
    }
}

/// Outputs of a sequence of 200 tokens fed in many ways must be the same.
#[test]
fn rows_do_not_depend_on_company() {
    let single = vec![1; 200];
    let chunkings: [&[usize]; 5] = [&[200], &single, &[7; 28], &[64, 64, 72], &[130, 1, 69]];
    for path in paths() {
        let (one, two) = (device(path, 1), device(path, 2));
        for cache_type in [CacheType::Bf16, CacheType::F32] {
            let case = Case { cache_type, ..SMOL };
            let sequence = case.sequence(&one, 5, 200);
            let whole = [200];
            let expected = case.feed(&one, &mut case.cache(&one), &sequence, &[0, 1, 2, 3], &whole);
            for chunks in chunkings {
                let mut cache = case.cache(&two);
                let pages = [9, 7, 50, 8];
                let out = case.feed(&two, &mut cache, &sequence, &pages, chunks);
                let fed = chunks.iter().sum::<usize>() * 9 * 64;
                assert!(same_bits(&out, &expected[..fed]), "{chunks:?} on {path:?}");
            }
        }
    }
}

#[test]
fn batches_of_sequences_leave_each_row_alone() {
    for path in paths() {
        let device = device(path, 2);
        let lengths = [70, 1, 65, 130];
        let pages: [&[u32]; 4] = [&[0, 1], &[2], &[3, 4], &[5, 6, 7]];
        let mut cache = SMOL.cache(&device);
        let mut alone = Vec::new();
        let mut last = Tensor::zeros(&device, 4, SMOL.columns());
        for (index, (&length, pages)) in lengths.iter().zip(pages).enumerate() {
            let sequence = SMOL.sequence(&device, index as u64, length);
            let out = SMOL.feed(&device, &mut cache, &sequence, pages, &[length]);
            alone.extend_from_slice(&out[(length - 1) * 9 * 64..]);
            last.copy_row(index, &sequence, length - 1);
        }
        // The last token of each sequence again, together.
        let rows: Vec<AttentionRow<'_>> = (0..4)
            .map(|index| AttentionRow { pages: pages[index], position: lengths[index] - 1 })
            .collect();
        let mut out = Tensor::zeros(&device, 4, 9 * 64);
        forward(&device, &mut out, &last, &cache, 1, &rows);
        assert!(same_bits(&out.to_vec(), &alone), "{path:?}");
    }
}

#[test]
fn threads_do_not_matter() {
    // Long enough for three spans, which two threads take one by one when few rows ask.
    let tokens = 1100;
    let case = Case { heads: 4, kv_heads: 2, head_size: 32, cache_type: CacheType::Bf16 };
    let pages: Vec<u32> = (0..18).rev().collect();
    for path in paths() {
        let (one, two) = (device(path, 1), device(path, 2));
        let sequence = case.sequence(&one, 8, tokens);
        let mut cache = case.cache(&one);
        let expected = case.feed(&one, &mut cache, &sequence, &pages, &[tokens]);
        for rows in [1, 2, 5, 600] {
            let first = tokens - rows;
            let values = &sequence.values()[first * case.columns()..];
            let qkv = Tensor::from_slice(&two, rows, case.columns(), values);
            let rows: Vec<AttentionRow<'_>> =
                (first..tokens).map(|position| AttentionRow { pages: &pages, position }).collect();
            let mut out = Tensor::zeros(&two, rows.len(), 4 * 32);
            forward(&two, &mut out, &qkv, &cache, 1, &rows);
            let expected = &expected[first * 4 * 32..];
            assert!(same_bits(&out.to_vec(), expected), "{} rows on {path:?}", rows.len());
        }
    }
}

#[test]
fn paths_with_fused_products_agree_to_the_bit() {
    let results: Vec<Vec<f32>> = paths()
        .into_iter()
        .filter(|&path| path != KernelPath::Portable)
        .map(|path| {
            let device = device(path, 1);
            let sequence = SMOL.sequence(&device, 6, 150);
            SMOL.feed(&device, &mut SMOL.cache(&device), &sequence, &[0, 1, 2], &[150])
        })
        .collect();
    assert!(results.windows(2).all(|pair| same_bits(&pair[0], &pair[1])));
}

#[test]
fn what_a_page_held_before_does_not_matter() {
    for path in paths() {
        let device = device(path, 1);
        let sequence = SMOL.sequence(&device, 2, 100);
        let mut cache = SMOL.cache(&device);
        let expected = SMOL.feed(&device, &mut cache, &sequence, &[0, 1], &[100]);
        let columns = 128 * SMOL.columns();
        let poison = Tensor::from_slice(&device, 128, SMOL.columns(), &vec![f32::NAN; columns]);
        SMOL.feed(&device, &mut cache, &poison, &[2, 3], &[128]);
        for chunks in [vec![100], vec![1; 100]] {
            let out = SMOL.feed(&device, &mut cache, &sequence, &[2, 3], &chunks);
            assert!(same_bits(&out, &expected), "{path:?}");
        }
    }
}

#[test]
fn a_copied_page_goes_on_like_the_first() {
    for path in paths() {
        let device = device(path, 1);
        let sequence = SMOL.sequence(&device, 3, 90);
        let mut cache = SMOL.cache(&device);
        let expected = SMOL.feed(&device, &mut cache, &sequence, &[0, 1], &[90]);
        cache.copy_page(&device, 1, 5);
        let (first, columns) = (80, SMOL.columns());
        let values = &sequence.values()[first * columns..];
        let qkv = Tensor::from_slice(&device, 10, columns, values);
        let rows: Vec<AttentionRow<'_>> =
            (first..90).map(|position| AttentionRow { pages: &[0, 5], position }).collect();
        store(&device, &mut cache, 1, &qkv, &rows);
        let mut out = Tensor::zeros(&device, 10, 9 * 64);
        forward(&device, &mut out, &qkv, &cache, 1, &rows);
        assert!(same_bits(&out.to_vec(), &expected[first * 9 * 64..]), "{path:?}");
    }
}

#[test]
fn pages_hold_what_was_stored() {
    let device = device(KernelPath::Portable, 1);
    for cache_type in [CacheType::Bf16, CacheType::F32] {
        let case = Case { heads: 2, kv_heads: 2, head_size: 24, cache_type };
        let sequence = case.sequence(&device, 4, 130);
        let mut cache = case.cache(&device);
        case.feed(&device, &mut cache, &sequence, &[7, 2, 63], &[130]);
        match &cache.storage {
            Storage::Bf16(all) => holds(&cache, all.values(), &sequence),
            Storage::F32(all) => holds(&cache, all.values(), &sequence),
        }
    }
}

fn holds<E: Element>(cache: &KvCache, all: &[E], sequence: &Tensor) {
    for (t, kv_head, channel) in
        (0..130).flat_map(|t| (0..48).map(move |column| (t, column / 24, column % 24)))
    {
        let page = [7, 2, 63][t / PAGE_TOKENS];
        let tile = Head { cache, all, layer: 1, kv_head }.tile(page);
        let keys = &sequence.row(t)[48..];
        let (key, value) = (keys[kv_head * 24 + channel], keys[48 + kv_head * 24 + channel]);
        let stored = [tile.key(t % PAGE_TOKENS, channel), tile.value(t % PAGE_TOKENS, channel)];
        let expected = [E::round(key).widen(), E::round(value).widen()];
        assert!(same_bits(&stored, &expected), "token {t}, head {kv_head}, channel {channel}");
    }
}

#[test]
fn memory_is_what_the_numbers_take() {
    let device = device(KernelPath::Portable, 1);
    let cache = SMOL.cache(&device);
    assert_eq!(cache.memory_bytes(), 64 * cache.shape().page_bytes());
    assert_eq!(cache.shape().page_bytes(), 2 * 2 * 3 * 64 * PAGE_TOKENS * 2);
    // Values are padded to whole lanes of channels, keys are not.
    let odd = Case { head_size: 24, cache_type: CacheType::F32, ..SMOL };
    assert_eq!(odd.shape().page_bytes(), 2 * 3 * (24 + 32) * PAGE_TOKENS * 4);
}

#[test]
#[should_panic(expected = "position 64 in 1 pages")]
fn a_row_without_its_page_is_refused() {
    let device = device(KernelPath::Portable, 1);
    let sequence = SMOL.sequence(&device, 1, 65);
    SMOL.feed(&device, &mut SMOL.cache(&device), &sequence, &[0], &[65]);
}

#[test]
#[should_panic(expected = "page 64 of 64")]
fn a_page_that_does_not_exist_is_refused() {
    let device = device(KernelPath::Portable, 1);
    let sequence = SMOL.sequence(&device, 1, 1);
    SMOL.feed(&device, &mut SMOL.cache(&device), &sequence, &[64], &[1]);
}

/// Sequences side by side in a batch, forward and backward.
struct Batch {
    log_sums: Vec<f32>,
    d_qkv: Vec<f32>,
}

impl Case {
    /// Runs sequences of some lengths as one batch, keys and values in pages of their own.
    fn differentiate(&self, device: &Device, sequences: &[(u64, usize)]) -> Batch {
        let (shape, columns) = (self.shape(), self.columns());
        let mut values = Vec::new();
        let mut pages: Vec<Vec<u32>> = Vec::new();
        let mut next = 0..;
        for &(seed, tokens) in sequences {
            values.extend(self.sequence(device, seed, tokens).to_vec());
            pages.push(next.by_ref().take(tokens.div_ceil(PAGE_TOKENS)).collect());
        }
        let rows: Vec<AttentionRow<'_>> = sequences
            .iter()
            .zip(&pages)
            .flat_map(|(&(_, tokens), pages)| {
                (0..tokens).map(|position| AttentionRow { pages, position })
            })
            .collect();
        let count = rows.len();
        let qkv = Tensor::from_slice(device, count, columns, &values);
        let mut cache = KvCache::new(device, &shape, pages.iter().map(Vec::len).sum());
        store(device, &mut cache, 1, &qkv, &rows);
        let width = self.heads * self.head_size;
        let mut out = Tensor::zeros(device, count, width);
        let mut log_sums = Tensor::zeros(device, count, self.heads);
        forward_with_log_sums(device, (&mut out, &mut log_sums), &qkv, &cache, 1, &rows);
        let mut plain = Tensor::zeros(device, count, width);
        forward(device, &mut plain, &qkv, &cache, 1, &rows);
        assert!(same_bits(&out.to_vec(), &plain.to_vec()), "log sums change nothing");
        let seeds: Vec<f32> = sequences
            .iter()
            .flat_map(|&(seed, tokens)| numbers(seed + 100, tokens * width))
            .collect();
        let d_out = Tensor::from_slice(device, count, width, &seeds);
        let mut d_qkv = Tensor::from_slice(device, count, columns, &vec![9.0; count * columns]);
        let attended = Attended { qkv: &qkv, out: &out, log_sums: &log_sums };
        backward(device, &mut d_qkv, &d_out, attended, &shape, &rows);
        Batch { log_sums: log_sums.to_vec(), d_qkv: d_qkv.to_vec() }
    }

    /// `Σ out ⊙ d_out` of one sequence in `f64`, keys and values not rounded.
    fn loss(&self, qkv: &[f64], d_out: &[f32], tokens: usize) -> f64 {
        let (columns, size) = (self.columns(), self.head_size);
        let head = |row: usize, head: usize| &qkv[row * columns + head * size..][..size];
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut loss = 0.0;
        for row in 0..tokens {
            for number in 0..self.heads {
                let kv_head = number / (self.heads / self.kv_heads);
                let scale = f64::from(self.shape().scale);
                let weights: Vec<f64> = (0..=row)
                    .map(|t| product(head(row, number), head(t, self.heads + kv_head)) * scale)
                    .map(f64::exp)
                    .collect();
                let sum = weights.iter().sum::<f64>();
                for (t, weight) in weights.iter().enumerate() {
                    let value = head(t, self.heads + self.kv_heads + kv_head);
                    let d_out = &d_out[(row * self.heads + number) * size..][..size];
                    let d_out: Vec<f64> = d_out.iter().map(|&d| d.into()).collect();
                    loss += weight / sum * product(value, &d_out);
                }
            }
        }
        loss
    }
}

#[test]
fn gradients_are_slopes_of_the_loss() {
    let case = Case { heads: 4, kv_heads: 2, head_size: 6, cache_type: CacheType::F32 };
    let device = device(KernelPath::Reference, 1);
    let lengths = [(11, 5), (12, 3)];
    let gradient = case.differentiate(&device, &lengths).d_qkv;
    let mut first = 0;
    for (seed, tokens) in lengths {
        let qkv = case.sequence(&device, seed, tokens).to_vec();
        let d_out = numbers(seed + 100, tokens * case.heads * case.head_size);
        for index in 0..qkv.len() {
            let at = |step: f64| {
                let mut qkv: Vec<f64> = qkv.iter().map(|&value| value.into()).collect();
                qkv[index] += step;
                case.loss(&qkv, &d_out, tokens)
            };
            // The error of four points is of the order of the step's fourth power.
            let step = 1e-3;
            let slope =
                (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step);
            let actual = f64::from(gradient[first + index]);
            // The reference is rounded to f32 once.
            let close = (actual - slope).abs() <= 1e-7 * slope.abs() + 1e-9;
            assert!(close, "[{index}] of {tokens} tokens: {actual}, slope {slope}");
        }
        first += qkv.len();
    }
}

#[test]
fn gradients_follow_the_reference() {
    let shapes =
        [(1, 1, 2), (2, 1, 8), (6, 2, 16), (3, 3, 24), (9, 3, 64), (2, 2, 128), (1, 1, 256)];
    for (heads, kv_heads, head_size) in shapes {
        for cache_type in [CacheType::Bf16, CacheType::F32] {
            for lengths in [&[(1, 1)][..], &[(2, 64)], &[(3, 65), (4, 7)], &[(5, 130)]] {
                let case = Case { heads, kv_heads, head_size, cache_type };
                let expected = case.differentiate(&device(KernelPath::Reference, 1), lengths);
                for path in paths() {
                    let actual = case.differentiate(&device(path, 2), lengths);
                    let what = format!("{case:?} {lengths:?} on {path:?}");
                    assert_close(&actual.log_sums, &expected.log_sums, 4e-6, &what);
                    // Sums of some hundred products below 10.
                    assert_close(&actual.d_qkv, &expected.d_qkv, 1e-4, &what);
                }
            }
        }
    }
}

#[test]
fn gradients_do_not_depend_on_company_or_threads() {
    for path in paths() {
        let (one, two) = (device(path, 1), device(path, 2));
        let lengths = [(1, 70), (2, 3), (3, 128), (4, 1)];
        let together = SMOL.differentiate(&two, &lengths).d_qkv;
        let alone: Vec<f32> =
            lengths.iter().flat_map(|&length| SMOL.differentiate(&one, &[length]).d_qkv).collect();
        assert!(same_bits(&together, &alone), "{path:?}");
    }
}
