//! A comparison: a candidate and what one labeler said of it.

use std::collections::BTreeSet;

use artifacts::shown;
use serde::{Deserialize, Serialize};

use crate::candidate::NAME_BYTES_MAX;
use crate::ranking::is_permutation;
use crate::refusal::at_most;
use crate::{Candidate, Pair, Ranking, Refusal};

/// The longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 16 << 10;

/// One prompt, its completions, and one labeler's ranking of them.
///
/// ```
/// use comparisons::{Candidate, Comparison, Completion, Judgment, Prompt, Ranking};
///
/// let texts = ["4", "about 5"].map(|text| Completion::imported(text, "an example"));
/// let candidate = Candidate::new(Prompt::Text("2 + 2 =".to_owned()), texts.into())?;
/// let ranking = Ranking::new(2, vec![vec![0], vec![1]])?;
/// let comparison = Comparison::new(candidate, Judgment::ranked("ada", ranking, 0))?;
/// let pairs: Vec<_> = comparison.pairs().collect();
/// assert_eq!((pairs[0].chosen, pairs[0].rejected, pairs[0].margin), ("4", "about 5", 1.0));
/// # Ok::<(), comparisons::Refusal>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Comparison {
    candidate: Candidate,
    judgment: Judgment,
}

/// What one labeler said of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgment {
    /// Who said it.
    pub labeler: String,
    /// The ranking; `None` where the whole comparison was skipped.
    pub ranking: Option<Ranking>,
    /// By how much the one is better than the other, where a source of pairs says it; a margin of 1
    /// is that of neighbors and says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f32>,
    /// Why, in the labeler's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When, in milliseconds since 1970 (UTC); 0 where it is not known.
    pub time_ms: u64,
    /// The order in which completions were shown, so that it can be examined whether places decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_order: Option<Vec<usize>>,
}

/// A pair of texts, one preferred to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairOfTexts<'a> {
    /// The better one.
    pub chosen: &'a str,
    /// The worse one.
    pub rejected: &'a str,
    /// The margin that the source gave, or the rank gap.
    pub margin: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    candidate: Candidate,
    judgment: Judgment,
}

impl TryFrom<Parts> for Comparison {
    type Error = Refusal;

    fn try_from(parts: Parts) -> Result<Self, Refusal> {
        Self::new(parts.candidate, parts.judgment)
    }
}

impl Judgment {
    /// A ranking without more words.
    pub fn ranked(labeler: impl Into<String>, ranking: Ranking, time_ms: u64) -> Self {
        Self { ranking: Some(ranking), ..Self::skipped(labeler, time_ms) }
    }

    /// The labeler saw the candidate and ranked nothing.
    pub fn skipped(labeler: impl Into<String>, time_ms: u64) -> Self {
        let labeler = labeler.into();
        Self { labeler, ranking: None, margin: None, reason: None, time_ms, shown_order: None }
    }

    /// Refuses a labeler who is not on the list.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownLabeler`].
    pub fn check_labeler(&self, labelers: &BTreeSet<String>) -> Result<(), Refusal> {
        check_labeler(&self.labeler, labelers)
    }

    fn check(&self, completions: usize) -> Result<(), Refusal> {
        check_name(&self.labeler)?;
        let reason = self.reason.as_ref().map_or(0, String::len);
        at_most("the bytes of a reason", reason, REASON_BYTES_MAX)?;
        let ranked = self.ranking.as_ref().map_or(completions, Ranking::completions);
        if ranked != completions {
            return Err(Refusal::OtherCount { ranked, completions });
        }
        let pairs = self.ranking.as_ref().map_or(0, |ranking| ranking.pairs().count());
        if self.margin.is_some_and(|margin| !(margin >= 0.0 && margin.is_finite() && pairs == 1)) {
            return Err(Refusal::Margin);
        }
        match &self.shown_order {
            Some(order) if !is_permutation(order, completions) => {
                Err(Refusal::ShownOrder { completions })
            }
            _ => Ok(()),
        }
    }
}

impl Comparison {
    /// A candidate with a labeler's judgment of it.
    ///
    /// # Errors
    ///
    /// Where the ranking is of another number of completions, the labeler has no name, the margin
    /// or the order shown cannot be, or something is over its limit.
    pub fn new(candidate: Candidate, mut judgment: Judgment) -> Result<Self, Refusal> {
        judgment.margin = judgment.margin.filter(|margin| margin.total_cmp(&1.0).is_ne());
        judgment.check(candidate.completions().len())?;
        Ok(Self { candidate, judgment })
    }

    /// The prompt and its completions.
    #[must_use]
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// What the labeler said.
    #[must_use]
    pub fn judgment(&self) -> &Judgment {
        &self.judgment
    }

    /// Each pair of which one is preferred; none where the comparison was skipped.
    pub fn pairs(&self) -> impl Iterator<Item = PairOfTexts<'_>> {
        let text = |number: usize| self.candidate.completions()[number].text.as_str();
        let pairs = self.judgment.ranking.iter().flat_map(Ranking::pairs);
        pairs.map(move |Pair { chosen, rejected, rank_gap }| {
            // A rank gap is below 16.
            let gap = u8::try_from(rank_gap).map_or(f32::INFINITY, f32::from);
            let margin = self.judgment.margin.unwrap_or(gap);
            PairOfTexts { chosen: text(chosen), rejected: text(rejected), margin }
        })
    }
}

/// Refuses what nobody could be called: no name, a long one, or one that a terminal would obey.
///
/// # Errors
///
/// [`Refusal::NoLabeler`], [`Refusal::UnfitLabeler`], or that it is over its limit.
pub fn check_name(labeler: &str) -> Result<(), Refusal> {
    if labeler.trim().is_empty() {
        return Err(Refusal::NoLabeler);
    }
    at_most("the bytes of a labeler's name", labeler.len(), NAME_BYTES_MAX)?;
    match labeler.contains(char::is_control) {
        true => Err(Refusal::UnfitLabeler { labeler: shown(labeler) }),
        false => Ok(()),
    }
}

pub(crate) fn check_labeler(labeler: &str, labelers: &BTreeSet<String>) -> Result<(), Refusal> {
    match labelers.contains(labeler) {
        true => Ok(()),
        false => Err(Refusal::UnknownLabeler { labeler: shown(labeler) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Completion, Prompt};

    fn judged(change: impl FnOnce(&mut Judgment)) -> Result<Comparison, Refusal> {
        let completions = ["a", "b", "c"].map(|text| Completion::imported(text, "a test"));
        let candidate = Candidate::new(Prompt::Text(String::new()), completions.into())?;
        let ranking = Ranking::new(3, vec![vec![2], vec![0], vec![1]])?;
        let mut judgment = Judgment::ranked("ada", ranking, 5);
        change(&mut judgment);
        Comparison::new(candidate, judgment)
    }

    #[test]
    fn pairs_are_texts_with_the_rank_gap_or_the_margin() {
        let all = |comparison: Comparison| -> Vec<(String, String, f32)> {
            let pairs = comparison.pairs();
            pairs.map(|p| (p.chosen.to_owned(), p.rejected.to_owned(), p.margin)).collect()
        };
        let pair =
            |chosen: &str, rejected: &str, margin| (chosen.to_owned(), rejected.to_owned(), margin);
        let ranked = all(judged(|_| ()).unwrap());
        assert_eq!(ranked, [pair("c", "a", 1.0), pair("c", "b", 2.0), pair("a", "b", 1.0)]);
        let one_pair = judged(|judgment| {
            judgment.ranking = Some(Ranking::new(3, vec![vec![1], vec![0]]).unwrap());
            judgment.margin = Some(0.25);
        });
        assert_eq!(all(one_pair.unwrap()), [pair("b", "a", 0.25)]);
        assert_eq!(all(judged(|judgment| judgment.ranking = None).unwrap()), []);
    }

    #[test]
    fn impossible_judgments_are_refused() {
        type Change = fn(&mut Judgment);
        let cases: [(Change, &str); 8] = [
            (|judgment| judgment.labeler = " ".to_owned(), "no labeler"),
            (
                |judgment| judgment.labeler = "ada\u{9b}2J".to_owned(),
                "a labeler's name with control characters",
            ),
            (|judgment| judgment.labeler = "x".repeat(NAME_BYTES_MAX + 1), "over a limit"),
            (|judgment| judgment.reason = Some("x".repeat(REASON_BYTES_MAX + 1)), "over a limit"),
            (
                |judgment| judgment.ranking = Ranking::best_of(2, 0).ok(),
                "a ranking of another number of completions",
            ),
            (|judgment| judgment.margin = Some(2.0), "a margin that cannot be"),
            (|judgment| judgment.margin = Some(f32::NAN), "a margin that cannot be"),
            (
                |judgment| judgment.shown_order = Some(vec![0, 0, 1]),
                "an order shown that cannot be",
            ),
        ];
        for (change, kind) in cases {
            assert_eq!(judged(change).unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn labelers_are_those_on_the_list() {
        let comparison = judged(|_| ()).unwrap();
        let list = |name: &str| BTreeSet::from([name.to_owned()]);
        assert_eq!(comparison.judgment().check_labeler(&list("ada")), Ok(()));
        let unknown = Refusal::UnknownLabeler { labeler: "ada".to_owned() };
        assert_eq!(comparison.judgment().check_labeler(&list("bob")), Err(unknown));
    }

    #[test]
    fn json_comes_back_and_is_checked() {
        let comparison = judged(|judgment| {
            judgment.reason = Some("shorter".to_owned());
            judgment.shown_order = Some(vec![2, 0, 1]);
        })
        .unwrap();
        let json = serde_json::to_string(&comparison).unwrap();
        assert_eq!(serde_json::from_str::<Comparison>(&json).unwrap(), comparison);
        let torn = json.replace("[2,0,1]", "[2,0,0]");
        assert!(serde_json::from_str::<Comparison>(&torn).is_err());
    }
}
