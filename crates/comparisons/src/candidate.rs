//! A candidate: a prompt and its completions, which somebody may be asked to rank.

use std::collections::BTreeMap;
use std::fmt;

use artifacts::hash::Digest;
use serde::{Deserialize, Serialize};

use crate::prompt::TEXT_BYTES_MAX;
use crate::refusal::at_most;
use crate::{Prompt, Refusal};

/// The most completions of a comparison.
pub const COMPLETIONS_MAX: usize = 16;
/// The most tokens of a completion.
pub const TOKENS_MAX: usize = 1 << 16;
/// The longest name of a labeler or of a source, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// A prompt with two to [`COMPLETIONS_MAX`] different completions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Candidate {
    prompt: Prompt,
    completions: Vec<Completion>,
}

/// Names a candidate: the hash of its texts, and of nothing else, so that no decision that is made
/// by it can depend on where a completion came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CandidateId(pub Digest);

/// What goes on with a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// The text.
    pub text: String,
    /// The tokens that were sampled, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<u32>>,
    /// Where it came from. A labeler never sees it.
    pub origin: Origin,
}

/// Where a completion came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// A model wrote it.
    Sampled {
        /// The hash of the model.
        model: Digest,
        /// How its tokens were drawn.
        sampling: Sampling,
        /// The seed of the draw.
        seed: u64,
    },
    /// A person wrote it.
    Written,
    /// It came with a file of comparisons.
    Imported {
        /// The name of the source.
        from: String,
    },
}

/// How tokens were drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// What logits were divided by; 0 for the most likely token.
    pub temperature: f32,
    /// From how many of the most likely tokens; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// From the most likely tokens that have this much probability together; 1 for all.
    pub top_p: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    prompt: Prompt,
    completions: Vec<Completion>,
}

impl TryFrom<Parts> for Candidate {
    type Error = Refusal;

    fn try_from(parts: Parts) -> Result<Self, Refusal> {
        Self::new(parts.prompt, parts.completions)
    }
}

impl fmt::Display for CandidateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Completion {
    /// A completion of text alone.
    pub fn new(text: impl Into<String>, origin: Origin) -> Self {
        Self { text: text.into(), tokens: None, origin }
    }

    /// A completion that came with a file.
    pub fn imported(text: impl Into<String>, from: &str) -> Self {
        Self::new(text, Origin::Imported { from: from.to_owned() })
    }

    fn check(&self) -> Result<(), Refusal> {
        at_most("the bytes of a completion", self.text.len(), TEXT_BYTES_MAX)?;
        let tokens = self.tokens.as_ref().map_or(0, Vec::len);
        at_most("the tokens of a completion", tokens, TOKENS_MAX)?;
        match &self.origin {
            Origin::Imported { from } => {
                at_most("the bytes of a source's name", from.len(), NAME_BYTES_MAX)
            }
            Origin::Sampled { .. } | Origin::Written => Ok(()),
        }
    }
}

impl Candidate {
    /// A prompt with its completions.
    ///
    /// # Errors
    ///
    /// Where there are fewer than two or too many, two have the same text, or something is over its
    /// limit.
    pub fn new(prompt: Prompt, completions: Vec<Completion>) -> Result<Self, Refusal> {
        let found = completions.len();
        match found {
            0..2 => return Err(Refusal::TooFewCompletions { found }),
            2..=COMPLETIONS_MAX => (),
            _ => return Err(Refusal::TooManyCompletions { found }),
        }
        prompt.check()?;
        completions.iter().try_for_each(Completion::check)?;
        match first_equal(completions.iter().map(|completion| &completion.text)) {
            Some((first, second)) => Err(Refusal::EqualCompletions { first, second }),
            None => Ok(Self { prompt, completions }),
        }
    }

    /// The prompt.
    #[must_use]
    pub fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// Its completions.
    #[must_use]
    pub fn completions(&self) -> &[Completion] {
        &self.completions
    }

    /// The hash of its texts.
    #[must_use]
    pub fn id(&self) -> CandidateId {
        let texts = self.completions.iter().map(|completion| &completion.text);
        // Strings and lists of them always have a form in JSON, which tells where each one ends.
        let json = serde_json::json!([self.prompt, texts.collect::<Vec<_>>()]);
        CandidateId(Digest::of(json.to_string().as_bytes()))
    }

    /// Refuses completions that no longer differ when each is cut to `tokens` tokens, as a trainer
    /// cuts them: such a pair would ask a reward model for two scores of one text.
    ///
    /// Tokens that were sampled are compared where all completions have them; otherwise `encode`
    /// makes those of every text.
    ///
    /// # Errors
    ///
    /// [`Refusal::EqualCompletions`] with the first two that are equal.
    pub fn check_differ_within(
        &self,
        tokens: usize,
        encode: &dyn Fn(&str) -> Vec<u32>,
    ) -> Result<(), Refusal> {
        let sampled: Option<Vec<_>> = self.completions.iter().map(|c| c.tokens.clone()).collect();
        let mut all =
            sampled.unwrap_or_else(|| self.completions.iter().map(|c| encode(&c.text)).collect());
        all.iter_mut().for_each(|list| list.truncate(tokens));
        match first_equal(all.iter()) {
            Some((first, second)) => Err(Refusal::EqualCompletions { first, second }),
            None => Ok(()),
        }
    }
}

/// The first two places that hold the same.
fn first_equal<T: Ord>(values: impl Iterator<Item = T>) -> Option<(usize, usize)> {
    let mut seen = BTreeMap::new();
    values.enumerate().find_map(|(place, value)| Some((seen.insert(value, place)?, place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(texts: &[&str]) -> Result<Candidate, Refusal> {
        let completions = texts.iter().map(|text| Completion::imported(*text, "a test"));
        Candidate::new(Prompt::Text("hi".to_owned()), completions.collect())
    }

    #[test]
    fn completions_are_two_to_sixteen_and_differ() {
        assert_eq!(candidate(&["a"]), Err(Refusal::TooFewCompletions { found: 1 }));
        let many: Vec<String> = (0..17).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(candidate(&many), Err(Refusal::TooManyCompletions { found: 17 }));
        assert_eq!(candidate(&many[1..]).unwrap().completions().len(), 16);
        let equal = Refusal::EqualCompletions { first: 1, second: 2 };
        assert_eq!(candidate(&["a", "b", "b"]), Err(equal));
    }

    #[test]
    fn completions_that_are_equal_when_cut_are_refused() {
        let candidate = candidate(&["abcd", "abce"]).unwrap();
        let encode = |text: &str| text.bytes().map(u32::from).collect();
        assert_eq!(candidate.check_differ_within(4, &encode), Ok(()));
        let equal = Refusal::EqualCompletions { first: 0, second: 1 };
        assert_eq!(candidate.check_differ_within(3, &encode), Err(equal.clone()));
        let mut sampled = candidate;
        sampled.completions[0].tokens = Some(vec![1, 2, 3]);
        sampled.completions[1].tokens = Some(vec![1, 2, 4]);
        assert_eq!(sampled.check_differ_within(3, &encode), Ok(()));
        assert_eq!(sampled.check_differ_within(2, &encode), Err(equal));
    }

    #[test]
    fn the_id_is_of_the_texts_alone() {
        let first = candidate(&["a", "b"]).unwrap();
        let mut other = first.clone();
        other.completions[0].origin = Origin::Written;
        assert_eq!(first.id(), other.id());
        assert_ne!(first.id(), candidate(&["b", "a"]).unwrap().id());
        assert_ne!(first.id(), candidate(&["ab", ""]).unwrap().id());
    }

    #[test]
    fn json_comes_back_and_is_checked() {
        let mut candidate = candidate(&["a", "b"]).unwrap();
        candidate.completions[0].tokens = Some(vec![7]);
        candidate.completions[1].origin = Origin::Sampled {
            model: Digest::of(b"model"),
            sampling: Sampling { temperature: 0.7, top_k: Some(40), top_p: 0.95 },
            seed: u64::MAX,
        };
        let json = serde_json::to_string(&candidate).unwrap();
        assert_eq!(serde_json::from_str::<Candidate>(&json).unwrap(), candidate);
        let equal = json.replace("\"text\":\"b\"", "\"text\":\"a\"");
        assert!(serde_json::from_str::<Candidate>(&equal).is_err());
    }
}
