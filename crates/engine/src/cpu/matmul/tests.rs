//! Every kernel path against a slow model of the same arithmetic, to the bit.
#![expect(clippy::cast_possible_truncation, reason = "activations are rounded to bytes")]

use std::num::NonZeroUsize;

use super::Product;
use super::kernels::{BlockScales, Blocks, Columns, Form, Kernels, Quants};
use crate::dtype::half::{bf16_to_f32, f16_to_f32, f32_to_bf16};
use crate::dtype::testing::{Bits, random_rows};
use crate::matrix::blocks;
use crate::matrix::layout::ColumnBlock;
use crate::ops::matmul::{self, Store};
use crate::{Device, DeviceOptions, Dtype, KernelPath, Matrix, MatrixPart, Tensor, dtype};

const FAST: [KernelPath; 3] = [KernelPath::Portable, KernelPath::Avx2, KernelPath::Avx512];

fn device(kernels: KernelPath, threads: usize) -> Device {
    let options = DeviceOptions { threads: NonZeroUsize::new(threads), kernels: Some(kernels) };
    Device::cpu(&options).unwrap()
}

/// Activations of mixed sizes, with a block of zeros and one that is negligible.
fn activations(rows: usize, columns: usize, seed: u64) -> Vec<f32> {
    let mut bits = Bits(seed);
    let mut x: Vec<f32> = (0..rows * columns).map(|_| bits.signed()).collect();
    for (b, block) in x.chunks_mut(32).enumerate() {
        let size = [1.0, 30.0, 0.0, 1e-3, 1e-35][b % 5];
        block.iter_mut().for_each(|v| *v *= size);
    }
    x
}

/// `a * b + c`, rounded once on the vector paths and twice on the portable one.
fn multiply_add(kernels: KernelPath, a: f32, b: f32, c: f32) -> f32 {
    if kernels == KernelPath::Portable { a * b + c } else { a.mul_add(b, c) }
}

/// One output, by the formulas at the top of `quantized.rs` and `activations.rs`.
fn quantized_output(kernels: KernelPath, dtype: Dtype, stored: &[u8], x: &[f32]) -> f32 {
    let mut sum = 0.0_f32;
    for (b, x) in x.chunks_exact(32).enumerate() {
        add_block(kernels, dtype, &blocks::read(dtype, stored, b), x, &mut sum);
    }
    sum
}

/// Adds a block's product.
fn add_block(kernels: KernelPath, dtype: Dtype, block: &ColumnBlock, x: &[f32], sum: &mut f32) {
    let peak = x.iter().fold(0.0_f32, |peak, v| peak.max(v.abs()));
    let negligible = peak < 2.0_f32.powi(-100);
    let (scale, inverse) = if negligible { (0.0, 0.0) } else { (peak / 32512.0, 32512.0 / peak) };
    let quant = |v: &f32| (v * inverse).round_ties_even() as i64;
    // A lower byte of -128 is avoided.
    let a: Vec<i64> =
        x.iter().map(quant).map(|a| a + i64::from(a.rem_euclid(256) == 128)).collect();
    let (d, min) = (f16_to_f32(block.d), f16_to_f32(block.min));
    let (offset, scales, min) = match dtype {
        Dtype::Q8_0 => (128, vec![d], None),
        Dtype::Q4_0 => (8, vec![d], None),
        Dtype::Q5_0 => (16, vec![d], None),
        Dtype::Q4_1 | Dtype::Q5_1 => (0, vec![d], Some(min)),
        Dtype::Q6K => (32, block.group.map(|s| d * f32::from(s.cast_signed())).to_vec(), None),
        _ => (0, vec![d * f32::from(block.group[0])], Some(-min * f32::from(block.group[1]))),
    };
    let depth = 32 / scales.len();
    for (part, weight_scale) in scales.iter().enumerate() {
        let range = part * depth..(part + 1) * depth;
        let total: i64 = range.map(|k| (i64::from(block.quants[k]) - offset) * a[k]).sum();
        *sum = multiply_add(kernels, weight_scale * scale, total as f32, *sum);
    }
    if let Some(min) = min {
        *sum = multiply_add(kernels, min, scale * a.iter().sum::<i64>() as f32, *sum);
    }
}

/// One output, by the contract at the top of `float.rs`.
fn float_output(kernels: KernelPath, dtype: Dtype, stored: &[u8], x: &[f32]) -> f32 {
    let mut weights = vec![0.0; x.len()];
    dtype::dequantize_row(dtype, stored, &mut weights);
    let mut sum = 0.0;
    if dtype != Dtype::Bf16 {
        for (w, x) in weights.iter().zip(x) {
            sum = multiply_add(kernels, *w, *x, sum);
        }
        return sum;
    }
    for (w, x) in weights.chunks(2).zip(x.chunks(2)) {
        for k in (0..w.len()).rev() {
            sum = multiply_add(kernels, w[k], bf16_to_f32(f32_to_bf16(x[k])), sum);
        }
    }
    sum
}

/// A product of random operands on a path, and the same from the slow model.
fn product_and_model(
    device: &Device,
    dtype: Dtype,
    [rows, out_features, in_features]: [usize; 3],
) -> (Vec<f32>, Vec<f32>) {
    let bytes = random_rows(dtype, out_features, in_features, 3);
    let part = MatrixPart { dtype, out_features, bytes: &bytes };
    let weights = Matrix::pack(device, &[part], in_features).unwrap();
    let values = activations(rows, in_features, 5);
    let x = Tensor::from_slice(device, rows, in_features, &values);
    let mut out = Tensor::zeros(device, rows, out_features);
    matmul::forward(device, &mut out, &x, &weights, None, Store::Overwrite);

    let row_bytes = bytes.len() / out_features;
    let mut model = Vec::new();
    for x in values.chunks_exact(in_features) {
        for stored in bytes.chunks_exact(row_bytes) {
            let quantized = dtype.block_elements() > 1;
            let output = if quantized { quantized_output } else { float_output };
            model.push(output(device.kernels(), dtype, stored, x));
        }
    }
    (out.to_vec(), model)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn products_equal_the_slow_model_to_the_bit() {
    for kernels in FAST.into_iter().filter(|path| path.is_supported()) {
        let device = device(kernels, 2);
        for dtype in Dtype::ALL {
            let block = dtype.block_elements();
            let sizes = if block == 1 { [1, 67, 160] } else { [block, 3 * block, 512] };
            for in_features in sizes {
                for (rows, out_features) in [(1, 1), (1, 70), (2, 32), (7, 33), (17, 64), (40, 31)]
                {
                    let shape = [rows, out_features, in_features];
                    let (product, model) = product_and_model(&device, dtype, shape);
                    assert!(product.iter().all(|v| v.is_finite()));
                    assert_eq!(bits(&product), bits(&model), "{kernels} {dtype} {shape:?}");
                }
            }
        }
    }
}

/// The way of processors with a bf16 instruction, on any processor: pairs as they lie, with the
/// instruction's sums written out.
#[derive(Clone, Copy)]
struct Pairs;

impl Kernels for Pairs {
    const TILE_ROWS: usize = 1;
    const FLOAT_TILE_ROWS: usize = 5;

    fn quantize(self, _: &[f32], _: Form, _: &mut [i32], _: usize) {}

    fn expand(self, _: Dtype, _: &[u8], _: usize, _: &mut [BlockScales], _: &mut [Quants]) {}

    fn tile(self, _: Form, _: Blocks<'_>, _: &[i32], _: &mut [Columns]) {}

    fn expand_floats(self, _: Dtype, _: &[u8], _: usize, _: &mut [Columns]) {}

    fn float_tile(self, _: &[Columns], _: &[u8], _: &[f32], _: &mut [Columns]) {}

    fn multiplies_pairs(self) -> bool {
        true
    }
}

#[test]
fn pairs_of_bf16_sum_as_single_values_do() {
    for [rows, out_features, in_features] in [[1, 33, 1], [7, 40, 67], [30, 32, 600]] {
        let device = device(KernelPath::Portable, 2);
        let bytes = random_rows(Dtype::Bf16, out_features, in_features, 29);
        let part = MatrixPart { dtype: Dtype::Bf16, out_features, bytes: &bytes };
        let weights = Matrix::pack(&device, &[part], in_features).unwrap();
        let values = activations(rows, in_features, 31);
        let x = Tensor::from_slice(&device, rows, in_features, &values);
        let mut out = Tensor::zeros(&device, rows, out_features);
        let part = &weights.parts()[0];
        let store = Store::Overwrite;
        Product { device: &device, x: &x, part, bias: None, store }.run(Pairs, &mut out);
        for (m, x) in values.chunks_exact(in_features).enumerate() {
            for (n, stored) in bytes.chunks_exact(2 * in_features).enumerate() {
                let model = float_output(KernelPath::Avx512, Dtype::Bf16, stored, x);
                assert_eq!(out.row(m)[n].to_bits(), model.to_bits(), "[{m}, {n}]");
            }
        }
    }
}

#[test]
fn every_tile_of_rows_gives_the_bits_of_a_row_alone() {
    let in_features = 512;
    for kernels in FAST.into_iter().filter(|path| path.is_supported()) {
        for dtype in [Dtype::Q8_0, Dtype::Q4_1, Dtype::Q6K, Dtype::Bf16, Dtype::F16] {
            let (one, two) = (device(kernels, 1), device(kernels, 2));
            let bytes = random_rows(dtype, 70, in_features, 11);
            let part = MatrixPart { dtype, out_features: 70, bytes: &bytes };
            let weights = Matrix::pack(&one, &[part], in_features).unwrap();
            let values = activations(50, in_features, 13);
            let run = |device: &Device, range: std::ops::Range<usize>| {
                let values = &values[range.start * in_features..range.end * in_features];
                let x = Tensor::from_slice(device, range.len(), in_features, values);
                let mut out = Tensor::zeros(device, range.len(), 70);
                matmul::forward(device, &mut out, &x, &weights, None, Store::Overwrite);
                bits(&out.to_vec())
            };
            let alone: Vec<Vec<u32>> = (0..50).map(|row| run(&one, row..row + 1)).collect();
            for rows in (1..=17).chain([24, 25, 50]) {
                assert_eq!(run(&two, 0..rows), alone[..rows].concat(), "{kernels} {dtype} {rows}");
            }
        }
    }
}

#[test]
fn vector_paths_agree_with_each_other() {
    if !KernelPath::Avx512.is_supported() {
        return;
    }
    let (avx2, avx512) = (device(KernelPath::Avx2, 1), device(KernelPath::Avx512, 1));
    for dtype in Dtype::ALL {
        let shape = [5, 40, 768];
        let (a, _) = product_and_model(&avx2, dtype, shape);
        let (b, _) = product_and_model(&avx512, dtype, shape);
        assert_eq!(bits(&a), bits(&b), "{dtype}");
    }
}

/// With quantized weights, activations lose up to half of 1/32512 of their block's peak, evenly:
/// about 1/80,000 of the root of the sum of squares. With bf16 they keep 8 bits, which leaves about
/// 1/600. One byte an activation would leave 1/300.
#[test]
fn products_stay_near_the_reference() {
    for kernels in FAST.into_iter().filter(|path| path.is_supported()) {
        for dtype in Dtype::ALL {
            let bound = if dtype == Dtype::Bf16 { 300.0 } else { 10_000.0 };
            let shape = [3, 33, 512];
            let (fast, _) = product_and_model(&device(kernels, 2), dtype, shape);
            let (exact, _) = product_and_model(&device(KernelPath::Reference, 2), dtype, shape);
            let size = exact.iter().map(|v| v * v).sum::<f32>().sqrt();
            let error = fast.iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
            assert!(error <= size / bound, "{kernels} {dtype}: {error} of {size}");
        }
    }
}

#[test]
fn stacked_parts_bias_and_residual_land_in_their_columns() {
    let in_features = 256;
    let kinds = [(Dtype::Q4_0, 40), (Dtype::Q4_0, 8), (Dtype::Bf16, 35), (Dtype::Q6K, 33)];
    let stored: Vec<Vec<u8>> =
        kinds.iter().map(|&(dtype, rows)| random_rows(dtype, rows, in_features, 17)).collect();
    let parts: Vec<MatrixPart<'_>> = kinds
        .iter()
        .zip(&stored)
        .map(|(&(dtype, out_features), bytes)| MatrixPart { dtype, out_features, bytes })
        .collect();
    for kernels in FAST.into_iter().filter(|path| path.is_supported()) {
        let device = device(kernels, 2);
        let x = Tensor::from_slice(&device, 3, in_features, &activations(3, in_features, 19));
        let product = |parts: &[MatrixPart<'_>]| {
            let weights = Matrix::pack(&device, parts, in_features).unwrap();
            let mut out = Tensor::zeros(&device, 3, weights.out_features());
            matmul::forward(&device, &mut out, &x, &weights, None, Store::Overwrite);
            out
        };
        let separate: Vec<Tensor> = parts.iter().map(|part| product(&[*part])).collect();
        let together = product(&parts);
        let bias: Vec<f32> = (0..together.columns()).map(|n| n as f32).collect();
        let bias = Tensor::from_slice(&device, 1, together.columns(), &bias);
        let weights = Matrix::pack(&device, &parts, in_features).unwrap();
        let mut added = Tensor::from_slice(&device, 3, bias.columns(), &bias.to_vec().repeat(3));
        matmul::forward(&device, &mut added, &x, &weights, Some(&bias), Store::Add);
        for m in 0..3 {
            let row: Vec<f32> = separate.iter().flat_map(|out| out.row(m)).copied().collect();
            assert_eq!(bits(together.row(m)), bits(&row), "{kernels}");
            let sums: Vec<f32> = row.iter().zip(bias.row(0)).map(|(v, b)| b + (v + b)).collect();
            assert_eq!(bits(added.row(m)), bits(&sums), "{kernels}");
        }
    }
}

#[test]
fn hostile_scales_and_activations_neither_panic_nor_vanish() {
    for kernels in FAST.into_iter().filter(|path| path.is_supported()) {
        let device = device(kernels, 1);
        for dtype in Dtype::ALL {
            let bytes = vec![0xff; dtype.row_bytes(256).unwrap() * 33];
            let part = MatrixPart { dtype, out_features: 33, bytes: &bytes };
            let weights = Matrix::pack(&device, &[part], 256).unwrap();
            let x = Tensor::from_slice(&device, 1, 256, &[1.0; 256]);
            let mut out = Tensor::zeros(&device, 1, 33);
            matmul::forward(&device, &mut out, &x, &weights, None, Store::Overwrite);
            assert!(out.to_vec().iter().all(|v| v.is_nan()), "{kernels} {dtype}");
        }
        let bytes = random_rows(Dtype::Q8_0, 2, 64, 23);
        let part = MatrixPart { dtype: Dtype::Q8_0, out_features: 2, bytes: &bytes };
        let weights = Matrix::pack(&device, &[part], 64).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; 64];
            x[40] = bad;
            let x = Tensor::from_slice(&device, 1, 64, &x);
            let mut out = Tensor::zeros(&device, 1, 2);
            matmul::forward(&device, &mut out, &x, &weights, None, Store::Overwrite);
            assert!(out.to_vec().iter().all(|v| !v.is_finite()), "{kernels} {bad}");
        }
    }
}
