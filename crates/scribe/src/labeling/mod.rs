//! People rank what a model wrote, in the terminal or on the page: what of a run waits for them, and
//! keeping what they say.
//!
//! 1. A [`Task`] is what is asked now, with its files: the answers of a round, or the pairs of its gate.
//! 2. [`Candidates`] are read from one of these files.
//! 3. A [`Desk`] gives them out and keeps judgments. It holds the lock of the store for a write alone,
//!    so that several programs may rank at once, and commands go on meanwhile.
//! 4. [`Labeling`] is the desk of a server, for all who come to its page.

mod candidates;
mod desk;
mod standing;
mod task;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{collections::BTreeSet, thread};

use comparisons::queue::LABELERS_MAX;
use comparisons::store::{Opened, RowId, Store};
use comparisons::{Refusal, check_name};

pub(crate) use candidates::Candidates;
pub(crate) use desk::{Desk, Own, Said};
pub(crate) use standing::Standing;
pub(crate) use task::{GATE_FILE, Task};

/// How long a write waits for another program that writes.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// Why something cannot be asked or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// A file that cannot be read.
    #[error("cannot read `{}`", path.display())]
    CannotRead { path: PathBuf, source: std::io::Error },
    /// A file of nothing that can be asked.
    #[error("`{}` has nothing that could be ranked", path.display())]
    NoCandidate { path: PathBuf, told: Vec<String> },
    /// A file with too much in it.
    #[error("`{}` has more candidates than one sitting takes, or 1 GiB", path.display())]
    TooLarge { path: PathBuf },
    /// What the library refuses: a name, a ranking, a reason.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What the store refuses, or cannot do.
    #[error(transparent)]
    Store(#[from] comparisons::Error),
    /// A server without a run, or a run that asks nothing.
    #[error("nothing waits to be ranked here")]
    NothingAsked,
    /// A candidate that is not asked about.
    #[error("this candidate is not one of those to be ranked; load the page anew")]
    UnknownCandidate,
    /// Another answer to the same question.
    #[error("you have answered this before, and otherwise; revise that answer")]
    AnsweredBefore { id: RowId },
    /// More people than a queue has room for.
    #[error("more than {LABELERS_MAX} names are in use; take one of those")]
    TooManyLabelers,
}

/// The desk of a server, at which anybody may sit down who gives a name.
#[derive(Debug)]
pub(crate) struct Labeling {
    run: PathBuf,
    /// Who has come since the server began, beside those who have answered.
    joined: Mutex<BTreeSet<String>>,
    /// The desk that was used last, as long as its file stays as it is.
    desk: Mutex<Option<(Stamp, Arc<Desk>)>>,
    /// Held while something is written, so that two labelers wait for each other and not in vain.
    writing: Mutex<()>,
}

/// By what a file of candidates is known again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    task: String,
    bytes: u64,
    modified: Option<SystemTime>,
    labelers: BTreeSet<String>,
}

impl Labeling {
    /// For what waits in a run.
    pub(crate) fn of_run(run: &Path) -> Self {
        let (joined, desk) = (Mutex::default(), Mutex::default());
        Self { run: run.to_owned(), joined, desk, writing: Mutex::default() }
    }

    /// What is asked now; `None` where nothing is.
    pub(crate) fn task(&self) -> Option<Task> {
        Task::current(&self.run)
    }

    /// Lets somebody in.
    ///
    /// # Errors
    ///
    /// Where the name is none, or there are too many.
    pub(crate) fn join(&self, labeler: &str) -> Result<(), Problem> {
        check_name(labeler)?;
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        if joined.len() >= LABELERS_MAX && !joined.contains(labeler) {
            return Err(Problem::TooManyLabelers);
        }
        joined.insert(labeler.to_owned());
        Ok(())
    }

    /// The desk of a task, for all who have joined or answered.
    ///
    /// # Errors
    ///
    /// Where its files cannot be read, or it is not there.
    pub(crate) fn desk(&self, task: Task) -> Result<Arc<Desk>, Problem> {
        let path = task.candidates(&self.run);
        let metadata = std::fs::metadata(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Problem::NothingAsked,
            _ => Problem::CannotRead { path: path.clone(), source },
        })?;
        let store = task.store(&self.run);
        let mut labelers = self.joined.lock().unwrap_or_else(PoisonError::into_inner).clone();
        labelers.extend(desk::answers_of(&store)?.into_iter().map(|answer| answer.labeler));
        let (task_name, bytes, modified) =
            (task.to_string(), metadata.len(), metadata.modified().ok());
        let stamp = Stamp { task: task_name, bytes, modified, labelers: labelers.clone() };
        let mut last = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((known, desk)) if *known == stamp => Ok(Arc::clone(desk)),
            _ => {
                let candidates = Candidates::read(&path)?;
                let desk = Arc::new(Desk::new(candidates.all, labelers, task.options(), store)?);
                *last = Some((stamp, Arc::clone(&desk)));
                Ok(desk)
            }
        }
    }

    /// Does something that writes, one after the other.
    pub(crate) fn in_turn<T>(&self, write: impl FnOnce() -> T) -> T {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        write()
    }
}

/// Opens a store to be written; waits a moment for another program that writes to it.
///
/// # Errors
///
/// As [`Store::open`].
pub(crate) fn open_store(path: &Path) -> Result<(Store, Opened), comparisons::Error> {
    let begun = Instant::now();
    loop {
        match Store::open(path) {
            Err(comparisons::Error::Locked { .. }) if begun.elapsed() < PATIENCE => {
                thread::sleep(PAUSE);
            }
            opened => return opened,
        }
    }
}

/// Milliseconds since 1970; 0, which means unknown, for a clock before that.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.ok().and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0)
}
