//! What a stage of PPO is made of: models, prompts and text, and all that decides what comes out.

use std::path::{Path, PathBuf};

use artifacts::hash::Digest;
use corpus::{Corpus, LoaderOptions, Packing, Split};
use engine::Device;
use engine::ops::adamw::EpsilonForm;
use engine::random::Series;
use model::Adapter;
use model::trainable::{ScalarHead, Trainable};

use crate::Error;
use crate::network::Network;
use crate::optimizer::OptimizerOptions;
use crate::ppo::{Discount, Ppo, PpoOptions, Pretraining, Reference, RolloutOptions, ValueModel};
use crate::recipe::{OptimizerKind, PpoRecipe, RewardRecipe, ValueKind};
use crate::reward::{Place, read_value_model};

/// The longest rows of the text that is learned beside.
const PRETRAINING_TOKENS_MAX: usize = 512;

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

impl PpoStage {
    /// Refuses reward models that read other tokens than the policy writes.
    pub(super) fn check_tokenizers(&self, own: &[(String, Vec<u8>)]) -> Result<(), Error> {
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
    pub(super) fn place_of<'a>(&'a self, folder: &'a Path) -> Place<'a> {
        Place { folder, base: &self.base }
    }

    /// All that decides what comes out, as a digest.
    pub(super) fn identity(&self) -> Result<Digest, Error> {
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
    pub(super) fn prompts_of(&self, step: u64) -> Vec<Vec<u32>> {
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
    pub(super) fn ppo(&self, device: &Device, checkpoint: Option<&Path>) -> Result<Ppo, Error> {
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
    pub(super) fn begins_as_reference(&self) -> bool {
        self.begin == self.base
    }

    pub(super) fn options(&self) -> PpoOptions {
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
            discount: Discount { gamma: recipe.gamma, lambda: recipe.lambda },
            no_end: recipe.no_end,
            beyond: recipe.beyond,
            whiten_rewards: recipe.whiten_rewards,
            clip: recipe.clip,
            micro_tokens: crate::ppo::step::MICRO_TOKENS,
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
