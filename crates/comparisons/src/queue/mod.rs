//! The queue: which candidate is whose, and which one is asked about next.
//!
//! It is a function of the candidates, the labelers, the options and the answers in a store, so that
//! it needs no file of its own and a restart changes nothing.
//!
//! - Each candidate is given to one labeler, and a share of them to two, by hash of seed, candidate
//!   and name: that two agree can be measured, and nobody's work depends on who came first.
//! - A share is asked again of the one it was first given to, after other questions: how far
//!   somebody agrees with himself or herself bounds what others can be held to.
//! - First come those on which the caller says that reward models disagree most, as an answer there
//!   tells most.
//! - A [`Question`] holds texts in an order drawn for this labeler, and no origins.

use std::collections::BTreeSet;

use artifacts::shown;

use crate::refusal::at_most;
use crate::store::Answer;
use crate::{Candidate, CandidateId, Judgment, Prompt, Ranking, Refusal};

mod draw;
#[cfg(test)]
mod tests;
mod view;

use draw::{draw, shuffled};
use view::View;

/// The most candidates of a queue.
pub const CANDIDATES_MAX: usize = 1 << 20;
/// The most labelers of a queue.
pub const LABELERS_MAX: usize = 1_024;

/// How candidates are given out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueueOptions {
    /// Decides all that is drawn.
    pub seed: u64,
    /// Of a hundred candidates, how many are given to two labelers.
    pub shared_percent: u64,
    /// Of a hundred candidates, how many are asked twice of one labeler.
    pub repeated_percent: u64,
    /// How many other answers lie between the two; fewer where nothing else is left, and never 0.
    pub repeat_after: usize,
}

/// A candidate with how far reward models disagree on it; 0 where none was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// What may be asked.
    pub candidate: Candidate,
    /// The higher, the earlier. What is not a number comes last.
    pub disagreement: f64,
}

/// Which candidate is whose.
#[derive(Clone, Debug)]
pub struct Queue {
    options: QueueOptions,
    labelers: BTreeSet<String>,
    /// In the order in which they are asked about.
    entries: Vec<Entry>,
}

/// What a labeler sees: texts, and nothing of where they came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What is asked about.
    pub candidate: CandidateId,
    /// The prompt.
    pub prompt: Prompt,
    /// The texts in the order shown.
    pub texts: Vec<String>,
    /// The number in the candidate of each text shown.
    pub shown_order: Vec<usize>,
    /// How often this labeler had answered it before; an answer to a repeat is told from the first one
    /// by it.
    pub times: usize,
}

/// How far a labeler has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Answers given.
    pub done: usize,
    /// Answers there will be.
    pub all: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    id: CandidateId,
    candidate: Candidate,
    /// To whom it is given, first the one who may be asked again.
    given_to: Vec<String>,
    is_repeated: bool,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { seed: 0, shared_percent: 15, repeated_percent: 5, repeat_after: 10 }
    }
}

impl Queue {
    /// Gives candidates out to labelers; a candidate that is there twice counts once.
    ///
    /// # Errors
    ///
    /// Where there are too many candidates or labelers, or no labeler.
    pub fn new(
        waiting: Vec<Waiting>,
        labelers: BTreeSet<String>,
        options: QueueOptions,
    ) -> Result<Self, Refusal> {
        at_most("the candidates of the queue", waiting.len(), CANDIDATES_MAX)?;
        at_most("the labelers of the queue", labelers.len(), LABELERS_MAX)?;
        if labelers.is_empty() {
            return Err(Refusal::NoLabeler);
        }
        let rank = |number: f64| if number.is_nan() { f64::NEG_INFINITY } else { number };
        let mut ranked: Vec<(f64, u64, Entry)> = Vec::new();
        for Waiting { candidate, disagreement } in waiting {
            let entry = Entry::new(candidate, &labelers, &options);
            let order = draw(options.seed, "turn", &[entry.id.0.as_bytes()]);
            ranked.push((rank(disagreement), order, entry));
        }
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.id.cmp(&b.2.id)));
        let mut seen = BTreeSet::new();
        let entries = ranked.into_iter().map(|(_, _, entry)| entry);
        let entries = entries.filter(|entry| seen.insert(entry.id)).collect();
        Ok(Self { options, labelers, entries })
    }

    /// What a labeler is asked next; `None` where nothing is left.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownLabeler`].
    pub fn next(&self, labeler: &str, answers: &[Answer]) -> Result<Option<Question>, Refusal> {
        let view = self.view(labeler, answers)?;
        let entry = self.next_entry(&view);
        Ok(entry.map(|entry| self.question(entry, labeler, view.times(entry))))
    }

    /// What nobody has answered yet, whosever it is: for a labeler to whom nothing of his or her own is
    /// left, as others may never come back to theirs. `None` where everything was answered once.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownLabeler`].
    pub fn next_of_others(
        &self,
        labeler: &str,
        answers: &[Answer],
    ) -> Result<Option<Question>, Refusal> {
        let view = self.view(labeler, answers)?;
        let entry = self.entries.iter().find(|entry| !view.by.contains_key(&entry.id));
        Ok(entry.map(|entry| self.question(entry, labeler, 0)))
    }

    /// The question as this labeler sees it who has answered it so many times; `None` for a candidate
    /// that is not here. It is a function of these three: what [`Queue::next`] gave comes back.
    #[must_use]
    pub fn question_about(
        &self,
        candidate: CandidateId,
        labeler: &str,
        times: usize,
    ) -> Option<Question> {
        let entry = self.entries.iter().find(|entry| entry.id == candidate)?;
        Some(self.question(entry, labeler, times))
    }

    /// A candidate of the queue; `None` for one that is not here.
    #[must_use]
    pub fn candidate(&self, id: CandidateId) -> Option<&Candidate> {
        self.entries.iter().find(|entry| entry.id == id).map(|entry| &entry.candidate)
    }

    /// Candidates that somebody has answered, of all that there are.
    #[must_use]
    pub fn answered(&self, answers: &[Answer]) -> Progress {
        let by_anybody: BTreeSet<CandidateId> = answers.iter().map(|a| a.candidate).collect();
        let done = self.entries.iter().filter(|entry| by_anybody.contains(&entry.id)).count();
        Progress { done, all: self.entries.len() }
    }

    /// How far a labeler has come.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownLabeler`].
    pub fn progress(&self, labeler: &str, answers: &[Answer]) -> Result<Progress, Refusal> {
        let view = self.view(labeler, answers)?;
        let mut progress = Progress::default();
        let (mut own, mut repeats) = (0, 0);
        for entry in &self.entries {
            let times = view.times(entry);
            let is_repeated = entry.is_asked_again_of(labeler);
            progress.done += times.min(1 + usize::from(is_repeated));
            if times > 0 || view.is_open(entry) {
                own += 1;
                repeats += usize::from(is_repeated);
            }
        }
        // A last answer is not asked again where nothing could lie between.
        let is_over = self.next_entry(&view).is_none();
        progress.all = match (is_over, own) {
            (true, _) => progress.done,
            (false, 1) => 1,
            (false, _) => own + repeats,
        };
        Ok(progress)
    }

    /// A repeat that is due, else an open candidate, else a repeat that would rather wait.
    fn next_entry(&self, view: &View<'_>) -> Option<&Entry> {
        let mut repeats: Vec<(usize, &Entry)> =
            self.entries.iter().filter_map(|entry| Some((view.waits(entry)?, entry))).collect();
        // The one that waits longest first; the order of the queue decides between equals.
        repeats.sort_by_key(|(others_since, _)| std::cmp::Reverse(*others_since));
        let repeat = repeats.first().copied();
        let waited = |least: usize| {
            repeat.filter(|(others_since, _)| *others_since >= least).map(|(_, entry)| entry)
        };
        let open: Vec<&Entry> = self.entries.iter().filter(|entry| view.is_open(entry)).collect();
        let comes_back = |entry: &Entry| entry.is_asked_again_of(view.labeler);
        match open.as_slice() {
            // What comes back is not to be the very last one, so that something lies between.
            [last] if comes_back(last) => Some(*last),
            [first, last] if comes_back(last) && !comes_back(first) => Some(*last),
            [first, ..] => waited(self.options.repeat_after.max(1)).or(Some(*first)),
            [] => waited(1),
        }
    }

    fn view<'a>(&self, labeler: &'a str, answers: &'a [Answer]) -> Result<View<'a>, Refusal> {
        match self.labelers.contains(labeler) {
            true => Ok(View::of(labeler, answers)),
            false => Err(Refusal::UnknownLabeler { labeler: shown(labeler) }),
        }
    }

    fn question(&self, entry: &Entry, labeler: &str, times: usize) -> Question {
        let completions = entry.candidate.completions();
        let repeat = (times as u64).to_le_bytes();
        let shown_order = shuffled(completions.len(), |place| {
            let names = [entry.id.0.as_bytes(), labeler.as_bytes(), &repeat, &place.to_le_bytes()];
            draw(self.options.seed, "order", &names)
        });
        Question {
            candidate: entry.id,
            prompt: entry.candidate.prompt().clone(),
            texts: shown_order.iter().map(|&number| completions[number].text.clone()).collect(),
            shown_order,
            times,
        }
    }
}

impl Question {
    /// The judgment of the candidate that a ranking of the texts as shown comes to; `None` skips it.
    ///
    /// # Errors
    ///
    /// Where the ranking is of another number of texts.
    pub fn judgment(
        &self,
        labeler: &str,
        ranking: Option<&Ranking>,
        time_ms: u64,
    ) -> Result<Judgment, Refusal> {
        let completions = self.texts.len();
        let other = ranking.map(Ranking::completions).filter(|ranked| *ranked != completions);
        if let Some(ranked) = other {
            return Err(Refusal::OtherCount { ranked, completions });
        }
        let ranking = ranking.map(|ranking| ranking.renumbered(&self.shown_order)).transpose()?;
        let shown_order = Some(self.shown_order.clone());
        Ok(Judgment { ranking, shown_order, ..Judgment::skipped(labeler, time_ms) })
    }
}

impl Entry {
    fn new(candidate: Candidate, labelers: &BTreeSet<String>, options: &QueueOptions) -> Self {
        let id = candidate.id();
        let is_drawn = |purpose: &str, percent: u64| {
            draw(options.seed, purpose, &[id.0.as_bytes()]) % 100 < percent
        };
        let copies = if is_drawn("shared", options.shared_percent) { 2 } else { 1 };
        let is_repeated = is_drawn("repeated", options.repeated_percent);
        // The highest numbers win, so that a labeler more or less moves only what is his or hers.
        let mut names: Vec<&String> = labelers.iter().collect();
        names.sort_by_key(|name| {
            std::cmp::Reverse(draw(options.seed, "labeler", &[id.0.as_bytes(), name.as_bytes()]))
        });
        let given_to = names.into_iter().take(copies).cloned().collect();
        Self { id, candidate, given_to, is_repeated }
    }

    fn is_asked_again_of(&self, labeler: &str) -> bool {
        self.is_repeated && self.given_to.first().is_some_and(|first| first == labeler)
    }
}
