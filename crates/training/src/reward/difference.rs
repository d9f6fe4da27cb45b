//! Whether one model is better than another on the same questions.

use engine::random::Series;

use super::accuracy::Interval;
use crate::per_token::count;

/// How to resample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resampling {
    /// How many samples are drawn, at least 40.
    pub samples: usize,
    /// The same seed gives the same interval.
    pub seed: u64,
}

impl Default for Resampling {
    fn default() -> Self {
        Self { samples: 10_000, seed: 0 }
    }
}

/// A difference of two means, with how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The first model's mean less the second one's.
    pub estimate: f64,
    /// Where it lies with 95 % confidence.
    pub interval: Interval,
}

/// The difference of two models on the same units, by the paired bootstrap.
///
/// Units are resampled with what both models did on them, so that how hard a unit is cancels out. A
/// unit is what is independent: a prompt with its ranking (its accuracy from 0 to 1), not a pair of
/// completions. The interval has the middle 95 % of the samples' means (the percentile interval).
///
/// # Shapes
///
/// - `first`, `second`: `[units]`, the same unit at the same place
///
/// # Panics
///
/// Panics if the shapes differ, there is no unit, or there are fewer than 40 samples.
///
/// Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapters 13 and 16.
#[must_use]
pub fn paired(first: &[f64], second: &[f64], resampling: Resampling) -> Difference {
    let units = first.len();
    assert!(units == second.len(), "{units} units of one and {} of the other", second.len());
    assert!(units > 0 && resampling.samples >= 40, "{units} units, {resampling:?}");
    let apart: Vec<f64> = first.iter().zip(second).map(|(one, other)| one - other).collect();
    let mut means: Vec<f64> = (0..resampling.samples)
        .map(|sample| sampled_mean(&apart, resampling.seed, sample))
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    let tail = resampling.samples / 40;
    let interval = Interval { low: means[tail], high: means[means.len() - 1 - tail] };
    Difference { estimate: apart.iter().sum::<f64>() / count(units), interval }
}

/// The mean of as many units as there are, each drawn from all.
fn sampled_mean(units: &[f64], seed: u64, sample: usize) -> f64 {
    let series = Series { seed, step: sample as u64, epoch: 0 };
    let drawn = |index| {
        let place = series.below(units.len() as u64, index);
        usize::try_from(place).map_or(0.0, |place| units[place])
    };
    (0..units.len() as u64).map(drawn).sum::<f64>() / count(units.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::draws;

    const QUICK: Resampling = Resampling { samples: 2_000, seed: 1 };

    #[test]
    fn an_interval_is_about_two_standard_errors_to_each_side() {
        let (noise, hardness) = (draws(1, 400), draws(2, 400));
        let first: Vec<f64> = noise.iter().zip(&hardness).map(|(n, h)| 0.1 * n + 5.0 * h).collect();
        let second: Vec<f64> = hardness.iter().map(|h| 5.0 * h - 0.3).collect();
        let found = paired(&first, &second, QUICK);
        let mean = noise.iter().sum::<f64>() / 400.0;
        let squares: f64 = noise.iter().map(|n| (n - mean).powi(2)).sum();
        let half = 1.96 * 0.1 * (squares / 400.0 / 400.0).sqrt();
        assert!((found.estimate - 0.3 - 0.1 * mean).abs() < 1e-12, "{found:?}");
        let Interval { low, high } = found.interval;
        assert!((found.estimate - low - half).abs() < 0.1 * half, "{found:?} {half}");
        assert!((high - found.estimate - half).abs() < 0.1 * half, "{found:?} {half}");
    }

    #[test]
    fn equal_models_do_not_differ_and_seeds_decide() {
        let first = draws(1, 50);
        let found = paired(&first, &first, QUICK);
        assert_eq!(found, Difference { estimate: 0.0, interval: Interval { low: 0.0, high: 0.0 } });
        let second = draws(2, 50);
        let found = paired(&first, &second, QUICK);
        assert_eq!(found, paired(&first, &second, QUICK));
        assert_ne!(found, paired(&first, &second, Resampling { seed: 2, ..QUICK }));
    }
}
