//! Products of two matrices of numbers that change in every step, unlike packed weights.
//!
//! `out[m, n] = Σ_k left[m, k] * right[k, n]`, each output one chain over `k`: the number of threads
//! changes no bit. It is made for clarity; packing both sides in panels would make it several times
//! faster.

use crate::cpu::{lanes, product};
use crate::math::Real;
use crate::{Device, KernelPath};

/// Rows, summed dimension and columns of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) inner: usize,
    pub(super) columns: usize,
}

/// Overwrites `out` `[rows, columns]` with `left` `[rows, inner]` times `right` `[inner, columns]`.
///
/// # Panics
///
/// Panics if a length is not that of its shape, or the shape has a 0.
pub(super) fn multiply(
    device: &Device,
    out: &mut [f32],
    left: &[f32],
    right: &[f32],
    shape: Shape,
) {
    let Shape { rows, inner, columns } = shape;
    assert!(rows * inner * columns > 0, "{shape:?}");
    let lengths = [out.len(), left.len(), right.len()];
    assert_eq!(lengths, [rows * columns, rows * inner, inner * columns], "{shape:?}");
    if device.kernels() == KernelPath::Reference {
        return reference(out, left, right, shape);
    }
    device.pool().for_chunks(out, product::ROWS * columns, |task, out| {
        let left = &left[task * product::ROWS * inner..][..out.len() / columns * inner];
        lanes::run(device.kernels(), product::Product { out, left, right, inner, columns });
    });
}

/// The oracle: sums in `f64`, rounded once.
pub(super) fn reference<T: Real>(out: &mut [T], left: &[T], right: &[T], shape: Shape) {
    for (m, row) in out.chunks_exact_mut(shape.columns).enumerate() {
        for (n, out) in row.iter_mut().enumerate() {
            let left = &left[m * shape.inner..][..shape.inner];
            let products = left.iter().enumerate();
            let products = products.map(|(k, &l)| l.into() * right[k * shape.columns + n].into());
            *out = T::rounded(products.sum());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, device, numbers, paths, same_bits};

    #[test]
    fn an_example_by_hand() {
        let device = device(KernelPath::best(), 1);
        let mut out = [0.0; 2];
        let shape = Shape { rows: 1, inner: 2, columns: 2 };
        multiply(&device, &mut out, &[1.0, 10.0], &[1.0, 2.0, 3.0, 4.0], shape);
        assert_close(&out, &[31.0, 42.0], 0.0, "1 × 2 × 2");
    }

    #[test]
    fn fast_twins_follow_the_reference_and_do_not_depend_on_threads() {
        let sizes = (1..=70).map(|n| Shape { rows: n * 13 % 29 + 1, inner: n, columns: 71 - n });
        let large = [(64, 128, 64), (65, 300, 130), (1, 1, 1)];
        let large = large.map(|(rows, inner, columns)| Shape { rows, inner, columns });
        for shape in sizes.chain(large) {
            let left = numbers(1, shape.rows * shape.inner);
            let right = numbers(2, shape.inner * shape.columns);
            let mut expected = vec![0.0; shape.rows * shape.columns];
            reference(&mut expected, &left, &right, shape);
            for path in paths() {
                let (mut out, mut again) = (expected.clone(), vec![0.0; expected.len()]);
                multiply(&device(path, 1), &mut out, &left, &right, shape);
                multiply(&device(path, 3), &mut again, &left, &right, shape);
                assert!(same_bits(&out, &again), "{shape:?} on {path:?}");
                // Sums of up to 300 terms stay under 40 and are rounded 300 times, one way and
                // the other.
                assert_close(&out, &expected, 2e-5, &format!("{shape:?} on {path:?}"));
            }
        }
    }
}
