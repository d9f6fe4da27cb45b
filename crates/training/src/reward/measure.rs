//! What a report says of scores: how often they order as people did, how sure that is, and beside what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RankedCompletions;
use super::accuracy::{Interval, Proportion};
use super::agreement::{of_ranking, together};
use super::calibration::{Judged, bins, expected_error};
use super::difference::{Difference, Resampling, paired};
use super::loss::{pairs, won};
use crate::per_token::count;

/// Bins of a report's calibration.
const BINS: usize = 10;

/// The pairs of each prompt that scores order as people did: prompts are independent, pairs of one
/// are not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PerPrompt(Vec<Proportion>);

/// How often something orders pairs as people did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// The share of pairs; a tie of scores counts one half.
    pub accuracy: f64,
    /// Between what shares that lies with 95 % confidence, prompts being what is independent.
    pub interval: [f64; 2],
    /// Pairs, those that people tied aside.
    pub pairs: usize,
    /// Prompts that they are of.
    pub prompts: usize,
}

/// By how much one orders more pairs as people did than another, prompt by prompt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lead {
    /// The mean over prompts of the one's share of pairs less the other's.
    pub lead: f64,
    /// Where that lies with 95 % confidence, by the paired bootstrap over prompts.
    pub interval: [f64; 2],
}

/// Pairs of which a model was about equally sure, as they stand in a report.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationBin {
    /// How many there are.
    pub pairs: usize,
    /// The mean probability that the model gave the side it preferred.
    pub predicted: f64,
    /// How often people preferred that side, too.
    pub observed: f64,
}

/// Whether a model is as sure as it is right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Bins of probability that have pairs, from one half to 1.
    pub bins: Vec<CalibrationBin>,
    /// The mean over pairs of how far their bin's confidence is from how often it is right.
    pub expected_error: f64,
}

impl PerPrompt {
    /// Of scores of these comparisons: `[comparisons][completions]`.
    ///
    /// Comparisons of one prompt come together, in the order of their tokens; a prompt without a pair
    /// that was not tied is left out.
    #[must_use]
    pub fn of(comparisons: &[RankedCompletions], scores: &[Vec<f64>]) -> Self {
        let mut prompts: BTreeMap<&[u32], Vec<Proportion>> = BTreeMap::new();
        for (comparison, scores) in comparisons.iter().zip(scores) {
            let agreed = of_ranking(scores, &comparison.ranks);
            prompts.entry(&comparison.prompt).or_default().push(agreed);
        }
        let prompts = prompts.into_values().map(together);
        Self(prompts.filter(|agreed| agreed.trials > 0).collect())
    }

    /// All pairs together; `None` of no pair.
    #[must_use]
    pub fn agreement(&self) -> Option<Agreement> {
        let all = together(self.0.iter().copied());
        let Interval { low, high } = self.interval(all);
        (all.trials > 0).then(|| Agreement {
            accuracy: all.share(),
            interval: [low, high],
            pairs: all.trials,
            prompts: self.0.len(),
        })
    }

    /// Wilson's interval of as many trials as the pairs are worth.
    ///
    /// That is `share (1 - share) / variance`, with the variance of the share as that of a ratio of sums
    /// over prompts; at least the prompts, at most the pairs, and the prompts where they do not differ.
    ///
    /// Source: Kish 1965, "Survey sampling" (effective sample size); Korn and Graubard 1998,
    /// "Confidence intervals for proportions with small expected number of positive counts estimated
    /// from survey data".
    fn interval(&self, all: Proportion) -> Interval {
        let (share, prompts) = (all.share(), count(self.0.len()));
        let residual = |one: &Proportion| (one.successes - share * count(one.trials)).powi(2);
        let residuals: f64 = self.0.iter().map(residual).sum();
        let pairs = count(all.trials);
        let variance = residuals / (pairs * pairs) * prompts / (prompts - 1.0).max(1.0);
        let worth = match variance > 0.0 {
            true => (share * (1.0 - share) / variance).clamp(prompts, pairs.max(prompts)),
            false => prompts,
        };
        Proportion::wilson(share, worth)
    }

    /// By how much this orders more as people did than the other, both of the same comparisons; `None`
    /// of no prompt.
    ///
    /// # Panics
    ///
    /// Panics for results of other comparisons.
    #[must_use]
    pub fn lead(&self, other: &Self) -> Option<Lead> {
        let shares = |one: &Self| one.0.iter().map(Proportion::share).collect::<Vec<_>>();
        let trials = |one: &Self| one.0.iter().map(|agreed| agreed.trials).collect::<Vec<_>>();
        assert!(trials(self) == trials(other), "results of the same comparisons");
        (!self.0.is_empty()).then(|| {
            let Difference { estimate, interval: Interval { low, high } } =
                paired(&shares(self), &shares(other), Resampling::default());
            Lead { lead: estimate, interval: [low, high] }
        })
    }
}

impl Calibration {
    /// Of scores of these comparisons, as training left them: `[comparisons][completions]`. Pairs that
    /// people tied say nothing, as in [`PerPrompt`].
    #[must_use]
    pub fn of(comparisons: &[RankedCompletions], scores: &[Vec<f64>]) -> Self {
        let mut judged = Vec::new();
        for (RankedCompletions { ranks, .. }, scores) in comparisons.iter().zip(scores) {
            let untied = pairs(ranks.len()).filter(|&(left, right)| ranks[left] != ranks[right]);
            judged.extend(untied.map(|(left, right)| Judged {
                apart: scores[left] - scores[right],
                won: won(ranks[left], ranks[right]),
            }));
        }
        let bins = bins(&judged, BINS);
        let expected_error = expected_error(&bins);
        let full = bins.into_iter().filter(|bin| bin.pairs > 0);
        let bins = full.map(|bin| CalibrationBin {
            pairs: bin.pairs,
            predicted: bin.predicted,
            observed: bin.observed,
        });
        Self { bins: bins.collect(), expected_error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(prompt: u32, ranks: &[u32]) -> RankedCompletions {
        let completions = (0..).zip(ranks).map(|(token, _)| vec![token]).collect();
        RankedCompletions { prompt: vec![prompt], completions, ranks: ranks.to_vec() }
    }

    #[test]
    fn comparisons_of_a_prompt_come_together() {
        let comparisons =
            [comparison(7, &[1, 2]), comparison(3, &[1, 1]), comparison(7, &[2, 1, 3])];
        let scores = [vec![2.0, 1.0], vec![0.0, 1.0], vec![2.0, 1.0, 0.0]];
        let found = PerPrompt::of(&comparisons, &scores);
        assert_eq!(found.0, [Proportion { successes: 3.0, trials: 4 }]);
        let agreement = found.agreement().unwrap();
        assert_eq!((agreement.pairs, agreement.prompts), (4, 1));
        assert!((agreement.accuracy - 0.75).abs() < 1e-15);
        assert_eq!(PerPrompt::of(&comparisons[1..2], &scores[1..2]).agreement(), None);
    }

    #[test]
    fn pairs_that_fall_together_are_worth_a_prompt() {
        let prompts = |wins: &[f64], trials| {
            PerPrompt(wins.iter().map(|&successes| Proportion { successes, trials }).collect())
        };
        let width = |one: &PerPrompt| {
            let [low, high] = one.agreement().unwrap().interval;
            high - low
        };
        let mixed =
            |of: f64| (0..40).map(|n| if n % 4 == 0 { 0.0 } else { of }).collect::<Vec<_>>();
        // Six pairs of a prompt that are all won or all lost say what one says.
        let (one, six) = (prompts(&mixed(1.0), 1), prompts(&mixed(6.0), 6));
        assert!((width(&one) - width(&six)).abs() < 0.01, "{} {}", width(&one), width(&six));
        // Where each prompt wins as much, pairs are worth more, but no more than they are.
        let even = prompts(&[4.0, 5.0, 4.0, 5.0, 4.0, 5.0], 6);
        let free = Proportion { successes: 27.0, trials: 36 }.interval();
        assert!((width(&even) - (free.high - free.low)).abs() < 1e-12);
        // All won says no more than the number of prompts does.
        assert_eq!(
            prompts(&[6.0, 6.0], 6).agreement().unwrap().interval[1].to_bits(),
            1.0_f64.to_bits()
        );
        assert!(prompts(&[6.0, 6.0], 6).agreement().unwrap().interval[0] < 0.4);
    }

    #[test]
    fn a_lead_is_of_the_same_prompts() {
        let comparisons: Vec<_> = (0..30).map(|prompt| comparison(prompt, &[1, 2])).collect();
        let right = vec![vec![1.0, 0.0]; 30];
        let half: Vec<_> = (0..30).map(|n| vec![f64::from(n % 2), 0.5]).collect();
        let of = |scores: &[Vec<f64>]| PerPrompt::of(&comparisons, scores);
        let found = of(&right).lead(&of(&half)).unwrap();
        assert!((found.lead - 0.5).abs() < 1e-15 && found.interval[0] > 0.3, "{found:?}");
        let none = of(&half).lead(&of(&half)).unwrap();
        assert!(none.interval.iter().all(|end| end.abs() < 1e-15), "{none:?}");
        assert_eq!(PerPrompt::default().lead(&PerPrompt::default()), None);
    }

    #[test]
    fn calibration_leaves_ties_out() {
        let comparisons = [comparison(1, &[1, 2]), comparison(2, &[2, 2]), comparison(3, &[2, 1])];
        let three = 3.0_f64.ln();
        let scores = [vec![three, 0.0], vec![5.0, 0.0], vec![three, 0.0]];
        let found = Calibration::of(&comparisons, &scores);
        assert_eq!(found.bins.len(), 1);
        assert!((found.bins[0].predicted - 0.75).abs() < 1e-12 && found.bins[0].pairs == 2);
        assert!((found.bins[0].observed - 0.5).abs() < 1e-12);
        assert!((found.expected_error - 0.25).abs() < 1e-12);
    }
}
