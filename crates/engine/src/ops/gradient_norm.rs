//! The length of all gradients together, `sqrt(Σ x²)`, and the factor that clips them to a bound.
//!
//! Squares are summed in `f64` over fixed chunks of each list, then over the chunks in order: the
//! number of threads changes no bit, and neither does the fast kernel path
//! (`no_path_and_no_number_of_threads_changes_a_bit`). Nothing overflows, so the norm is finite
//! exactly if all gradients are.

use crate::cpu::{gradient_norm, lanes};
use crate::math::Real;
use crate::{Device, KernelPath, Tensor};

/// Values of one partial sum; part of the meaning, not a matter of speed.
const CHUNK: usize = 16_384;

/// What PyTorch's `clip_grad_norm_` adds to the norm before it divides by it.
const CLIP_EPSILON: f64 = 1e-6;

/// The norm of all gradients as one vector.
///
/// Infinite or not a number exactly if one of the gradients is.
#[must_use]
pub fn norm<'a>(device: &Device, gradients: impl IntoIterator<Item = &'a Tensor>) -> f64 {
    norm_of(device, gradients.into_iter().map(Tensor::values))
}

/// As [`norm`], of lists.
pub(super) fn norm_of<'a>(device: &Device, lists: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    sum_of_squares(device, lists).sqrt()
}

fn sum_of_squares<'a>(device: &Device, lists: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    let chunks = lists.into_iter().flat_map(|list| list.chunks(CHUNK));
    let mut partials: Vec<(&[f32], f64)> = chunks.map(|chunk| (chunk, 0.0)).collect();
    device.pool().for_chunks(&mut partials, 1, |_, partials| {
        for (chunk, sum) in partials {
            *sum = match device.kernels() {
                KernelPath::Reference => reference(chunk),
                path => lanes::run(path, gradient_norm::SumOfSquares(chunk)),
            };
        }
    });
    partials.iter().map(|(_, sum)| sum).sum()
}

/// What gradients of this norm are multiplied with so that their norm stays under `norm_max`:
/// `min(1, norm_max / (norm + 1e-6))`, as PyTorch's `clip_grad_norm_` has it.
///
/// None if the norm is not finite: a step with such gradients would spoil every weight.
///
/// # Panics
///
/// Panics if `norm_max` is not above 0.
#[must_use]
pub fn clip_factor(norm: f64, norm_max: f64) -> Option<f32> {
    assert!(norm_max > 0.0, "norm_max {norm_max}: it must be above 0");
    norm.is_finite().then(|| f32::rounded((norm_max / (norm + CLIP_EPSILON)).min(1.0)))
}

/// In order, one by one.
fn reference<T: Real>(values: &[T]) -> f64 {
    values.iter().map(|&value| value.into() * value.into()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::golden::Golden;
    use crate::testing::{device, numbers, paths};

    #[test]
    fn an_example_by_hand() {
        let device = device(KernelPath::Reference, 1);
        let tensor = |values: &[f32]| Tensor::from_slice(&device, 1, values.len(), values);
        let norm = norm(&device, &[&[3.0][..], &[], &[0.0, -4.0]].map(tensor));
        assert!((norm - 5.0).abs() < 1e-15, "{norm}");
        assert_eq!(clip_factor(norm, 10.0), Some(1.0));
        let factor = clip_factor(norm, 1.0).unwrap();
        assert!((factor - 0.2).abs() < 1e-7, "{factor}");
    }

    #[test]
    fn fast_twins_follow_the_reference_at_every_size() {
        for length in (0..=70).chain([CHUNK - 1, CHUNK, CHUNK + 1, 100_000]) {
            let values = numbers(1, length);
            let expected = sum_of_squares(&device(KernelPath::Reference, 1), [&values[..]]);
            for path in paths() {
                let sum = sum_of_squares(&device(path, 1), [&values[..]]);
                // Sums of positive numbers in f64: an error of 2^-53 per addition at most.
                let close = (sum - expected).abs() <= 1e-11 * expected;
                assert!(close, "{length} on {path:?}: {sum}, expected {expected}");
            }
        }
    }

    #[test]
    fn no_path_and_no_number_of_threads_changes_a_bit() {
        let (left, right) = (numbers(2, 100_003), numbers(3, 777));
        let expected = norm_of(&device(KernelPath::Portable, 1), [&left[..], &right]);
        for path in paths() {
            for threads in 1..=3 {
                let norm = norm_of(&device(path, threads), [&left[..], &right]);
                assert_eq!(norm.to_bits(), expected.to_bits(), "{threads} threads on {path:?}");
            }
        }
    }

    #[test]
    fn whatever_is_not_finite_is_found_and_nothing_else() {
        for path in paths().into_iter().chain([KernelPath::Reference]) {
            let device = device(path, 2);
            let mut values = vec![f32::MAX; 20_000];
            assert!(clip_factor(norm_of(&device, [&values[..]]), 1.0).is_some(), "{path:?}");
            for place in [0, 15, 16_383, 16_384, 19_999] {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    values[place] = bad;
                    let norm = norm_of(&device, [&[1.0], &values[..]]);
                    assert_eq!(clip_factor(norm, 1.0), None, "{bad} at {place} on {path:?}");
                }
                values[place] = 1.0;
            }
        }
    }

    #[test]
    fn norm_and_factor_follow_pytorch() {
        let golden = Golden::read();
        let (left, right) = (golden.list("gradient_norm.left"), golden.list("gradient_norm.right"));
        for path in paths().into_iter().chain([KernelPath::Reference]) {
            let norm = norm_of(&device(path, 1), [&left[..], &right]);
            golden.assert_close(&[f32::rounded(norm)], "gradient_norm.norm");
            let factor = clip_factor(norm, 0.5).unwrap();
            let clipped: Vec<f32> = left.iter().map(|value| factor * value).collect();
            golden.assert_close(&clipped, "gradient_norm.clipped_left");
        }
    }
}
