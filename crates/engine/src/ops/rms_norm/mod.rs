//! RMSNorm: `out[c] = x[c] / sqrt(mean(x²) + epsilon) * weight[c]`, the mean over the row's own
//! values.
//!
//! Backward, with `r = 1 / sqrt(mean(x²) + epsilon)` and `dot = Σ_c d_out[c] * weight[c] * x[c]`:
//! `d_x[c] = r * weight[c] * d_out[c] - r³ * dot / columns * x[c]` and
//! `d_weight[c] += d_out[c] * x[c] * r`.
//!
//! Each row stands alone: its bits do not depend on its batch mates, on chunking or on the threads
//! (`rows_stand_alone`). The squares are summed in a fixed order of lanes, in `f32`; the
//! reference sums in `f64`. The gradient of the weight is one chain in token order that goes on
//! from what is there, so a batch in parts gives the same bits
//! (`parts_of_a_batch_and_threads_change_no_bit`).
//!
//! Source: Zhang and Sennrich, "Root mean square layer normalization", 2019, arXiv:1910.07467; the
//! per-head form is the q/k norm of Qwen3.

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::cpu::{lanes, rms_norm};
use crate::math::Real;
use crate::ops::matmul::Store;
use crate::ops::rows_per_task;
use crate::{Device, KernelPath, Tensor};

/// Normalizes every row of `x`.
///
/// # Shapes
///
/// - `x`, `out`: `[rows, columns]`
/// - `weight`: `[1, columns]`
///
/// # Panics
///
/// Panics if the shapes differ.
pub fn forward(device: &Device, out: &mut Tensor, x: &Tensor, weight: &Tensor, epsilon: f32) {
    let columns = x.columns();
    assert_eq!((out.rows(), out.columns()), (x.rows(), columns), "shapes of out and x");
    assert_eq!((weight.rows(), weight.columns()), (1, columns), "shape of the weight");
    let run = rows_per_task(columns) * columns.max(1);
    let (values, weight) = (x.values(), weight.row(0));
    device.pool().for_chunks(out.values_mut(), run, |task, out| {
        out.copy_from_slice(&values[task * run..][..out.len()]);
        normalize(device.kernels(), out, weight, epsilon);
    });
}

/// Normalizes, in place, every head in some columns of every row.
///
/// # Shapes
///
/// - `x`: `[rows, …]`, with heads of `head_size` side by side in `columns`
/// - `weight`: `[1, head_size]`, the same for all heads
///
/// # Panics
///
/// Panics if `columns` are not whole heads of `x`.
pub fn forward_heads(
    device: &Device,
    x: &mut Tensor,
    columns: Range<usize>,
    weight: &Tensor,
    epsilon: f32,
) {
    let (width, head_size) = (x.columns(), weight.columns());
    assert_eq!(weight.rows(), 1, "rows of the weight");
    assert!(columns.end <= width, "columns {columns:?} of {width}");
    assert!(columns.len().is_multiple_of(head_size), "{columns:?} in heads of {head_size}");
    let (run, weight) = (rows_per_task(columns.len()) * width, weight.row(0));
    device.pool().for_chunks(x.values_mut(), run, |_, rows| {
        for row in rows.chunks_exact_mut(width) {
            normalize(device.kernels(), &mut row[columns.clone()], weight, epsilon);
        }
    });
}

/// Normalizes every run of `weight.len()` values.
fn normalize(path: KernelPath, values: &mut [f32], weight: &[f32], epsilon: f32) {
    match path {
        KernelPath::Reference => {
            values.chunks_exact_mut(weight.len()).for_each(|x| reference(x, weight, epsilon));
        }
        _ => lanes::run(path, rms_norm::RmsNorm { values, weight, epsilon }),
    }
}

fn reference<T: Real>(x: &mut [T], weight: &[T], epsilon: f32) {
    let root = root_mean_square(x, epsilon);
    for (x, &weight) in x.iter_mut().zip(weight) {
        *x = T::rounded((*x).into() / root * weight.into());
    }
}

#[expect(clippy::cast_precision_loss, reason = "a row has far fewer than 2^52 values")]
fn root_mean_square<T: Real>(x: &[T], epsilon: f32) -> f64 {
    let squares = x.iter().map(|&x| x.into() * x.into()).sum::<f64>();
    (squares / x.len() as f64 + f64::from(epsilon)).sqrt()
}

/// Channels of the weight's gradient that are worth a task, over all rows.
const TASK_CHANNELS: usize = 32;

/// What a forward pass was given.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[rows, columns]`, before it was normalized.
    pub x: &'a Tensor,
    /// `[1, columns]`, or `[1, head_size]`.
    pub weight: &'a Tensor,
    /// As in the forward pass.
    pub epsilon: f32,
}

/// Where a backward pass leaves the gradients.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// `[rows, columns]`; `store` says what happens to the values that it holds.
    pub d_x: &'a mut Tensor,
    /// Whether `d_x` is replaced or added to (the gradient that comes past the norm, along the
    /// residual stream).
    pub store: Store,
    /// `[1, columns]`, always added to; none where the weight is not trained.
    pub d_weight: Option<&'a mut Tensor>,
}

/// The gradients of [`forward`].
///
/// # Shapes
///
/// - `d_out`: `[rows, columns]`
///
/// # Panics
///
/// Panics if the shapes differ.
pub fn backward(device: &Device, gradients: Gradients<'_>, d_out: &Tensor, inputs: &Inputs<'_>) {
    let Gradients { d_x, store, d_weight } = gradients;
    let (rows, columns) = (inputs.x.rows(), inputs.x.columns());
    assert_eq!((d_out.rows(), d_out.columns()), (rows, columns), "shapes of d_out and x");
    assert_eq!((d_x.rows(), d_x.columns()), (rows, columns), "shapes of d_x and x");
    check_weight(inputs.weight, d_weight.as_deref(), columns);
    let roots = inverse_roots(device, inputs, &(0..columns));
    if let Some(d_weight) = d_weight {
        weight_gradient(device, d_weight, d_out, inputs, (&(0..columns), &roots));
    }
    let rows_per_task = rows_per_task(columns);
    device.pool().for_chunks(d_x.values_mut(), rows_per_task * columns.max(1), |task, d_x| {
        for (index, d_x) in d_x.chunks_exact_mut(columns).enumerate() {
            let row = task * rows_per_task + index;
            let (d_out, x) = (d_out.row(row), inputs.x.row(row));
            let run = Run { d_out, x, weight: inputs.weight.row(0), epsilon: inputs.epsilon };
            input_gradient(device.kernels(), d_x, store, &run, roots[row]);
        }
    });
}

/// The gradients of [`forward_heads`], in place: `d_heads` comes with the gradients of the
/// normalized heads in its `columns` and leaves with those of the heads before; its other columns
/// stay as they are.
///
/// The chain of `d_weight` runs over the tokens in order, and over the heads of each.
///
/// # Shapes
///
/// - `d_heads`, `inputs.x`: `[rows, …]`, with heads of `head_size` side by side in `columns`
/// - `d_weight`: `[1, head_size]`, added to; none where the weight is not trained
///
/// # Panics
///
/// Panics if the shapes differ or `columns` are not whole heads.
pub fn backward_heads(
    device: &Device,
    d_heads: &mut Tensor,
    columns: Range<usize>,
    d_weight: Option<&mut Tensor>,
    inputs: &Inputs<'_>,
) {
    let (width, head_size) = (inputs.x.columns(), inputs.weight.columns());
    let shape = (inputs.x.rows(), width);
    assert_eq!((d_heads.rows(), d_heads.columns()), shape, "shapes of d_heads and x");
    assert!(columns.end <= width, "columns {columns:?} of {width}");
    assert!(columns.len().is_multiple_of(head_size), "{columns:?} in heads of {head_size}");
    check_weight(inputs.weight, d_weight.as_deref(), head_size);
    let roots = inverse_roots(device, inputs, &columns);
    if let Some(d_weight) = d_weight {
        weight_gradient(device, d_weight, d_heads, inputs, (&columns, &roots));
    }
    let (heads, rows_per_task) = (columns.len() / head_size, rows_per_task(columns.len()));
    device.pool().for_chunks(d_heads.values_mut(), rows_per_task * width, |task, rows| {
        let mut d_out = vec![0.0; head_size];
        for (index, row) in rows.chunks_exact_mut(width).enumerate() {
            let token = task * rows_per_task + index;
            let x = inputs.x.row(token)[columns.clone()].chunks_exact(head_size);
            let d_heads = row[columns.clone()].chunks_exact_mut(head_size);
            for ((d_x, x), &root) in d_heads.zip(x).zip(&roots[token * heads..]) {
                d_out.copy_from_slice(d_x);
                let (weight, epsilon) = (inputs.weight.row(0), inputs.epsilon);
                let run = Run { d_out: &d_out, x, weight, epsilon };
                input_gradient(device.kernels(), d_x, Store::Overwrite, &run, root);
            }
        }
    });
}

fn check_weight(weight: &Tensor, d_weight: Option<&Tensor>, columns: usize) {
    assert_eq!((weight.rows(), weight.columns()), (1, columns), "shape of the weight");
    if let Some(d_weight) = d_weight {
        assert_eq!((d_weight.rows(), d_weight.columns()), (1, columns), "shape of d_weight");
    }
}

/// One run of normalized values with the gradient that came back to it.
struct Run<'a, T> {
    d_out: &'a [T],
    x: &'a [T],
    weight: &'a [T],
    epsilon: f32,
}

/// `1 / sqrt(mean(x²) + epsilon)` of every run, `[rows, heads]`.
fn inverse_roots(device: &Device, inputs: &Inputs<'_>, columns: &Range<usize>) -> Vec<f32> {
    let &Inputs { x, weight, epsilon } = inputs;
    let (head_size, path) = (weight.columns(), device.kernels());
    let heads = columns.len() / head_size.max(1);
    let mut roots = vec![0.0; x.rows() * heads];
    let rows_per_task = rows_per_task(columns.len());
    device.pool().for_chunks(&mut roots, rows_per_task * heads.max(1), |task, roots| {
        for (index, roots) in roots.chunks_exact_mut(heads).enumerate() {
            let values = &x.row(task * rows_per_task + index)[columns.clone()];
            if path == KernelPath::Reference {
                for (root, head) in roots.iter_mut().zip(values.chunks_exact(head_size)) {
                    *root = f32::rounded(1.0 / root_mean_square(head, epsilon));
                }
            } else {
                lanes::run(path, rms_norm::InverseRoots { roots, values, epsilon });
            }
        }
    });
    roots
}

/// Adds every run's part to the gradient of the weight, one chain per channel.
fn weight_gradient(
    device: &Device,
    d_weight: &mut Tensor,
    d_out: &Tensor,
    inputs: &Inputs<'_>,
    (columns, roots): (&Range<usize>, &[f32]),
) {
    let (path, head_size) = (device.kernels(), d_weight.columns());
    let heads = columns.len() / head_size.max(1);
    device.pool().for_chunks(d_weight.values_mut(), TASK_CHANNELS, |task, d_weight| {
        for row in 0..d_out.rows() {
            for head in 0..heads {
                let start = columns.start + head * head_size + task * TASK_CHANNELS;
                let part = start..start + d_weight.len();
                let (d_out, x) = (&d_out.row(row)[part.clone()], &inputs.x.row(row)[part]);
                let root = roots[row * heads + head];
                if path == KernelPath::Reference {
                    reference_weight_gradient(d_weight, d_out, x, f64::from(root));
                } else {
                    lanes::run(path, rms_norm::WeightGradient { d_weight, d_out, x, root });
                }
            }
        }
    });
}

/// The gradient of one run; `root` is what [`inverse_roots`] says of it.
fn input_gradient(path: KernelPath, d_x: &mut [f32], store: Store, run: &Run<'_, f32>, root: f32) {
    if path == KernelPath::Reference {
        return reference_input_gradient(d_x, store, run);
    }
    let &Run { d_out, x, weight, .. } = run;
    lanes::run(path, rms_norm::InputGradient { d_x, store, d_out, x, weight, root });
}

fn reference_weight_gradient<T: Real>(d_weight: &mut [T], d_out: &[T], x: &[T], root: f64) {
    for ((d_weight, &d_out), &x) in d_weight.iter_mut().zip(d_out).zip(x) {
        *d_weight = T::rounded((*d_weight).into() + d_out.into() * x.into() * root);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a row has far fewer than 2^52 values")]
fn reference_input_gradient<T: Real>(d_x: &mut [T], store: Store, run: &Run<'_, T>) {
    let root = root_mean_square(run.x, run.epsilon);
    let products = run.d_out.iter().zip(run.weight).zip(run.x);
    let dot = products.map(|((&d, &w), &x)| d.into() * w.into() * x.into()).sum::<f64>();
    let share = dot / (root * root * root) / run.x.len() as f64;
    for (c, d_x) in d_x.iter_mut().enumerate() {
        let direct = run.weight[c].into() * run.d_out[c].into() / root;
        let before = match store {
            Store::Overwrite => 0.0,
            Store::Add => (*d_x).into(),
        };
        *d_x = T::rounded(before + direct - share * run.x[c].into());
    }
}
