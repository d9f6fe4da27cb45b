//! How far labelers agree, with each other and with themselves.
//!
//! - Krippendorff's [`alpha`] over pairwise preferences: a unit is a pair of completions of one
//!   candidate in one direction, and its value is 1 where the first is preferred, 0 where both are
//!   tied, -1 where the second is; a pair that a labeler did not rank is missing. Each pair counts
//!   in both directions, so that the figure does not depend on how completions are numbered.
//! - Kendall's [`tau_b`] over the places of the completions that both rankings place, as a mean over
//!   candidates; those [`Ranking::below`] share the last place.
//!
//! What is skipped says nothing. Of a labeler who was asked again, alpha and the pairs of labelers
//! take the first answer; the first two are that labeler's agreement with himself or herself.

use std::collections::BTreeMap;

use crate::{CandidateId, Comparison, Pair, Ranking, Relation};

mod alpha;
mod tau;
#[cfg(test)]
mod tests;

use alpha::{alpha_of_units, count};

pub use alpha::{Level, alpha};
pub use tau::tau_b;

/// All rankings by candidate and labeler, without the texts.
#[derive(Clone, Debug, Default)]
pub struct Rankings {
    by_candidate: BTreeMap<CandidateId, BTreeMap<String, Vec<Ranking>>>,
}

/// How far labelers agree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agreement {
    /// Candidates that two or more labelers have ranked.
    pub shared_candidates: usize,
    /// Krippendorff's alpha over pairwise preferences, nominal.
    pub alpha_nominal: Option<f64>,
    /// The same, ordinal: a tie lies between the two preferences.
    pub alpha_ordinal: Option<f64>,
    /// Each two labelers who have ranked the same candidates, in alphabetic order.
    pub of_pairs: BTreeMap<(String, String), MeanTau>,
    /// Each labeler with his or her own repeated answers.
    pub of_repeats: BTreeMap<String, MeanTau>,
}

/// Kendall's tau-b, as a mean over candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeanTau {
    /// Candidates for which it is defined: neither ranking ties everything.
    pub candidates: usize,
    /// The sum over these.
    sum: f64,
}

impl MeanTau {
    /// The mean; `None` where it is defined for no candidate.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.candidates > 0).then(|| self.sum / count(self.candidates))
    }

    fn add(&mut self, a: &Ranking, b: &Ranking) {
        if let Some(tau) = tau_b_of(a, b) {
            self.candidates += 1;
            self.sum += tau;
        }
    }
}

impl Rankings {
    /// Takes in one comparison more, in the order in which they were given.
    pub fn add(&mut self, comparison: &Comparison) {
        let judgment = comparison.judgment();
        if let Some(ranking) = &judgment.ranking {
            let of_candidate = self.by_candidate.entry(comparison.candidate().id()).or_default();
            of_candidate.entry(judgment.labeler.clone()).or_default().push(ranking.clone());
        }
    }

    /// How far they agree.
    #[must_use]
    pub fn agreement(&self) -> Agreement {
        let mut agreement = Agreement {
            alpha_nominal: alpha_of_units(self.units(), Level::Nominal),
            alpha_ordinal: alpha_of_units(self.units(), Level::Ordinal),
            ..Agreement::default()
        };
        for labelers in self.by_candidate.values() {
            agreement.shared_candidates += usize::from(labelers.len() >= 2);
            let firsts: Vec<(&String, &Ranking)> = firsts(labelers).collect();
            for (number, (name, first)) in firsts.iter().enumerate() {
                for (other, ranking) in &firsts[number + 1..] {
                    let names = ((*name).clone(), (*other).clone());
                    agreement.of_pairs.entry(names).or_default().add(first, ranking);
                }
            }
            for (name, rankings) in labelers {
                if let [first, second, ..] = rankings.as_slice() {
                    agreement.of_repeats.entry(name.clone()).or_default().add(first, second);
                }
            }
        }
        agreement
    }

    /// The values of each unit of alpha.
    fn units(&self) -> impl Iterator<Item = Vec<i64>> {
        self.by_candidate.values().flat_map(|labelers| {
            let mut units: BTreeMap<(usize, usize), Vec<i64>> = BTreeMap::new();
            for relation in firsts(labelers).flat_map(|(_, ranking)| ranking.relations()) {
                let (first, second, value) = match relation {
                    Relation::Preferred(Pair { chosen, rejected, .. }) => (chosen, rejected, 1),
                    Relation::Tied(first, second) => (first, second, 0),
                };
                units.entry((first, second)).or_default().push(value);
                units.entry((second, first)).or_default().push(-value);
            }
            units.into_values()
        })
    }
}

/// Kendall's tau-b of two rankings of the same completions, over those that both place.
#[must_use]
pub fn tau_b_of(a: &Ranking, b: &Ranking) -> Option<f64> {
    let completions = a.completions().min(b.completions());
    let places = |number| Some((place(a, number)?, place(b, number)?));
    let (a, b): (Vec<i64>, Vec<i64>) = (0..completions).filter_map(places).unzip();
    tau_b(&a, &b)
}

/// Each labeler's first ranking.
fn firsts(labelers: &BTreeMap<String, Vec<Ranking>>) -> impl Iterator<Item = (&String, &Ranking)> {
    labelers.iter().filter_map(|(name, rankings)| Some((name, rankings.first()?)))
}

fn place(ranking: &Ranking, number: usize) -> Option<i64> {
    let below = ranking.below().contains(&number).then_some(ranking.groups().len());
    i64::try_from(ranking.place(number).or(below)?).ok()
}
