//! A bag of bigrams: preferences from which tokens and pairs of neighbors a completion has.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::minimize::minimize;
use crate::per_token::count;
use crate::reward::accuracy::Proportion;
use crate::reward::agreement::{of_ranking, together};
use crate::reward::{RankedCompletions, ranking_loss};

/// What a square of a weight costs, times the number of comparisons, of which one is chosen; the
/// heaviest first.
const PENALTIES: [f64; 7] = [1_000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0];
/// Parts of the prompts, each of which is left out once to choose the penalty.
const FOLDS: usize = 5;
/// Completions in which a feature has to be.
const OCCURRENCES_MIN: usize = 2;

/// A token, or a token after another one.
type Feature = (Option<u32>, u32);
/// How often a completion has each feature, in the order of the features.
type Counts = Vec<(usize, f64)>;

/// A linear score of the tokens of a completion and of the pairs of neighbors among them.
///
/// `score = Σ weight[feature] * log(1 + occurrences)`, learned by the loss of the reward model
/// itself ([`ranking_loss`]) with a penalty on squares of weights. It knows nothing of prompts: two
/// completions of the same prompt are compared.
#[derive(Debug)]
pub(crate) struct Bigrams {
    features: HashMap<Feature, usize>,
    weights: Vec<f64>,
}

/// A comparison in features.
struct Counted<'a> {
    completions: Vec<Counts>,
    ranks: &'a [u32],
}

impl Bigrams {
    /// Learns from comparisons. The penalty is the one that orders most pairs as people did where it is
    /// learned on four fifths of the prompts and measured on the others, each fifth once; of equals, and
    /// where there are too few prompts, the heaviest.
    pub(crate) fn learn(comparisons: &[RankedCompletions]) -> Self {
        let features = features(comparisons);
        let counted: Vec<Counted<'_>> = comparisons
            .iter()
            .map(|comparison| Counted {
                completions: comparison.completions.iter().map(|c| counts(&features, c)).collect(),
                ranks: &comparison.ranks,
            })
            .collect();
        let all: Vec<&Counted<'_>> = counted.iter().collect();
        let chosen = choose(&counted, &folds(comparisons), features.len());
        let mut weights = vec![0.0; features.len()];
        for &penalty in &PENALTIES[..=chosen] {
            fit(&all, penalty, &mut weights);
        }
        Self { features, weights }
    }

    /// The score of a completion.
    pub(crate) fn score(&self, completion: &[u32]) -> f64 {
        score(&self.weights, &counts(&self.features, completion))
    }
}

/// All features that are in enough completions, numbered in their order.
fn features(comparisons: &[RankedCompletions]) -> HashMap<Feature, usize> {
    let mut found: BTreeMap<Feature, usize> = BTreeMap::new();
    for completion in comparisons.iter().flat_map(|comparison| &comparison.completions) {
        for feature in features_of(completion).collect::<BTreeSet<_>>() {
            *found.entry(feature).or_default() += 1;
        }
    }
    let often = found.into_iter().filter(|&(_, times)| times >= OCCURRENCES_MIN);
    often.enumerate().map(|(number, (feature, _))| (feature, number)).collect()
}

fn features_of(completion: &[u32]) -> impl Iterator<Item = Feature> {
    let pairs = completion.windows(2).map(|pair| (Some(pair[0]), pair[1]));
    completion.iter().map(|&token| (None, token)).chain(pairs)
}

fn counts(features: &HashMap<Feature, usize>, completion: &[u32]) -> Counts {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for number in features_of(completion).filter_map(|feature| features.get(&feature)) {
        *counts.entry(*number).or_default() += 1;
    }
    counts.into_iter().map(|(number, times)| (number, engine::log_1p(count(times)))).collect()
}

fn score(weights: &[f64], counts: &Counts) -> f64 {
    counts.iter().map(|&(number, times)| weights[number] * times).sum()
}

/// The fold of each comparison: all of a prompt are in one, and prompts take turns.
fn folds(comparisons: &[RankedCompletions]) -> Vec<usize> {
    let mut prompts: HashMap<&[u32], usize> = HashMap::new();
    let mut folds = Vec::with_capacity(comparisons.len());
    for comparison in comparisons {
        let next = prompts.len();
        folds.push(*prompts.entry(&comparison.prompt).or_insert(next) % FOLDS);
    }
    folds
}

/// The place of the penalty to take.
fn choose(counted: &[Counted<'_>], folds: &[usize], features: usize) -> usize {
    if folds.iter().max().is_none_or(|&last| last + 1 < FOLDS) {
        return 0;
    }
    let mut agreed = PENALTIES.map(|_| Vec::new());
    for fold in 0..FOLDS {
        let part = |is_in: bool| {
            let of = counted.iter().zip(folds).filter(move |(_, own)| (**own == fold) == is_in);
            of.map(|(counted, _)| counted)
        };
        let train: Vec<_> = part(false).collect();
        let mut weights = vec![0.0; features];
        for (penalty, agreed) in PENALTIES.iter().zip(&mut agreed) {
            fit(&train, *penalty, &mut weights);
            agreed.extend(part(true).map(|counted| ordered(&weights, counted)));
        }
    }
    let shares = agreed.map(|agreed| together(agreed).share());
    (1..PENALTIES.len())
        .fold(0, |best, place| if shares[place] > shares[best] { place } else { best })
}

fn ordered(weights: &[f64], counted: &Counted<'_>) -> Proportion {
    of_ranking(&scores(weights, counted), counted.ranks)
}

fn scores(weights: &[f64], counted: &Counted<'_>) -> Vec<f64> {
    counted.completions.iter().map(|counts| score(weights, counts)).collect()
}

/// Moves weights to where the mean loss of the comparisons and the penalty together are least:
/// `mean of ranking_loss + penalty / (2 comparisons) * Σ weight²`.
fn fit(counted: &[&Counted<'_>], penalty: f64, weights: &mut [f64]) {
    let share = 1.0 / count(counted.len());
    minimize(weights, |weights, gradient| {
        let mut value = 0.0;
        for (slope, weight) in gradient.iter_mut().zip(weights) {
            *slope = share * penalty * weight;
            value += 0.5 * *slope * weight;
        }
        for counted in counted {
            let found = ranking_loss(&scores(weights, counted), counted.ranks, 0.0);
            value += share * found.loss;
            for (counts, d_score) in counted.completions.iter().zip(found.d_scores) {
                for &(number, times) in counts {
                    gradient[number] += share * d_score * times;
                }
            }
        }
        value
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::slope;

    /// Of two completions the one with 5 followed by 6 is preferred; single tokens say nothing.
    fn comparisons(number: u32) -> Vec<RankedCompletions> {
        let of = |index: u32| {
            let (good, bad) = (vec![index % 3, 5, 6, 7], vec![index % 3, 6, 5, 7]);
            let completions =
                if index.is_multiple_of(2) { vec![good, bad] } else { vec![bad, good] };
            let ranks = if index.is_multiple_of(2) { vec![1, 2] } else { vec![2, 1] };
            RankedCompletions { prompt: vec![index], completions, ranks }
        };
        (0..number).map(of).collect()
    }

    #[test]
    fn neighbors_are_told_from_tokens() {
        let bigrams = Bigrams::learn(&comparisons(40));
        assert!(bigrams.score(&[9, 5, 6, 9]) > bigrams.score(&[9, 6, 5, 9]) + 1e-3);
        // What was never seen says nothing, nor does one token alone.
        assert!(bigrams.score(&[90, 91]).abs() < 1e-12 && bigrams.score(&[5]).abs() < 1e-6);
    }

    #[test]
    fn the_fit_is_where_the_slope_ends() {
        let comparisons = comparisons(7);
        let features = features(&comparisons);
        let counted: Vec<Counted<'_>> = comparisons
            .iter()
            .map(|comparison| Counted {
                completions: comparison.completions.iter().map(|c| counts(&features, c)).collect(),
                ranks: &comparison.ranks,
            })
            .collect();
        let all: Vec<_> = counted.iter().collect();
        let mut weights = vec![0.0; features.len()];
        fit(&all, 2.0, &mut weights);
        assert!(weights.iter().any(|weight| weight.abs() > 0.1), "{weights:?}");
        // The value is written down anew here.
        let value = |weights: &[f64]| {
            let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
            let losses =
                counted.iter().map(|c| ranking_loss(&scores(weights, c), c.ranks, 0.0).loss);
            losses.sum::<f64>() / 7.0 + squares / 7.0
        };
        for place in 0..weights.len() {
            let along = |x: f64| {
                let mut moved = weights.clone();
                moved[place] = x;
                value(&moved)
            };
            assert!(slope(along, weights[place]).abs() < 1e-4, "{place}");
        }
    }

    #[test]
    fn what_cannot_be_told_apart_has_heavy_penalties() {
        // One prompt, so no folds: still learned, with the heaviest.
        let mut same = comparisons(6);
        same.iter_mut().for_each(|comparison| comparison.prompt = vec![1]);
        assert_eq!(choose(&[], &folds(&same), 0), 0);
        let bigrams = Bigrams::learn(&same);
        let apart = bigrams.score(&[5, 6]) - bigrams.score(&[6, 5]);
        assert!(apart > 0.0 && apart < 0.1, "{apart}");
        assert_eq!(folds(&comparisons(7)), [0, 1, 2, 3, 4, 0, 1]);
    }
}
