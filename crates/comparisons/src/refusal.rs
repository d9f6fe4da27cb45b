//! What cannot be a comparison, and why.

use crate::candidate::COMPLETIONS_MAX;

/// Why something is no comparison, with what to do about it.
///
/// Completions are numbered from 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Fewer than two completions.
    #[error("{found} completions; give at least 2, so that there is something to compare")]
    TooFewCompletions {
        /// How many there are.
        found: usize,
    },
    /// More completions than anybody ranks.
    #[error("{found} completions; give at most {COMPLETIONS_MAX}, or several comparisons")]
    TooManyCompletions {
        /// How many there are.
        found: usize,
    },
    /// Two completions of the same text.
    #[error("completions {first} and {second} are equal; give each text once")]
    EqualCompletions {
        /// The earlier one.
        first: usize,
        /// The later one.
        second: usize,
    },
    /// A conversation without a message.
    #[error("the prompt has no message; give at least one, or an empty text")]
    EmptyPrompt,
    /// Somebody who is not on the list of labelers.
    #[error("`{labeler}` is not on the list of labelers; add the name there, or correct it")]
    UnknownLabeler {
        /// The name, fit to be shown.
        labeler: String,
    },
    /// A labeler without a name.
    #[error("the labeler has no name; give one")]
    NoLabeler,
    /// A labeler's name that a terminal or a table would obey.
    #[error("the labeler's name `{labeler}` has a control character; write it without")]
    UnfitLabeler {
        /// The name, fit to be shown.
        labeler: String,
    },
    /// A ranking that gives one completion two places.
    #[error("completion {completion} has two places in the ranking; give it one")]
    NamedTwice {
        /// The completion.
        completion: usize,
    },
    /// A ranking that names a completion that is not there.
    #[error("the ranking names completion {completion}, but they are numbered below {completions}")]
    Outside {
        /// The number that is named.
        completion: usize,
        /// How many completions there are.
        completions: usize,
    },
    /// A place of a ranking that nothing stands at.
    #[error("place {place} of the ranking is empty; leave it out")]
    EmptyPlace {
        /// The place, 0 for the best.
        place: usize,
    },
    /// A ranking that orders nothing.
    #[error("the ranking places fewer than 2 completions; place more, or skip the comparison")]
    RanksNothing,
    /// A ranking of another number of completions.
    #[error("the ranking is of {ranked} completions, but there are {completions}")]
    OtherCount {
        /// How many the ranking speaks of.
        ranked: usize,
        /// How many there are.
        completions: usize,
    },
    /// A margin that is negative or no number, or given for more than one pair.
    #[error("the margin must be a number from 0 on, of one completion over one other")]
    Margin,
    /// The order in which completions were shown does not name each once.
    #[error("the order shown must name each of the {completions} completions once")]
    ShownOrder {
        /// How many there are.
        completions: usize,
    },
    /// A text or list over its limit.
    #[error("{what}: {found}, more than the limit of {limit}; make it shorter")]
    TooLarge {
        /// What was counted or measured.
        what: &'static str,
        /// What it comes to.
        found: usize,
        /// The most that is accepted.
        limit: usize,
    },
}

impl Refusal {
    /// The kind in a few words, the same for all facts: what reports count by.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooFewCompletions { .. } => "fewer than 2 completions",
            Self::TooManyCompletions { .. } => "too many completions",
            Self::EqualCompletions { .. } => "equal completions",
            Self::EmptyPrompt => "empty prompt",
            Self::UnknownLabeler { .. } => "unknown labeler",
            Self::NoLabeler => "no labeler",
            Self::UnfitLabeler { .. } => "a labeler's name with control characters",
            Self::NamedTwice { .. } => "a completion with two places",
            Self::Outside { .. } => "a place outside",
            Self::EmptyPlace { .. } => "an empty place",
            Self::RanksNothing => "ranks nothing",
            Self::OtherCount { .. } => "a ranking of another number of completions",
            Self::Margin => "a margin that cannot be",
            Self::ShownOrder { .. } => "an order shown that cannot be",
            Self::TooLarge { .. } => "over a limit",
        }
    }
}

/// Refuses what is over a limit.
pub(crate) fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), Refusal> {
    if found > limit { Err(Refusal::TooLarge { what, found, limit }) } else { Ok(()) }
}
