//! How far the policy has drifted from the reference, and what a nat of it costs.

use serde::{Deserialize, Serialize};

use crate::PerToken;
use crate::per_token::count;

/// Estimators of KL(policy ‖ reference) from tokens that were sampled from the policy.
///
/// Each is a number for each token, whose mean over tokens (given what was before them) is the
/// divergence, or near it; `difference = logprob - reference_logprob`.
///
/// Source: Schulman 2020, "Approximating KL divergence", <http://joschu.net/blog/kl-approx.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// `difference`: no bias, much noise, below 0 at single tokens. What rewards are charged with.
    K1,
    /// `difference² / 2`: a small bias, little noise.
    K2,
    /// `exp(-difference) - 1 + difference`: no bias, little noise, never below 0.
    K3,
}

impl Estimator {
    /// The estimate of one token.
    #[must_use]
    pub fn of_token(self, logprob: f64, reference_logprob: f64) -> f64 {
        let difference = logprob - reference_logprob;
        match self {
            Self::K1 => difference,
            Self::K2 => 0.5 * difference * difference,
            // Of differences near 0 both terms are nearly the same: rounding must not end below 0.
            Self::K3 => (engine::exp_m1(-difference) + difference).max(0.0),
        }
    }
}

/// The estimate of each token.
///
/// # Shapes
///
/// `[tokens]`, in and out.
///
/// # Panics
///
/// Panics if the shapes differ.
#[must_use]
pub fn per_token(
    estimator: Estimator,
    logprobs: &PerToken,
    reference_logprobs: &PerToken,
) -> PerToken {
    logprobs.zip(reference_logprobs, |logprob, reference| estimator.of_token(logprob, reference))
}

/// KL of whole completions: the sum over the tokens of each, and the mean of these sums over
/// completions. What [`KlController`] and its target are about.
///
/// # Panics
///
/// Panics if there is no completion.
#[must_use]
pub fn per_episode(kl_per_token: &PerToken) -> f64 {
    let completions = kl_per_token.completions();
    assert!(completions > 0, "no completion has no mean");
    let sums = kl_per_token.rows().map(|row| row.iter().sum::<f64>());
    sums.sum::<f64>() / count(completions)
}

/// What a nat of drift costs, step after step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum KlController {
    /// Always the same.
    Fixed {
        /// The price.
        coefficient: f64,
    },
    /// More where drift is above its target, less where it is below.
    Adaptive {
        /// The price in the next step.
        coefficient: f64,
        /// The KL per episode to be held, above 0.
        target: f64,
        /// After how many episodes an error of one fifth has moved the price by about a fifth.
        horizon_episodes: f64,
    },
}

impl KlController {
    /// How much of a relative error counts in one update, either way.
    pub const MOST_ERROR: f64 = 0.2;

    /// Hears what a step of so many episodes (completions) has measured.
    ///
    /// `coefficient *= 1 + clip(kl_per_episode / target - 1, -0.2, 0.2) * episodes /
    /// horizon_episodes`, once a step. Neither KL per token nor a count of steps will do.
    ///
    /// # Panics
    ///
    /// Panics if the measurement is not finite, or there are more episodes than five horizons, which
    /// could bring the price to 0.
    ///
    /// Source: Ziegler et al. 2019, arXiv:1909.08593, section 2.2.
    pub fn observe(&mut self, kl_per_episode: f64, episodes: usize) {
        assert!(kl_per_episode.is_finite(), "a KL of {kl_per_episode} says nothing");
        if let Self::Adaptive { coefficient, target, horizon_episodes } = self {
            let error = kl_per_episode / *target - 1.0;
            let counted = error.clamp(-Self::MOST_ERROR, Self::MOST_ERROR);
            let part = count(episodes) / *horizon_episodes;
            assert!(Self::MOST_ERROR * part < 1.0, "{episodes} episodes of {horizon_episodes}");
            *coefficient *= 1.0 + counted * part;
        }
    }

    /// The price of a nat in the next step.
    #[must_use]
    pub fn coefficient(&self) -> f64 {
        match self {
            Self::Fixed { coefficient } | Self::Adaptive { coefficient, .. } => *coefficient,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::numbers;

    #[test]
    fn estimators_agree_with_the_divergence_they_estimate() {
        let (policy, reference) = ([0.5_f64, 0.3, 0.2], [0.4_f64, 0.35, 0.25]);
        let pairs = || policy.iter().zip(&reference);
        let truth: f64 = pairs().map(|(p, q)| p * (p / q).ln()).sum();
        let mean = |estimator: Estimator| -> f64 {
            pairs().map(|(p, q)| p * estimator.of_token(p.ln(), q.ln())).sum()
        };
        assert!((mean(Estimator::K1) - truth).abs() < 1e-16, "{truth}");
        assert!((mean(Estimator::K3) - truth).abs() < 1e-16, "{truth}");
        assert!((mean(Estimator::K2) - truth).abs() < 0.05 * truth, "{truth}");
    }

    #[test]
    fn the_third_estimator_is_never_below_zero() {
        for step in -60..=6 {
            let difference = 10.0_f64.powf(f64::from(step) / 3.0);
            for difference in [difference, -difference] {
                let estimate = Estimator::K3.of_token(difference, 0.0);
                assert!(estimate >= 0.0, "{difference}: {estimate}");
                let near = difference.abs() > 1e-6 && difference.abs() < 1e-3;
                let half_square = 0.5 * difference * difference;
                assert!(!near || (estimate / half_square - 1.0).abs() < 1e-3, "{difference}");
            }
        }
    }

    #[test]
    fn an_episode_is_a_sum_and_the_mean_is_over_episodes() {
        let kl = PerToken::from_rows(&[&[1.0, 2.0, 3.0][..], &[10.0]]);
        assert!((per_episode(&kl) - 8.0).abs() < 1e-15);
        let (left, right) = (numbers(1, [4, 2]), numbers(2, [4, 2]));
        let kl = per_token(Estimator::K1, &left, &right);
        assert!((per_episode(&kl) - kl.sum() / 2.0).abs() < 1e-15);
    }

    #[test]
    fn prices_follow_the_closed_form() {
        let measured = [6.0, 9.0, 6.6, 3.0, 0.0, 5.4, -1.0, 600.0];
        let mut controller =
            KlController::Adaptive { coefficient: 0.15, target: 6.0, horizon_episodes: 10_000.0 };
        // By hand: with 512 episodes a whole fifth is 0.01024.
        let factors = [1.0, 1.010_24, 1.005_12, 0.989_76, 0.989_76, 0.994_88, 0.989_76, 1.010_24];
        let mut expected = 0.15;
        for (kl_per_episode, factor) in measured.into_iter().zip(factors) {
            controller.observe(kl_per_episode, 512);
            expected *= factor;
            let found = controller.coefficient();
            assert!((found - expected).abs() < 1e-15, "{kl_per_episode}: {found} {expected}");
        }
        let written = serde_json::to_string(&controller).unwrap();
        let read: KlController = serde_json::from_str(&written).unwrap();
        assert_eq!(read.coefficient().to_bits(), controller.coefficient().to_bits(), "{written}");
    }

    /// The definition in another way: logarithms of factors of single episodes' worth, added up.
    fn written_out(begin: f64, target: f64, horizon: f64, heard: &[(f64, usize)]) -> f64 {
        let mut logarithm = begin.ln();
        for &(kl, episodes) in heard {
            let most = if kl > target { 0.2 } else { -0.2 };
            let error = (kl - target) / target;
            let counted = if error.abs() < 0.2 { error } else { most };
            let mut factor = 1.0;
            (0..episodes).for_each(|_| factor += counted / horizon);
            logarithm += factor.ln();
        }
        logarithm.exp()
    }

    #[test]
    fn two_controllers_agree_over_random_measurements() {
        for seed in 0..20 {
            let (target, horizon) = (6.0, 5_000.0);
            let draws = crate::testing::draws(seed, 40);
            let heard = draws.iter().map(|draw| target * (1.0 + 0.3 * draw)).zip((1..).step_by(7));
            let heard: Vec<(f64, usize)> = heard.collect();
            let mut controller =
                KlController::Adaptive { coefficient: 0.15, target, horizon_episodes: horizon };
            for (number, &(kl, episodes)) in (1..).zip(&heard) {
                controller.observe(kl, episodes);
                let expected = written_out(0.15, target, horizon, &heard[..number]);
                let found = controller.coefficient();
                assert!((found / expected - 1.0).abs() < 1e-12, "{seed} {number}: {found}");
            }
        }
    }

    #[test]
    fn a_fixed_price_hears_nothing() {
        let mut controller = KlController::Fixed { coefficient: 0.05 };
        controller.observe(1e6, 1 << 20);
        assert_eq!(controller, KlController::Fixed { coefficient: 0.05 });
    }
}
