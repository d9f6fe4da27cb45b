//! How an adapter learns beside a model, as a recipe says it.

use model::AdapterOptions;
use model::adapter::{ALPHA_MAX, ALPHA_MIN, RANK_MAX, Target};
use serde::{Deserialize, Serialize};

use super::check::field;
use super::{OptimizerKind, StageRecipe};
use crate::Error;

/// An adapter: matrices of low rank beside those of the model, which stay as they are.
///
/// Source: Hu et al. 2021, "LoRA: low-rank adaptation of large language models", arXiv:2106.09685.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraRecipe {
    /// Rows of each small matrix: how much can be learned, and what it takes.
    #[serde(default = "default_rank")]
    pub rank: usize,
    /// What is learned counts `alpha / rank` times; twice the rank if not given.
    #[serde(default)]
    pub alpha: Option<f64>,
    /// The matrices of each layer that get an adapter: all if not given.
    #[serde(default = "all_targets")]
    pub targets: Vec<Target>,
}

impl LoraRecipe {
    /// As the model says it; `base` names the model for other programs.
    #[must_use]
    pub fn options(&self, base: &str) -> AdapterOptions {
        let targets = self.targets.clone();
        AdapterOptions { rank: self.rank, alpha: self.alpha(), targets, base: base.to_owned() }
    }

    #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
    fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(2.0 * self.rank as f64)
    }

    pub(super) fn check(&self, stage: &str) -> Result<(), Error> {
        let is = |name: &str| format!("{stage}.lora.{name}");
        field(&is("rank"), self.rank, 1..=RANK_MAX)?;
        field(&is("alpha"), self.alpha(), ALPHA_MIN..=ALPHA_MAX)?;
        match self.targets.is_empty() {
            true => {
                Err(Error::field(&is("targets"), "empty", "some of q, k, v, o, gate, up, down"))
            }
            false => Ok(()),
        }
    }
}

impl StageRecipe {
    /// Refuses an adapter where none can learn.
    pub(super) fn check_lora(&self, stage: &'static str) -> Result<(), Error> {
        let Some(lora) = &self.lora else { return Ok(()) };
        if stage != "sft" {
            let expected = "left out: an adapter learns beside a model that is there";
            return Err(Error::field(&format!("{stage}.lora"), "there", expected));
        }
        // Muon makes every direction of a matrix's update as long as the others: that is meant for
        // matrices of full rank.
        if self.optimizer == OptimizerKind::Muon {
            return Err(Error::field("sft.optimizer", "muon", "adamw where [sft.lora] is"));
        }
        lora.check(stage)
    }
}

fn default_rank() -> usize {
    16
}

fn all_targets() -> Vec<Target> {
    Target::ALL.into()
}
