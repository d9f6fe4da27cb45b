//! The loss of one ranking, over all its pairs at once.

use super::{log_sigmoid, sigmoid};
use crate::per_token::count;

/// The loss of one ranking, with its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct RankingLoss {
    /// Mean over pairs, in nats; log 2 where all scores are equal.
    pub loss: f64,
    /// Its derivative with respect to each score: `[completions]`. Without centering they add up to
    /// 0: a ranking says nothing of the scores' height.
    pub d_scores: Vec<f64>,
}

/// The rank of completions that are worse than all others and were not compared with each other: what
/// a choice of the best says of the rest. Pairs of two such ones do not count.
pub const BELOW: u32 = u32::MAX;

/// The loss of a ranking of K completions of one prompt.
///
/// `-1 / C(K, 2) * Σ log σ(score[chosen] - score[rejected])` over all pairs, plus `centering *
/// (score[chosen] + score[rejected])²` in the same mean. Of a tied pair either is chosen with a weight
/// of one half, so that it is least where both scores are equal. Ties count among the C(K, 2).
///
/// All pairs of a ranking belong to one step: each completion goes through the model once, and pairs
/// of the same completions that are spread over steps are learned by heart.
///
/// # Shapes
///
/// - `scores`, `ranks`: `[completions]`; a lower rank is better, equal ranks are ties but for [`BELOW`]
///
/// # Panics
///
/// Panics if the shapes differ or no two completions were compared.
///
/// Source: Ouyang et al. 2022, arXiv:2203.02155, equation 1, which has no ties; centering: Eisenstein
/// et al. 2023, arXiv:2312.09244, with a coefficient of 0.01.
#[must_use]
pub fn ranking_loss(scores: &[f64], ranks: &[u32], centering: f64) -> RankingLoss {
    let completions = scores.len();
    assert!(completions == ranks.len(), "{completions} scores of {} ranks", ranks.len());
    let are_compared =
        |&(left, right): &(usize, usize)| (ranks[left], ranks[right]) != (BELOW, BELOW);
    let compared = pairs(completions).filter(are_compared).count();
    assert!(compared > 0, "a ranking of {completions} without a pair");
    let share = 1.0 / count(compared);
    let mut loss = 0.0;
    let mut d_scores = vec![0.0; completions];
    for (left, right) in pairs(completions).filter(are_compared) {
        let apart = scores[left] - scores[right];
        let together = scores[left] + scores[right];
        let weight = won(ranks[left], ranks[right]);
        loss -= weighted(weight, apart) + weighted(1.0 - weight, -apart);
        loss += centering * together * together;
        let d_apart = sigmoid(apart) - weight;
        let d_together = 2.0 * centering * together;
        d_scores[left] += share * (d_together + d_apart);
        d_scores[right] += share * (d_together - d_apart);
    }
    RankingLoss { loss: share * loss, d_scores }
}

/// All pairs of places, the first before the second.
pub(super) fn pairs(completions: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..completions).flat_map(move |left| (left + 1..completions).map(move |right| (left, right)))
}

/// What a place has won against another: 1, or one half of a tie.
pub(super) fn won(rank: u32, other: u32) -> f64 {
    match rank.cmp(&other) {
        std::cmp::Ordering::Less => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Greater => 0.0,
    }
}

/// `weight * log σ(apart)`.
fn weighted(weight: f64, apart: f64) -> f64 {
    if weight > 0.0 { weight * log_sigmoid(apart) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_near, draws, slope};

    /// The sum over explicit pairs of a chosen and a rejected completion, by the naive formula; a tied
    /// pair occurs twice, each time with half the weight.
    fn explicit(scores: &[f64], ranks: &[u32], centering: f64) -> (f64, Vec<f64>) {
        let (mut sum, mut gradient, mut pairs) = (0.0, vec![0.0; scores.len()], 0.0);
        for chosen in 0..scores.len() {
            for rejected in 0..scores.len() {
                if chosen == rejected || ranks[chosen] > ranks[rejected] {
                    continue;
                }
                let weight = if ranks[chosen] == ranks[rejected] { 0.5 } else { 1.0 };
                let (better, worse) = (scores[chosen], scores[rejected]);
                let probability = 1.0 / (1.0 + (worse - better).exp());
                pairs += weight;
                sum += weight * (-probability.ln() + centering * (better + worse).powi(2));
                let centered = 2.0 * centering * (better + worse);
                gradient[chosen] += weight * (probability - 1.0 + centered);
                gradient[rejected] += weight * (1.0 - probability + centered);
            }
        }
        (sum / pairs, gradient.into_iter().map(|slope| slope / pairs).collect())
    }

    const RANKINGS: [&[u32]; 5] =
        [&[1, 2], &[3, 3], &[2, 1, 3, 4], &[1, 1, 2, 2, 2], &[9, 8, 7, 6, 5, 4, 3, 2, 1]];

    #[test]
    fn one_ranking_is_the_explicit_sum_of_its_pairs() {
        for (seed, ranks) in (0..).zip(RANKINGS) {
            let scores = draws(seed, ranks.len());
            for centering in [0.0, 0.01] {
                let found = ranking_loss(&scores, ranks, centering);
                let (loss, d_scores) = explicit(&scores, ranks, centering);
                assert!((found.loss - loss).abs() < 1e-14, "{ranks:?}: {found:?} {loss}");
                assert_near(&found.d_scores, &d_scores, 1e-14);
            }
        }
    }

    #[test]
    fn a_choice_of_the_best_says_nothing_of_the_others() {
        let scores = draws(3, 4);
        let found = ranking_loss(&scores, &[BELOW, 0, BELOW, BELOW], 0.0);
        let pairs = [0, 2, 3].map(|other| ranking_loss(&[scores[1], scores[other]], &[0, 1], 0.0));
        let mean = pairs.iter().map(|pair| pair.loss).sum::<f64>() / 3.0;
        assert!((found.loss - mean).abs() < 1e-15, "{found:?}");
        let slopes = [0, 1, 2].map(|pair: usize| pairs[pair].d_scores[1] / 3.0);
        let best = -slopes.iter().sum::<f64>();
        assert_near(&found.d_scores, &[slopes[0], best, slopes[1], slopes[2]], 1e-15);
    }

    #[test]
    fn the_gradient_is_the_slope() {
        for (seed, ranks) in (0..).zip(RANKINGS) {
            let scores = draws(seed, ranks.len());
            let of = |place: usize| {
                let at = |score| {
                    let mut moved = scores.clone();
                    moved[place] = score;
                    ranking_loss(&moved, ranks, 0.01).loss
                };
                slope(at, scores[place])
            };
            let slopes: Vec<f64> = (0..scores.len()).map(of).collect();
            assert_near(&ranking_loss(&scores, ranks, 0.01).d_scores, &slopes, 1e-9);
        }
    }

    #[test]
    fn scores_far_apart_stay_finite() {
        let wrong = ranking_loss(&[-5e3, 5e3], &[1, 2], 0.0);
        assert_eq!(wrong, RankingLoss { loss: 1e4, d_scores: vec![-1.0, 1.0] });
        let right = ranking_loss(&[5e3, -5e3], &[1, 2], 0.0);
        assert_eq!(right, RankingLoss { loss: 0.0, d_scores: vec![0.0, 0.0] });
        let tied = ranking_loss(&[5e3, -5e3], &[1, 1], 0.0);
        assert_eq!(tied, RankingLoss { loss: 5e3, d_scores: vec![0.5, -0.5] });
    }

    #[test]
    fn equal_scores_cost_one_bit_and_ties_are_content_with_them() {
        let found = ranking_loss(&[0.3; 4], &[1, 1, 1, 1], 0.0);
        assert!((found.loss - std::f64::consts::LN_2).abs() < 1e-15);
        assert_eq!(found.d_scores, [0.0; 4]);
    }
}
