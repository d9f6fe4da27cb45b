//! Muon: the momentum of a matrix of weights, made nearly orthogonal, is the step.
//!
//! With `g = gradient * gradient_factor`: `m = momentum m + (1 - momentum) g`;
//! `u = (1 - momentum) g + momentum m` (Nesterov) or `m`;
//! `w = w - rate * decay * w - rate * scale * orthogonal(u)`.
//!
//! `orthogonal(u)` divides by the norm and goes five times through `x = a x + (b p + c p²) x` with
//! `p = x xᵀ`: singular values between about 0.003 and 1 end between 0.7 and 1.2. The shorter side
//! stands in the rows.
//!
//! Every sum is one chain, so the number of threads changes no bit (`threads_change_no_bit`). The
//! polynomial multiplies small singular values, and what products in `f32` lost of them, by up to
//! 3.4445^5 = 485.
//!
//! Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024,
//! <https://kellerjordan.github.io/posts/muon/>; `torch.optim.Muon`, which computes in bf16 where
//! this computes in `f32`.

#[cfg(test)]
mod tests;

use super::gradient_norm;
use super::matmul::{self, Precision};
use crate::math::Real;
use crate::{Device, KernelPath, Tensor};

/// Passes of the polynomial, and what it multiplies `x`, `p x` and `p² x` with.
const PASSES: usize = 5;
const COEFFICIENTS: [f64; 3] = [3.4445, -4.775, 2.0315];

/// Values of a task.
const TASK_VALUES: usize = 16_384;
/// Columns of a task that transposes: a line of the cache.
const TASK_COLUMNS: usize = 16;

/// The smallest norm that is divided by.
const NORM_MIN: f64 = 1e-7;

/// Whether a step looks ahead along the momentum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Momentum {
    /// The step follows the momentum.
    Plain,
    /// The step follows the mean of the gradient and the new momentum.
    Nesterov,
}

/// What the orthogonal matrix is multiplied with, by the shape of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MuonScale {
    /// `sqrt(max(1, rows / columns))`, the author's.
    Original,
    /// `0.2 * sqrt(max(rows, columns))`: changes as large as AdamW's, so that it can take the same
    /// learning rate and decay (Liu et al. 2025, arXiv:2502.16982).
    AdamW,
}

/// How a matrix follows its gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonOptions {
    /// The step's length, before the scale.
    pub learning_rate: f64,
    /// Memory of the mean of gradients, from 0 to below 1; usually 0.95.
    pub momentum: f64,
    /// How the mean is used.
    pub form: Momentum,
    /// What the step is multiplied with.
    pub scale: MuonScale,
    /// Share of a weight, times the learning rate, that goes in each step.
    pub weight_decay: f64,
}

/// A matrix with its momentum, which begins as zeros.
#[derive(Debug)]
pub struct MuonState<'a> {
    /// `[output features, input features]`.
    pub weights: &'a mut Tensor,
    /// Running mean of the gradients, of the same shape.
    pub momentum: &'a mut Tensor,
}

/// Moves the matrix by one step; weights and momentum are overwritten.
///
/// While it runs it takes memory for some five copies of the matrix and two squares of its shorter
/// side.
///
/// # Panics
///
/// Panics if the shapes differ or have a 0, or the momentum is not below 1.
pub fn step(
    device: &Device,
    options: &MuonOptions,
    state: MuonState<'_>,
    gradients: &Tensor,
    gradient_factor: f32,
) {
    let MuonState { weights, momentum } = state;
    let shape = |tensor: &Tensor| [tensor.rows(), tensor.columns()];
    let [rows, columns] = shape(weights);
    let shapes = [shape(momentum), shape(gradients)];
    assert_eq!(shapes, [[rows, columns]; 2], "momentum and gradients of [{rows}, {columns}]");
    let memory = options.momentum;
    assert!((0.0..1.0).contains(&memory), "momentum {memory}: from 0 to below 1");
    assert!(rows * columns > 0, "a matrix [{rows}, {columns}]");
    let brought = |gradient: f64| (1.0 - memory) * gradient * f64::from(gradient_factor);
    combine(device, momentum, gradients, |mean, gradient| memory * mean + brought(gradient));
    let mut update = momentum.clone();
    if options.form == Momentum::Nesterov {
        combine(device, &mut update, gradients, |mean, gradient| brought(gradient) + memory * mean);
    }
    let update = orthogonal(device, update);
    let keep = 1.0 - options.learning_rate * options.weight_decay;
    let rate = options.learning_rate * scale(options.scale, rows, columns);
    combine(device, weights, &update, |weight, update| keep * weight - rate * update);
}

#[expect(clippy::cast_precision_loss, reason = "features have far fewer than 53 bits")]
fn scale(scale: MuonScale, rows: usize, columns: usize) -> f64 {
    let (rows, columns) = (rows as f64, columns as f64);
    match scale {
        MuonScale::Original => (rows / columns).max(1.0).sqrt(),
        MuonScale::AdamW => 0.2 * rows.max(columns).sqrt(),
    }
}

/// The nearly orthogonal matrix of the same rows and columns.
fn orthogonal(device: &Device, x: Tensor) -> Tensor {
    let is_tall = x.rows() > x.columns();
    let norm = gradient_norm::norm(device, [&x]).max(NORM_MIN);
    let mut x = if is_tall { transposed(device, &x) } else { x };
    if device.kernels() == KernelPath::Reference {
        reference(&mut x, norm);
    } else {
        newton_schulz(device, &mut x, norm);
    }
    if is_tall { transposed(device, &x) } else { x }
}

/// Five passes over a matrix of this norm with no more rows than columns.
///
/// Products are made as gradients of weights are, `leftᵀ right`: `p` and what is mixed of it equal
/// their transposes to the bit, because both orders of a product's factors give the same bits.
fn newton_schulz(device: &Device, x: &mut Tensor, norm: f64) {
    let [a, b, c] = COEFFICIENTS;
    let rows = x.rows();
    let mut p = Tensor::zeros(device, rows, rows);
    let mut mixed = p.clone();
    let mut product = x.clone();
    let multiply = |out: &mut Tensor, left: &Tensor, right: &Tensor| {
        out.clear(device);
        matmul::add_weight_gradient(device, out, left, right, Precision::F32);
    };
    combine(device, x, &product, |x, _| x / norm);
    for _ in 0..PASSES {
        let across = transposed(device, x);
        multiply(&mut p, &across, &across);
        multiply(&mut mixed, &p, &p);
        combine(device, &mut mixed, &p, |square, p| b * p + c * square);
        multiply(&mut product, &mixed, x);
        combine(device, x, &product, |x, product| a * x + product);
    }
}

/// The oracle: the same in `f64`, rounded once.
fn reference(x: &mut Tensor, norm: f64) {
    let [a, b, c] = COEFFICIENTS;
    let (rows, columns) = (x.rows(), x.columns());
    let mut values: Vec<f64> = x.values().iter().map(|&x| f64::from(x) / norm).collect();
    for _ in 0..PASSES {
        let x = |row: usize, column: usize| values[row * columns + column];
        let p = product([rows, columns, rows], x, |k, n| x(n, k));
        let p = |row: usize, column: usize| p[row * rows + column];
        let square = product([rows; 3], p, p);
        let mixed = |m: usize, k: usize| b * p(m, k) + c * square[m * rows + k];
        let product = product([rows, rows, columns], mixed, x);
        values.iter_mut().zip(product).for_each(|(x, product)| *x = a * *x + product);
    }
    x.values_mut().iter_mut().zip(values).for_each(|(x, value)| *x = f32::rounded(value));
}

/// `Σ_k left(m, k) * right(k, n)`.
fn product(
    [rows, inner, columns]: [usize; 3],
    left: impl Fn(usize, usize) -> f64,
    right: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let sum = |m: usize, n: usize| (0..inner).map(|k| left(m, k) * right(k, n)).sum();
    (0..rows * columns).map(|index| sum(index / columns, index % columns)).collect()
}

/// `value = with(value, other)` for all values of two tensors of one shape.
fn combine(
    device: &Device,
    values: &mut Tensor,
    others: &Tensor,
    with: impl Fn(f64, f64) -> f64 + Sync,
) {
    device.pool().for_chunks(values.values_mut(), TASK_VALUES, |task, values| {
        let others = &others.values()[task * TASK_VALUES..];
        for (value, &other) in values.iter_mut().zip(others) {
            *value = f32::rounded(with(f64::from(*value), f64::from(other)));
        }
    });
}

/// Rows become columns.
fn transposed(device: &Device, x: &Tensor) -> Tensor {
    let (rows, columns) = (x.rows(), x.columns());
    let mut out = Tensor::zeros(device, columns, rows);
    device.pool().for_chunks(out.values_mut(), TASK_COLUMNS * rows, |task, out| {
        for row in 0..rows {
            let values = &x.row(row)[task * TASK_COLUMNS..];
            for (out, value) in out.iter_mut().skip(row).step_by(rows).zip(values) {
                *out = *value;
            }
        }
    });
    out
}
