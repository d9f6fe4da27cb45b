//! One number of each row: `out[t] = Σ_c x[t, c] * weight[c]`, a score or a value.
//!
//! Backward: `d_x[t, c] = d_out[t] * weight[c]` and `d_weight[c] += Σ_t d_out[t] * x[t, c]`, in the
//! order of the rows, one chain per weight that goes on from what is there: a batch in parts gives
//! the same bits (`parts_of_a_batch_change_no_bit`).
//!
//! There are as many products as the row is wide, against thousands of times that in the layers
//! below, so one plain loop serves every kernel path, and the result depends on none. Sums of the
//! forward direction are kept in f64: a score is compared with others by small differences.

use crate::{Device, Tensor};

/// Writes the number of each row.
///
/// # Shapes
///
/// - `x`: `[rows, columns]`
/// - `weight`: `[1, columns]`
/// - returns `[rows]`
///
/// # Panics
///
/// Panics if the shapes differ.
#[must_use]
pub fn forward(_device: &Device, x: &Tensor, weight: &Tensor) -> Vec<f32> {
    check(x, weight);
    let weight = weight.row(0);
    let number = |row: usize| {
        let products = x.row(row).iter().zip(weight).map(|(&x, &w)| f64::from(x) * f64::from(w));
        rounded(products.fold(0.0, |sum, product| sum + product))
    };
    (0..x.rows()).map(number).collect()
}

/// Adds to the gradient of the input, `d_x`, and to that of the weight.
///
/// # Shapes
///
/// - `d_x`, `x`: `[rows, columns]`; `d_x` is added to
/// - `d_weight`, `weight`: `[1, columns]`; `d_weight` is added to
/// - `d_out`: `[rows]`
///
/// # Panics
///
/// Panics if the shapes differ.
pub fn backward(
    _device: &Device,
    (d_x, d_weight): (&mut Tensor, &mut Tensor),
    d_out: &[f32],
    x: &Tensor,
    weight: &Tensor,
) {
    check(x, weight);
    check(d_x, d_weight);
    assert_eq!((d_out.len(), d_x.rows()), (x.rows(), x.rows()), "rows of the gradients");
    for (row, &d_out) in d_out.iter().enumerate() {
        let columns = weight.columns();
        let d_inputs = &mut d_x.values_mut()[row * columns..][..columns];
        d_inputs.iter_mut().zip(weight.row(0)).for_each(|(sum, weight)| *sum += d_out * weight);
        d_weight.values_mut().iter_mut().zip(x.row(row)).for_each(|(sum, x)| *sum += d_out * x);
    }
}

fn check(x: &Tensor, weight: &Tensor) {
    let shape = (weight.rows(), weight.columns());
    assert_eq!(shape, (1, x.columns()), "shape of the weight of a scalar head");
}

#[expect(clippy::cast_possible_truncation, reason = "sums in f64 are rounded to f32 once")]
fn rounded(sum: f64) -> f32 {
    sum as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KernelPath;
    use crate::testing::differences::{assert_gradient, dot, widened};
    use crate::testing::{device, numbers, same_bits};

    /// The number of each row in f64, `x` before `weight` in one list.
    fn in_f64(inputs: &[f64], rows: usize, columns: usize) -> Vec<f64> {
        let (x, weight) = inputs.split_at(rows * columns);
        x.chunks(columns).map(|row| dot(row, weight)).collect()
    }

    #[test]
    fn numbers_and_gradients_follow_the_formula() {
        let (rows, columns) = (5, 7);
        let device = device(KernelPath::best(), 2);
        let (x, weight, d_out) = (numbers(1, 35), numbers(2, 7), numbers(3, 5));
        let inputs: Vec<f64> = widened(&[x.clone(), weight.clone()].concat());
        let x = Tensor::from_slice(&device, rows, columns, &x);
        let weight = Tensor::from_slice(&device, 1, columns, &weight);
        for (out, expected) in
            forward(&device, &x, &weight).into_iter().zip(in_f64(&inputs, rows, columns))
        {
            assert!((f64::from(out) - expected).abs() < 1e-6, "{out} {expected}");
        }
        // What is there is added to.
        let mut d_x = Tensor::from_slice(&device, rows, columns, &[1.0; 35]);
        let mut d_weight = Tensor::zeros(&device, 1, columns);
        backward(&device, (&mut d_x, &mut d_weight), &d_out, &x, &weight);
        let (x, weight, d_out) = (widened(&x.to_vec()), widened(&weight.to_vec()), widened(&d_out));
        let exact_x = d_out.iter().flat_map(|d_out| weight.iter().map(move |w| d_out * w));
        let exact_weight =
            (0..columns).map(|c| (0..rows).map(|t| d_out[t] * x[t * columns + c]).sum::<f64>());
        let exact: Vec<f64> = exact_x.chain(exact_weight).collect();
        let loss = |inputs: &[f64]| dot(&in_f64(inputs, rows, columns), &d_out);
        assert_gradient(&inputs, &exact, loss, "scalar head");
        let found = d_x.to_vec().into_iter().map(|d_x| f64::from(d_x) - 1.0);
        let found = found.chain(widened(&d_weight.to_vec()));
        for (found, exact) in found.zip(exact) {
            assert!((found - exact).abs() < 1e-6, "{found} {exact}");
        }
    }

    #[test]
    fn parts_of_a_batch_change_no_bit() {
        let device = device(KernelPath::best(), 2);
        let (rows, columns) = (13, 9);
        let weight = Tensor::from_slice(&device, 1, columns, &numbers(1, columns));
        let (x, d_out) = (numbers(2, rows * columns), numbers(3, rows));
        let run = |rows_at_once: usize| {
            let mut d_weight = Tensor::zeros(&device, 1, columns);
            let mut all = Vec::new();
            for (x, d_out) in x.chunks(rows_at_once * columns).zip(d_out.chunks(rows_at_once)) {
                let x = Tensor::from_slice(&device, d_out.len(), columns, x);
                let mut d_x = Tensor::zeros(&device, d_out.len(), columns);
                all.extend(forward(&device, &x, &weight));
                backward(&device, (&mut d_x, &mut d_weight), d_out, &x, &weight);
                all.extend(d_x.to_vec());
            }
            (all.len(), d_weight.to_vec())
        };
        let (count, expected) = run(rows);
        for rows_at_once in [1, 4, 7] {
            let (parts, d_weight) = run(rows_at_once);
            assert!(parts == count && same_bits(&d_weight, &expected), "{rows_at_once} rows");
        }
    }

    #[test]
    #[should_panic(expected = "shape of the weight of a scalar head")]
    fn a_head_of_another_width_is_refused() {
        let device = device(KernelPath::Portable, 1);
        let _ = forward(&device, &Tensor::zeros(&device, 1, 3), &Tensor::zeros(&device, 1, 2));
    }
}
