//! Whether a reward model is as sure as it is right.

use super::sigmoid;
use crate::per_token::count;

/// A pair of completions: how far apart their scores are, and what people said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// The first one's score less the second one's, as training left them: a scale would change how
    /// sure they are.
    pub apart: f64,
    /// What the first one has won: 1, one half of a tie, or 0.
    pub won: f64,
}

/// Pairs of which a reward model was about equally sure.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// How many there are.
    pub pairs: usize,
    /// The mean probability, `σ(apart)`, that the model gave the side it preferred; from one half to 1.
    pub predicted: f64,
    /// How often people preferred that side, too.
    pub observed: f64,
}

/// The pairs in bins of equal width, from one half to 1; `[bins]`.
///
/// Each pair is seen from the side that the model prefers, so that the order in which a pair is named
/// does not matter. Bin `b` of `n` has probabilities from `(1 + b / n) / 2` to `(1 + (b + 1) / n) / 2`;
/// the last one has its upper end, too.
///
/// # Panics
///
/// Panics if there is no bin.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of the bins is between 0 and their number"
)]
pub fn bins(pairs: &[Judged], bins: usize) -> Vec<Bin> {
    assert!(bins > 0, "no bin");
    let mut sums = vec![Bin::default(); bins];
    for pair in pairs {
        let probability = sigmoid(pair.apart.abs());
        let place = (2.0 * probability - 1.0) * count(bins);
        let bin = &mut sums[(place as usize).min(bins - 1)];
        bin.pairs += 1;
        bin.predicted += probability;
        bin.observed += if pair.apart < 0.0 { 1.0 - pair.won } else { pair.won };
    }
    for bin in &mut sums {
        let pairs = count(bin.pairs.max(1));
        bin.predicted /= pairs;
        bin.observed /= pairs;
    }
    sums
}

/// How far a reward model's confidence is from how often it is right: the mean over pairs of
/// `|predicted - observed|` of their bins; 0 of no pairs.
///
/// Source: Naeini, Cooper and Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian
/// binning" (expected calibration error).
#[must_use]
pub fn expected_error(bins: &[Bin]) -> f64 {
    let pairs: usize = bins.iter().map(|bin| bin.pairs).sum();
    let errors = bins.iter().map(|bin| count(bin.pairs) * (bin.predicted - bin.observed).abs());
    errors.sum::<f64>() / count(pairs.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(apart: f64, won: f64) -> Judged {
        Judged { apart, won }
    }

    #[test]
    fn examples_by_hand() {
        // σ(log 3) is 0.75, σ(log 19) is 0.95.
        let (three, nineteen) = (3.0_f64.ln(), 19.0_f64.ln());
        let pairs = [
            judged(three, 1.0),
            judged(-three, 1.0),
            judged(nineteen, 1.0),
            judged(-nineteen, 0.0),
            judged(nineteen, 0.5),
        ];
        let found = bins(&pairs, 5);
        assert_eq!(found.iter().map(|bin| bin.pairs).collect::<Vec<_>>(), [0, 0, 2, 0, 3]);
        assert!(
            (found[2].predicted - 0.75).abs() < 1e-15 && (found[2].observed - 0.5).abs() < 1e-15
        );
        assert!((found[4].predicted - 0.95).abs() < 1e-15);
        assert!((found[4].observed - 2.5 / 3.0).abs() < 1e-15);
        let expected = (2.0 * 0.25 + 3.0 * (0.95 - 2.5 / 3.0)) / 5.0;
        assert!((expected_error(&found) - expected).abs() < 1e-15);
    }

    #[test]
    fn a_model_that_is_as_sure_as_it_is_right_has_no_error() {
        // Of pairs at σ = 3/4, three in four.
        let three = 3.0_f64.ln();
        let pairs = [(three, 1.0), (three, 1.0), (-three, 0.0), (three, 0.0)]
            .map(|(apart, won)| judged(apart, won));
        assert!(expected_error(&bins(&pairs, 10)) < 1e-15);
        assert!(expected_error(&bins(&[], 10)) < 1e-15);
        assert_eq!(bins(&[judged(1e4, 1.0)], 10)[9].pairs, 1);
    }
}
