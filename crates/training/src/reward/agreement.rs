//! How many pairs of people's rankings a reward model orders as they did.

use super::accuracy::Proportion;
use super::loss::{pairs, won};

/// The pairs of a ranking that scores order as people did.
///
/// A pair that people tied says nothing and is left out. Of the others, one whose scores are equal
/// counts one half. `2 * share - 1` is Kendall's tau of the untied pairs.
///
/// # Shapes
///
/// - `scores`, `ranks`: `[completions]`; a lower rank is better, equal ranks are ties
///
/// # Panics
///
/// Panics if the shapes differ.
///
/// Source: Kendall 1938, "A new measure of rank correlation".
#[must_use]
pub fn of_ranking(scores: &[f64], ranks: &[u32]) -> Proportion {
    assert!(scores.len() == ranks.len(), "{} scores of {} ranks", scores.len(), ranks.len());
    let mut agreed = Proportion { successes: 0.0, trials: 0 };
    for (left, right) in pairs(scores.len()) {
        if ranks[left] == ranks[right] {
            continue;
        }
        let apart = scores[left] - scores[right];
        let left_wins = won(ranks[left], ranks[right]) > 0.5;
        agreed.trials += 1;
        agreed.successes += match (apart > 0.0, apart < 0.0) {
            (false, false) => 0.5,
            (higher, _) if higher == left_wins => 1.0,
            _ => 0.0,
        };
    }
    agreed
}

/// The pairs of many rankings together: each pair counts the same, so long rankings count more.
#[must_use]
pub fn together(rankings: impl IntoIterator<Item = Proportion>) -> Proportion {
    let nothing = Proportion { successes: 0.0, trials: 0 };
    rankings.into_iter().fold(nothing, |sum, one| Proportion {
        successes: sum.successes + one.successes,
        trials: sum.trials + one.trials,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_by_hand() {
        for (scores, ranks, successes, trials) in [
            (&[3.0, 2.0, 1.0][..], &[1, 2, 3][..], 3.0, 3),
            (&[1.0, 2.0, 3.0], &[1, 2, 3], 0.0, 3),
            (&[3.0, 1.0, 2.0], &[1, 2, 3], 2.0, 3),
            (&[3.0, 1.0, 2.0], &[1, 2, 2], 2.0, 2),
            (&[5.0, 5.0], &[1, 2], 0.5, 1),
            (&[5.0, 4.0], &[2, 2], 0.0, 0),
            (&[f64::NAN, 4.0], &[1, 2], 0.5, 1),
        ] {
            let found = of_ranking(scores, ranks);
            assert_eq!(found, Proportion { successes, trials }, "{scores:?} {ranks:?}");
        }
        let all =
            together([of_ranking(&[2.0, 1.0], &[1, 2]), of_ranking(&[1.0, 2.0, 3.0], &[1, 2, 3])]);
        assert_eq!(all, Proportion { successes: 1.0, trials: 4 });
    }
}
