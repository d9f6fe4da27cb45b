//! Answers, seen by one labeler: what is open to him or her, and what waits to be asked again.

use std::collections::{BTreeMap, BTreeSet};

use super::Entry;
use crate::CandidateId;
use crate::store::Answer;

/// Answers as one labeler's next question depends on them.
pub(super) struct View<'a> {
    pub(super) labeler: &'a str,
    /// How many answers this labeler has given.
    given: usize,
    /// How often this labeler has answered, and which of his or her answers was the last of these.
    own: BTreeMap<CandidateId, (usize, usize)>,
    /// Who has answered.
    pub(super) by: BTreeMap<CandidateId, BTreeSet<&'a str>>,
}

impl<'a> View<'a> {
    pub(super) fn of(labeler: &'a str, answers: &'a [Answer]) -> Self {
        let mut view = Self { labeler, given: 0, own: BTreeMap::new(), by: BTreeMap::new() };
        for answer in answers {
            view.by.entry(answer.candidate).or_default().insert(answer.labeler.as_str());
            if answer.labeler == labeler {
                view.given += 1;
                let own = view.own.entry(answer.candidate).or_insert((0, 0));
                *own = (own.0 + 1, view.given);
            }
        }
        view
    }

    pub(super) fn times(&self, entry: &Entry) -> usize {
        self.own.get(&entry.id).map_or(0, |(times, _)| *times)
    }

    /// Whether it is this labeler's, and neither answered by him or her nor by enough others.
    pub(super) fn is_open(&self, entry: &Entry) -> bool {
        let answered = self.by.get(&entry.id).map_or(0, BTreeSet::len);
        let is_own = entry.given_to.iter().any(|name| name == self.labeler);
        is_own && self.times(entry) == 0 && answered < entry.given_to.len()
    }

    /// Where it is to be asked again: how many other answers were given since.
    pub(super) fn waits(&self, entry: &Entry) -> Option<usize> {
        match self.own.get(&entry.id) {
            Some((1, last)) if entry.is_asked_again_of(self.labeler) => Some(self.given - last),
            _ => None,
        }
    }
}
