//! Products of activations with weights: `out[m, n] = Σ_k x[m, k] * weights[n, k] + bias[n]`, and
//! their gradients.
//!
//! - `d_x[m, k] = Σ_n d_out[m, n] * weights[n, k]` is a product, too: [`forward`] with a matrix that
//!   was written in [`Order::Columns`](crate::Order::Columns).
//! - `d_weights[n, k] += Σ_m d_out[m, n] * x[m, k]`: [`add_weight_gradient`].
//! - `d_bias[n] += Σ_m d_out[m, n]`: [`add_bias_gradient`].
//!
//! The last two are one chain over the rows that goes on from what the gradient holds, so a batch
//! may be cut into smaller ones, at even rows with bf16, and gives the same bits; nor do these
//! depend on the threads (`gradients_do_not_depend_on_cuts_or_threads`).
#![expect(clippy::cast_possible_truncation, reason = "sums in f64 are rounded to f32 once")]

use crate::{Device, KernelPath, Matrix, Tensor, cpu};

/// What happens to the values that the output holds already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// They are replaced.
    Overwrite,
    /// The product is added to them (a residual connection).
    Add,
}

/// What both operands of a product are rounded to; sums are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// They stay as they are.
    F32,
    /// Eight bits of significand.
    Bf16,
}

/// Multiplies every row of `x` with the matrix.
///
/// # Shapes
///
/// - `x`: `[rows, in_features]`
/// - `weights`: `[out_features, in_features]`
/// - `bias`: `[1, out_features]`
/// - `out`: `[rows, out_features]`
///
/// # Panics
///
/// Panics if the shapes differ.
pub fn forward(
    device: &Device,
    out: &mut Tensor,
    x: &Tensor,
    weights: &Matrix,
    bias: Option<&Tensor>,
    store: Store,
) {
    check_shapes(out, x, weights, bias);
    if device.kernels() == KernelPath::Reference {
        forward_reference(device, out, x, weights, bias, store);
    } else {
        cpu::matmul::forward(device, out, x, weights, bias, store);
    }
}

/// Adds to the gradient of weights: `d_weights[n, k] += Σ_m d_out[m, n] * x[m, k]`.
///
/// # Shapes
///
/// - `d_weights`: `[out_features, in_features]`, accumulated
/// - `d_out`: `[rows, out_features]`
/// - `x`: `[rows, in_features]`
///
/// # Panics
///
/// Panics if the shapes differ.
pub fn add_weight_gradient(
    device: &Device,
    d_weights: &mut Tensor,
    d_out: &Tensor,
    x: &Tensor,
    precision: Precision,
) {
    assert_eq!(d_out.rows(), x.rows(), "rows of d_out and of x");
    let shape = (d_out.columns(), x.columns());
    assert_eq!((d_weights.rows(), d_weights.columns()), shape, "shape of d_weights");
    if x.rows() == 0 || shape.0 == 0 || shape.1 == 0 {
        return;
    }
    if device.kernels() == KernelPath::Reference {
        weight_gradient_reference(device, d_weights, d_out, x);
    } else {
        cpu::matmul::add_weight_gradient(device, d_weights, d_out, x, precision);
    }
}

/// Adds to the gradient of a bias: `d_bias[n] += Σ_m d_out[m, n]`.
///
/// # Shapes
///
/// - `d_bias`: `[1, out_features]`, accumulated
/// - `d_out`: `[rows, out_features]`
///
/// # Panics
///
/// Panics if the shapes differ.
pub fn add_bias_gradient(device: &Device, d_bias: &mut Tensor, d_out: &Tensor) {
    let columns = d_out.columns();
    assert_eq!((d_bias.rows(), d_bias.columns()), (1, columns), "shape of d_bias");
    device.pool().for_chunks(d_bias.values_mut(), BIAS_TASK_COLUMNS, |task, d_bias| {
        let first = task * BIAS_TASK_COLUMNS;
        for row in 0..d_out.rows() {
            let d_out = &d_out.row(row)[first..first + d_bias.len()];
            d_bias.iter_mut().zip(d_out).for_each(|(sum, d_out)| *sum += d_out);
        }
    });
}

/// Columns of a bias that one task sums up.
const BIAS_TASK_COLUMNS: usize = 256;

fn check_shapes(out: &Tensor, x: &Tensor, weights: &Matrix, bias: Option<&Tensor>) {
    let (out_features, in_features) = (weights.out_features(), weights.in_features());
    assert_eq!(x.columns(), in_features, "columns of x and in_features of {weights:?}");
    assert_eq!(out.columns(), out_features, "columns of out and out_features of {weights:?}");
    assert_eq!(out.rows(), x.rows(), "rows of out and of x");
    if let Some(bias) = bias {
        assert_eq!((bias.rows(), bias.columns()), (1, out_features), "shape of the bias");
    }
}

/// The oracle: real-number weights, products of f32 summed in f64, rounded once.
fn forward_reference(
    device: &Device,
    out: &mut Tensor,
    x: &Tensor,
    weights: &Matrix,
    bias: Option<&Tensor>,
    store: Store,
) {
    let columns = out.columns();
    device.pool().for_columns(out.values_mut(), columns, 0..columns, 64, |mut strip| {
        let mut row = vec![0.0; weights.in_features()];
        for column in 0..strip.width() {
            let n = strip.first() + column;
            weights.read_row(n, &mut row);
            let bias = bias.map_or(0.0, |bias| f64::from(bias.row(0)[n]));
            for m in 0..x.rows() {
                let products = x.row(m).iter().zip(&row);
                let sum = products.map(|(&a, &w)| f64::from(a) * f64::from(w)).sum::<f64>();
                let target = &mut strip.row(m)[column];
                *target = match store {
                    Store::Overwrite => (sum + bias) as f32,
                    Store::Add => (f64::from(*target) + (sum + bias)) as f32,
                };
            }
        }
    });
}

/// The oracle: products of f32 summed in f64, rounded once.
fn weight_gradient_reference(device: &Device, d_weights: &mut Tensor, d_out: &Tensor, x: &Tensor) {
    device.pool().for_chunks(d_weights.values_mut(), x.columns(), |n, d_weights| {
        for (k, d_weight) in d_weights.iter_mut().enumerate() {
            let products =
                (0..x.rows()).map(|row| f64::from(d_out.row(row)[n]) * f64::from(x.row(row)[k]));
            *d_weight = (f64::from(*d_weight) + products.sum::<f64>()) as f32;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::half::{bf16_to_f32, f32_to_bf16};
    use crate::testing::{assert_close, device, numbers, paths, same_bits};
    use crate::{DeviceOptions, Dtype, KernelPath, MatrixPart, Order, dtype};

    #[test]
    fn bias_and_residual_are_added_once() {
        let options = DeviceOptions { kernels: Some(KernelPath::Reference), threads: None };
        let device = Device::cpu(&options).unwrap();
        let bytes = dtype::quantize_row(Dtype::F32, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let part = MatrixPart { dtype: Dtype::F32, out_features: 3, bytes: &bytes };
        let weights = Matrix::pack(&device, &[part], 2).unwrap();
        let x = Tensor::from_slice(&device, 2, 2, &[1.0, 0.0, 1.0, 1.0]);
        let bias = Tensor::from_slice(&device, 1, 3, &[10.0, 20.0, 30.0]);
        let mut out = Tensor::zeros(&device, 2, 3);
        forward(&device, &mut out, &x, &weights, Some(&bias), Store::Overwrite);
        assert_eq!(out.to_vec(), [11.0, 23.0, 35.0, 13.0, 27.0, 41.0]);
        forward(&device, &mut out, &x, &weights, None, Store::Add);
        assert_eq!(out.to_vec(), [12.0, 26.0, 40.0, 16.0, 34.0, 52.0]);
    }

    #[test]
    fn written_matrices_multiply_as_packed_ones_in_both_orders() {
        for path in paths().into_iter().chain([KernelPath::Reference]) {
            let device = device(path, 2);
            for dtype in [Dtype::F32, Dtype::Bf16] {
                for [out_features, in_features] in [[1, 1], [33, 67], [64, 128], [70, 31]] {
                    let values = numbers(7, out_features * in_features);
                    let bytes = dtype::quantize_row(dtype, &values).unwrap();
                    let part = MatrixPart { dtype, out_features, bytes: &bytes };
                    let packed = Matrix::pack(&device, &[part], in_features).unwrap();
                    let x =
                        Tensor::from_slice(&device, 5, in_features, &numbers(8, 5 * in_features));
                    let product = |weights: &Matrix| {
                        let mut out = Tensor::zeros(&device, 5, out_features);
                        forward(&device, &mut out, &x, weights, None, Store::Overwrite);
                        out.to_vec()
                    };
                    let transposed: Vec<f32> = (0..in_features * out_features)
                        .map(|i| values[i % out_features * in_features + i / out_features])
                        .collect();
                    let rows = Tensor::from_slice(&device, out_features, in_features, &values);
                    let columns =
                        Tensor::from_slice(&device, in_features, out_features, &transposed);
                    for (values, order) in [(&rows, Order::Rows), (&columns, Order::Columns)] {
                        let mut written = Matrix::zeros(dtype, out_features, in_features).unwrap();
                        // What was written before leaves no trace.
                        let mut nines = values.clone();
                        nines.values_mut().fill(9.0);
                        written.write(&device, &nines, order);
                        written.write(&device, values, order);
                        let what = format!("{dtype} [{out_features}, {in_features}] {order:?}");
                        assert!(same_bits(&product(&written), &product(&packed)), "{what}");
                    }
                }
            }
        }
    }

    /// The gradient of `Σ out ⊙ d_out` in `f64` by its definition, for any rounding of operands.
    fn expected(d_weights: &[f32], d_out: &Tensor, x: &Tensor, precision: Precision) -> Vec<f32> {
        let round = |v: f32| match precision {
            Precision::F32 => f64::from(v),
            Precision::Bf16 => f64::from(bf16_to_f32(f32_to_bf16(v))),
        };
        let (n, k) = (d_out.columns(), x.columns());
        let sum = |n: usize, k: usize| {
            (0..x.rows()).map(|m| round(d_out.row(m)[n]) * round(x.row(m)[k])).sum::<f64>()
        };
        (0..n * k).map(|i| (f64::from(d_weights[i]) + sum(i / k, i % k)) as f32).collect()
    }

    #[test]
    fn weight_gradients_follow_their_definition() {
        for [rows, out_features, in_features] in
            [[1, 1, 1], [2, 33, 31], [7, 5, 70], [64, 100, 96], [130, 13, 64], [301, 40, 33]]
        {
            for path in paths().into_iter().chain([KernelPath::Reference]) {
                let device = device(path, 2);
                let d_out = Tensor::from_slice(
                    &device,
                    rows,
                    out_features,
                    &numbers(1, rows * out_features),
                );
                let x =
                    Tensor::from_slice(&device, rows, in_features, &numbers(2, rows * in_features));
                let before = numbers(3, out_features * in_features);
                for precision in [Precision::F32, Precision::Bf16] {
                    if path == KernelPath::Reference && precision == Precision::Bf16 {
                        continue;
                    }
                    let mut d_weights =
                        Tensor::from_slice(&device, out_features, in_features, &before);
                    add_weight_gradient(&device, &mut d_weights, &d_out, &x, precision);
                    let expected = expected(&before, &d_out, &x, precision);
                    let what =
                        format!("{path} {precision:?} [{rows}, {out_features}, {in_features}]");
                    // A chain of 301 sums below 30 errs by far less than 301 * 30 * 2^-24.
                    assert_close(d_weights.values(), &expected, 3e-5, &what);
                }
            }
        }
    }

    #[test]
    fn gradients_do_not_depend_on_cuts_or_threads() {
        let (rows, out_features, in_features) = (96, 50, 75);
        let d_out = numbers(4, rows * out_features);
        let x = numbers(5, rows * in_features);
        for path in paths() {
            for precision in [Precision::F32, Precision::Bf16] {
                let run = |threads: usize, step: usize| {
                    let device = device(path, threads);
                    let mut d_weights = Tensor::zeros(&device, out_features, in_features);
                    d_weights.upload(0, &numbers(6, out_features * in_features));
                    let mut d_bias =
                        Tensor::from_slice(&device, 1, out_features, &numbers(7, out_features));
                    let d_out = d_out.chunks(step * out_features);
                    for (d_out, x) in d_out.zip(x.chunks(step * in_features)) {
                        let rows = x.len() / in_features;
                        let d_out = Tensor::from_slice(&device, rows, out_features, d_out);
                        let x = Tensor::from_slice(&device, rows, in_features, x);
                        add_weight_gradient(&device, &mut d_weights, &d_out, &x, precision);
                        add_bias_gradient(&device, &mut d_bias, &d_out);
                    }
                    [d_weights.to_vec(), d_bias.to_vec()].concat()
                };
                let whole = run(1, rows);
                for (threads, step) in [(2, rows), (3, 32), (1, 2), (2, 38)] {
                    let same = same_bits(&run(threads, step), &whole);
                    assert!(same, "{path} {precision:?}: {threads} threads, {step} rows");
                }
            }
        }
    }

    /// `d_x` by a matrix written in columns, against finite differences of the reference.
    #[test]
    fn input_gradients_are_slopes_of_the_reference() {
        let device = device(KernelPath::Reference, 1);
        let (rows, out_features, in_features) = (3, 5, 7);
        let values = numbers(1, out_features * in_features);
        let weights = Tensor::from_slice(&device, out_features, in_features, &values);
        let mut transposed = Matrix::zeros(Dtype::F32, in_features, out_features).unwrap();
        transposed.write(&device, &weights, Order::Columns);
        let x = numbers(2, rows * in_features);
        let d_out =
            Tensor::from_slice(&device, rows, out_features, &numbers(3, rows * out_features));
        let mut d_x = Tensor::zeros(&device, rows, in_features);
        forward(&device, &mut d_x, &d_out, &transposed, None, Store::Overwrite);
        // The product is linear in `x`, so the slope is the value at a unit step.
        let loss = |x: &[f64]| {
            let out = |m: usize, n: usize| {
                let row = &x[m * in_features..][..in_features];
                let weights = &values[n * in_features..][..in_features];
                row.iter().zip(weights).map(|(x, &w)| x * f64::from(w)).sum::<f64>()
            };
            let places = (0..rows).flat_map(|m| (0..out_features).map(move |n| (m, n)));
            places.map(|(m, n)| out(m, n) * f64::from(d_out.row(m)[n])).sum::<f64>()
        };
        for (i, d_x) in d_x.to_vec().into_iter().enumerate() {
            let at = |step: f64| {
                let mut x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
                x[i] += step;
                loss(&x)
            };
            let slope = (at(0.5) - at(-0.5)) as f32;
            assert!((slope - d_x).abs() <= 1e-6, "[{i}]: {slope} and {d_x}");
        }
    }
}
