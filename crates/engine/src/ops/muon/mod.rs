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

mod product;

#[cfg(test)]
mod tests;

use self::product::Shape;
use super::gradient_norm;
use crate::math::Real;
use crate::{Device, KernelPath, Tensor};

/// Passes of the polynomial, and what it multiplies `x`, `p x` and `p² x` with.
const PASSES: usize = 5;
const COEFFICIENTS: [f64; 3] = [3.4445, -4.775, 2.0315];

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
/// While it runs it takes memory for four copies of the matrix and two squares of its shorter
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
    assert!(rows * columns > 0, "a matrix [{rows}, {columns}]");
    let (weights, momentum) = (weights.values_mut(), momentum.values_mut());
    let memory = options.momentum;
    assert!((0.0..1.0).contains(&memory), "momentum {memory}: from 0 to below 1");
    let mut update = vec![0.0; rows * columns];
    for ((mean, &gradient), update) in momentum.iter_mut().zip(gradients.values()).zip(&mut update)
    {
        let brought = (1.0 - memory) * f64::from(gradient) * f64::from(gradient_factor);
        *mean = f32::rounded(memory * f64::from(*mean) + brought);
        *update = match options.form {
            Momentum::Plain => *mean,
            Momentum::Nesterov => f32::rounded(brought + memory * f64::from(*mean)),
        };
    }
    let update = orthogonal(device, &update, rows, columns);
    let keep = 1.0 - options.learning_rate * options.weight_decay;
    let rate = options.learning_rate * scale(options.scale, rows, columns);
    for (weight, &update) in weights.iter_mut().zip(&update) {
        *weight = f32::rounded(keep * f64::from(*weight) - rate * f64::from(update));
    }
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
fn orthogonal(device: &Device, x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let norm = gradient_norm::norm_of(device, [x]);
    if device.kernels() == KernelPath::Reference {
        let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let x = with_short_rows(&x, rows, columns, |x, shape| {
            newton_schulz(x, norm, shape, product::reference)
        });
        return x.into_iter().map(f32::rounded).collect();
    }
    let multiply = |out: &mut [f32], left: &[f32], right: &[f32], shape: Shape| {
        product::multiply(device, out, left, right, shape);
    };
    with_short_rows(x, rows, columns, |x, shape| newton_schulz(x, norm, shape, multiply))
}

/// Runs `work` on the matrix if it has no more rows than columns, else on its transpose.
fn with_short_rows<T: Real>(
    x: &[T],
    rows: usize,
    columns: usize,
    work: impl Fn(Vec<T>, [usize; 2]) -> Vec<T>,
) -> Vec<T> {
    if rows <= columns {
        return work(x.to_vec(), [rows, columns]);
    }
    transposed(&work(transposed(x, rows, columns), [columns, rows]), columns, rows)
}

fn transposed<T: Real>(x: &[T], rows: usize, columns: usize) -> Vec<T> {
    let at = |index: usize| x[index % rows * columns + index / rows];
    (0..rows * columns).map(at).collect()
}

/// Five passes over a matrix of this norm, `[rows, columns]` with `rows <= columns`.
fn newton_schulz<T: Real>(
    mut x: Vec<T>,
    norm: f64,
    [rows, columns]: [usize; 2],
    multiply: impl Fn(&mut [T], &[T], &[T], Shape),
) -> Vec<T> {
    let [a, b, c] = COEFFICIENTS;
    let zero = T::rounded(0.0);
    let (mut p, mut mixed) = (vec![zero; rows * rows], vec![zero; rows * rows]);
    let mut product = vec![zero; rows * columns];
    for x in &mut x {
        *x = T::rounded((*x).into() / norm.max(NORM_MIN));
    }
    for _ in 0..PASSES {
        let across = transposed(&x, rows, columns);
        multiply(&mut p, &x, &across, Shape { rows, inner: columns, columns: rows });
        multiply(&mut mixed, &p, &p, Shape { rows, inner: rows, columns: rows });
        for (mixed, &p) in mixed.iter_mut().zip(&p) {
            *mixed = T::rounded(b * p.into() + c * (*mixed).into());
        }
        multiply(&mut product, &mixed, &x, Shape { rows, inner: rows, columns });
        for (x, &product) in x.iter_mut().zip(&product) {
            *x = T::rounded(a * (*x).into() + product.into());
        }
    }
    x
}
