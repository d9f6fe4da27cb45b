//! A desk: candidates are given out, and each judgment is on the disk before it is acknowledged.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use artifacts::disk::{Disk as _, RealDisk};
use artifacts::hash::Digest;
use comparisons::queue::{Progress, Question, Queue, QueueOptions, Waiting};
use comparisons::store::{Answer, RowId, Snapshot, Store};
use comparisons::{Candidate, CandidateId, Comparison, Error, Judgment, Ranking};

use super::{Problem, now_ms, open_store};

/// Candidates, those who rank them, and the file of what they say.
#[derive(Debug)]
pub(crate) struct Desk {
    queue: Queue,
    store: PathBuf,
}

/// What somebody says of a question.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) labeler: String,
    /// Of the texts as shown; `None` skips it.
    pub(crate) ranking: Option<Ranking>,
    pub(crate) reason: Option<String>,
}

/// An answer of somebody's own, as it was given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Own {
    pub(crate) id: RowId,
    pub(crate) question: Question,
    pub(crate) said: Said,
}

impl Desk {
    /// A desk with the file that keeps what is said; the file need not be there yet.
    ///
    /// # Errors
    ///
    /// Where there are too many candidates or labelers, or no labeler.
    pub(crate) fn new(
        candidates: Vec<Candidate>,
        labelers: BTreeSet<String>,
        options: QueueOptions,
        store: PathBuf,
    ) -> Result<Self, Problem> {
        let waiting = |candidate| Waiting { candidate, disagreement: 0.0 };
        let waiting = candidates.into_iter().map(waiting).collect();
        Ok(Self { queue: Queue::new(waiting, labelers, options)?, store })
    }

    /// What a labeler is asked next, as if `held` were answered; `None` where nothing is left.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or the labeler is unknown.
    pub(crate) fn next(
        &self,
        labeler: &str,
        held: &[CandidateId],
    ) -> Result<Option<Question>, Problem> {
        let mut answers = self.answers()?;
        // Nobody looks at the ids of what is only held.
        let id = RowId(Digest::of(b"held"));
        answers.extend(held.iter().map(|candidate| {
            let (candidate, labeler) = (*candidate, labeler.to_owned());
            Answer { id, candidate, labeler, is_skipped: false }
        }));
        match self.queue.next(labeler, &answers)? {
            Some(question) => Ok(Some(question)),
            None => Ok(self.queue.next_of_others(labeler, &answers)?),
        }
    }

    /// How far a labeler has come, what others may leave included, and how far all have.
    ///
    /// # Errors
    ///
    /// As [`Desk::next`].
    pub(crate) fn progress(&self, labeler: &str) -> Result<[Progress; 2], Problem> {
        let answers = self.answers()?;
        let mut own = self.queue.progress(labeler, &answers)?;
        let together = self.queue.answered(&answers);
        if own.done >= own.all {
            own.all += together.all - together.done;
        }
        Ok([own, together])
    }

    /// Keeps what is said of a question. One that was kept already is acknowledged again, so that a
    /// labeler who heard nothing may send it twice.
    ///
    /// # Errors
    ///
    /// [`Problem::UnknownCandidate`], [`Problem::AnsweredBefore`] where something else was said of it,
    /// and where it cannot be a judgment or cannot be written.
    pub(crate) fn keep(
        &self,
        candidate: CandidateId,
        times: usize,
        said: Said,
    ) -> Result<RowId, Problem> {
        let question = self.queue.question_about(candidate, &said.labeler, times);
        let question = question.ok_or(Problem::UnknownCandidate)?;
        let candidate = self.queue.candidate(question.candidate).cloned();
        let candidate = candidate.ok_or(Problem::UnknownCandidate)?;
        let judgment = said.judgment(&question, now_ms())?;
        let comparison = Comparison::new(candidate, judgment)?;
        self.make_folder()?;
        let (mut store, _) = open_store(&self.store)?;
        let own = |answer: &Answer| {
            answer.candidate == question.candidate && answer.labeler == said.labeler
        };
        let before: Vec<RowId> = store.answers().iter().filter(|a| own(a)).map(|a| a.id).collect();
        match (before.get(times), before.len() == times) {
            (Some(&id), _) => match comparison_of(&store, id)? {
                Some(kept) if says_the_same(&kept, &comparison) => Ok(id),
                _ => Err(Problem::AnsweredBefore { id }),
            },
            (None, true) => Ok(store.append(comparison)?),
            (None, false) => Err(Problem::UnknownCandidate),
        }
    }

    /// Puts another judgment in the place of one's own; what says the same is acknowledged again.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRow`], [`Error::OtherJudgment`], and as [`Desk::keep`].
    pub(crate) fn revise(&self, id: RowId, said: Said) -> Result<RowId, Problem> {
        // Opening to write would begin a file where there is none.
        if !self.store.exists() {
            return Err(Error::UnknownRow { id }.into());
        }
        let (mut store, _) = open_store(&self.store)?;
        let current = store.current(id).ok_or(Error::UnknownRow { id })?;
        let kept = comparison_of(&store, current)?.ok_or(Error::UnknownRow { id })?;
        if kept.judgment().labeler != said.labeler {
            return Err(Error::OtherJudgment { id }.into());
        }
        let judgment = said.judgment(&question_of(&kept), now_ms())?;
        let comparison = Comparison::new(kept.candidate().clone(), judgment)?;
        match says_the_same(&kept, &comparison) {
            true => Ok(current),
            false => Ok(store.revise(current, comparison)?),
        }
    }

    /// All answers of a labeler, the last one at the end.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub(crate) fn own(&self, labeler: &str) -> Result<Vec<Own>, Problem> {
        let mut all = Vec::new();
        let Some(snapshot) = snapshot(&self.store)? else { return Ok(all) };
        snapshot.for_each(|id, comparison| {
            if comparison.judgment().labeler == labeler {
                all.push(Own::of(id, &comparison));
            }
            Ok::<(), Error>(())
        })?;
        Ok(all)
    }

    /// The file of what is said.
    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    fn answers(&self) -> Result<Vec<Answer>, Problem> {
        answers_of(&self.store)
    }

    /// Makes the folder so that it survives a power cut: a file in it would go with it.
    fn make_folder(&self) -> Result<(), Problem> {
        let Some(folder) = self.store.parent().filter(|folder| !folder.exists()) else {
            return Ok(());
        };
        let above = folder.parent().unwrap_or(Path::new("."));
        let made = std::fs::create_dir_all(folder).and_then(|()| RealDisk.sync_folder(above));
        made.map_err(|source| Error::Write { path: folder.to_owned(), source }.into())
    }
}

impl Said {
    fn judgment(&self, question: &Question, time_ms: u64) -> Result<Judgment, Problem> {
        let judgment = question.judgment(&self.labeler, self.ranking.as_ref(), time_ms)?;
        Ok(Judgment { reason: self.reason.clone(), ..judgment })
    }
}

impl Own {
    fn of(id: RowId, comparison: &Comparison) -> Self {
        let question = question_of(comparison);
        let judgment = comparison.judgment();
        // What stood at each number of the candidate, seen from the other side.
        let mut places = vec![0; question.shown_order.len()];
        question.shown_order.iter().enumerate().for_each(|(place, &number)| places[number] = place);
        let ranking = judgment.ranking.as_ref();
        let ranking = ranking.and_then(|ranking| ranking.renumbered(&places).ok());
        let (labeler, reason) = (judgment.labeler.clone(), judgment.reason.clone());
        Self { id, question, said: Said { labeler, ranking, reason } }
    }
}

/// Answers that are on the disk; none where no file is there yet.
pub(super) fn answers_of(store: &Path) -> Result<Vec<Answer>, Problem> {
    Ok(snapshot(store)?.map(|snapshot| snapshot.answers()).unwrap_or_default())
}

/// A file as it is now; `None` where it is not there yet.
pub(super) fn snapshot(store: &Path) -> Result<Option<Snapshot<RealDisk>>, Problem> {
    match store.exists() {
        true => Ok(Some(Snapshot::open(RealDisk, store)?)),
        false => Ok(None),
    }
}

/// A comparison as its labeler saw it.
fn question_of(comparison: &Comparison) -> Question {
    let candidate = comparison.candidate();
    let texts = candidate.completions();
    let as_numbered = || (0..texts.len()).collect();
    let shown_order = comparison.judgment().shown_order.clone().unwrap_or_else(as_numbered);
    Question {
        candidate: candidate.id(),
        prompt: candidate.prompt().clone(),
        texts: shown_order.iter().map(|&number| texts[number].text.clone()).collect(),
        shown_order,
        times: 0,
    }
}

fn comparison_of(store: &Store, id: RowId) -> Result<Option<Comparison>, Problem> {
    let mut found = None;
    store.for_each(|row, comparison| {
        if row == id {
            found = Some(comparison);
        }
        Ok::<(), Error>(())
    })?;
    Ok(found)
}

/// Whether two judgments of one labeler differ in time alone.
fn says_the_same(a: &Comparison, b: &Comparison) -> bool {
    let ([a, b], is_same) =
        ([a.judgment(), b.judgment()], a.candidate().id() == b.candidate().id());
    is_same && a.ranking == b.ranking && a.reason == b.reason
}
