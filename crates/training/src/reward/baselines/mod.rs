//! What a reward model has to be better than: the length of completions, a bag of bigrams, and the policy
//! that direct preference optimization makes of the same comparisons.

mod bigrams;
mod minimize;

use self::bigrams::Bigrams;
use super::RankedCompletions;
use super::agreement::{of_ranking, together};
use crate::per_token::count;

/// Scores of completions by their number of tokens alone: longer is better or worse, as it was more
/// often among the comparisons that were learned from.
///
/// # Shapes
///
/// Returns `[comparisons][completions]` of `held_out`.
#[must_use]
pub fn length_scores(train: &[RankedCompletions], held_out: &[RankedCompletions]) -> Vec<Vec<f64>> {
    let lengths = |comparison: &RankedCompletions| -> Vec<f64> {
        comparison.completions.iter().map(|completion| count(completion.len())).collect()
    };
    let longer = together(train.iter().map(|c| of_ranking(&lengths(c), &c.ranks)));
    let sign = if longer.share() < 0.5 { -1.0 } else { 1.0 };
    let signed = |c| lengths(c).into_iter().map(|length| sign * length).collect();
    held_out.iter().map(signed).collect()
}

/// Scores of a logistic regression on which tokens and pairs of neighboring tokens a completion has,
/// learned from the same comparisons by the loss of the reward model with a penalty on squares of
/// weights, which is chosen among seven by five folds of the prompts.
///
/// # Shapes
///
/// Returns `[comparisons][completions]` of `held_out`.
#[must_use]
pub fn bigram_scores(train: &[RankedCompletions], held_out: &[RankedCompletions]) -> Vec<Vec<f64>> {
    let bigrams = Bigrams::learn(train);
    let of = |comparison: &RankedCompletions| {
        comparison.completions.iter().map(|completion| bigrams.score(completion)).collect()
    };
    held_out.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_of_lengths_is_learned() {
        let of = |lengths: [usize; 2]| RankedCompletions {
            prompt: vec![1],
            completions: lengths.map(|tokens| vec![7; tokens]).to_vec(),
            ranks: vec![1, 2],
        };
        let held_out = [of([4, 9])];
        assert_eq!(length_scores(&[of([2, 1]), of([5, 3]), of([1, 2])], &held_out), [[4.0, 9.0]]);
        assert_eq!(length_scores(&[of([1, 2])], &held_out), [[-4.0, -9.0]]);
    }
}
