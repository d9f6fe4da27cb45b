//! RMSNorm: `out[c] = x[c] / sqrt(mean(x²) + epsilon) * weight[c]`, the mean over the row's own
//! values.
//!
//! Each row stands alone: its bits do not depend on its batch mates, on chunking or on the threads
//! (`rows_stand_alone`). The squares are summed in a fixed order of lanes, in `f32`; the
//! reference sums in `f64`.
//!
//! Source: Zhang and Sennrich, "Root mean square layer normalization", 2019, arXiv:1910.07467; the
//! per-head form is the q/k norm of Qwen3.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, device, numbers, paths, same_bits};

    #[test]
    fn an_example_by_hand() {
        let device = device(KernelPath::Reference, 1);
        let x = Tensor::from_slice(&device, 1, 2, &[3.0, 4.0]);
        let weight = Tensor::from_slice(&device, 1, 2, &[1.0, 2.0]);
        let mut out = Tensor::zeros(&device, 1, 2);
        forward(&device, &mut out, &x, &weight, 0.0);
        // The root of the mean square is sqrt(12.5).
        assert_close(&out.to_vec(), &[0.848_528_1, 2.262_741_7], 1e-6, "3, 4");
    }

    #[test]
    fn fast_twins_follow_the_reference_at_every_size() {
        let sizes = (1..=70).chain([576, 960, 2048]);
        for columns in sizes {
            let oracle = device(KernelPath::Reference, 1);
            let x = Tensor::from_slice(&oracle, 3, columns, &numbers(1, 3 * columns));
            let weight = Tensor::from_slice(&oracle, 1, columns, &numbers(2, columns));
            let mut expected = Tensor::zeros(&oracle, 3, columns);
            forward(&oracle, &mut expected, &x, &weight, 1e-5);
            for path in paths() {
                let device = device(path, 1);
                let mut out = Tensor::zeros(&device, 3, columns);
                forward(&device, &mut out, &x, &weight, 1e-5);
                // A lane adds at most 2048 / 64 squares: far below 2^-18 relative; values reach
                // sqrt(columns) at most where one value dominates.
                let what = format!("{columns} on {path:?}");
                assert_close(&out.to_vec(), &expected.to_vec(), 4e-6, &what);
            }
        }
    }

    #[test]
    fn rows_stand_alone() {
        let (rows, columns) = (41, 576);
        for path in paths() {
            let (one, two) = (device(path, 1), device(path, 2));
            let values = numbers(3, rows * columns);
            let x = Tensor::from_slice(&one, rows, columns, &values);
            let weight = Tensor::from_slice(&one, 1, columns, &numbers(4, columns));
            let (mut out, mut again) = (x.clone(), x.clone());
            forward(&one, &mut out, &x, &weight, 1e-6);
            forward(&two, &mut again, &x, &weight, 1e-6);
            assert!(same_bits(&out.to_vec(), &again.to_vec()), "threads on {path:?}");
            for row in 0..rows {
                let x = Tensor::from_slice(&one, 1, columns, x.row(row));
                let mut alone = Tensor::zeros(&one, 1, columns);
                forward(&one, &mut alone, &x, &weight, 1e-6);
                assert!(same_bits(alone.row(0), out.row(row)), "row {row} on {path:?}");
            }
        }
    }

    #[test]
    fn heads_are_rows_of_their_own() {
        for head_size in [8, 16, 48, 64, 80, 128] {
            for path in paths().into_iter().chain([KernelPath::Reference]) {
                let device = device(path, 2);
                let width = 7 * head_size;
                let mut x = Tensor::from_slice(&device, 5, width, &numbers(5, 5 * width));
                let before = x.clone();
                let weight = Tensor::from_slice(&device, 1, head_size, &numbers(6, head_size));
                let columns = head_size..4 * head_size;
                forward_heads(&device, &mut x, columns.clone(), &weight, 1e-6);
                for row in 0..5 {
                    let mut expected = before.row(row).to_vec();
                    let heads =
                        Tensor::from_slice(&device, 3, head_size, &expected[columns.clone()]);
                    let mut out = Tensor::zeros(&device, 3, head_size);
                    forward(&device, &mut out, &heads, &weight, 1e-6);
                    expected[columns.clone()].copy_from_slice(out.values());
                    assert!(same_bits(x.row(row), &expected), "{head_size} on {path:?}");
                }
            }
        }
    }
}
