//! What people do while they chat, as judgments: thumbs, edits, regenerations.
//!
//! A thumb alone says nothing of another completion. An edit says that the edited text is better
//! than the one before it. Asking for another completion ranks nothing, as the first may have been
//! good: it makes a candidate, which can be asked about.

use std::collections::BTreeMap;

use crate::candidate::COMPLETIONS_MAX;
use crate::{Candidate, Comparison, Completion, Judgment, Origin, Prompt, Ranking, Refusal};

/// A thumb, up or down, on one completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Thumb {
    /// What the completion goes on with.
    pub prompt: Prompt,
    /// What was judged.
    pub completion: Completion,
    /// Whether it points up.
    pub is_up: bool,
    /// Whose it is.
    pub labeler: String,
    /// Why, in the labeler's own words.
    pub reason: Option<String>,
    /// When, in milliseconds since 1970 (UTC); 0 where it is not known.
    pub time_ms: u64,
}

/// A completion that a person rewrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// What the completion goes on with.
    pub prompt: Prompt,
    /// What the model wrote.
    pub original: Completion,
    /// What the person made of it.
    pub edited: String,
    /// Who that was.
    pub labeler: String,
    /// When, in milliseconds since 1970 (UTC).
    pub time_ms: u64,
}

/// What thumbs come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Paired {
    /// A thumb up beats those down of the same labeler on the same prompt.
    pub comparisons: Vec<Comparison>,
    /// Thumbs that are in no comparison.
    pub unpaired: usize,
    /// Why comparisons could not be made, by kind.
    pub refused: BTreeMap<&'static str, u64>,
}

impl Edit {
    /// The edited text ranks above the original one.
    ///
    /// # Errors
    ///
    /// Where both are equal, or something is over its limit.
    pub fn comparison(self) -> Result<Comparison, Refusal> {
        let edited = Completion::new(self.edited, Origin::Written);
        let candidate = Candidate::new(self.prompt, vec![edited, self.original])?;
        let ranking = Ranking::best_of(2, 0)?;
        Comparison::new(candidate, Judgment::ranked(self.labeler, ranking, self.time_ms))
    }
}

/// The question that a regeneration asks: which of the two?
///
/// # Errors
///
/// Where both are equal, or something is over its limit.
pub fn regenerated(
    prompt: Prompt,
    first: Completion,
    second: Completion,
) -> Result<Candidate, Refusal> {
    Candidate::new(prompt, vec![first, second])
}

/// Puts the thumbs of each labeler on each prompt together.
///
/// Each thumb up makes one comparison, with all thumbs down below it: two of the same direction are
/// neither ranked nor tied. Of several thumbs on one text the last given counts.
#[must_use]
pub fn pair(thumbs: &[Thumb]) -> Paired {
    let mut groups: BTreeMap<(&str, &Prompt), BTreeMap<&str, &Thumb>> = BTreeMap::new();
    for thumb in thumbs {
        let texts = groups.entry((&thumb.labeler, &thumb.prompt)).or_default();
        texts.insert(&thumb.completion.text, thumb);
    }
    let mut paired = Paired::default();
    for texts in groups.values() {
        let (up, down): (Vec<&Thumb>, Vec<&Thumb>) = texts.values().partition(|t| t.is_up);
        if up.is_empty() || down.is_empty() {
            paired.unpaired += texts.len();
            continue;
        }
        for best in up {
            for others in down.chunks(COMPLETIONS_MAX - 1) {
                match above(best, others) {
                    Ok(comparison) => paired.comparisons.push(comparison),
                    Err(refusal) => *paired.refused.entry(refusal.kind()).or_default() += 1,
                }
            }
        }
    }
    paired
}

fn above(best: &Thumb, others: &[&Thumb]) -> Result<Comparison, Refusal> {
    let all = || others.iter().copied().chain([best]);
    let mut completions = vec![best.completion.clone()];
    completions.extend(others.iter().map(|thumb| thumb.completion.clone()));
    let ranking = Ranking::best_of(completions.len(), 0)?;
    let candidate = Candidate::new(best.prompt.clone(), completions)?;
    let time_ms = all().map(|thumb| thumb.time_ms).max().unwrap_or(best.time_ms);
    let reason = best.reason.clone().or_else(|| others.iter().find_map(|t| t.reason.clone()));
    let judgment = Judgment { reason, ..Judgment::ranked(&best.labeler, ranking, time_ms) };
    Comparison::new(candidate, judgment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thumb(prompt: &str, text: &str, is_up: bool) -> Thumb {
        Thumb {
            prompt: Prompt::Text(prompt.to_owned()),
            completion: Completion::imported(text, "a test"),
            is_up,
            labeler: "ada".to_owned(),
            reason: None,
            time_ms: 1,
        }
    }

    fn pairs(paired: &Paired) -> Vec<(&str, &str)> {
        paired
            .comparisons
            .iter()
            .flat_map(Comparison::pairs)
            .map(|p| (p.chosen, p.rejected))
            .collect()
    }

    #[test]
    fn a_thumb_alone_and_two_ups_rank_nothing() {
        for thumbs in [
            vec![thumb("p", "a", true)],
            vec![thumb("p", "a", true), thumb("p", "b", true)],
            vec![thumb("p", "a", false), thumb("p", "b", false)],
            vec![thumb("p", "a", true), thumb("q", "b", false)],
            vec![thumb("p", "a", true), Thumb { labeler: "bob".into(), ..thumb("p", "b", false) }],
        ] {
            let paired = pair(&thumbs);
            assert_eq!((paired.comparisons.len(), paired.unpaired), (0, thumbs.len()));
        }
    }

    #[test]
    fn up_beats_down_and_nothing_else() {
        let thumbs = [("a", true), ("b", true), ("c", false), ("d", false)];
        let paired = pair(&thumbs.map(|(text, is_up)| thumb("p", text, is_up)));
        assert_eq!(pairs(&paired), [("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")]);
        let relations = paired.comparisons.iter().filter_map(|c| c.judgment().ranking.as_ref());
        assert_eq!(relations.map(|r| r.relations().count()).sum::<usize>(), 4, "nothing is tied");
    }

    #[test]
    fn the_last_thumb_on_a_text_counts() {
        let thumbs = [("a", true), ("b", true), ("a", false)];
        let paired = pair(&thumbs.map(|(text, is_up)| thumb("p", text, is_up)));
        assert_eq!(pairs(&paired), [("b", "a")]);
    }

    #[test]
    fn an_edit_ranks_above_what_it_edits() {
        let original = Completion::imported("teh cat", "a test");
        let edit = |edited: &str| Edit {
            prompt: Prompt::Text("p".to_owned()),
            original: original.clone(),
            edited: edited.to_owned(),
            labeler: "ada".to_owned(),
            time_ms: 1,
        };
        let comparison = edit("the cat").comparison().unwrap();
        let pair = comparison.pairs().next().unwrap();
        assert_eq!((pair.chosen, pair.rejected), ("the cat", "teh cat"));
        assert_eq!(edit("teh cat").comparison().unwrap_err().kind(), "equal completions");
    }

    #[test]
    fn a_regeneration_asks_and_ranks_nothing() {
        let [first, second] = ["a", "b"].map(|text| Completion::imported(text, "a test"));
        let candidate = regenerated(Prompt::Text("p".to_owned()), first.clone(), second).unwrap();
        assert_eq!(candidate.completions().len(), 2);
        assert!(regenerated(Prompt::Text("p".to_owned()), first.clone(), first).is_err());
    }
}
