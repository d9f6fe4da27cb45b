//! Gradients against differences of the function whose derivatives they should be.

/// How far a gradient may be from the differences, as a share of the derivative.
///
/// Differences of fourth order err by about `STEP^4 / 30` of the fifth derivative, 3e-14, and by
/// the rounding of `f64` over the step, 1e-13.
const TOLERANCE: f64 = 1e-6;
/// What `x` is moved by, for functions that change over distances of about 1.
const STEP: f64 = 1e-3;

/// Asserts that `gradient` holds the derivatives of `loss` at `x`, all in `f64`.
///
/// `derivative[i] = (8 (f(x + h) - f(x - h)) - (f(x + 2 h) - f(x - 2 h))) / 12 h` with `h` along
/// `x[i]`. A derivative under a thousandth of the largest is held to a thousandth of its tolerance.
#[track_caller]
pub(crate) fn assert_gradient(
    x: &[f64],
    gradient: &[f64],
    loss: impl Fn(&[f64]) -> f64,
    what: &str,
) {
    assert_eq!(x.len(), gradient.len(), "{what}: lengths");
    let mut moved = x.to_vec();
    let derivatives: Vec<f64> = (0..x.len())
        .map(|index| {
            let mut at = |steps: f64| {
                moved[index] = x[index] + steps * STEP;
                loss(&moved)
            };
            let difference = 8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0));
            moved[index] = x[index];
            difference / (12.0 * STEP)
        })
        .collect();
    let largest = derivatives.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for (index, (&value, &derivative)) in gradient.iter().zip(&derivatives).enumerate() {
        let tolerance = TOLERANCE * derivative.abs().max(1e-3 * largest);
        let close = (value - derivative).abs() <= tolerance;
        assert!(close, "{what}: [{index}] is {value}, the difference says {derivative}");
    }
}

/// Numbers of an `f32` test for one in `f64`.
pub(crate) fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// `Σ left * right`: with random numbers on the left, one loss that sees every result.
pub(crate) fn dot(left: &[f64], right: &[f64]) -> f64 {
    assert_eq!(left.len(), right.len(), "lengths of both");
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

#[test]
fn a_cube_has_its_derivative() {
    let x = [0.5, -2.0, 0.0];
    let loss = |x: &[f64]| x.iter().map(|x| x * x * x).sum();
    assert_gradient(&x, &[0.75, 12.0, 0.0], loss, "cubes");
}

#[test]
#[should_panic(expected = "[1] is 11.9")]
fn a_wrong_derivative_is_found() {
    let loss = |x: &[f64]| x.iter().map(|x| x * x * x).sum();
    assert_gradient(&[0.5, -2.0], &[0.75, 11.9], loss, "cubes");
}
