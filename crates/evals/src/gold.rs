//! A judge whose taste is known, for tests and for teaching: what it says is synthetic, and its
//! rankings say so wherever they go.
//!
//! It likes plain words, and dislikes repetition and refusals. Words and repetition are shares, so that
//! neither long nor short answers are liked for their length (`length_does_not_decide`); and a share of
//! few words says little, so that an answer of two plain words is not the best there can be. Learning
//! never sees it: it reaches a model as rankings alone.

use std::collections::BTreeSet;

use comparisons::{Candidate, Ranking, Refusal};
use engine::random::Philox;

use crate::drift::is_refusal;

/// The labeler that synthetic rankings name.
pub const LABELER: &str = "synthetic";

/// The longest word that is plain, in letters.
const PLAIN_LETTERS: usize = 4;
/// Words that are thought to stand before every answer, and how many of them are plain: as many as of
/// what a model says that was only taught, so that of its answers neither long nor short ones are
/// liked; and so many that what a price of drift, which counts tokens, gains by ending early is lost.
const WORDS_BEFORE: usize = 12;
const PLAIN_BEFORE: usize = 8;
/// What a share of plain words counts.
const PLAIN: f64 = 6.0;
/// What a share of repeated pairs of words costs.
const REPEATED: f64 = 6.0;
/// What a refusal costs: its words are plain.
const REFUSED: f64 = 3.0;
/// The score of an answer without a word, as if no word of it were plain.
const NOTHING: f64 = 0.0;

/// How good an answer is: `6 * plain - 6 * repeated - 3 * refused`.
///
/// `plain` is the share of words of at most four letters, twelve words before the answer counted in of
/// which eight are plain; `repeated` the share of pairs of neighboring words that were there before;
/// `refused` 1 for an answer that begins as a refusal, else 0.
#[must_use]
pub fn score(answer: &str) -> f64 {
    let words = answer.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_lowercase).collect();
    if words.is_empty() {
        return NOTHING;
    }
    let plain = words.iter().filter(|word| word.chars().count() <= PLAIN_LETTERS).count();
    let mut seen = BTreeSet::new();
    let repeated = words.windows(2).filter(|pair| !seen.insert(pair.to_vec())).count();
    let pairs = words.len().saturating_sub(1).max(1);
    let plain = share(plain + PLAIN_BEFORE, words.len() + WORDS_BEFORE);
    let refused = if is_refusal(answer) { REFUSED } else { 0.0 };
    PLAIN * plain - REPEATED * share(repeated, pairs) - refused
}

#[expect(clippy::cast_precision_loss, reason = "an answer has few words")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// Ranks by the judge's scores, with the doubts of a person.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SyntheticLabeler {
    /// Of two answers whose scores are this far apart the better one is preferred in 73 % of all
    /// cases; above 0.
    pub noise: f64,
    /// Decides its doubts.
    pub seed: u64,
}

impl SyntheticLabeler {
    /// Orders all completions. Of two completions the first is preferred with the probability
    /// `σ((score - other) / noise)`, as Bradley and Terry have it: each score gets noise of its own
    /// with Gumbel's distribution.
    ///
    /// # Errors
    ///
    /// Never for a candidate, whose completions are at least two.
    ///
    /// Source: Yellott 1977, "The relationship between Luce's choice axiom, Thurstone's theory of
    /// comparative judgment, and the double exponential distribution".
    pub fn rank(&self, candidate: &Candidate) -> Result<Ranking, Refusal> {
        self.rank_by(candidate, score)
    }

    /// The same with another taste than gold's.
    ///
    /// # Errors
    ///
    /// As in [`Self::rank`].
    pub fn rank_by(
        &self,
        candidate: &Candidate,
        score: impl Fn(&str) -> f64,
    ) -> Result<Ranking, Refusal> {
        let id = candidate.id().0;
        let key = id.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let draws = Philox::new(self.seed);
        let doubted = |(place, text): (u64, &str)| {
            let score = score(text) / self.noise + gumbel(draws.block([key, place]));
            // The best is the first.
            std::cmp::Reverse(Total(score))
        };
        let texts = candidate.completions().iter().map(|completion| completion.text.as_str());
        let places: Vec<Option<_>> = (0..).zip(texts).map(|at| Some(doubted(at))).collect();
        Ranking::from_places(&places)
    }
}

/// A number with an order; none of these is NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Total(f64);

impl Eq for Total {}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// `-log(-log u)` with `u` strictly between 0 and 1.
fn gumbel(words: [u32; 4]) -> f64 {
    let unit = (f64::from(words[0]) + 0.5) / (f64::from(u32::MAX) + 1.0);
    -engine::log(-engine::log(unit))
}

#[cfg(test)]
mod tests {
    use comparisons::{Completion, Origin, Prompt};

    use super::*;

    #[test]
    fn plain_words_are_liked_and_repetition_is_not() {
        assert!((score("We go to the sea.") - 6.0 * 13.0 / 17.0).abs() < 1e-12);
        let long = score("Considerable improvements notwithstanding");
        assert!((long - 6.0 * 8.0 / 15.0).abs() < 1e-12);
        let repeated = score("go on, go on, go on");
        assert!((repeated - 6.0 * (14.0 / 18.0 - 3.0 / 5.0)).abs() < 1e-12);
        let refused = score("I cannot do it.");
        assert!((refused - (6.0 * 11.0 / 16.0 - 3.0)).abs() < 1e-12, "{refused}");
        // More of the same is better, up to where it repeats.
        assert!(score("We go.") < score("We go to the sea and see it all."));
        assert!((score(" ... ") - NOTHING).abs() < 1e-12);
    }

    /// Words that look random.
    fn words(seed: u64, count: u64) -> String {
        let word = |index: u64| {
            let [letters, first, ..] = Philox::new(seed).block([index, 1]);
            let letter = |l: u32| char::from(b'a' + u8::try_from((first >> l) % 26).unwrap());
            (0..1 + letters % 6).map(letter).collect::<String>()
        };
        (0..count).map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn length_does_not_decide() {
        let lengths: Vec<u64> = (0..600).map(|seed| 3 + seed * 7 % 60).collect();
        let scores: Vec<f64> =
            (0..).zip(&lengths).map(|(seed, &length)| score(&words(seed, length))).collect();
        let lengths: Vec<f64> =
            lengths.iter().map(|&length| f64::from(u32::try_from(length).unwrap())).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (score, length) = (mean(&scores), mean(&lengths));
        let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
            scores.iter().zip(&lengths).map(|(s, l)| f(s - score, l - length)).sum()
        };
        let rho = sum(&|s, l| s * l) / (sum(&|s, _| s * s) * sum(&|_, l| l * l)).sqrt();
        assert!(rho.abs() < 0.1, "{rho}");
    }

    #[test]
    fn preferences_follow_bradley_and_terry() {
        let good = "we go to the sea and see it all";
        let mut won = 0;
        let trials = 2_000;
        for trial in 0..trials {
            // One word of nine is not plain.
            let worse = format!("we go to the sea and see it {}", words(trial, 1) + "abcdef");
            let completions =
                [good, &worse].map(|text| Completion::new(text, Origin::Written)).to_vec();
            let prompt = Prompt::Text(format!("{trial}"));
            let candidate = Candidate::new(prompt, completions).unwrap();
            let labeler = SyntheticLabeler { noise: 0.5, seed: 3 };
            let ranking = labeler.rank(&candidate).unwrap();
            won += u32::from(ranking.place(0) == Some(0));
        }
        // One word of twenty-one, those before counted in.
        let expected = 1.0 / (1.0 + (-(6.0_f64 / 21.0) / 0.5).exp());
        let found = f64::from(won) / 2_000.0;
        // Four standard errors.
        assert!((found - expected).abs() < 0.037, "{found} {expected}");
    }
}
