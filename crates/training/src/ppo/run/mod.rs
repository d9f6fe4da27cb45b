//! A stage of PPO: steps over prompts, metrics, and checkpoints from which it goes on with the same
//! bytes.

mod health;
mod meter;
mod progress;
mod stage;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::PathBuf;

use artifacts::checkpoints::Checkpoints;
use artifacts::disk::RealDisk;
use artifacts::hash::Digest;
use engine::Device;

pub use self::stage::PpoStage;

use self::health::Health;
use self::progress::Progress;
use super::goodhart::{Curve, Meter};
use super::{Ppo, PpoMetrics};
use crate::Error;
use crate::average::MovingAverage;
use crate::metrics::MetricsLog;
use crate::reward::{Ensemble, RewardModel};
use crate::trainer::{CHECKPOINTS_FOLDER, Ended, Event, SKIPPED_MAX, read_files};

/// What happens in a stage.
pub type PpoEvent<'a> = Event<'a, PpoMetrics>;

/// Hears what happens; after [`ControlFlow::Break`] the stage saves a checkpoint and ends.
pub type PpoObserver<'a> = dyn FnMut(PpoEvent<'_>) -> ControlFlow<()> + 'a;

/// A stage that is being worked at.
#[derive(Debug)]
pub struct PpoTrainer {
    stage: PpoStage,
    ppo: Ppo,
    scorer: Ensemble,
    meter: Option<Meter>,
    curve: Curve,
    checkpoints: Checkpoints<RealDisk>,
    metrics: MetricsLog,
    identity: Digest,
    tokenizer_files: Vec<(String, Vec<u8>)>,
    saved: Option<u64>,
    /// Steps in a row of which some update was left out.
    skipped: u32,
    damage: Vec<artifacts::Error>,
    health: Health,
}

impl PpoTrainer {
    /// Opens a stage: at its beginning, or at its newest checkpoint that is whole.
    ///
    /// # Errors
    ///
    /// [`Error::NoPrompts`]; [`Error::OtherTokenizer`] for a reward model that reads other tokens;
    /// [`Error::NotNormalized`] for one without a scale; where a model cannot be read, or a
    /// checkpoint belongs to another stage.
    pub fn open(stage: PpoStage, device: &Device) -> Result<Self, Error> {
        if stage.prompts.is_empty() {
            return Err(Error::NoPrompts);
        }
        let tokenizer_files = read_files(&stage.tokenizer)?;
        stage.check_tokenizers(&tokenizer_files)?;
        let failed = |source| Error::Write { path: stage.folder.clone(), source };
        std::fs::create_dir_all(&stage.folder).map_err(failed)?;
        let folder = stage.folder.join(CHECKPOINTS_FOLDER);
        let mut checkpoints = Checkpoints::open(RealDisk, folder, stage.recipe.keep)?;
        let latest = checkpoints.latest()?;
        let from = latest.as_ref().map(|latest| latest.path.as_path());
        let identity = stage.identity()?;
        let progress = from.map(|path| Progress::read(path, identity)).transpose()?;
        let mut ppo = stage.ppo(device, from)?;
        if let Some(decay) = stage.recipe.ema {
            // What a checkpoint has as the policy is the average.
            ppo.policy.average = Some(MovingAverage::new(&ppo.policy.trunk, decay));
        }
        if let (Some(path), Some(progress)) = (from, &progress) {
            progress.restore(&mut ppo, path)?;
        }
        let precision = stage.reward.precision.of_products();
        let read = |path: &PathBuf| RewardModel::read(device, stage.place_of(path), precision);
        let models = stage.reward_models.iter().map(read).collect::<Result<_, _>>()?;
        let scorer = Ensemble { models, combine: stage.reward.combine };
        let (bytes, step) = progress.map_or((0, 0), |p| (p.metrics_bytes, p.step));
        Ok(Self {
            metrics: MetricsLog::open(&stage.folder, bytes, step)?,
            health: Health::open(&stage)?,
            meter: stage.meter()?,
            // After the lines were cut to the checkpoint.
            curve: stage.curve(step)?,
            saved: latest.as_ref().map(|latest| latest.step),
            damage: latest.map(|latest| latest.damage).unwrap_or_default(),
            skipped: 0,
            stage,
            ppo,
            scorer,
            checkpoints,
            identity,
            tokenizer_files,
        })
    }

    /// Takes all steps that are left, or those up to the peak where the recipe wants that.
    ///
    /// # Errors
    ///
    /// As [`Ppo::step`]. What was saved stays. [`Error::Field`] where the stage is to end at the peak
    /// and has no judge.
    pub fn run(&mut self, observer: &mut PpoObserver<'_>) -> Result<Ended, Error> {
        self.check_judge()?;
        let mut wish = ControlFlow::Continue(());
        if let Some(step) = self.saved {
            wish = observer(PpoEvent::Resumed { step, damage: &self.damage });
        }
        while !self.is_over() && wish.is_continue() {
            let reference = self.read_reference()?;
            let prompts = self.stage.prompts_of(self.ppo.steps);
            let rate = self.stage.recipe.rate(self.ppo.steps);
            let stepped = self.ppo.step(&prompts, &mut self.scorer, rate);
            let mut metrics = self.examine(stepped, observer)?;
            self.count_skipped(&metrics)?;
            (metrics.reference, metrics.meter) = (reference, self.read_meter()?);
            self.curve.hear(&metrics);
            wish = observer(PpoEvent::Step(&metrics));
            if let Err(error) = self.metrics.push(&metrics) {
                let _ = observer(PpoEvent::NotSaved { step: metrics.step, error: &error });
            }
            if metrics.step.is_multiple_of(self.stage.recipe.checkpoint_every) {
                self.save(observer);
            }
        }
        if self.saved != Some(self.ppo.steps) && self.ppo.steps > 0 {
            self.save(observer);
        }
        if let Err(error) = self.leave_findings() {
            let _ = observer(PpoEvent::NotSaved { step: self.ppo.steps, error: &error });
        }
        Ok(match self.is_over() {
            true => Ended::Finished,
            false => Ended::Stopped(self.ppo.steps),
        })
    }

    /// Ends a stage whose updates fail one after the other.
    fn count_skipped(&mut self, metrics: &PpoMetrics) -> Result<(), Error> {
        self.skipped = if metrics.skipped > 0 { self.skipped + 1 } else { 0 };
        if self.skipped < SKIPPED_MAX {
            return Ok(());
        }
        let (step, times, checkpoint) = (metrics.step, self.skipped, self.saved.unwrap_or(0));
        Err(Error::PolicyNotFinite { step, times, checkpoint })
    }

    /// How many steps there are in all.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.stage.recipe.steps
    }

    /// How many steps were taken.
    #[must_use]
    pub fn steps_done(&self) -> u64 {
        self.ppo.steps
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

    /// Saves a checkpoint; where that fails, the stage goes on with the one before.
    fn save(&mut self, observer: &mut PpoObserver<'_>) {
        let step = self.ppo.steps;
        let _ = match self.try_save() {
            Ok(()) => {
                self.saved = Some(step);
                observer(PpoEvent::Saved { step })
            }
            Err(error) => observer(PpoEvent::NotSaved { step, error: &error }),
        };
    }

    fn try_save(&mut self) -> Result<(), Error> {
        let Self { checkpoints, ppo, tokenizer_files, identity, stage, metrics, .. } = self;
        let bytes = metrics.sync()?;
        let progress = Progress::of(ppo, *identity, stage.recipe.steps, bytes);
        checkpoints.save(progress.step, |folder| {
            progress.write(ppo, folder)?;
            for (name, bytes) in tokenizer_files.iter() {
                folder.write_bytes(name, bytes)?;
            }
            Ok::<(), Error>(())
        })?;
        Ok(())
    }
}
