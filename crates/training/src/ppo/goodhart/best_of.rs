//! The best of several completions of the reference: how far that is from it, and what it gains.

use serde::{Deserialize, Serialize};

use super::law::Measured;
use crate::per_token::count;

/// What choosing by a reward model gains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestOf {
    /// Completions of which the one with the highest score is chosen.
    pub completions: u32,
    /// `sqrt(KL)` of the choice from one completion; an upper bound.
    pub distance: f64,
    /// Expected score of the chosen one by the reward model.
    pub proxy: f64,
    /// The same by the judge.
    pub gold: f64,
}

impl BestOf {
    /// What the judge says of the chosen one, over what it says of one that nobody chose.
    #[must_use]
    pub fn gain(&self, of_one: &Self) -> Measured {
        Measured { distance: self.distance, gain: self.gold - of_one.gold }
    }
}

/// What the best of `chosen` of these completions scores, by the reward model, which chooses, and by
/// the judge: expected over all ways to draw that many of them.
///
/// `Σ_i C(i, chosen - 1) / C(all, chosen) · score[i]`, completions in the order of the reward model's
/// scores, the lowest 0: that is how often each of them is the best.
///
/// # Shapes
///
/// `scores`: `[completions of one prompt]`, each `(proxy, gold)`.
///
/// # Panics
///
/// Panics if there are fewer completions than are drawn, or none are.
///
/// Source: Nakano et al. 2021, arXiv:2112.09332, appendix I.
#[must_use]
pub fn best_of(scores: &[(f64, f64)], chosen: usize) -> (f64, f64) {
    let all = scores.len();
    assert!((1..=all).contains(&chosen), "the best of {chosen} of {all} completions");
    let mut sorted = scores.to_vec();
    sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
    // The highest is the best in `chosen / all` of the draws; each next one in the share of those
    // that are left in which it is drawn.
    let (mut proxy, mut gold, mut left) = (0.0, 0.0, 1.0);
    for (place, score) in sorted.iter().enumerate().rev() {
        let below = place + 1;
        if below < chosen {
            break;
        }
        let share = left * count(chosen) / count(below);
        proxy += share * score.0;
        gold += share * score.1;
        left -= share;
    }
    (proxy, gold)
}

/// [`best_of`] 1, 2, 4 and so on of the completions of each prompt, mean over prompts.
///
/// # Shapes
///
/// `scores`: `[prompts][completions]`, as many completions of each.
///
/// # Panics
///
/// Panics if there is no prompt, or one has no completion.
#[must_use]
pub fn doublings(scores: &[Vec<(f64, f64)>]) -> Vec<BestOf> {
    assert!(!scores.is_empty(), "the best of nothing");
    let all = scores.iter().map(Vec::len).min().unwrap_or(0);
    let of = |completions: u32| {
        let chosen = usize::try_from(completions).unwrap_or(usize::MAX);
        let found = scores.iter().map(|scores| best_of(scores, chosen));
        let sums = found.fold((0.0, 0.0), |sums, one| (sums.0 + one.0, sums.1 + one.1));
        let (proxy, gold) = (sums.0 / count(scores.len()), sums.1 / count(scores.len()));
        BestOf { completions, distance: best_of_kl(completions).max(0.0).sqrt(), proxy, gold }
    };
    let doubled = (0..u32::BITS).map(|power| 1 << power);
    doubled.take_while(|&n| usize::try_from(n).is_ok_and(|n| n <= all)).map(of).collect()
}

/// KL(best of `completions` ‖ one of them), in nats: `log n - (n - 1) / n`, an upper bound that is
/// exact where no two completions are equal.
///
/// # Panics
///
/// Panics if there is no completion.
///
/// Source: Stiennon et al. 2020, arXiv:2009.01325, appendix G.3; that it is a bound: Beirami et al.
/// 2024, arXiv:2401.01879.
#[must_use]
pub fn best_of_kl(completions: u32) -> f64 {
    assert!(completions > 0, "the best of nothing");
    let count = f64::from(completions);
    engine::log(count) - (count - 1.0) / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::draws;

    #[test]
    fn the_best_of_some_is_the_mean_over_all_ways_to_draw_them() {
        let numbers = draws(5, 14);
        let scores: Vec<(f64, f64)> = numbers.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        for chosen in 1..=scores.len() {
            let (mut proxy, mut gold, mut ways) = (0.0, 0.0, 0.0);
            for drawn in 0_u32..1 << scores.len() {
                if usize::try_from(drawn.count_ones()).unwrap() != chosen {
                    continue;
                }
                let own = (0..scores.len()).filter(|place| drawn >> place & 1 == 1);
                let best = own.map(|place| scores[place]).max_by(|a, b| a.0.total_cmp(&b.0));
                let (best_proxy, best_gold) = best.unwrap();
                (proxy, gold, ways) = (proxy + best_proxy, gold + best_gold, ways + 1.0);
            }
            let found = best_of(&scores, chosen);
            assert!((found.0 - proxy / ways).abs() < 1e-12, "{chosen}: {found:?}");
            assert!((found.1 - gold / ways).abs() < 1e-12, "{chosen}: {found:?}");
        }
    }

    #[test]
    fn a_reward_model_that_is_the_judge_gains_what_it_says() {
        let scores: Vec<_> = (0..4).map(|score| (f64::from(score), f64::from(score))).collect();
        let found = doublings(&[scores.clone(), scores]);
        let told: Vec<_> = found.iter().map(|best| (best.completions, best.gold)).collect();
        // Of 0, 1, 2, 3: the best of two is 3 in three of six draws, 2 in two, 1 in one.
        for ((found, gold), expected) in told.into_iter().zip([(1, 1.5), (2, 14.0 / 6.0), (4, 3.0)])
        {
            assert!(found == expected.0 && (gold - expected.1).abs() < 1e-12, "{found}: {gold}");
        }
        assert!(found.iter().all(|best| (best.proxy - best.gold).abs() < 1e-12));
        assert!((found[2].gain(&found[0]).gain - 1.5).abs() < 1e-12);
    }

    #[test]
    fn the_best_of_one_has_not_moved() {
        assert!(best_of_kl(1).abs() < 1e-300);
        assert!((best_of_kl(2) - (2.0_f64.ln() - 0.5)).abs() < 1e-15);
        assert!((best_of_kl(64) - 3.174_508_083_359_671).abs() < 1e-12);
    }
}
