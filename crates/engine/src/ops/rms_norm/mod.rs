//! RMSNorm: `out[c] = x[c] / sqrt(mean(x²) + epsilon) * weight[c]`, the mean over the row's own
//! values.
//!
//! Each row stands alone: its bits do not depend on its batch mates, on chunking or on the threads
//! (`rows_stand_alone`). The squares are summed in a fixed order of lanes, in `f32`; the
//! reference sums in `f64`.
//!
//! Source: Zhang and Sennrich, "Root mean square layer normalization", 2019, arXiv:1910.07467; the
//! per-head form is the q/k norm of Qwen3.

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::cpu::{lanes, rms_norm};
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

#[expect(clippy::cast_possible_truncation, reason = "results in f64 are rounded to f32 once")]
#[expect(clippy::cast_precision_loss, reason = "a row has far fewer than 2^52 values")]
fn reference(x: &mut [f32], weight: &[f32], epsilon: f32) {
    let squares = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    let root = (squares / x.len() as f64 + f64::from(epsilon)).sqrt();
    for (x, &weight) in x.iter_mut().zip(weight) {
        *x = (f64::from(*x) / root * f64::from(weight)) as f32;
    }
}
