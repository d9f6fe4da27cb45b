//! Fast twins against the two-pass reference, and each row against itself in other company.

use super::cache::{Element, Head, Storage};
use super::{AttentionRow, CacheShape, CacheType, KvCache, PAGE_TOKENS, forward, store};
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
