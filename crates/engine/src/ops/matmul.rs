//! Products of activations with weights: `out[m, n] = Σ_k x[m, k] * weights[n, k] + bias[n]`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceOptions, Dtype, KernelPath, MatrixPart, dtype};

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
}
