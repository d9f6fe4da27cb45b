//! How long attention takes on the shape of SmolLM2-135M: 30 layers, 9 heads, 3 kv heads of 64.
//!
//! `cargo bench -p engine --bench attention [-- portable|avx2|avx512]`: milliseconds for all
//! layers, each layer's the least of several runs, of one prefill of 512 tokens and of one token at
//! several positions.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::num::NonZeroUsize;
use std::time::Instant;

use engine::ops::attention::{
    AttentionRow, CacheShape, CacheType, KvCache, PAGE_TOKENS, forward, store,
};
use engine::ops::{rms_norm, rope, swiglu};
use engine::{Device, DeviceOptions, Tensor};

const LAYERS: usize = 30;
const HEADS: usize = 9;
const KV_HEADS: usize = 3;
const HEAD_SIZE: usize = 64;
const COLUMNS: usize = (HEADS + 2 * KV_HEADS) * HEAD_SIZE;
const RUNS: usize = 15;

fn main() -> Result<(), engine::Error> {
    let kernels = std::env::args().skip(1).find_map(|name| name.parse().ok());
    let options = DeviceOptions { threads: NonZeroUsize::new(2), kernels };
    let device = Device::cpu(&options)?;
    println!("{} kernels, {} threads", device.kernels(), device.threads());
    let shape = CacheShape {
        layers: LAYERS,
        kv_heads: KV_HEADS,
        head_size: HEAD_SIZE,
        scale: 0.125,
        cache_type: CacheType::Bf16,
    };
    let pages: Vec<u32> = (0..65).collect();
    let mut cache = KvCache::new(&device, &shape, pages.len());
    fill(&device, &mut cache, &pages);
    for (rows, positions) in [(512, &[0][..]), (1, &[128, 1024, 4096]), (8, &[128, 1024])] {
        for &position in positions {
            let mut best = [[f64::INFINITY; 2]; LAYERS];
            for _ in 0..RUNS {
                for (best, times) in
                    best.iter_mut().zip(step(&device, &mut cache, &pages, position, rows))
                {
                    *best = [best[0].min(times[0]), best[1].min(times[1])];
                }
            }
            let [stored, attended] = [0, 1].map(|i| best.iter().map(|best| best[i]).sum::<f64>());
            println!(
                "{rows:4} rows from {position:4}: store {stored:7.3} ms, forward {attended:7.3} ms"
            );
        }
    }
    for rows in [512, 1] {
        let mut best = f64::INFINITY;
        for _ in 0..RUNS {
            best = best.min(others(&device, rows));
        }
        println!("{rows:4} rows: norms, rope and swiglu {best:7.3} ms");
    }
    Ok(())
}

/// Keys and values for all positions of all layers.
fn fill(device: &Device, cache: &mut KvCache, pages: &[u32]) {
    let tokens = pages.len() * PAGE_TOKENS;
    let qkv = numbers(device, tokens);
    let rows: Vec<AttentionRow<'_>> =
        (0..tokens).map(|position| AttentionRow { pages, position }).collect();
    for layer in 0..LAYERS {
        store(device, cache, layer, &qkv, &rows);
    }
}

fn numbers(device: &Device, rows: usize) -> Tensor {
    let values: Vec<f32> = (0..rows * COLUMNS).map(|i| (i * 7919 % 2003) as f32 / 1000.0).collect();
    Tensor::from_slice(device, rows, COLUMNS, &values)
}

/// One step of `rows` tokens through all layers; milliseconds of store and of forward by layer.
fn step(
    device: &Device,
    cache: &mut KvCache,
    pages: &[u32],
    first: usize,
    rows: usize,
) -> [[f64; 2]; LAYERS] {
    let qkv = numbers(device, rows);
    let mut out = Tensor::zeros(device, rows, HEADS * HEAD_SIZE);
    let rows: Vec<AttentionRow<'_>> =
        (first..first + rows).map(|position| AttentionRow { pages, position }).collect();
    let mut times = [[0.0; 2]; LAYERS];
    for (layer, times) in times.iter_mut().enumerate() {
        let start = Instant::now();
        store(device, cache, layer, &qkv, &rows);
        times[0] = start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        forward(device, &mut out, &qkv, cache, layer, &rows);
        times[1] = start.elapsed().as_secs_f64() * 1e3;
    }
    times
}

/// Milliseconds of the other row operations of a step: two norms, rope and swiglu a layer.
fn others(device: &Device, rows: usize) -> f64 {
    const WIDTH: usize = 576;
    const FFN_WIDTH: usize = 1536;
    let scaling = rope::RopeScaling::None;
    let table = rope::RopeTable::new(HEAD_SIZE, 512, 1e4, &scaling, rope::Pairing::Interleaved);
    let x = Tensor::from_slice(device, rows, WIDTH, &vec![0.5; rows * WIDTH]);
    let weight = Tensor::from_slice(device, 1, WIDTH, &[1.0; WIDTH]);
    let mut normed = x.clone();
    let mut qkv = Tensor::zeros(device, rows, COLUMNS);
    let gate_up = Tensor::from_slice(device, rows, 2 * FFN_WIDTH, &vec![0.5; rows * 2 * FFN_WIDTH]);
    let mut hidden = Tensor::zeros(device, rows, FFN_WIDTH);
    let positions: Vec<u32> = (0..512).take(rows).collect();
    let start = Instant::now();
    for _ in 0..LAYERS {
        rms_norm::forward(device, &mut normed, &x, &weight, 1e-5);
        rope::forward(device, &mut qkv, 0..COLUMNS - KV_HEADS * HEAD_SIZE, &positions, &table);
        rms_norm::forward(device, &mut normed, &x, &weight, 1e-5);
        swiglu::forward(device, &mut hidden, &gate_up);
    }
    start.elapsed().as_secs_f64() * 1e3
}
