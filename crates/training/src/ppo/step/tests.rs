//! A policy learns what is liked, with the same bytes however it is computed.

use std::num::NonZeroUsize;

use engine::ops::matmul::Precision;
use engine::{Device, DeviceOptions};
use model::adapter::Target;
use model::trainable::ScalarHead;
use model::{Adapter, AdapterOptions};

use super::*;
use crate::tiny::{moves, trunk};

/// Ends a completion.
const STOP: u32 = 1;
/// What is liked.
const LIKED: u32 = 7;

/// Likes completions by how often a token is in them.
struct Liking;

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
struct Setup {
    threads: usize,
    precision: Precision,
    with_adapter: bool,
    values_on_trunk: bool,
}

const PLAIN: Setup =
    Setup { threads: 1, precision: Precision::F32, with_adapter: false, values_on_trunk: false };

fn options() -> PpoOptions {
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
    }
}

fn ppo(setup: Setup) -> Ppo {
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

fn prompts() -> Vec<Vec<u32>> {
    (0..16_u32).map(|index| (0..=index % 5).map(|t| 2 + (index + t) % 20).collect()).collect()
}

fn run(ppo: &mut Ppo, steps: usize, rate: f64) -> Vec<PpoMetrics> {
    (0..steps).map(|_| ppo.step(&prompts(), &mut Liking, rate).unwrap()).collect()
}

/// The bits of everything that learned.
fn bits(ppo: &Ppo) -> Vec<u32> {
    let mut weights: Vec<f32> =
        ppo.policy.trunk.weights().iter().flat_map(|weight| weight.to_vec()).collect();
    weights.extend(ppo.policy.head.iter().flat_map(|head| head.weight().to_vec()));
    if let ValueModel::Own(network) = &ppo.value_model {
        weights.extend(network.trunk.weights().iter().flat_map(|weight| weight.to_vec()));
        weights.extend(network.head.iter().flat_map(|head| head.weight().to_vec()));
    }
    weights.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_policy_learns_what_is_liked() {
    for with_adapter in [false, true] {
        for values_on_trunk in [false, true] {
            let setup = Setup { with_adapter, values_on_trunk, threads: 2, ..PLAIN };
            let rate = if with_adapter { 1e-2 } else { 3e-3 };
            let metrics = run(&mut ppo(setup), 30, rate);
            let (first, last) = (&metrics[0], &metrics[metrics.len() - 1]);
            let what = format!("adapter {with_adapter}, values on trunk {values_on_trunk}");
            assert!(first.kl_per_episode.abs() < 1e-12, "{what}: {first:?}");
            assert!(last.score > first.score + 2.0, "{what}: {first:?} {last:?}");
            assert!(last.kl_per_episode > 0.5, "{what}: {last:?}");
            assert!(metrics.iter().all(|metrics| metrics.skipped == 0), "{what}");
            assert!(last.value > 0.5 * last.returns, "{what}: values follow {last:?}");
        }
    }
}

#[test]
fn threads_and_slots_change_no_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        for (with_adapter, values_on_trunk) in [(false, false), (true, true)] {
            let setup = Setup { precision, with_adapter, values_on_trunk, threads: 1 };
            let learn = |threads: usize, slots: usize| {
                let mut ppo = ppo(Setup { threads, ..setup });
                ppo.options.rollouts.slots = slots;
                let metrics = run(&mut ppo, 3, 3e-3);
                (metrics, bits(&ppo))
            };
            let expected = learn(1, 5);
            assert!(learn(2, 5) == expected, "{precision:?}: two threads");
            assert!(learn(1, 16) == expected, "{precision:?}: all at once");
        }
    }
}

#[test]
fn a_policy_that_is_not_the_sampled_one_is_noticed() {
    let mut ppo = ppo(PLAIN);
    let served = Arc::new(ppo.policy.trunk.served().unwrap());
    let options = ppo.options.rollouts.clone();
    let Rollouts { rollouts, logprobs } =
        rollouts::collect(served, &prompts(), &options, (1, 1)).unwrap();
    let zeros = PerToken::filled_like(&logprobs, 0.0);
    // As far off as numbers of an f32 can be.
    let moved = logprobs.map(|logprob| logprob + 1e-6 * logprob);
    for (logprobs, fits) in [(&logprobs, true), (&moved, false)] {
        let experience = Experience {
            rollouts: &rollouts,
            logprobs,
            values: zeros.clone(),
            advantages: zeros.clone(),
            returns: zeros.clone(),
        };
        let stride = Stride { rate: 0.0, clip: 1.0 };
        let found = ppo.improve(&experience, stride, &mut PpoMetrics::default());
        match found {
            Ok(()) => assert!(fits),
            Err(error) => {
                assert!(!fits && error.to_string().contains("must be equal to the bit"), "{error}");
            }
        }
    }
}

#[test]
fn completions_end_with_their_stop_token_and_are_drawn_from_the_temperature() {
    let ppo = ppo(PLAIN);
    let served = Arc::new(ppo.policy.trunk.served().unwrap());
    let options = ppo.options.rollouts.clone();
    let prompts = vec![vec![3, 4]; 400];
    let found = rollouts::collect(served, &prompts, &options, (1, 1)).unwrap();
    let mut ends = 0;
    for (rollout, logprobs) in found.rollouts.iter().zip(found.logprobs.rows()) {
        let ended = rollout.stop_reason == model::StopReason::EndOfTurn;
        assert_eq!(rollout.completion.last() == Some(&STOP), ended);
        assert_eq!(
            rollout.completion.iter().filter(|&&token| token == STOP).count(),
            usize::from(ended)
        );
        assert_eq!(rollout.completion.len(), logprobs.len());
        assert!(ended || rollout.completion.len() == options.completion_tokens);
        ends += usize::from(ended);
    }
    // A model that knows nothing ends with one token in 24, in 12 tries: 160 of 400 on average.
    assert!((110..210).contains(&ends), "{ends}");
    // What was drawn first, against the probabilities that were recorded: chi squared over the
    // tokens, of 23 degrees of freedom; 49.7 is passed in one case of a thousand.
    let mut expected = [0.0; 24];
    let mut counts = [0.0; 24];
    for (rollout, logprobs) in found.rollouts.iter().zip(found.logprobs.rows()) {
        let token = rollout.completion[0] as usize;
        expected[token] = 400.0 * logprobs[0].exp();
        counts[token] += 1.0;
    }
    let seen = counts.iter().zip(&expected).filter(|(_, expected)| **expected > 0.0);
    let chi: f64 = seen.map(|(count, e)| (count - e) * (count - e) / e).sum();
    assert!(chi < 49.7, "{chi}");
}

#[test]
fn prompts_without_room_are_refused() {
    let ppo = ppo(PLAIN);
    let served = Arc::new(ppo.policy.trunk.served().unwrap());
    let error =
        rollouts::collect(served, &[vec![2; 32]], &ppo.options.rollouts, (1, 1)).unwrap_err();
    assert!(error.to_string().contains("32"), "{error}");
}
