//! A reward model: a transformer with a head of one number, read at a completion's last token.

use std::path::Path;

use artifacts::folder::NewFolder;
use artifacts::hash::Digest;
use engine::Device;
use engine::ops::matmul::Precision;
use model::Adapter;
use model::trainable::{ScalarHead, Trainable};
use serde::{Deserialize, Serialize};

use super::normalization::{Normalization, Scale};
use super::{RankedCompletions, ranking_loss};
use crate::checkpoint::digest_of;
use crate::network::{Network, Stride, Updated};
use crate::optimizer::OptimizerOptions;
use crate::packed::{Packed, portions};
use crate::per_token::count;
use crate::ppo::{Rollout, Scorer};
use crate::{Error, checkpoint};

/// The head's weights, beside the files of the trunk.
const HEAD_FILE: &str = "score.safetensors";
/// What else is known of the model.
const FACTS_FILE: &str = "reward.json";
/// The version of their form.
const VERSION: u32 = 1;
/// Tokens that go through the model at once.
const MICRO_TOKENS: usize = 2_048;

/// A reward model.
#[derive(Debug)]
pub struct RewardModel {
    network: Network,
    scale: Scale,
    /// The weights that it lies beside, if it is an adapter.
    pub(super) beside: Option<Digest>,
}

/// What is written beside the weights.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    version: u32,
    scale: Scale,
    /// The weights that an adapter learned beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<Digest>,
}

/// Where a reward model lies.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its own folder.
    pub folder: &'a Path,
    /// The checkpoint that it began as, which is read where the model is an adapter beside it.
    pub base: &'a Path,
}

/// What a step saw before its update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RewardStep {
    /// Mean loss of the comparisons.
    pub loss: f64,
    /// What became of the update.
    pub updated: Updated,
}

impl RewardModel {
    /// A model that learns, on this trunk, whose head is drawn from the seed.
    #[must_use]
    pub fn new(trunk: Trainable, seed: u64, options: OptimizerOptions) -> Self {
        let head = ScalarHead::new(trunk.device(), trunk.config().width, seed);
        Self { network: Network::new(trunk, Some(head), options), scale: Scale::Raw, beside: None }
    }

    /// Moves the weights by one batch of comparisons; all completions of a prompt are in one batch,
    /// and each goes through the model once.
    ///
    /// `loss = mean over comparisons of ranking_loss(scores, ranks, centering)`
    ///
    /// The scale is lost: what was measured before does not hold for other weights.
    pub fn learn(
        &mut self,
        comparisons: &[&RankedCompletions],
        centering: f64,
        stride: Stride,
    ) -> RewardStep {
        self.scale = Scale::Raw;
        self.network.clear_gradients();
        let share = 1.0 / count(comparisons.len());
        let mut loss = 0.0;
        for portion in portions(comparisons, MICRO_TOKENS, |comparison| comparison.tokens()) {
            let completions = portion.iter().flat_map(|comparison| comparison.sequences());
            let packed = packed(completions);
            self.network.accumulate_outputs(packed.documents(), |outputs| {
                let mut slopes = vec![0.0; packed.len()];
                let mut rows = packed.rows().iter().map(|rows| rows.start);
                for comparison in portion {
                    let own: Vec<usize> =
                        rows.by_ref().take(comparison.completions.len()).collect();
                    let scores: Vec<f64> = own.iter().map(|&row| outputs[row].into()).collect();
                    let found = ranking_loss(&scores, &comparison.ranks, centering);
                    loss += share * found.loss;
                    for (row, slope) in own.into_iter().zip(found.d_scores) {
                        slopes[row] = rounded(share * slope);
                    }
                }
                slopes
            });
        }
        RewardStep { loss, updated: self.network.update(stride) }
    }

    /// Scores as training leaves them, fit for comparisons alone: `[sequences]`, each of a prompt and
    /// its completion.
    pub fn raw_scores<'a>(
        &mut self,
        sequences: impl IntoIterator<Item = (&'a [u32], &'a [u32])>,
    ) -> Vec<f64> {
        let sequences: Vec<_> = sequences.into_iter().collect();
        let tokens = |(prompt, completion): &(&[u32], &[u32])| prompt.len() + completion.len();
        let portions = portions(&sequences, MICRO_TOKENS, tokens).into_iter();
        let scores = portions.flat_map(|portion| {
            self.network.outputs(&packed(portion.iter().copied())).into_iter().flatten()
        });
        scores.collect()
    }

    /// Gives scores a scale: mean 0 and deviation 1 over these samples of the reference.
    ///
    /// # Errors
    ///
    /// [`Error::NoScale`] where their scores have no spread.
    pub fn normalize(&mut self, samples: &[Rollout]) -> Result<Normalization, Error> {
        let normalization = Normalization::fit(&self.raw_scores(sequences(samples)))?;
        self.scale = Scale::Normalized(normalization);
        Ok(normalization)
    }

    /// The scale of the scores.
    #[must_use]
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// The model, to read its weights.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Writes trunk, head and scale into a folder; of an adapter, what lies beside its base.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    ///
    /// # Panics
    ///
    /// Never: a reward model has a head.
    pub fn write(&self, folder: &mut NewFolder<'_>) -> Result<(), Error> {
        let Network { trunk, head, .. } = &self.network;
        trunk.write(folder)?;
        let head = head.as_ref().expect("a reward model has a head");
        Network::write_head(head, folder, HEAD_FILE)?;
        let facts = Facts { version: VERSION, scale: self.scale, base: self.beside };
        let mut bytes = serde_json::to_vec_pretty(&facts).expect("numbers can be written");
        bytes.push(b'\n');
        Ok(folder.write_bytes(FACTS_FILE, &bytes)?)
    }

    /// Reads a model, which then only scores.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read, or is of another form or width; [`Error::OtherCheckpoint`] for an
    /// adapter that learned beside other weights than those of the base.
    pub fn read(device: &Device, place: Place<'_>, precision: Precision) -> Result<Self, Error> {
        let (trunk, head, facts) = read(device, place, precision)?;
        let network = match trunk.adapter() {
            // It is read forward alone, one layer after the other.
            Some(_) => Network::frozen(trunk.with_recomputed_layers()?, Some(head)),
            None => Network::frozen(trunk.frozen(), Some(head)),
        };
        Ok(Self { network, scale: facts.scale, beside: facts.base })
    }
}

impl Scorer for RewardModel {
    fn score(&mut self, rollouts: &[Rollout]) -> Result<Vec<f64>, Error> {
        let raw = self.raw_scores(sequences(rollouts));
        Ok(self.scale.normalize(&raw)?.as_slice().to_vec())
    }
}

/// Reads a reward model as a value model that learns: what it foretells of a finished completion is
/// the score to begin with.
///
/// # Errors
///
/// As [`RewardModel::read`]; [`Error::NotNormalized`] where scores have no scale.
///
/// Source: Stiennon et al. 2020, arXiv:2009.01325, appendix B.1.
pub fn read_value_model(
    device: &Device,
    place: Place<'_>,
    precision: Precision,
    options: OptimizerOptions,
) -> Result<Network, Error> {
    let (trunk, head, facts) = read(device, place, precision)?;
    let Scale::Normalized(normalization) = facts.scale else { return Err(Error::NotNormalized) };
    let scaled = |weight: f32| rounded(normalization.gain() * f64::from(weight));
    let weight: Vec<f32> = head.weight().to_vec().into_iter().map(scaled).collect();
    let head = ScalarHead::with_weight(device, &weight, rounded(normalization.bias()));
    Ok(Network::new(trunk, Some(head), options))
}

/// How the scores of several models become one.
///
/// Source: Coste et al. 2024, "Reward model ensembles help mitigate overoptimization",
/// arXiv:2310.02743.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// Their mean.
    Mean,
    /// The lowest of them.
    Worst,
    /// Their mean, less so many times their variance.
    Uncertain(f64),
}

/// Reward models that were trained apart.
#[derive(Debug)]
pub struct Ensemble {
    /// At least one.
    pub models: Vec<RewardModel>,
    /// How their scores become one.
    pub combine: Combine,
}

impl Scorer for Ensemble {
    fn score(&mut self, rollouts: &[Rollout]) -> Result<Vec<f64>, Error> {
        let scores = self.models.iter_mut().map(|model| model.score(rollouts));
        let scores: Vec<Vec<f64>> = scores.collect::<Result<_, _>>()?;
        let of = |completion: usize| scores.iter().map(move |scores| scores[completion]);
        Ok((0..rollouts.len()).map(|completion| self.combine.of(of(completion))).collect())
    }
}

impl Combine {
    /// One score of those of each model.
    fn of(self, scores: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
        let models = count(scores.len());
        let mean = scores.clone().sum::<f64>() / models;
        match self {
            Self::Mean => mean,
            Self::Worst => scores.fold(f64::INFINITY, f64::min),
            Self::Uncertain(factor) => {
                let squares = scores.map(|score| (score - mean) * (score - mean));
                mean - factor * squares.sum::<f64>() / models
            }
        }
    }
}

/// The prompts and completions of some rollouts.
fn sequences(rollouts: &[Rollout]) -> impl Iterator<Item = (&[u32], &[u32])> {
    rollouts.iter().map(|rollout| (rollout.prompt.as_slice(), rollout.completion.as_slice()))
}

fn packed<'a>(sequences: impl IntoIterator<Item = (&'a [u32], &'a [u32])>) -> Packed {
    let mut packed = Packed::default();
    sequences.into_iter().for_each(|(prompt, completion)| packed.push_whole(prompt, completion));
    packed
}

fn read(
    device: &Device,
    Place { folder, base }: Place<'_>,
    precision: Precision,
) -> Result<(Trainable, ScalarHead, Facts), Error> {
    let facts = read_facts(&folder.join(FACTS_FILE))?;
    let trunk = match facts.base {
        None => Trainable::read(device, folder, precision)?,
        Some(learned_beside) => {
            let base = Trainable::read(device, base, precision)?;
            if digest_of(base.weights())? != learned_beside {
                let problem =
                    "its adapter learned beside other weights than the model has now; put \
                               these back, or train it anew"
                        .to_owned();
                return Err(Error::OtherCheckpoint { path: folder.to_owned(), problem });
            }
            let adapter = Adapter::read(device, base.config(), folder)?;
            base.with_adapter(adapter)?
        }
    };
    let (path, width) = (folder.join(HEAD_FILE), trunk.config().width);
    let head = Network::read_head(device, &path, (width, 0.0))?;
    Ok((trunk, head, facts))
}

fn read_facts(path: &Path) -> Result<Facts, Error> {
    let facts: Facts = checkpoint::read_json(path)?;
    if facts.version == VERSION {
        return Ok(facts);
    }
    let problem = format!("version {} is not known here", facts.version);
    Err(Error::OtherCheckpoint { path: path.to_owned(), problem })
}

#[expect(clippy::cast_possible_truncation, reason = "what goes into f32 is rounded once")]
fn rounded(value: f64) -> f32 {
    value as f32
}
