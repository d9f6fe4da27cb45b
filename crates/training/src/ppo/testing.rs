//! What the tests of whole steps share: a policy of a tiny model, and a taste that it learns.

use std::num::NonZeroUsize;

use engine::ops::matmul::Precision;
use engine::{Device, DeviceOptions};
use model::adapter::Target;
use model::trainable::ScalarHead;
use model::{Adapter, AdapterOptions};

use super::{
    BeyondCut, Discount, KlController, NoEnd, Ppo, PpoOptions, Reference, Rollout, RolloutOptions,
    Scorer, ValueModel,
};
use crate::Error;
use crate::network::Network;
use crate::ppo::step::MICRO_TOKENS;
use crate::tiny::{moves, trunk};

/// Ends a completion.
pub(super) const STOP: u32 = 1;
/// What is liked.
pub(super) const LIKED: u32 = 7;

/// Likes completions by how often a token is in them.
pub(super) struct Liking;

impl Scorer for Liking {
    fn score(&mut self, rollouts: &[Rollout]) -> Result<Vec<f64>, Error> {
        let of = |rollout: &Rollout| {
            let liked = rollout.completion.iter().filter(|&&token| token == LIKED).count();
            f64::from(u32::try_from(liked).unwrap())
        };
        Ok(rollouts.iter().map(of).collect())
    }
}

/// What is set up for a test.
#[derive(Clone, Copy)]
pub(super) struct Setup {
    pub threads: usize,
    pub precision: Precision,
    pub with_adapter: bool,
    pub values_on_trunk: bool,
}

pub(super) const PLAIN: Setup =
    Setup { threads: 1, precision: Precision::F32, with_adapter: false, values_on_trunk: false };

pub(super) fn options() -> PpoOptions {
    PpoOptions {
        rollouts: RolloutOptions {
            temperature: 0.7,
            completion_tokens: 12,
            stop_tokens: vec![STOP],
            slots: 5,
        },
        epochs: 3,
        minibatches: 2,
        clip_range: 0.2,
        value_clip_range: 0.2,
        value_coefficient: 0.1,
        discount: Discount::default(),
        no_end: NoEnd::Keep,
        whiten_rewards: false,
        clip: 1.0,
        beyond: BeyondCut::Nothing,
        micro_tokens: MICRO_TOKENS,
        begins_as_reference: true,
        thorough: false,
    }
}

pub(super) fn ppo(setup: Setup) -> Ppo {
    let Setup { threads, precision, with_adapter, values_on_trunk } = setup;
    let device =
        Device::cpu(&DeviceOptions { threads: NonZeroUsize::new(threads), kernels: None }).unwrap();
    let policy = trunk(&device, precision, 3);
    let (policy, reference) = if with_adapter {
        let adapter = AdapterOptions {
            rank: 4,
            alpha: 16.0,
            targets: Target::ALL.to_vec(),
            base: String::new(),
        };
        let adapter = Adapter::new(&device, policy.config(), &adapter, 5).unwrap();
        (policy.with_adapter(adapter).unwrap(), Reference::WithoutAdapter)
    } else {
        (policy, Reference::Frozen(Box::new(trunk(&device, precision, 3).frozen())))
    };
    let head = || Some(ScalarHead::with_weight(&device, &[0.0; 32], 0.0));
    let (own_head, value_model) = match values_on_trunk {
        true => (head(), ValueModel::OnTrunk),
        false => {
            let network = Network::new(trunk(&device, precision, 4), head(), moves());
            (None, ValueModel::Own(Box::new(network)))
        }
    };
    Ppo {
        policy: Network::new(policy, own_head, moves()),
        reference,
        value_model,
        pretraining: None,
        kl: KlController::Fixed { coefficient: 0.02 },
        options: options(),
        seed: 11,
        steps: 0,
    }
}

pub(super) fn prompts() -> Vec<Vec<u32>> {
    (0..16_u32).map(|index| (0..=index % 5).map(|t| 2 + (index + t) % 20).collect()).collect()
}
