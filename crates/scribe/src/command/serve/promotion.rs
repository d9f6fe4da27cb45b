//! What the gate promotes, or somebody takes back, while the server runs: the model is loaded beside
//! the old one and takes its place.
//!
//! The file that says what is served is looked at once a second. A model is taken up once every byte
//! of it was checked; as long as that fails, or there is no memory for both, the old one answers,
//! which the log and `/health` say, and it is tried again now and then.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use artifacts::disk::RealDisk;
use artifacts::folder;
use training::serving;

use super::{ServeOptions, load};
use crate::command::{Failure, Session, locate};
use crate::loading::Located;
use crate::terminal::Terminal;
use crate::web::AppState;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Until what failed is tried again, although the file has not changed.
const PATIENCE: Duration = Duration::from_secs(30);

/// By what a file is known again; one that is renamed into its place is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    number: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

/// The file that says which model of a run is served, as it was when the server last followed it.
#[derive(Debug)]
pub(super) struct Promotions {
    options: ServeOptions,
    file: PathBuf,
    followed: Option<Stamp>,
}

/// The thread that looks.
struct Follower {
    promotions: Promotions,
    session: Session,
    state: AppState,
    /// The model that answers.
    served: Located,
    /// When, and with what words, it last could not be changed.
    failed: Option<(Instant, String)>,
}

impl Promotions {
    /// Those of the run that is served; `None` without one, or where a stage was asked for by name.
    pub(super) fn of(options: &ServeOptions) -> Option<Self> {
        let run = options.run.run.as_deref().filter(|_| options.run.stage.is_none())?;
        let file = serving::file(run);
        let followed = stamp(&file);
        Some(Self { options: options.clone(), file, followed })
    }

    /// Follows them from now on, for as long as the program runs.
    pub(super) fn follow(
        self,
        session: &Session,
        state: &AppState,
        served: Located,
    ) -> Result<(), Failure> {
        let mut global = session.global.clone();
        // A bar would be drawn into whatever else is told.
        global.no_progress = true;
        let session = Session { terminal: Terminal::of_process(global.terminal()), global };
        let state = state.clone();
        let mut follower = Follower { promotions: self, session, state, served, failed: None };
        thread::Builder::new().name("promotions".to_owned()).spawn(move || {
            loop {
                thread::sleep(PAUSE);
                follower.look();
            }
        })?;
        Ok(())
    }
}

impl Follower {
    /// Takes up another model if there is one.
    fn look(&mut self) {
        let now = stamp(&self.promotions.file);
        let again = self.failed.as_ref().is_some_and(|(when, _)| when.elapsed() >= PATIENCE);
        if now == self.promotions.followed && !again {
            return;
        }
        self.promotions.followed = now;
        match self.take_up() {
            Ok(()) => {
                self.failed = None;
                self.state.set_outdated(false);
            }
            Err(failure) => self.fail(failure),
        }
    }

    /// Loads the model that the run says now, unless it is the one that answers.
    fn take_up(&mut self) -> Result<(), Failure> {
        let options = &self.promotions.options;
        let located = locate::locate_any(&mut self.session, &options.run, &options.engine)?;
        if located == self.served {
            return Ok(());
        }
        let last = located.adapter.as_ref().map_or(&located.path, |adapter| &adapter.folder);
        folder::verify(&RealDisk, last, |_| {})?;
        let model = load(&mut self.session, options, &located)?;
        let (digest, path) = (model.digest(), last.display());
        tracing::info!(digest, %path, "another model is served");
        self.session.terminal.note(format_args!("new requests are answered by {path}"));
        self.state.replace(model);
        self.served = located;
        Ok(())
    }

    /// Keeps the old model, and says so once for each reason.
    fn fail(&mut self, failure: Failure) {
        self.state.set_outdated(true);
        let reason = failure.error.map_or_else(String::new, |error| format!("{error:#}"));
        let is_known = self.failed.as_ref().is_some_and(|(_, before)| *before == reason);
        if !is_known {
            let path = self.promotions.file.display();
            tracing::warn!(
                reason,
                hint = failure.hint,
                "the old model is served on: the one that `{path}` names cannot be taken up"
            );
        }
        self.failed = Some((Instant::now(), reason));
    }
}

/// How the file is now; nothing where there is none.
fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    let modified = metadata.modified().ok();
    Some(Stamp { number: metadata.ino(), bytes: metadata.len(), modified })
}
