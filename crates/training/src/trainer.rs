//! The loop of a run: step, tell, look at held-out text, save.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use artifacts::checkpoints::Checkpoints;
use artifacts::disk::RealDisk;
use corpus::{Corpus, Loader, Packing};
use engine::Device;
use tokenizer::Tokenizer;

use crate::checkpoint::{Progress, STATE_FILE};
use crate::learner::{Learner, Outcome};
use crate::metrics::{MetricsLog, StepMetrics};
use crate::schedule::Schedule;
use crate::validation::Validation;
use crate::{Error, Stage};

/// Steps in a row without an update after which a run ends.
pub(crate) const SKIPPED_MAX: u32 = 3;
/// The folder of the checkpoints in that of the stage.
pub(crate) const CHECKPOINTS_FOLDER: &str = "checkpoints";

/// What does not change what comes out.
#[derive(Debug, Clone)]
pub struct TrainerOptions {
    /// Where arithmetic runs.
    pub device: Device,
    /// Rows that go through the model at once; as many as fit well if not given.
    pub micro_rows: Option<usize>,
}

/// What happens in a run whose steps are told in `M`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a, M = StepMetrics> {
    /// The run goes on from a checkpoint.
    Resumed {
        /// Its step.
        step: u64,
        /// What is wrong with newer ones.
        damage: &'a [artifacts::Error],
    },
    /// A step was taken.
    Step(&'a M),
    /// A checkpoint was saved.
    Saved {
        /// Its step.
        step: u64,
    },
    /// Something in a step that may be a sign that the run goes wrong; it goes on.
    Warned {
        /// The step.
        step: u64,
        /// What was seen, and what to do.
        warning: &'a crate::ppo::doctor::Finding,
    },
    /// A checkpoint or a line of metrics could not be saved; the run goes on, and what was saved
    /// before is still there.
    NotSaved {
        /// The step.
        step: u64,
        /// Why.
        error: &'a Error,
    },
}

/// Hears what happens in a run, and may end it.
pub trait Observer {
    /// Hears of an event. After [`ControlFlow::Break`] the run saves a checkpoint and ends.
    fn hear(&mut self, event: Event<'_>) -> ControlFlow<()>;
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All steps were taken.
    Finished,
    /// The observer wanted it, after so many steps.
    Stopped(u64),
}

/// A stage that is being worked at.
#[derive(Debug)]
pub struct Trainer {
    stage: Stage,
    schedule: Schedule,
    learner: Learner,
    loader: Loader,
    validation: Option<Validation>,
    checkpoints: Checkpoints<RealDisk>,
    metrics: MetricsLog,
    progress: Progress,
    /// The files of the tokenizer, which every checkpoint has too.
    tokenizer_files: Vec<(String, Vec<u8>)>,
    /// The step of the newest checkpoint.
    saved: Option<u64>,
    damage: Vec<artifacts::Error>,
}

impl Trainer {
    /// Opens a stage: at its beginning, or at its newest checkpoint that is whole.
    ///
    /// # Errors
    ///
    /// Where the corpus, tokenizer or model cannot be, or a checkpoint belongs to another run.
    pub fn open(stage: Stage, options: &TrainerOptions) -> Result<Self, Error> {
        let tokenizer_files = read_files(&stage.tokenizer)?;
        let tokenizer = Tokenizer::from_folder(&stage.tokenizer)?;
        let corpus = Corpus::open(&stage.corpus)?;
        corpus.check_tokenizer(&tokenizer)?;
        let mut loader = stage.loader(&corpus)?;
        let validation = Validation::open(&corpus, &stage, token_bytes(&tokenizer))?;
        std::fs::create_dir_all(&stage.folder)
            .map_err(|source| Error::Write { path: stage.folder.clone(), source })?;
        let folder = stage.folder.join(CHECKPOINTS_FOLDER);
        let mut checkpoints = Checkpoints::open(RealDisk, folder, stage.recipe.keep)?;
        let latest = checkpoints.latest()?;
        let progress = match &latest {
            None => {
                let steps = stage.steps(loader.epoch_rows());
                Progress::new(stage.identity, steps, loader.position().clone())
            }
            Some(latest) => {
                Progress::read(&latest.path)?.of_recipe(&latest.path, stage.identity)?
            }
        };
        let from = latest.as_ref().map(|latest| latest.path.as_path());
        let learner = Learner::open(&stage, options, from)?;
        let progress = match from {
            None => Progress { base: learner.base, ..progress },
            Some(path) => progress.beside(path, learner.base)?,
        };
        let metrics = MetricsLog::open(&stage.folder, progress.metrics_bytes, progress.step)?;
        loader.seek(&progress.position)?;
        Ok(Self {
            schedule: Schedule::new(&stage.recipe, progress.steps),
            learner,
            loader,
            validation,
            checkpoints,
            metrics,
            tokenizer_files,
            saved: latest.as_ref().map(|latest| latest.step),
            damage: latest.map(|latest| latest.damage).unwrap_or_default(),
            progress,
            stage,
        })
    }

    /// Takes all steps that are left.
    ///
    /// # Errors
    ///
    /// Where rows cannot be read, or the loss stays not finite. What was saved stays.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Ended, Error> {
        let mut wish = ControlFlow::Continue(());
        if let Some(step) = self.saved {
            wish = observer.hear(Event::Resumed { step, damage: &self.damage });
        }
        let stage = self.stage.recipe.clone();
        let mut is_told = false;
        while !self.progress.is_finished() && wish.is_continue() {
            let metrics = self.step()?;
            wish = observer.hear(Event::Step(&metrics));
            match self.metrics.push(&metrics) {
                Ok(()) => is_told = false,
                // A disk that stays full is told once.
                Err(_) if is_told => {}
                Err(error) => {
                    is_told = true;
                    let _ = observer.hear(Event::NotSaved { step: metrics.step, error: &error });
                }
            }
            if metrics.step.is_multiple_of(stage.checkpoint_every) {
                self.save(observer);
            }
        }
        if self.saved != Some(self.progress.step) && self.progress.step > 0 {
            self.save(observer);
        }
        Ok(match self.progress.is_finished() {
            true => Ended::Finished,
            false => Ended::Stopped(self.progress.step),
        })
    }

    /// Conversations that are cut, because they are longer than a row; texts go on in the next row.
    #[must_use]
    pub fn cut_documents(&self) -> u64 {
        match self.stage.packing {
            Packing::Stream => 0,
            Packing::Whole => self.loader.long_documents(),
        }
    }

    /// How many steps there are in all.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.progress.steps
    }

    /// Tokens of a step, padding included.
    #[must_use]
    pub fn step_tokens(&self) -> u64 {
        (self.stage.recipe.rows * self.stage.row_tokens) as u64
    }

    /// How many weights the model has without an adapter.
    #[must_use]
    pub fn model_weights(&self) -> u64 {
        self.learner.model.config().parameters()
    }

    /// How many weights the adapter has, if one learns.
    #[must_use]
    pub fn adapter_weights(&self) -> Option<u64> {
        self.learner.model.adapter().map(model::Adapter::parameters_count)
    }

    /// The most tokens that the model attends to.
    #[must_use]
    pub fn context_tokens(&self) -> usize {
        self.learner.model.config().context_tokens
    }

    /// Where metrics and checkpoints are left.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.stage.folder
    }

    /// How many steps were taken.
    #[must_use]
    pub fn steps_done(&self) -> u64 {
        self.progress.step
    }

    /// After how many steps the newest checkpoint was saved; 0 where there is none.
    #[must_use]
    pub fn steps_saved(&self) -> u64 {
        self.saved.unwrap_or(0)
    }

    /// The folder of the newest checkpoint, if there is one.
    #[must_use]
    pub fn newest_checkpoint(&self) -> Option<PathBuf> {
        let name = |step| artifacts::checkpoints::name_of(step);
        self.saved.map(|step| self.checkpoints.folder().join(name(step)))
    }

    /// Takes one step.
    fn step(&mut self) -> Result<StepMetrics, Error> {
        let first_row = self.loader.position().rows;
        let batch = self.loader.next_batch(self.stage.recipe.rows)?;
        let rate = self.schedule.rate(self.progress.step);
        let step = self.progress.step + 1;
        let before = match &mut self.validation {
            Some(validation) if step == 1 => Some(validation.measure(&mut self.learner)?),
            _ => None,
        };
        // A step that is left out does not count for the optimizer's own corrections.
        let updates = step - self.progress.skipped_steps;
        let Outcome { loss, gradient_norm, tokens, updated } =
            self.learner.step(&batch, updates, rate);
        self.progress.step = step;
        self.progress.position = self.loader.position().clone();
        self.count_skipped(updated, first_row)?;
        let stage = &self.stage.recipe;
        let looks = step.is_multiple_of(stage.validate_every) || step == self.progress.steps;
        let validation = match &mut self.validation {
            Some(validation) if looks => Some(validation.measure(&mut self.learner)?),
            _ => None,
        };
        let skipped = !updated;
        Ok(StepMetrics { step, loss, rate, gradient_norm, tokens, skipped, before, validation })
    }

    /// Ends a run whose updates fail one after the other.
    fn count_skipped(&mut self, updated: bool, first_row: u64) -> Result<(), Error> {
        if updated {
            self.progress.skipped_in_a_row = 0;
            return Ok(());
        }
        self.progress.skipped_in_a_row += 1;
        self.progress.skipped_steps += 1;
        let times = self.progress.skipped_in_a_row;
        if times < SKIPPED_MAX {
            return Ok(());
        }
        Err(Error::NotFinite {
            step: self.progress.step,
            times,
            first_row,
            last_row: self.loader.position().rows - 1,
            checkpoint: self.saved.unwrap_or(0),
        })
    }

    /// Saves a checkpoint; where that fails, the run goes on with the one before.
    fn save(&mut self, observer: &mut dyn Observer) {
        let step = self.progress.step;
        match self.try_save() {
            Ok(()) => {
                self.saved = Some(step);
                let _ = observer.hear(Event::Saved { step });
            }
            Err(error) => {
                let _ = observer.hear(Event::NotSaved { step, error: &error });
            }
        }
    }

    fn try_save(&mut self) -> Result<(), Error> {
        self.progress.metrics_bytes = self.metrics.sync()?;
        let Self { checkpoints, learner, progress, tokenizer_files, .. } = self;
        checkpoints.save(progress.step, |folder| {
            learner.model.write(folder)?;
            for (name, bytes) in tokenizer_files.iter() {
                folder.write_bytes(name, bytes)?;
            }
            learner.optimizer.write(folder, STATE_FILE, learner.model.parameters())?;
            progress.write(folder)?;
            Ok::<(), Error>(())
        })?;
        Ok(())
    }
}

/// The files of a folder that landed whole, without its manifest.
pub(crate) fn read_files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let manifest = artifacts::folder::verify(&RealDisk, folder, |_| ())?;
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|source| Error::Read { path, source })
    };
    manifest.files().iter().map(|file| Ok((file.name.clone(), read(&file.name)?))).collect()
}

/// Bytes of each token's text; 0 of special ones, which stand for none.
fn token_bytes(tokenizer: &Tokenizer) -> Vec<u32> {
    let bytes = |token| match tokenizer.is_special(token) {
        true => 0,
        false => u32::try_from(tokenizer.token_bytes(token).len()).unwrap_or(u32::MAX),
    };
    (0..).take(tokenizer.vocabulary_len()).map(bytes).collect()
}
