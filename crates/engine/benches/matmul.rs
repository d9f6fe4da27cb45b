//! Speed of the weight products of one model step, against what memory and processor allow.
//!
//! `cargo bench -p engine --bench matmul -- [type …] [--rows 1,8,512] [--threads 2]
//! [--kernels avx512] [--seconds 1.5]`
//!
//! The shapes are those of SmolLM2-135M: 30 layers of 576 → 960, 576 → 576, 576 → 3072 and
//! 1536 → 576, then 576 → 49152. Printed per step: the median and the least time of the step, and
//! by the least one, which other work on the machine disturbs least, rows, bytes of weights and
//! multiply-adds per second; then the same for bytes that are merely read.
#![expect(unsafe_code, reason = "the advice to use large pages")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use engine::ops::matmul::{self, Store};
use engine::{Device, DeviceOptions, Dtype, Matrix, MatrixPart, Tensor, dtype};

const LAYERS: usize = 30;
const LAYER_SHAPES: [[usize; 2]; 4] = [[960, 576], [576, 576], [3072, 576], [576, 1536]];
const HEAD_SHAPE: [usize; 2] = [49152, 576];
fn main() -> Result<(), Box<dyn Error>> {
    let mut options = DeviceOptions::default();
    let mut rows = vec![1, 8, 512];
    let mut dtypes = Vec::new();
    let mut seconds = 1.5;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or("an option needs a value");
        match argument.as_str() {
            "--rows" => {
                rows = value()?.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
            }
            "--threads" => options.threads = Some(value()?.parse()?),
            "--kernels" => options.kernels = Some(value()?.parse()?),
            "--seconds" => seconds = value()?.parse()?,
            "--bench" => {}
            name => dtypes.push(dtype_named(name)?),
        }
    }
    if dtypes.is_empty() {
        dtypes = vec![Dtype::Q8_0, Dtype::Q4_1, Dtype::Bf16];
    }
    let device = Device::cpu(&options)?;
    println!("{} kernels, {} threads", device.kernels(), device.threads());
    for dtype in dtypes {
        bench(&device, dtype, &rows, seconds)?;
    }
    Ok(())
}

fn dtype_named(name: &str) -> Result<Dtype, String> {
    Dtype::ALL
        .into_iter()
        .find(|dtype| dtype.to_string() == name)
        .ok_or_else(|| format!("no element type is called {name}"))
}

/// Times steps of each number of rows, and a mere read of the weights.
fn bench(device: &Device, dtype: Dtype, rows: &[usize], limit: f64) -> Result<(), engine::Error> {
    let layers: Vec<Vec<Matrix>> = (0..LAYERS)
        .map(|_| LAYER_SHAPES.iter().map(|&shape| weights(device, dtype, shape)).collect())
        .collect::<Result<_, _>>()?;
    let head = weights(device, dtype, HEAD_SHAPE)?;
    let layer_bytes: usize = layers.iter().flatten().map(Matrix::memory_bytes).sum();
    let bytes = layer_bytes + head.memory_bytes();
    let elements = |shape: [usize; 2]| shape[0] * shape[1];
    let layer_products = LAYERS * LAYER_SHAPES.into_iter().map(elements).sum::<usize>();
    for &rows in rows {
        // A prefill needs the logits of its last row only.
        let head_rows = if rows > 64 { 1 } else { rows };
        let products = layer_products * rows + elements(HEAD_SHAPE) * head_rows;
        let mut step = Step::new(device, rows, head_rows);
        let [median, least] = times(limit, || step.run(device, &layers, &head));
        println!(
            "{dtype} rows {rows}: median {:.3} ms, least {:.3} ms, {:.1} rows/s, {:.2} GB/s of \
             weights, {:.1} G multiply-adds/s",
            median * 1e3,
            least * 1e3,
            rows as f64 / least,
            bytes as f64 / least / 1e9,
            products as f64 / least / 1e9,
        );
    }
    let words = large_pages(bytes / 8);
    let [median, least] = times(limit.min(0.5), || read(&words, device.threads()));
    println!(
        "{dtype}: reading as many bytes, median {:.3} ms, least {:.3} ms, {:.2} GB/s",
        median * 1e3,
        least * 1e3,
        bytes as f64 / least / 1e9,
    );
    Ok(())
}

/// Weights of about a model's size; types without a writer get bytes that are valid in any place.
fn weights(
    device: &Device,
    dtype: Dtype,
    [out_features, in_features]: [usize; 2],
) -> Result<Matrix, engine::Error> {
    let values: Vec<f32> =
        (0..in_features * 64).map(|i| ((i * 7919 % 2003) as f32 - 1001.0) / 20000.0).collect();
    let some = match dtype::quantize_row(dtype, &values) {
        Ok(bytes) => bytes,
        Err(_) => vec![0x25; values.len() / dtype.block_elements() * dtype.block_bytes()],
    };
    let row_bytes = some.len() / 64;
    let bytes: Vec<u8> = some.into_iter().cycle().take(row_bytes * out_features).collect();
    Matrix::pack(device, &[MatrixPart { dtype, out_features, bytes: &bytes }], in_features)
}

/// The activations of a step, without the operations between the products.
struct Step {
    width: Tensor,
    qkv: Tensor,
    gate_up: Tensor,
    hidden: Tensor,
    out: Tensor,
    last: Tensor,
    logits: Tensor,
}

impl Step {
    fn new(device: &Device, rows: usize, head_rows: usize) -> Self {
        let filled = |rows: usize, columns: usize| {
            let values: Vec<f32> =
                (0..rows * columns).map(|i| ((i * 31 % 257) as f32 - 128.0) / 100.0).collect();
            Tensor::from_slice(device, rows, columns, &values)
        };
        Self {
            width: filled(rows, 576),
            qkv: Tensor::zeros(device, rows, 960),
            gate_up: Tensor::zeros(device, rows, 3072),
            hidden: filled(rows, 1536),
            out: Tensor::zeros(device, rows, 576),
            last: filled(head_rows, 576),
            logits: Tensor::zeros(device, head_rows, 49152),
        }
    }

    fn run(&mut self, device: &Device, layers: &[Vec<Matrix>], head: &Matrix) {
        let Self { width, qkv, gate_up, hidden, out, last, logits } = self;
        for layer in layers {
            matmul::forward(device, qkv, width, &layer[0], None, Store::Overwrite);
            matmul::forward(device, out, width, &layer[1], None, Store::Overwrite);
            matmul::forward(device, gate_up, width, &layer[2], None, Store::Overwrite);
            matmul::forward(device, out, hidden, &layer[3], None, Store::Overwrite);
        }
        matmul::forward(device, logits, last, head, None, Store::Overwrite);
    }
}

/// Words on large pages, as weights are held; elsewhere than on Linux, on common ones.
fn large_pages(count: usize) -> Vec<u64> {
    let mut words: Vec<u64> = Vec::with_capacity(count);
    #[cfg(target_os = "linux")]
    {
        let start = words.as_mut_ptr().cast::<u8>();
        let start = start.wrapping_add(start.align_offset(4096));
        // SAFETY: the range lies inside the allocation, and the advice changes no content.
        let _ = unsafe { libc::madvise(start.cast(), count * 8 - 4096, libc::MADV_HUGEPAGE) };
    }
    words.resize(count, 1);
    words
}

/// Sums all words on several threads, each a contiguous share.
fn read(words: &[u64], threads: usize) {
    std::thread::scope(|scope| {
        for share in words.chunks(words.len().div_ceil(threads)) {
            scope.spawn(move || {
                let mut sums = [0_u64; 32];
                for words in share.as_chunks::<32>().0 {
                    sums.iter_mut().zip(words).for_each(|(sum, word)| *sum ^= word);
                }
                black_box(sums);
            });
        }
    });
}

/// Median and least time of the steps that fit into `limit` seconds, at least three, after a first
/// one that does not count.
fn times(limit: f64, mut step: impl FnMut()) -> [f64; 2] {
    step();
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || begin.elapsed().as_secs_f64() < limit {
        let start = Instant::now();
        step();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[0]]
}
