//! The stage that turns comparisons into reward models, each of which lands whole or not at all.
//!
//! A model has no checkpoints: the same comparisons, recipe and seed give the same bytes, so one that was
//! interrupted is begun again.

mod baselines;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;

use artifacts::disk::RealDisk;
use artifacts::folder;
use artifacts::hash::Digest;
use engine::Device;
use engine::ops::adamw::EpsilonForm;
use model::Adapter;
use model::trainable::Trainable;
use serde::Serialize;

pub use self::report::{Baseline, MemberReport, REPORT_FILE, RewardReport};
use super::training::{RewardTraining, accuracy_of};
use super::{
    Calibration, EncodedComparisons, Normalization, PerPrompt, RankedCompletions, RewardModel,
    RewardStep,
};
use crate::Error;
use crate::checkpoint::{digest_of, read_json};
use crate::optimizer::OptimizerOptions;
use crate::per_token::count;
use crate::ppo::{RolloutOptions, Rollouts, collect};
use crate::recipe::{OptimizerKind, RewardRecipe};
use crate::trainer::read_files;

/// What is learned, from what, and where it goes.
#[derive(Debug, Clone)]
pub struct RewardStage {
    /// How the models learn.
    pub recipe: RewardRecipe,
    /// Decides heads, orders and samples.
    pub seed: u64,
    /// The checkpoint that each model begins as, which is the reference of PPO, too.
    pub base: PathBuf,
    /// What an adapter's files are to call it.
    pub base_name: String,
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
    /// What the models are to be better than is learned.
    Baselines,
    /// A step of the policy that learns from the comparisons directly was taken.
    Dpo {
        /// The step, counted from 1.
        step: u64,
        /// All steps.
        steps: u64,
        /// What it saw.
        seen: &'a RewardStep,
    },
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
        let baselines = self.baselines(device, comparisons, identity, hear)?;
        let given = Given { comparisons, samples: &samples, baselines: &baselines, identity };
        let member = |number| self.member(device, number, &given, hear);
        let models = (1..=self.recipe.models).map(member).collect::<Result<_, _>>()?;
        let left_out = comparisons.left_out.iter();
        let agreement =
            |(baseline, found): (&Baseline, &PerPrompt)| Some((*baseline, found.agreement()?));
        let report = RewardReport {
            identity,
            base,
            comparisons: comparisons.train.len(),
            held_out: comparisons.held_out.len(),
            left_out: left_out.map(|(why, count)| ((*why).to_owned(), *count)).collect(),
            baselines: baselines.iter().filter_map(agreement).collect(),
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
        given: &Given<'_>,
        hear: &mut dyn FnMut(RewardEvent<'_>),
    ) -> Result<MemberReport, Error> {
        let path = self.folder.join(format!("model-{number}"));
        if path.exists() {
            folder::verify(&RealDisk, &path, |_| ())?;
            let report: MemberReport = read_json(&path.join(REPORT_FILE))?;
            if report.identity == given.identity {
                return Ok(report);
            }
            let problem = "it learned from other comparisons or by another recipe".to_owned();
            return Err(Error::OtherCheckpoint { path, problem });
        }
        let (model, report) = self.learn(device, number, given, hear)?;
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
        given: &Given<'_>,
        hear: &mut dyn FnMut(RewardEvent<'_>),
    ) -> Result<(RewardModel, MemberReport), Error> {
        // Each member has draws of its own.
        let seed = self.seed.wrapping_add((number as u64 - 1) << 32);
        let (trunk, beside) = self.trunk(device, seed)?;
        let mut model = RewardModel::new(trunk, seed, self.recipe.optimizer_options());
        model.beside = beside;
        let (training, train) = (self.training(seed), &given.comparisons.train);
        let steps = training.steps(train.len());
        let mut losses = Vec::new();
        training.run(&mut model, train, &mut |step, seen| {
            losses.push(seen.loss);
            hear(RewardEvent::Step { model: number, step, steps, seen });
        });
        hear(RewardEvent::Measuring { model: number });
        let scale = model.normalize(&given.samples.rollouts)?;
        let last = &losses[losses.len() - losses.len().div_ceil(10)..];
        let loss = last.iter().sum::<f64>() / count(last.len());
        let report = given.report(&mut model, loss, scale);
        Ok((model, report))
    }

    /// What a model begins as, and the weights that it lies beside if it is an adapter.
    fn trunk(&self, device: &Device, seed: u64) -> Result<(Trainable, Option<Digest>), Error> {
        let trunk = Trainable::read(device, &self.base, self.recipe.precision.of_products())?;
        let Some(lora) = &self.recipe.lora else { return Ok((trunk, None)) };
        let base = digest_of(trunk.weights())?;
        let adapter = Adapter::new(device, trunk.config(), &lora.options(&self.base_name), seed)?;
        Ok((trunk.with_adapter(adapter)?, Some(base)))
    }

    /// How the comparisons are learned from.
    fn training(&self, seed: u64) -> RewardTraining {
        let recipe = &self.recipe;
        RewardTraining {
            epochs: recipe.epochs,
            comparisons: recipe.comparisons,
            learning_rate: recipe.learning_rate,
            clip: recipe.clip,
            centering: recipe.centering,
            seed,
        }
    }
}

/// What all members of a stage are given.
struct Given<'a> {
    comparisons: &'a EncodedComparisons,
    /// Of the reference, for the scale.
    samples: &'a Rollouts,
    /// What each baseline orders as people did, of what is held out.
    baselines: &'a BTreeMap<Baseline, PerPrompt>,
    identity: Digest,
}

impl Given<'_> {
    /// What a model has learned, of comparisons that it learned from and of those that it did not.
    fn report(&self, model: &mut RewardModel, loss: f64, scale: Normalization) -> MemberReport {
        let held_out = &self.comparisons.held_out;
        let scores: Vec<Vec<f64>> =
            held_out.iter().map(|one| model.raw_scores(one.sequences())).collect();
        let found = PerPrompt::of(held_out, &scores);
        let agreement = found.agreement();
        let accuracy = agreement.map_or(0.5, |agreement| agreement.accuracy);
        let lead =
            |(baseline, other): (&Baseline, &PerPrompt)| Some((*baseline, found.lead(other)?));
        MemberReport {
            identity: self.identity,
            loss,
            train_accuracy: accuracy_of(model, sample(&self.comparisons.train)).share(),
            accuracy,
            accuracy_interval: agreement.map_or([0.0, 1.0], |agreement| agreement.interval),
            pairs: agreement.map_or(0, |agreement| agreement.pairs),
            gain: scale.gain(),
            bias: scale.bias(),
            prompts: agreement.map_or(0, |agreement| agreement.prompts),
            tau: 2.0 * accuracy - 1.0,
            calibration: agreement.map(|_| Calibration::of(held_out, &scores)),
            leads: self.baselines.iter().filter_map(lead).collect(),
        }
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
