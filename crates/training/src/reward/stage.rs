//! The stage that turns comparisons into reward models, each of which lands whole or not at all.
//!
//! A model has no checkpoints: the same comparisons, recipe and seed give the same bytes, so one that was
//! interrupted is begun again.

use std::path::PathBuf;

use artifacts::disk::RealDisk;
use artifacts::folder;
use artifacts::hash::Digest;
use engine::Device;
use engine::ops::adamw::EpsilonForm;
use model::trainable::Trainable;
use serde::{Deserialize, Serialize};

use super::accuracy::Proportion;
use super::training::{RewardTraining, accuracy_of};
use super::{EncodedComparisons, RankedCompletions, RewardModel, RewardStep};
use crate::Error;
use crate::checkpoint::{digest_of, read_json};
use crate::optimizer::OptimizerOptions;
use crate::per_token::count;
use crate::ppo::{RolloutOptions, Rollouts, collect};
use crate::recipe::{OptimizerKind, RewardRecipe};
use crate::trainer::read_files;

/// What is known of the stage, in its folder.
pub const REPORT_FILE: &str = "report.json";

/// What is learned, from what, and where it goes.
#[derive(Debug, Clone)]
pub struct RewardStage {
    /// How the models learn.
    pub recipe: RewardRecipe,
    /// Decides heads, orders and samples.
    pub seed: u64,
    /// The checkpoint that each model begins as, which is the reference of PPO, too.
    pub base: PathBuf,
    /// The tokenizer's folder.
    pub tokenizer: PathBuf,
    /// How the reference is sampled for the scale.
    pub rollouts: RolloutOptions,
    /// Where the stage lands: `model-1`, `model-2`, … and the report.
    pub folder: PathBuf,
}

/// What happens in the stage.
#[derive(Debug)]
#[non_exhaustive]
pub enum RewardEvent<'a> {
    /// A step of a model was taken.
    Step {
        /// Which model, counted from 1.
        model: usize,
        /// The step, counted from 1.
        step: u64,
        /// All steps of a model.
        steps: u64,
        /// What it saw.
        seen: &'a RewardStep,
    },
    /// A model learns no more; its scale is measured.
    Measuring {
        /// Which model, counted from 1.
        model: usize,
    },
}

/// What the stage leaves beside its models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardReport {
    /// All that decided what is here.
    pub identity: Digest,
    /// The weights that the models began as.
    pub base: Digest,
    /// Comparisons that were learned from.
    pub comparisons: usize,
    /// Comparisons that were held out.
    pub held_out: usize,
    /// Comparisons that could not be learned from, by why.
    pub left_out: std::collections::BTreeMap<String, u64>,
    /// One for each model.
    pub models: Vec<MemberReport>,
}

/// What is known of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberReport {
    /// All that decided it.
    pub identity: Digest,
    /// Mean loss of the last tenth of its steps, in nats.
    pub loss: f64,
    /// How often it agrees with people on comparisons that it learned from.
    pub train_accuracy: f64,
    /// The same on those that were held out; one half where there are none.
    pub accuracy: f64,
    /// Between what shares that lies with 95 % confidence.
    pub accuracy_interval: [f64; 2],
    /// Pairs of the held-out comparisons.
    pub pairs: usize,
    /// What scores are multiplied with.
    pub gain: f64,
    /// What is added then.
    pub bias: f64,
}

impl RewardStage {
    /// Trains the models that are not there yet, each of which lands whole, and then the report.
    ///
    /// # Errors
    ///
    /// [`Error::NoComparisons`] where there is nothing to learn from, [`Error::NoScale`] where a
    /// model says the same of everything; where a file cannot be read or written.
    pub fn run(
        &self,
        device: &Device,
        comparisons: &EncodedComparisons,
        hear: &mut dyn FnMut(RewardEvent<'_>),
    ) -> Result<RewardReport, Error> {
        if comparisons.train.is_empty() {
            let left_out = comparisons.left_out.values().sum();
            return Err(Error::NoComparisons { left_out });
        }
        let reference = Trainable::read(device, &self.base, self.recipe.precision.of_products())?;
        let base = digest_of(reference.weights())?;
        let samples = self.samples(&reference, comparisons)?;
        drop(reference);
        let identity = self.identity(base, comparisons);
        let member = |number| self.member(device, number, (comparisons, &samples), identity, hear);
        let models = (1..=self.recipe.models).map(member).collect::<Result<_, _>>()?;
        let left_out = comparisons.left_out.iter();
        let report = RewardReport {
            identity,
            base,
            comparisons: comparisons.train.len(),
            held_out: comparisons.held_out.len(),
            left_out: left_out.map(|(why, count)| ((*why).to_owned(), *count)).collect(),
            models,
        };
        folder::land_bytes(&RealDisk, &self.folder.join(REPORT_FILE), &json_of(&report))?;
        Ok(report)
    }

    /// All that decides what comes out, as a digest.
    fn identity(&self, base: Digest, comparisons: &EncodedComparisons) -> Digest {
        let Self { recipe, seed, rollouts, .. } = self;
        let lists = [&comparisons.train, &comparisons.held_out];
        let tokens = lists.map(|list| {
            let tokens = list.iter().map(|c| (&c.prompt, &c.completions, &c.ranks));
            tokens.collect::<Vec<_>>()
        });
        // How many are decoded at once changes nothing.
        let rollouts =
            (rollouts.temperature, rollouts.completion_tokens, rollouts.stop_tokens.as_slice());
        Digest::of(&json_of(&(recipe, seed, base, rollouts, tokens)))
    }

    /// One model: the one that is there, or a new one.
    fn member(
        &self,
        device: &Device,
        number: usize,
        (comparisons, samples): (&EncodedComparisons, &Rollouts),
        identity: Digest,
        hear: &mut dyn FnMut(RewardEvent<'_>),
    ) -> Result<MemberReport, Error> {
        let path = self.folder.join(format!("model-{number}"));
        if path.exists() {
            folder::verify(&RealDisk, &path, |_| ())?;
            let report: MemberReport = read_json(&path.join(REPORT_FILE))?;
            if report.identity == identity {
                return Ok(report);
            }
            let problem = "it learned from other comparisons or by another recipe".to_owned();
            return Err(Error::OtherCheckpoint { path, problem });
        }
        let (model, report) = self.learn(device, number, (comparisons, samples), identity, hear)?;
        let tokenizer_files = read_files(&self.tokenizer)?;
        folder::land_folder(&RealDisk, &path, |folder| {
            model.write(folder)?;
            for (name, bytes) in &tokenizer_files {
                folder.write_bytes(name, bytes)?;
            }
            folder.write_bytes(REPORT_FILE, &json_of(&report))?;
            Ok::<_, Error>(())
        })?;
        Ok(report)
    }

    /// Completions of the reference to prompts that people have judged.
    fn samples(
        &self,
        reference: &Trainable,
        comparisons: &EncodedComparisons,
    ) -> Result<Rollouts, Error> {
        let all = comparisons.train.iter().chain(&comparisons.held_out);
        let prompts = all.map(|comparison| comparison.prompt.clone()).cycle();
        let prompts: Vec<Vec<u32>> = prompts.take(self.recipe.samples).collect();
        let served = std::sync::Arc::new(reference.served()?);
        collect(served, &prompts, &self.rollouts, (self.seed, 0))
    }

    fn learn(
        &self,
        device: &Device,
        number: usize,
        (comparisons, samples): (&EncodedComparisons, &Rollouts),
        identity: Digest,
        hear: &mut dyn FnMut(RewardEvent<'_>),
    ) -> Result<(RewardModel, MemberReport), Error> {
        let recipe = &self.recipe;
        // Each member has draws of its own.
        let seed = self.seed.wrapping_add((number as u64 - 1) << 32);
        let training = RewardTraining {
            epochs: recipe.epochs,
            comparisons: recipe.comparisons,
            learning_rate: recipe.learning_rate,
            clip: recipe.clip,
            centering: recipe.centering,
            seed,
        };
        let trunk = Trainable::read(device, &self.base, recipe.precision.of_products())?;
        let mut model = RewardModel::new(trunk, seed, recipe.optimizer_options());
        let steps = training.steps(comparisons.train.len());
        let mut losses = Vec::new();
        training.run(&mut model, &comparisons.train, &mut |step, seen| {
            losses.push(seen.loss);
            hear(RewardEvent::Step { model: number, step, steps, seen });
        });
        hear(RewardEvent::Measuring { model: number });
        let scale = model.normalize(&samples.rollouts)?;
        let train = accuracy_of(&mut model, sample(&comparisons.train));
        let held_out: Proportion = accuracy_of(&mut model, &comparisons.held_out);
        let interval = held_out.interval();
        let last = &losses[losses.len() - losses.len().div_ceil(10)..];
        let report = MemberReport {
            identity,
            loss: last.iter().sum::<f64>() / count(last.len()),
            train_accuracy: train.share(),
            accuracy: held_out.share(),
            accuracy_interval: [interval.low, interval.high],
            pairs: held_out.trials,
            gain: scale.gain(),
            bias: scale.bias(),
        };
        Ok((model, report))
    }
}

/// As a file of facts.
fn json_of(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("numbers and texts can be written");
    bytes.push(b'\n');
    bytes
}

/// Enough to measure what was learned.
fn sample(comparisons: &[RankedCompletions]) -> &[RankedCompletions] {
    &comparisons[..comparisons.len().min(500)]
}

impl RewardRecipe {
    /// How the weights of a reward model follow their gradients.
    #[must_use]
    pub fn optimizer_options(&self) -> OptimizerOptions {
        OptimizerOptions {
            kind: OptimizerKind::Adamw,
            weight_decay: self.weight_decay,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            epsilon_form: EpsilonForm::AfterCorrection,
            muon_share: 1.0,
        }
    }
}
