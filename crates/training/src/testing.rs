//! What the tests of the arithmetic share: numbers to try, and comparisons that say where they fail.

use crate::PerToken;

/// Numbers from the normal distribution, for completions of these lengths.
pub(crate) fn numbers<const N: usize>(seed: u64, lengths: [usize; N]) -> PerToken {
    let tokens = lengths.iter().sum();
    PerToken::from_flat(draws(seed, tokens), lengths)
}

/// So many numbers from the normal distribution.
pub(crate) fn draws(seed: u64, count: usize) -> Vec<f64> {
    (0..count).map(|index| engine::random::normal(seed, index as u64).into()).collect()
}

/// Each number is as near to the expected one as `bound`.
#[track_caller]
pub(crate) fn assert_near(found: &[f64], expected: &[f64], bound: f64) {
    let near = |(left, right): (&f64, &f64)| (left - right).abs() <= bound;
    let all = found.len() == expected.len() && found.iter().zip(expected).all(near);
    assert!(all, "{found:?}\nbut expected\n{expected:?}");
}

/// The derivative of a function by central differences, good to about 1e-9 where it is smooth.
pub(crate) fn slope(function: impl Fn(f64) -> f64, x: f64) -> f64 {
    let step = 1e-5;
    (8.0 * (function(x + step) - function(x - step))
        - (function(x + 2.0 * step) - function(x - 2.0 * step)))
        / (12.0 * step)
}
