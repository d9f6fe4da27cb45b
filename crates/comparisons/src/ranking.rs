//! A ranking: completions in an order with ties, and the pairs that can be read off it.

use serde::{Deserialize, Serialize};

use crate::Refusal;
use crate::candidate::COMPLETIONS_MAX;

/// An order of completions with ties. Completions are numbered from 0.
///
/// Each completion is in one of three parts: in a group (all of one group are equally good), `below`
/// (worse than all groups, not compared with each other: what a choice of the best says of the
/// others), or unranked (nothing is known).
///
/// ```
/// use comparisons::Ranking;
///
/// // Of four, 2 is best, 0 and 1 are equally good, and 3 was left out.
/// let ranking = Ranking::new(4, vec![vec![2], vec![0, 1]])?;
/// let pairs: Vec<_> = ranking.pairs().map(|pair| (pair.chosen, pair.rejected)).collect();
/// assert_eq!(pairs, [(2, 0), (2, 1)]);
/// assert_eq!(ranking.unranked(), [3]);
/// # Ok::<(), comparisons::Refusal>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Ranking {
    groups: Vec<Vec<usize>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    below: Vec<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unranked: Vec<usize>,
}

/// One completion preferred to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The better one.
    pub chosen: usize,
    /// The worse one.
    pub rejected: usize,
    /// How many places lie between them; 1 for neighbors.
    pub rank_gap: usize,
}

/// What a ranking says of two completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// One is preferred.
    Preferred(Pair),
    /// Both are equally good; the first has the smaller number.
    Tied(usize, usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    groups: Vec<Vec<usize>>,
    #[serde(default)]
    below: Vec<usize>,
    #[serde(default)]
    unranked: Vec<usize>,
}

impl TryFrom<Parts> for Ranking {
    type Error = Refusal;

    fn try_from(parts: Parts) -> Result<Self, Refusal> {
        let ranked = parts.groups.iter().map(Vec::len).sum::<usize>() + parts.below.len();
        let completions = ranked + parts.unranked.len();
        let mut ranking = Self::checked(completions, parts.groups, parts.below)?;
        ranking.unranked.sort_unstable();
        let mut unranked = parts.unranked;
        unranked.sort_unstable();
        match unranked == ranking.unranked {
            true => Ok(ranking),
            false => Err(Refusal::OtherCount { ranked, completions }),
        }
    }
}

impl Ranking {
    /// Groups of equally good completions from best to worst; those in none are unranked.
    ///
    /// # Errors
    ///
    /// Where a completion is named twice or is not there, a group is empty, or fewer than two are
    /// ranked.
    pub fn new(completions: usize, groups: Vec<Vec<usize>>) -> Result<Self, Refusal> {
        Self::checked(completions, groups, Vec::new())
    }

    /// One is best, and nothing is said of the others among themselves.
    ///
    /// # Errors
    ///
    /// Where it is not there, or there are fewer than two.
    pub fn best_of(completions: usize, best: usize) -> Result<Self, Refusal> {
        at_most_completions(completions)?;
        let others = (0..completions).filter(|&other| other != best).collect();
        Self::checked(completions, vec![vec![best]], others)
    }

    /// From a number for each completion: lower is better, equal is tied, `None` is unranked.
    ///
    /// # Errors
    ///
    /// As [`Ranking::new`].
    pub fn from_places<N: Ord + Copy>(places: &[Option<N>]) -> Result<Self, Refusal> {
        at_most_completions(places.len())?;
        let mut order: Vec<(N, usize)> = places
            .iter()
            .enumerate()
            .filter_map(|(completion, place)| Some(((*place)?, completion)))
            .collect();
        order.sort_unstable();
        let groups = order.chunk_by(|a, b| a.0 == b.0);
        let groups = groups.map(|group| group.iter().map(|(_, completion)| *completion).collect());
        Self::new(places.len(), groups.collect())
    }

    /// Groups of equally good completions, best first.
    #[must_use]
    pub fn groups(&self) -> &[Vec<usize>] {
        &self.groups
    }

    /// Those worse than all groups that were not compared with each other, ascending.
    #[must_use]
    pub fn below(&self) -> &[usize] {
        &self.below
    }

    /// Those that nothing is known of, ascending.
    #[must_use]
    pub fn unranked(&self) -> &[usize] {
        &self.unranked
    }

    /// How many completions it speaks of, unranked ones included.
    #[must_use]
    pub fn completions(&self) -> usize {
        let grouped: usize = self.groups.iter().map(Vec::len).sum();
        grouped + self.below.len() + self.unranked.len()
    }

    /// The place of a completion among the groups, 0 for the best; `None` where it has none there.
    #[must_use]
    pub fn place(&self, completion: usize) -> Option<usize> {
        self.groups.iter().position(|group| group.contains(&completion))
    }

    /// Each pair of which one is preferred, the best first.
    pub fn pairs(&self) -> impl Iterator<Item = Pair> {
        self.relations().filter_map(|relation| match relation {
            Relation::Preferred(pair) => Some(pair),
            Relation::Tied(..) => None,
        })
    }

    /// Each pair that is known to be preferred or tied: C(K, 2) where all are in groups.
    pub fn relations(&self) -> impl Iterator<Item = Relation> {
        let placed = self.placed();
        let count = placed.len();
        let indices = (0..count).flat_map(move |a| (a + 1..count).map(move |b| (a, b)));
        let end = self.groups.len();
        indices.filter_map(move |(a, b)| {
            let ((better, above), (worse, under)) = (placed[a], placed[b]);
            match under - above {
                0 if above == end => None,
                0 => Some(Relation::Tied(better.min(worse), better.max(worse))),
                rank_gap => {
                    Some(Relation::Preferred(Pair { chosen: better, rejected: worse, rank_gap }))
                }
            }
        })
    }

    /// The same ranking of completions that are numbered otherwise: `numbers[old]` is the new one.
    ///
    /// # Errors
    ///
    /// Where `numbers` does not name each completion once.
    pub fn renumbered(&self, numbers: &[usize]) -> Result<Self, Refusal> {
        let completions = self.completions();
        if !is_permutation(numbers, completions) {
            return Err(Refusal::ShownOrder { completions });
        }
        let of = |list: &Vec<usize>| list.iter().map(|&old| numbers[old]).collect();
        Self::checked(completions, self.groups.iter().map(of).collect(), of(&self.below))
    }

    /// Groups and `below` sorted within, so that equal rankings are equal values.
    fn checked(
        completions: usize,
        mut groups: Vec<Vec<usize>>,
        mut below: Vec<usize>,
    ) -> Result<Self, Refusal> {
        at_most_completions(completions)?;
        if let Some(place) = groups.iter().position(Vec::is_empty) {
            return Err(Refusal::EmptyPlace { place });
        }
        let mut seen = [false; COMPLETIONS_MAX];
        for &completion in groups.iter().flatten().chain(&below) {
            if completion >= completions {
                return Err(Refusal::Outside { completion, completions });
            }
            if std::mem::replace(&mut seen[completion], true) {
                return Err(Refusal::NamedTwice { completion });
            }
        }
        let unranked: Vec<usize> = (0..completions).filter(|&number| !seen[number]).collect();
        if groups.is_empty() || completions - unranked.len() < 2 {
            return Err(Refusal::RanksNothing);
        }
        if below.len() == 1 {
            // One alone has none that it was not compared with: the same as a last group.
            groups.push(std::mem::take(&mut below));
        }
        groups.iter_mut().chain([&mut below]).for_each(|list| list.sort_unstable());
        Ok(Self { groups, below, unranked })
    }

    /// Those in groups and below, each with its place, best first.
    fn placed(&self) -> Vec<(usize, usize)> {
        let lists = self.groups.iter().chain([&self.below]).enumerate();
        lists.flat_map(|(place, list)| list.iter().map(move |&number| (number, place))).collect()
    }
}

/// Whether a list names each of `0..count` once.
pub(crate) fn is_permutation(numbers: &[usize], count: usize) -> bool {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..count)
}

fn at_most_completions(found: usize) -> Result<(), Refusal> {
    if found > COMPLETIONS_MAX { Err(Refusal::TooManyCompletions { found }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn triples(ranking: &Ranking) -> Vec<(usize, usize, usize)> {
        ranking.pairs().map(|pair| (pair.chosen, pair.rejected, pair.rank_gap)).collect()
    }

    #[test]
    fn pairs_are_those_of_different_groups_with_their_gap() {
        let ranking = Ranking::new(5, vec![vec![3], vec![4, 0], vec![1]]).unwrap();
        let expected = [(3, 0, 1), (3, 4, 1), (3, 1, 2), (0, 1, 1), (4, 1, 1)];
        assert_eq!(triples(&ranking), expected);
        let ties: Vec<Relation> =
            ranking.relations().filter(|r| matches!(r, Relation::Tied(..))).collect();
        assert_eq!(ties, [Relation::Tied(0, 4)]);
        assert_eq!((ranking.unranked(), ranking.place(1)), (&[2][..], Some(2)));
    }

    #[test]
    fn a_choice_of_the_best_ties_nothing() {
        let ranking = Ranking::best_of(4, 2).unwrap();
        assert_eq!(triples(&ranking), [(2, 0, 1), (2, 1, 1), (2, 3, 1)]);
        assert_eq!(ranking.relations().count(), 3);
    }

    #[test]
    fn impossible_rankings_are_refused() {
        for (completions, groups, kind) in [
            (3, vec![vec![0], vec![0]], "a completion with two places"),
            (3, vec![vec![0, 1, 1]], "a completion with two places"),
            (3, vec![vec![0], vec![3]], "a place outside"),
            (3, vec![vec![0], vec![], vec![1]], "an empty place"),
            (3, vec![vec![0]], "ranks nothing"),
            (3, vec![], "ranks nothing"),
            (17, vec![vec![0], vec![1]], "too many completions"),
        ] {
            assert_eq!(Ranking::new(completions, groups).unwrap_err().kind(), kind);
        }
        assert_eq!(Ranking::best_of(4, 4).unwrap_err().kind(), "a place outside");
    }

    #[test]
    fn json_that_is_no_ranking_is_refused() {
        for json in [
            r#"{"groups":[[0],[2]]}"#,
            r#"{"groups":[[0],[1]],"unranked":[1]}"#,
            r#"{"groups":[[0],[1]],"unranked":[3]}"#,
            r#"{"groups":[[0],[1]],"score":1}"#,
            r#"{"groups":[[0],[-1]]}"#,
        ] {
            assert!(serde_json::from_str::<Ranking>(json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn places_groups_json_and_numbers_agree(
            places in proptest::collection::vec(proptest::option::of(0_u8..5), 2..=16),
        ) {
            let Ok(ranking) = Ranking::from_places(&places) else {
                prop_assert!(places.iter().flatten().count() < 2);
                return Ok(());
            };
            let json = serde_json::to_string(&ranking).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Ranking>(&json).unwrap(), &ranking);
            for pair in ranking.pairs() {
                prop_assert!(places[pair.chosen].unwrap() < places[pair.rejected].unwrap());
            }
            let ranked = places.iter().flatten().count();
            prop_assert_eq!(ranking.relations().count(), ranked * (ranked - 1) / 2);
            let backward: Vec<usize> = (0..places.len()).rev().collect();
            let twice = ranking.renumbered(&backward).unwrap().renumbered(&backward).unwrap();
            prop_assert_eq!(twice, ranking);
        }
    }
}
