//! A policy learns what is liked, with the same bytes however it is computed.

use std::sync::Arc;

use engine::ops::matmul::Precision;

use super::*;
use crate::ppo::rollouts;
use crate::ppo::testing::{Liking, PLAIN, STOP, Setup, ppo, prompts};

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
    let experience = ppo.experience(&prompts(), &mut Liking).unwrap();
    // As far off as numbers of an f32 can be.
    let moved = experience.logprobs.map(|logprob| logprob + 1e-6 * logprob);
    for (logprobs, fits) in [(experience.logprobs.clone(), true), (moved, false)] {
        let experience = Experience { logprobs, ..experience.clone() };
        let stride = Stride { rate: 0.0, clip: 1.0 };
        let found = ppo.improve(&experience, stride, &mut PpoMetrics::of(&experience));
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

/// What learned in two steps with micro-batches of so many tokens, and what was told of them.
fn learned_in(setup: Setup, micro_tokens: usize) -> (Vec<PpoMetrics>, Vec<u32>) {
    let mut ppo = ppo(setup);
    ppo.options.micro_tokens = micro_tokens;
    let metrics = run(&mut ppo, 2, 3e-3);
    (metrics, bits(&ppo))
}

#[test]
fn micro_batches_of_any_size_leave_the_same_update() {
    for precision in [Precision::F32, Precision::Bf16] {
        for (with_adapter, values_on_trunk) in [(false, false), (false, true), (true, true)] {
            let setup = Setup { precision, with_adapter, values_on_trunk, threads: 1 };
            let (metrics, weights) = learned_in(setup, MICRO_TOKENS);
            // Completions one by one, a few at once, and nearly a minibatch.
            for micro_tokens in [1, 40, 100] {
                let (others, cut) = learned_in(setup, micro_tokens);
                assert!(cut == weights, "{precision:?}, {micro_tokens} tokens: other weights");
                assert_eq!(others, metrics, "{precision:?}, {micro_tokens} tokens");
            }
        }
    }
}

#[test]
fn values_come_after_cut_completions_where_the_recipe_wants_them() {
    for values_on_trunk in [false, true] {
        let mut ppo = ppo(Setup { values_on_trunk, ..PLAIN });
        run(&mut ppo, 2, 3e-3);
        let nothing = ppo.experience(&prompts(), &mut Liking).unwrap();
        ppo.options.beyond = BeyondCut::Value;
        let beyond = ppo.experience(&prompts(), &mut Liking).unwrap();
        assert!(nothing.next_values.iter().all(|&value| value == 0.0));
        let mut cut = 0;
        for (index, rollout) in beyond.rollouts.iter().enumerate() {
            let goes_on = rollout.stop_reason == model::StopReason::Length;
            cut += usize::from(goes_on);
            assert_eq!(beyond.next_values[index] != 0.0, goes_on, "{rollout:?}");
            let last = rollout.completion.len() - 1;
            let gained = beyond.advantages.row(index)[last] - nothing.advantages.row(index)[last];
            assert!((gained - beyond.next_values[index]).abs() < 1e-12, "{gained}");
        }
        assert!(cut > 0 && cut < beyond.rollouts.len(), "{cut} of all were cut");
        doctor::examine(&beyond, &ppo.options).unwrap();
    }
}
