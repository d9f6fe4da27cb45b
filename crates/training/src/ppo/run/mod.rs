//! A stage of PPO: steps over prompts, metrics, and checkpoints from which it goes on with the same
//! bytes.

mod health;
mod meter;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use artifacts::checkpoints::Checkpoints;
use artifacts::disk::RealDisk;
use artifacts::folder::NewFolder;
use artifacts::hash::Digest;
use corpus::{Corpus, LoaderOptions, Packing, Position, Split};
use engine::Device;
use engine::ops::adamw::EpsilonForm;
use engine::random::Series;
use model::Adapter;
use model::trainable::{ScalarHead, Trainable};
use serde::{Deserialize, Serialize};

use self::health::Health;
use super::goodhart::{Curve, Meter};
use super::{
    KlController, Ppo, PpoMetrics, PpoOptions, Pretraining, Reference, RolloutOptions, ValueModel,
};
use crate::average::MovingAverage;
use crate::checkpoint::read_json;
use crate::metrics::MetricsLog;
use crate::network::{Network, StateFiles};
use crate::optimizer::OptimizerOptions;
use crate::recipe::{OptimizerKind, PpoRecipe, RewardRecipe, ValueKind};
use crate::reward::{Ensemble, Place, RewardModel, read_value_model};
use crate::trainer::{CHECKPOINTS_FOLDER, Ended, Event, SKIPPED_MAX, read_files};
use crate::{Error, ppo};

/// How far the stage is, in each of its checkpoints.
const PROGRESS_FILE: &str = "ppo.json";
/// The version of its form.
const VERSION: u32 = 1;
/// The longest rows of the text that is learned beside.
const PRETRAINING_TOKENS_MAX: usize = 512;
/// The weights of a value model of its own.
const VALUES_FILE: &str = "values.safetensors";
/// The policy's weights as they learn, where averages of them are the policy.
const LEARNING_FILE: &str = "learning.safetensors";
/// The state of what learns, beside the policy's weights.
const POLICY_STATE: StateFiles = StateFiles {
    optimizer: "optimizer.safetensors",
    head: "value_head.safetensors",
    head_optimizer: "value_head_optimizer.safetensors",
};
/// That of a value model of its own.
const VALUE_STATE: StateFiles = StateFiles {
    optimizer: "values_optimizer.safetensors",
    head: "values_head.safetensors",
    head_optimizer: "values_head_optimizer.safetensors",
};

/// What learns, from what, and where it is left.
#[derive(Debug, Clone)]
pub struct PpoStage {
    /// How the policy learns.
    pub recipe: PpoRecipe,
    /// How the reward models were trained; says how their scores become one.
    pub reward: RewardRecipe,
    /// Decides every draw.
    pub seed: u64,
    /// The checkpoint against which the policy's drift is measured, and beside which an adapter lies.
    pub base: PathBuf,
    /// The checkpoint that the policy begins as: the base, or what learned in the round before.
    pub begin: PathBuf,
    /// What an adapter's files are to call it.
    pub base_name: String,
    /// The reward models' folders.
    pub reward_models: Vec<PathBuf>,
    /// The tokenizer's folder; every checkpoint gets its files.
    pub tokenizer: PathBuf,
    /// The text of pretraining, for recipes that learn it beside.
    pub corpus: Option<PathBuf>,
    /// What is asked, in tokens.
    pub prompts: Vec<Vec<u32>>,
    /// What the meter asks, in tokens: prompts that nobody learns from.
    pub meter_prompts: Vec<Vec<u32>>,
    /// Tokens that end a completion.
    pub stop_tokens: Vec<u32>,
    /// Sequences that are decoded at once; changes no result.
    pub slots: usize,
    /// Whether each step recomputes what it relies on in other ways; changes no result.
    pub thorough: bool,
    /// Where metrics and checkpoints are left.
    pub folder: PathBuf,
}

/// How far a stage is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    version: u32,
    /// All that decides what comes out.
    identity: Digest,
    step: u64,
    steps: u64,
    kl: KlController,
    policy_updates: u64,
    value_updates: u64,
    metrics_bytes: u64,
    /// Where the next rows of text are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
}

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
        let progress = from.map(|path| read_progress(path, identity)).transpose()?;
        let mut ppo = stage.ppo(device, from)?;
        if let Some(decay) = stage.recipe.ema {
            // What a checkpoint has as the policy is the average.
            ppo.policy.average = Some(MovingAverage::new(&ppo.policy.trunk, decay));
        }
        if let (Some(path), Some(progress)) = (from, &progress) {
            read_state(&mut ppo, path, progress)?;
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
        let value_updates = match &ppo.value_model {
            ValueModel::Own(network) => network.updates(),
            ValueModel::OnTrunk => 0,
        };
        let progress = Progress {
            version: VERSION,
            identity: *identity,
            step: ppo.steps,
            steps: stage.recipe.steps,
            kl: ppo.kl,
            policy_updates: ppo.policy.updates(),
            value_updates,
            metrics_bytes: metrics.sync()?,
            position: ppo.pretraining.as_ref().map(|text| text.position().clone()),
        };
        checkpoints.save(progress.step, |folder| {
            write_state(ppo, folder)?;
            for (name, bytes) in tokenizer_files.iter() {
                folder.write_bytes(name, bytes)?;
            }
            let mut bytes = serde_json::to_vec_pretty(&progress).expect("numbers can be written");
            bytes.push(b'\n');
            folder.write_bytes(PROGRESS_FILE, &bytes)?;
            Ok::<(), Error>(())
        })?;
        Ok(())
    }
}

impl PpoStage {
    /// Refuses reward models that read other tokens than the policy writes.
    fn check_tokenizers(&self, own: &[(String, Vec<u8>)]) -> Result<(), Error> {
        const TOKENIZER: &str = "tokenizer.json";
        let own = own.iter().find(|(name, _)| name == TOKENIZER).map(|(_, bytes)| bytes);
        for reward in &self.reward_models {
            let path = reward.join(TOKENIZER);
            let bytes = std::fs::read(&path).map_err(|source| Error::Read { path, source })?;
            if Some(&bytes) != own {
                let (reward, policy) = (reward.clone(), self.tokenizer.clone());
                return Err(Error::OtherTokenizer { reward, policy });
            }
        }
        Ok(())
    }

    /// Where a reward model lies.
    fn place_of<'a>(&'a self, folder: &'a Path) -> Place<'a> {
        Place { folder, base: &self.base }
    }

    /// All that decides what comes out, as a digest.
    fn identity(&self) -> Result<Digest, Error> {
        let manifest = |path: &Path| -> Result<String, Error> {
            let path = path.join(artifacts::folder::MANIFEST_FILE);
            artifacts::read_text(&path).map_err(|source| Error::Read { path, source })
        };
        let rewards = self.reward_models.iter().map(|path| manifest(path));
        let rewards: Vec<String> = rewards.collect::<Result<_, _>>()?;
        let learns_text = |_: &&PathBuf| self.recipe.pretraining_coefficient > 0.0;
        let text =
            self.corpus.as_ref().filter(learns_text).map(|path| manifest(path)).transpose()?;
        let of = (
            (&self.recipe, self.reward.combine, self.reward.precision, self.seed),
            (manifest(&self.base)?, manifest(&self.begin)?, rewards),
            (&self.prompts, &self.stop_tokens, text),
            Some(&self.meter_prompts).filter(|_| self.recipe.meter_every > 0),
        );
        Ok(Digest::of(&serde_json::to_vec(&of).expect("numbers and texts can be written")))
    }

    /// The prompts of a step, counted from 0: all of them once, in an order of their own each time.
    fn prompts_of(&self, step: u64) -> Vec<Vec<u32>> {
        let all = self.prompts.len() as u64;
        let first = step * self.recipe.episodes as u64;
        let mut order = (u64::MAX, Vec::new());
        let places = (first..).take(self.recipe.episodes).map(|number| {
            let (epoch, place) = (number / all, number % all);
            if order.0 != epoch {
                let series = Series { seed: self.seed, step: epoch, epoch: u32::MAX };
                order = (epoch, series.permutation(self.prompts.len()));
            }
            order.1[usize::try_from(place).unwrap_or_default()]
        });
        places.map(|place| self.prompts[place].clone()).collect()
    }

    /// Policy, reference and values as they begin, the policy's own weights from a checkpoint if one
    /// is given.
    fn ppo(&self, device: &Device, checkpoint: Option<&Path>) -> Result<Ppo, Error> {
        let recipe = &self.recipe;
        let precision = recipe.precision.of_products();
        let read = |path: &Path| Trainable::read(device, path, precision);
        let (trunk, reference) = match &recipe.lora {
            Some(lora) => {
                let base = read(&self.base)?;
                let adapter = match checkpoint {
                    Some(path) => Adapter::read(device, base.config(), path)?,
                    None if self.begin == self.base => {
                        let options = lora.options(&self.base_name);
                        Adapter::new(device, base.config(), &options, self.seed)?
                    }
                    None => Adapter::read(device, base.config(), &self.begin)?,
                };
                (base.with_adapter(adapter)?, Reference::WithoutAdapter)
            }
            None => {
                let reference = read(&self.base)?.frozen();
                (read(checkpoint.unwrap_or(&self.begin))?, Reference::Frozen(Box::new(reference)))
            }
        };
        let moves = recipe.optimizer_options();
        let (head, value_model) = match (recipe.values, self.reward_models.first()) {
            (ValueKind::Own, Some(path)) => {
                let values = read_value_model(device, self.place_of(path), precision, moves)?;
                (None, ValueModel::Own(Box::new(values)))
            }
            _ => {
                let zeros = vec![0.0; trunk.config().width];
                (Some(ScalarHead::with_weight(device, &zeros, 0.0)), ValueModel::OnTrunk)
            }
        };
        let pretraining = self.pretraining(trunk.config().context_tokens)?;
        Ok(Ppo {
            policy: Network::new(trunk, head, moves),
            pretraining,
            reference,
            value_model,
            kl: recipe.kl_controller(),
            options: self.options(),
            seed: self.seed,
            steps: 0,
        })
    }

    /// The text that is learned beside, in rows as long as the context window, an even number.
    fn pretraining(&self, context_tokens: usize) -> Result<Option<Pretraining>, Error> {
        let recipe = &self.recipe;
        if recipe.pretraining_coefficient <= 0.0 {
            return Ok(None);
        }
        let Some(path) = &self.corpus else {
            let expected = "0 for a run that has no text of its own";
            let found = recipe.pretraining_coefficient;
            return Err(Error::field("ppo.pretraining_coefficient", found, expected));
        };
        let time = context_tokens.min(PRETRAINING_TOKENS_MAX) / 2 * 2;
        let options = LoaderOptions { time, seed: self.seed, packing: Packing::Stream };
        let loader = Corpus::open(path)?.loader(Split::Train, options)?;
        let (rows, coefficient) = (recipe.pretraining_rows, recipe.pretraining_coefficient);
        Ok(Some(Pretraining { loader, rows, coefficient }))
    }

    /// Whether the policy is the reference before it learns.
    fn begins_as_reference(&self) -> bool {
        self.begin == self.base
    }

    fn options(&self) -> PpoOptions {
        let recipe = &self.recipe;
        PpoOptions {
            rollouts: RolloutOptions {
                temperature: recipe.temperature,
                completion_tokens: recipe.completion_tokens,
                stop_tokens: self.stop_tokens.clone(),
                slots: self.slots,
            },
            epochs: recipe.epochs,
            minibatches: recipe.minibatches,
            clip_range: recipe.clip_range,
            value_clip_range: recipe.value_clip_range,
            value_coefficient: recipe.value_coefficient,
            discount: ppo::Discount { gamma: recipe.gamma, lambda: recipe.lambda },
            no_end: recipe.no_end,
            beyond: recipe.beyond,
            whiten_rewards: recipe.whiten_rewards,
            clip: recipe.clip,
            micro_tokens: super::step::MICRO_TOKENS,
            begins_as_reference: self.begins_as_reference(),
            thorough: self.thorough,
        }
    }
}

impl PpoRecipe {
    /// How the weights of policy and values follow their gradients.
    #[must_use]
    pub fn optimizer_options(&self) -> OptimizerOptions {
        OptimizerOptions {
            kind: OptimizerKind::Adamw,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: self.epsilon,
            epsilon_form: EpsilonForm::AfterCorrection,
            muon_share: 1.0,
        }
    }
}

fn read_progress(folder: &Path, identity: Digest) -> Result<Progress, Error> {
    let path = folder.join(PROGRESS_FILE);
    let progress: Progress = read_json(&path)?;
    let problem = if progress.version != VERSION {
        format!("version {} is not known here", progress.version)
    } else if progress.identity != identity {
        "it was saved with another recipe, base, reward model or other prompts".to_owned()
    } else {
        return Ok(progress);
    };
    Err(Error::OtherCheckpoint { path: folder.to_owned(), problem })
}

fn read_state(ppo: &mut Ppo, folder: &Path, progress: &Progress) -> Result<(), Error> {
    (ppo.steps, ppo.kl) = (progress.step, progress.kl);
    if let (Some(text), Some(position)) = (&mut ppo.pretraining, &progress.position) {
        text.loader.seek(position)?;
    }
    if ppo.policy.average.is_some() {
        ppo.policy.read_trunk(&folder.join(LEARNING_FILE))?;
    }
    ppo.policy.read_state(folder, &POLICY_STATE, progress.policy_updates)?;
    let ValueModel::Own(network) = &mut ppo.value_model else { return Ok(()) };
    network.read_trunk(&folder.join(VALUES_FILE))?;
    network.read_state(folder, &VALUE_STATE, progress.value_updates)
}

fn write_state(ppo: &mut Ppo, folder: &mut NewFolder<'_>) -> Result<(), Error> {
    ppo.policy.write_kept(folder, LEARNING_FILE)?;
    ppo.policy.write_state(folder, &POLICY_STATE)?;
    let ValueModel::Own(network) = &ppo.value_model else { return Ok(()) };
    network.write_trunk(folder, VALUES_FILE)?;
    network.write_state(folder, &VALUE_STATE)?;
    Ok(())
}
