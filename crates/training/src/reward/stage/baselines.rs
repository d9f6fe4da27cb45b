//! What the baselines of a stage say of the held-out comparisons: learned once, and kept in a file.

use std::collections::BTreeMap;

use artifacts::disk::RealDisk;
use artifacts::folder;
use artifacts::hash::Digest;
use engine::Device;
use serde::{Deserialize, Serialize};

use super::{Baseline, RewardEvent, RewardStage, json_of};
use crate::Error;
use crate::checkpoint::read_json;
use crate::reward::training::RewardTraining;
use crate::reward::{Dpo, EncodedComparisons, PerPrompt, bigram_scores, length_scores};

/// Beside the models, so that a stage that was interrupted need not learn them again.
const FILE: &str = "baselines.json";

/// The scores of the baselines: `[comparisons][completions]` of what is held out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    identity: Digest,
    scores: BTreeMap<Baseline, Vec<Vec<f64>>>,
}

impl RewardStage {
    /// What each baseline orders as people did, of what is held out; none where nothing is.
    pub(super) fn baselines(
        &self,
        device: &Device,
        comparisons: &EncodedComparisons,
        identity: Digest,
        hear: &mut dyn FnMut(RewardEvent<'_>),
    ) -> Result<BTreeMap<Baseline, PerPrompt>, Error> {
        let EncodedComparisons { train, held_out, .. } = comparisons;
        if held_out.is_empty() {
            return Ok(BTreeMap::new());
        }
        let path = self.folder.join(FILE);
        let kept = path.exists().then(|| read_json::<Kept>(&path)).transpose()?;
        let scores = match kept.filter(|kept| kept.identity == identity) {
            Some(kept) => kept.scores,
            None => {
                hear(RewardEvent::Baselines);
                let mut scores = BTreeMap::from([
                    (Baseline::Length, length_scores(train, held_out)),
                    (Baseline::Bigrams, bigram_scores(train, held_out)),
                ]);
                if let Some(learned) = self.dpo(device, comparisons, hear)? {
                    scores.insert(Baseline::Dpo, learned);
                }
                let kept = Kept { identity, scores };
                folder::land_bytes(&RealDisk, &path, &json_of(&kept))?;
                kept.scores
            }
        };
        let of = |(baseline, scores): (Baseline, Vec<Vec<f64>>)| {
            (baseline, PerPrompt::of(held_out, &scores))
        };
        Ok(scores.into_iter().map(of).collect())
    }

    /// The rewards of a policy that learned from the same comparisons directly, where it is asked for.
    fn dpo(
        &self,
        device: &Device,
        comparisons: &EncodedComparisons,
        hear: &mut dyn FnMut(RewardEvent<'_>),
    ) -> Result<Option<Vec<Vec<f64>>>, Error> {
        let Some(recipe) = &self.recipe.dpo else { return Ok(None) };
        let rate = recipe.learning_rate.unwrap_or(self.recipe.learning_rate);
        let training = RewardTraining { learning_rate: rate, ..self.training(self.seed) };
        let (trunk, _) = self.trunk(device, self.seed)?;
        let mut dpo = Dpo::new(trunk, recipe.beta, self.recipe.optimizer_options());
        let EncodedComparisons { train, held_out, .. } = comparisons;
        let steps = training.steps(train.len());
        let mut told = |step, seen: &_| hear(RewardEvent::Dpo { step, steps, seen });
        Ok(Some(dpo.learn_and_score(&training, train, held_out, &mut told)))
    }
}
