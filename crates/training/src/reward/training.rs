//! A reward model learns from comparisons, once through by default: shown twice, it learns them by
//! heart.

use engine::random::Series;

use super::RankedCompletions;
use super::accuracy::Proportion;
use super::agreement::{of_ranking, together};
use super::model::{RewardModel, RewardStep};
use crate::network::Stride;
use crate::per_token::count;

/// How a reward model learns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RewardTraining {
    /// How often each comparison is learned from.
    pub epochs: u32,
    /// Comparisons of each update, with all their completions.
    pub comparisons: usize,
    /// The first learning rate, which falls in a straight line to 0.
    pub learning_rate: f64,
    /// Longer gradients are shortened to this norm.
    pub clip: f64,
    /// What the square of the sum of a pair's scores costs: keeps them around 0.
    pub centering: f64,
    /// Decides the order of the comparisons.
    pub seed: u64,
}

impl RewardTraining {
    /// How many updates there are.
    #[must_use]
    pub fn steps(&self, comparisons: usize) -> u64 {
        u64::from(self.epochs) * comparisons.div_ceil(self.comparisons) as u64
    }

    /// Learns from all comparisons. `hear` is told of every step, counted from 1.
    ///
    /// The same comparisons, options and seed give the same weights, to the bit.
    pub fn run(
        &self,
        model: &mut RewardModel,
        comparisons: &[RankedCompletions],
        hear: &mut dyn FnMut(u64, &RewardStep),
    ) {
        self.each_update(comparisons.len(), &mut |step, batch, stride| {
            let batch: Vec<_> = batch.iter().map(|&place| &comparisons[place]).collect();
            hear(step, &model.learn(&batch, self.centering, stride));
        });
    }

    /// Each update in its turn, counted from 1: the places of its comparisons among so many, and how far
    /// it goes.
    pub(super) fn each_update(
        &self,
        comparisons: usize,
        update: &mut dyn FnMut(u64, &[usize], Stride),
    ) {
        let steps = self.steps(comparisons);
        let mut step = 0;
        for epoch in 0..self.epochs {
            let order = Series { seed: self.seed, step: 0, epoch }.permutation(comparisons);
            for batch in order.chunks(self.comparisons) {
                let left = count_of(steps - step) / count_of(steps);
                let stride = Stride { rate: self.learning_rate * left, clip: self.clip };
                step += 1;
                update(step, batch, stride);
            }
        }
    }
}

/// How often the order of two scores is that of the ranks, over all pairs that are not tied.
pub fn accuracy_of(model: &mut RewardModel, comparisons: &[RankedCompletions]) -> Proportion {
    let of = |comparison: &RankedCompletions| {
        of_ranking(&model.raw_scores(comparison.sequences()), &comparison.ranks)
    };
    together(comparisons.iter().map(of))
}

fn count_of(steps: u64) -> f64 {
    count(usize::try_from(steps).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use artifacts::disk::RealDisk;
    use artifacts::folder::land_folder;
    use engine::ops::matmul::Precision;
    use engine::{Device, DeviceOptions};
    use model::adapter::Target;
    use model::{Adapter, AdapterOptions};

    use super::*;
    use crate::Error;
    use crate::checkpoint::digest_of;
    use crate::ppo::{Rollout, Scorer};
    use crate::reward::{Place, read_value_model};
    use crate::tiny::{moves, trunk};

    fn device(threads: usize) -> Device {
        let options = DeviceOptions { threads: NonZeroUsize::new(threads), kernels: None };
        Device::cpu(&options).unwrap()
    }

    fn reward_model(threads: usize) -> RewardModel {
        RewardModel::new(trunk(&device(threads), Precision::F32, 3), 7, moves())
    }

    const TRAINING: RewardTraining = RewardTraining {
        epochs: 1,
        comparisons: 8,
        learning_rate: 3e-3,
        clip: 1.0,
        centering: 0.0,
        seed: 5,
    };

    /// Comparisons of three completions each, ranked by how often the token 7 is in them.
    fn comparisons(first: u64, number: u64) -> Vec<RankedCompletions> {
        let token = |index: u64| engine::random::Philox::new(9).block([index, 0])[0] % 22 + 2;
        let of = |index: u64| {
            let prompt = (0..3).map(|t| token(100 * index + t)).collect();
            let completion = |k: u64| -> Vec<u32> {
                (0..6 + k % 2).map(|t| token(100 * index + 10 * (k + 1) + t)).collect()
            };
            let mut completions: Vec<Vec<u32>> = (0..3).map(completion).collect();
            // Among completions of any length, none or a few.
            for (k, completion) in (0..).zip(&mut completions) {
                completion.iter_mut().filter(|token| **token == 7).for_each(|token| *token = 8);
                let liked = engine::random::Philox::new(4).block([index, k])[0] % 4;
                completion.iter_mut().take(liked as usize).for_each(|token| *token = 7);
            }
            let liked = |c: &Vec<u32>| c.iter().filter(|&&token| token == 7).count();
            let ranks = completions.iter().map(|c| 9 - u32::try_from(liked(c)).unwrap()).collect();
            RankedCompletions { prompt, completions, ranks }
        };
        (first..first + number).map(of).collect()
    }

    #[test]
    fn a_planted_preference_is_learned() {
        let mut model = reward_model(2);
        let held_out = comparisons(10_000, 100);
        let before = accuracy_of(&mut model, &held_out);
        let mut losses = Vec::new();
        TRAINING.run(&mut model, &comparisons(0, 800), &mut |_, seen| losses.push(seen.loss));
        assert_eq!(losses.len() as u64, TRAINING.steps(800));
        let after = accuracy_of(&mut model, &held_out);
        assert!(before.share() < 0.7 && after.share() > 0.97, "{before:?} {after:?}");
        assert!(losses[99] < 0.3 * losses[0], "{losses:?}");
    }

    #[test]
    fn threads_change_no_bit() {
        let weights = |threads: usize| {
            let mut model = reward_model(threads);
            TRAINING.run(&mut model, &comparisons(0, 40), &mut |_, _| ());
            let trunk = model.network().trunk.weights().iter().flat_map(|w| w.to_vec());
            let head = model.network().head.iter().flat_map(|head| head.weight().to_vec());
            trunk.chain(head).map(f32::to_bits).collect::<Vec<_>>()
        };
        assert!(weights(1) == weights(2));
    }

    fn samples() -> Vec<Rollout> {
        let of = |comparison: RankedCompletions| {
            let RankedCompletions { prompt, mut completions, .. } = comparison;
            let completion = completions.remove(0);
            Rollout { prompt, completion, stop_reason: ::model::StopReason::Length }
        };
        comparisons(500, 50).into_iter().map(of).collect()
    }

    #[test]
    fn scores_without_a_scale_are_refused() {
        let mut model = reward_model(1);
        assert!(matches!(model.score(&samples()), Err(Error::NotNormalized)));
        model.normalize(&samples()).unwrap();
        let scores = model.score(&samples()).unwrap();
        let mean = scores.iter().sum::<f64>() / 50.0;
        let variance = scores.iter().map(|score| score * score).sum::<f64>() / 50.0;
        assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-12, "{mean} {variance}");
        // Other weights have another scale.
        TRAINING.run(&mut model, &comparisons(0, 8), &mut |_, _| ());
        assert!(matches!(model.score(&samples()), Err(Error::NotNormalized)));
    }

    #[test]
    fn models_come_back_from_disk_and_become_value_models() {
        let mut model = reward_model(1);
        model.normalize(&samples()).unwrap();
        let expected = model.score(&samples()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reward");
        land_folder(&RealDisk, &path, |folder| model.write(folder)).unwrap();
        let place = Place { folder: &path, base: &path };
        let mut read = RewardModel::read(&device(1), place, Precision::F32).unwrap();
        assert_eq!(read.score(&samples()).unwrap(), expected);
        let values = read_value_model(&device(1), place, Precision::F32, moves());
        let mut values = values.unwrap();
        for (sample, score) in samples().iter().zip(expected) {
            let mut packed = crate::packed::Packed::default();
            packed.push_whole(&sample.prompt, &sample.completion);
            let value = values.outputs(&packed)[0][0];
            assert!((value - score).abs() < 1e-5, "{value} {score}");
        }
    }

    #[test]
    fn an_adapter_comes_back_beside_its_own_weights_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (own, path) = (folder.path().join("own"), folder.path().join("reward"));
        let base = trunk(&device(2), Precision::F32, 3);
        land_folder(&RealDisk, &own, |folder| base.write(folder)).unwrap();
        let beside = digest_of(base.weights()).unwrap();
        let targets = Target::ALL.to_vec();
        let options = AdapterOptions { rank: 4, alpha: 8.0, targets, base: "own".to_owned() };
        let adapter = Adapter::new(&device(2), base.config(), &options, 7).unwrap();
        let learns = base.with_adapter(adapter).unwrap();
        let mut model = RewardModel::new(learns, 7, moves());
        model.beside = Some(beside);
        TRAINING.run(&mut model, &comparisons(0, 400), &mut |_, _| ());
        let found = accuracy_of(&mut model, &comparisons(10_000, 100));
        assert!(found.share() > 0.85, "{found:?}");
        model.normalize(&samples()).unwrap();
        let expected = model.score(&samples()).unwrap();
        land_folder(&RealDisk, &path, |folder| model.write(folder)).unwrap();
        assert!(!path.join("model.safetensors").exists());
        let place = Place { folder: &path, base: &own };
        let mut read = RewardModel::read(&device(1), place, Precision::F32).unwrap();
        assert_eq!(read.score(&samples()).unwrap(), expected);
        let values = read_value_model(&device(1), place, Precision::F32, moves()).unwrap();
        assert_eq!(values.trunk.parameters().len(), model.network().trunk.parameters().len());
        let other = folder.path().join("other");
        let weights = trunk(&device(1), Precision::F32, 4);
        land_folder(&RealDisk, &other, |folder| weights.write(folder)).unwrap();
        let place = Place { folder: &path, base: &other };
        let refused = RewardModel::read(&device(1), place, Precision::F32);
        assert!(matches!(refused, Err(Error::OtherCheckpoint { .. })));
    }
}
